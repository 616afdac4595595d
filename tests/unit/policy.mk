if HAVE_CRITERION
check_PROGRAMS += tests/unit/test_policy
TESTS += tests/unit/test_policy

tests_unit_test_policy_SOURCES = tests/unit/test_policy.c
tests_unit_test_policy_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_policy_LDADD = libcache.a $(LIBS_BASE) $(CRITERION_LIBS)
endif
