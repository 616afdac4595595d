if HAVE_CRITERION
check_PROGRAMS += tests/unit/test_policy tests/unit/test_replay tests/unit/test_shadow
TESTS += tests/unit/test_policy tests/unit/test_replay tests/unit/test_shadow

tests_unit_test_policy_SOURCES = tests/unit/test_policy.c
tests_unit_test_policy_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_policy_LDADD = libcache.a $(LIBS_BASE) $(CRITERION_LIBS)

# What bench/replay is made of, on the traces in shared/ and on small ones.
tests_unit_test_replay_SOURCES = tests/unit/test_replay.c $(replay_sources)
tests_unit_test_replay_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_replay_LDADD = libcache.a $(LIBS_BASE) $(CRITERION_LIBS) -lm

tests_unit_test_shadow_SOURCES = tests/unit/test_shadow.c $(replay_sources)
tests_unit_test_shadow_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_shadow_LDADD = libcache.a $(LIBS_BASE) $(CRITERION_LIBS)
endif
