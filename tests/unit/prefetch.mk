if HAVE_CRITERION
check_PROGRAMS += tests/unit/test_prefetch
TESTS += tests/unit/test_prefetch

tests_unit_test_prefetch_SOURCES = tests/unit/test_prefetch.c
tests_unit_test_prefetch_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_prefetch_LDADD = libprefetch.a $(LIBS_MODEL) $(SYS_MODEL) $(CRITERION_LIBS)
endif
