if HAVE_CRITERION
cache_tests = tests/unit/test_cache
check_PROGRAMS += $(cache_tests)
TESTS += $(cache_tests)

tests_unit_test_cache_SOURCES = tests/unit/test_cache.c tests/support/expert_file.c tests/support/expert_file.h
tests_unit_test_cache_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_cache_LDADD = $(LIBS_CACHE) $(SYS_CACHE) $(CRITERION_LIBS)
endif
