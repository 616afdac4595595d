if HAVE_CRITERION
client_tests = tests/unit/test_sse
check_PROGRAMS += $(client_tests)
TESTS += $(client_tests)

LIBS_CLIENT = libexpertparts.la $(CRITERION_LIBS)

tests_unit_test_sse_SOURCES = tests/unit/test_sse.c
tests_unit_test_sse_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_sse_LDADD = $(LIBS_CLIENT)
endif
