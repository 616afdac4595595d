libmodel_a_SOURCES += \
	model/forward.c \
	model/forward_arena.c model/forward_arena.h \
	model/forward_dense.c model/forward_dense.h \
	model/forward_embed.c \
	model/forward_hold.c \
	model/forward_internal.h \
	model/forward_layer.c \
	model/forward_moe.c model/forward_help.c \
	model/forward_open.c \
	model/forward_predict.c model/forward_stay.c \
	model/kv.c model/kv.h
