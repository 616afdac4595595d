libmodel_a_SOURCES += \
	model/chat.c \
	model/chat.h \
	model/chat_format.c \
	model/chat_format.h \
	model/detokenizer.c \
	model/logprob.c \
	model/sampler.c \
	model/sampler.h \
	model/softmax.h \
	model/stops.c \
	model/stops.h \
	model/tokenizer.c \
	model/tokenizer.h \
	model/tokenizer_bpe.c \
	model/tokenizer_map.c \
	model/tokenizer_map.h \
	model/tokenizer_merge.c \
	model/tokenizer_merge.h \
	model/tokenizer_patterns.h \
	model/tokenizer_special.c \
	model/tokenizer_special.h \
	model/tokenizer_split.c \
	model/tokenizer_split.h \
	model/tokenizer_spm.c \
	model/tokenizer_vocab.c \
	model/tokenizer_vocab.h \
	model/utf8.h
