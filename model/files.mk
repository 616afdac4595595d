libmodel_a_SOURCES += \
	model/arch.c model/arch.h \
	model/gguf.c model/gguf.h model/gguf_internal.h \
	model/gguf_keys.c \
	model/gguf_reader.c \
	model/gguf_tensors.c \
	model/hparams.c model/hparams.h \
	model/keys.c model/keys.h \
	model/layout.c \
	model/layout_make.c model/layout_make.h \
	model/model.c \
	model/rope.c \
	model/tensors.c model/tensors.h model/tensors_internal.h \
	model/tensors_experts.c
