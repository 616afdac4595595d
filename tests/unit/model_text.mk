if HAVE_CRITERION
model_text_tests = \
	tests/unit/test_chat \
	tests/unit/test_sampler \
	tests/unit/test_sampler_best \
	tests/unit/test_stops \
	tests/unit/test_tokenizer \
	tests/unit/test_tokenizer_hostile \
	tests/unit/test_tokenizer_merge \
	tests/unit/test_tokenizer_shared \
	tests/unit/test_tokenizer_split
check_PROGRAMS += $(model_text_tests)
TESTS += $(model_text_tests)

# Vocabularies made in a test; see tests/support/small_vocab.h.
SMALL_VOCAB_SOURCES = tests/support/small_vocab.c tests/support/small_vocab.h tests/support/gguf_builder.c \
	tests/support/gguf_builder.h

tests_unit_test_chat_SOURCES = tests/unit/test_chat.c $(SMALL_VOCAB_SOURCES)
tests_unit_test_chat_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_chat_LDADD = $(LIBS_MODEL) $(SYS_MODEL) $(CRITERION_LIBS)

tests_unit_test_sampler_SOURCES = tests/unit/test_sampler.c
tests_unit_test_sampler_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_sampler_LDADD = $(LIBS_MODEL) $(SYS_MODEL) $(CRITERION_LIBS)

tests_unit_test_sampler_best_SOURCES = tests/unit/test_sampler_best.c
tests_unit_test_sampler_best_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_sampler_best_LDADD = $(LIBS_MODEL) $(SYS_MODEL) $(CRITERION_LIBS)

tests_unit_test_stops_SOURCES = tests/unit/test_stops.c
tests_unit_test_stops_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_stops_LDADD = $(LIBS_MODEL) $(SYS_MODEL) $(CRITERION_LIBS)

tests_unit_test_tokenizer_SOURCES = tests/unit/test_tokenizer.c $(SMALL_VOCAB_SOURCES)
tests_unit_test_tokenizer_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_tokenizer_LDADD = $(LIBS_MODEL) $(SYS_MODEL) $(CRITERION_LIBS)

tests_unit_test_tokenizer_hostile_SOURCES = tests/unit/test_tokenizer_hostile.c $(SMALL_VOCAB_SOURCES)
tests_unit_test_tokenizer_hostile_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_tokenizer_hostile_LDADD = $(LIBS_MODEL) $(SYS_MODEL) $(CRITERION_LIBS)

tests_unit_test_tokenizer_merge_SOURCES = tests/unit/test_tokenizer_merge.c $(SMALL_VOCAB_SOURCES) $(support_memory_count)
tests_unit_test_tokenizer_merge_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_tokenizer_merge_LDFLAGS = $(AM_LDFLAGS) $(MEMORY_COUNT_LDFLAGS)
tests_unit_test_tokenizer_merge_LDADD = $(LIBS_MODEL) $(SYS_MODEL) $(CRITERION_LIBS)

tests_unit_test_tokenizer_shared_SOURCES = tests/unit/test_tokenizer_shared.c
tests_unit_test_tokenizer_shared_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_tokenizer_shared_LDADD = $(LIBS_MODEL) $(SYS_MODEL) $(CRITERION_LIBS)

tests_unit_test_tokenizer_split_SOURCES = tests/unit/test_tokenizer_split.c
tests_unit_test_tokenizer_split_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_tokenizer_split_LDADD = $(LIBS_MODEL) $(SYS_MODEL) $(CRITERION_LIBS)
endif
