libmodel_a_SOURCES += \
	model/chat.h \
	model/sampler.h \
	model/tokenizer.h
