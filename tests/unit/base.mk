if HAVE_CRITERION
base_tests = tests/unit/test_err tests/unit/test_mem
check_PROGRAMS += $(base_tests)
TESTS += $(base_tests)

tests_unit_test_err_SOURCES = tests/unit/test_err.c
tests_unit_test_err_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_err_LDADD = $(LIBS_BASE) $(CRITERION_LIBS)

tests_unit_test_mem_SOURCES = tests/unit/test_mem.c
tests_unit_test_mem_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_mem_LDADD = $(LIBS_BASE) $(CRITERION_LIBS)
endif
