libmodel_a_SOURCES += \
	model/arch.h \
	model/gguf.h
