if HAVE_CRITERION
check_PROGRAMS += tests/unit/test_policy tests/unit/test_policy_burst tests/unit/test_outlook tests/unit/test_replay tests/unit/test_shadow tests/unit/test_recorder
TESTS += tests/unit/test_policy tests/unit/test_policy_burst tests/unit/test_outlook tests/unit/test_replay tests/unit/test_shadow tests/unit/test_recorder

tests_unit_test_policy_SOURCES = tests/unit/test_policy.c
tests_unit_test_policy_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_policy_LDADD = libcache.a $(LIBS_BASE) $(CRITERION_LIBS)

tests_unit_test_policy_burst_SOURCES = tests/unit/test_policy_burst.c
tests_unit_test_policy_burst_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_policy_burst_LDADD = libcache.a $(LIBS_BASE) $(CRITERION_LIBS)

tests_unit_test_outlook_SOURCES = tests/unit/test_outlook.c
tests_unit_test_outlook_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_outlook_LDADD = libcache.a $(LIBS_BASE) $(CRITERION_LIBS) -lm

# What bench/replay is made of, on the traces in shared/ and on small ones.
tests_unit_test_replay_SOURCES = tests/unit/test_replay.c $(replay_sources)
tests_unit_test_replay_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_replay_LDADD = libcache.a $(LIBS_BASE) $(CRITERION_LIBS) -lm

tests_unit_test_shadow_SOURCES = tests/unit/test_shadow.c $(replay_sources)
tests_unit_test_shadow_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_shadow_LDADD = libcache.a $(LIBS_BASE) $(CRITERION_LIBS) -lm

tests_unit_test_recorder_SOURCES = tests/unit/test_recorder.c bench/trace.c bench/trace.h
tests_unit_test_recorder_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_recorder_LDADD = libdaemon.a libcache.a $(LIBS_BASE) $(CRITERION_LIBS) -lm
endif
