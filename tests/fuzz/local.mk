# Corpora are replayed by `make check` with any compiler; with --enable-fuzzers (clang) libFuzzer drives the same targets.
FUZZ_SOURCES = tests/fuzz/fuzz.c tests/fuzz/fuzz.h tests/support/gguf_builder.c tests/support/gguf_builder.h \
	tests/support/random_model.c

check_PROGRAMS += tests/fuzz/replay_gguf tests/fuzz/replay_http tests/fuzz/replay_pack tests/fuzz/replay_tokenizer
TESTS += tests/fuzz/gguf.test tests/fuzz/http.test tests/fuzz/pack.test tests/fuzz/tokenizer.test
EXTRA_DIST += tests/fuzz/gguf.test tests/fuzz/http.test tests/fuzz/tokenizer.test tests/fuzz/gguf.dict tests/fuzz/http.dict \
	tests/fuzz/pack.test tests/fuzz/corpus-gguf tests/fuzz/corpus-http tests/fuzz/corpus-pack tests/fuzz/corpus-tokenizer

tests_fuzz_replay_http_SOURCES = tests/fuzz/fuzz_http.c tests/fuzz/replay.c tests/fuzz/fuzz.h
tests_fuzz_replay_http_LDADD = libdaemon.a $(LIBS_BASE)

tests_fuzz_replay_gguf_SOURCES = tests/fuzz/fuzz_gguf.c tests/fuzz/replay.c $(FUZZ_SOURCES)
tests_fuzz_replay_gguf_LDADD = $(LIBS_MODEL) $(SYS_MODEL)

tests_fuzz_replay_tokenizer_SOURCES = tests/fuzz/fuzz_tokenizer.c tests/fuzz/replay.c $(FUZZ_SOURCES)
tests_fuzz_replay_tokenizer_LDADD = $(LIBS_MODEL) $(SYS_MODEL)

tests_fuzz_replay_pack_SOURCES = tests/fuzz/fuzz_pack.c tests/fuzz/replay.c tests/fuzz/fuzz.c tests/fuzz/fuzz.h
tests_fuzz_replay_pack_LDADD = libcache.a $(LIBS_BASE) $(XXHASH_LIBS)

# First inputs, when a corpus is to be made anew.
EXTRA_PROGRAMS += tests/fuzz/seeds
CLEANFILES += tests/fuzz/seeds$(EXEEXT)
tests_fuzz_seeds_SOURCES = tests/fuzz/seeds.c tests/support/gguf_builder.c tests/support/random_model.c \
	tests/support/gguf_forms.c
tests_fuzz_seeds_LDADD = $(LIBS_COMPUTE) -lm

if ENABLE_FUZZERS
# Of compute/ no more than model files need: the kernels are GCC's.
FUZZ_QUANT = compute/quant.c compute/quant_small.c compute/quant_super.c
noinst_PROGRAMS += tests/fuzz/libfuzzer_gguf tests/fuzz/libfuzzer_http tests/fuzz/libfuzzer_pack \
	tests/fuzz/libfuzzer_tokenizer

tests_fuzz_libfuzzer_http_SOURCES = tests/fuzz/fuzz_http.c tests/fuzz/fuzz.h daemon/http_check.c daemon/http_parse.c
tests_fuzz_libfuzzer_http_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer

tests_fuzz_libfuzzer_gguf_SOURCES = tests/fuzz/fuzz_gguf.c $(FUZZ_SOURCES) $(FUZZ_QUANT)
tests_fuzz_libfuzzer_gguf_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_libfuzzer_gguf_LDADD = libmodel.a $(LIBS_BASE) $(SYS_MODEL)

tests_fuzz_libfuzzer_pack_SOURCES = tests/fuzz/fuzz_pack.c tests/fuzz/fuzz.c tests/fuzz/fuzz.h
tests_fuzz_libfuzzer_pack_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_libfuzzer_pack_LDADD = libcache.a $(LIBS_BASE) $(XXHASH_LIBS)

tests_fuzz_libfuzzer_tokenizer_SOURCES = tests/fuzz/fuzz_tokenizer.c $(FUZZ_SOURCES) $(FUZZ_QUANT)
tests_fuzz_libfuzzer_tokenizer_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_libfuzzer_tokenizer_LDADD = libmodel.a $(LIBS_BASE) $(SYS_MODEL)
endif
