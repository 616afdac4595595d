if HAVE_CRITERION
daemon_tests = tests/unit/test_config tests/unit/test_http_check tests/unit/test_queue
check_PROGRAMS += $(daemon_tests)
TESTS += $(daemon_tests)

tests_unit_test_config_SOURCES = tests/unit/test_config.c
tests_unit_test_config_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_config_LDADD = libdaemon.a $(LIBS_BASE) $(CRITERION_LIBS)

tests_unit_test_http_check_SOURCES = tests/unit/test_http_check.c
tests_unit_test_http_check_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_http_check_LDADD = libdaemon.a $(LIBS_BASE) $(CRITERION_LIBS)

tests_unit_test_queue_SOURCES = tests/unit/test_queue.c
tests_unit_test_queue_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_queue_LDADD = libdaemon.a $(LIBS_BASE) $(CRITERION_LIBS)
endif
