libmodel_a_SOURCES += \
	model/gguf.h
