if HAVE_CRITERION
daemon_tests = \
	tests/unit/test_answer \
	tests/unit/test_api_health \
	tests/unit/test_api_params \
	tests/unit/test_budget \
	tests/unit/test_config \
	tests/unit/test_http_check \
	tests/unit/test_http_parse \
	tests/unit/test_jbuf \
	tests/unit/test_json_tree \
	tests/unit/test_listen \
	tests/unit/test_pressure \
	tests/unit/test_processor \
	tests/unit/test_queue \
	tests/unit/test_scheduler
check_PROGRAMS += $(daemon_tests)
TESTS += $(daemon_tests)

tests_unit_test_answer_SOURCES = tests/unit/test_answer.c
tests_unit_test_answer_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_answer_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=http_abort,--wrap=http_stream_write,--wrap=http_stream_end
tests_unit_test_answer_LDADD = $(LIBS_DAEMON) $(SYS_DAEMON) $(CRITERION_LIBS)

tests_unit_test_api_health_SOURCES = tests/unit/test_api_health.c
tests_unit_test_api_health_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_api_health_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=engine_silent_ns,--wrap=http_method,--wrap=http_path,--wrap=http_reply
tests_unit_test_api_health_LDADD = $(LIBS_DAEMON) $(SYS_DAEMON) $(CRITERION_LIBS)

tests_unit_test_api_params_SOURCES = tests/unit/test_api_params.c
tests_unit_test_api_params_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_api_params_LDADD = $(LIBS_DAEMON) $(SYS_DAEMON) $(CRITERION_LIBS)

tests_unit_test_budget_SOURCES = tests/unit/test_budget.c
tests_unit_test_budget_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_budget_LDADD = libdaemon.a $(LIBS_COMPUTE) $(CRITERION_LIBS)

tests_unit_test_config_SOURCES = tests/unit/test_config.c
tests_unit_test_config_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_config_LDADD = libdaemon.a $(LIBS_COMPUTE) $(CRITERION_LIBS)

tests_unit_test_http_check_SOURCES = tests/unit/test_http_check.c
tests_unit_test_http_check_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_http_check_LDADD = libdaemon.a $(LIBS_BASE) $(CRITERION_LIBS)

tests_unit_test_http_parse_SOURCES = tests/unit/test_http_parse.c
tests_unit_test_http_parse_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_http_parse_LDADD = libdaemon.a $(LIBS_BASE) $(CRITERION_LIBS)

tests_unit_test_jbuf_SOURCES = tests/unit/test_jbuf.c
tests_unit_test_jbuf_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_jbuf_LDADD = libdaemon.a $(LIBS_BASE) -lm $(CRITERION_LIBS)

tests_unit_test_json_tree_SOURCES = tests/unit/test_json_tree.c
tests_unit_test_json_tree_CPPFLAGS = $(CRITERION_CPPFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_json_tree_LDADD = libdaemon.a $(JANSSON_LIBS) $(CRITERION_LIBS)

tests_unit_test_listen_SOURCES = tests/unit/test_listen.c
tests_unit_test_listen_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_listen_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=getaddrinfo,--wrap=freeaddrinfo
tests_unit_test_listen_LDADD = libdaemon.a $(LIBS_BASE) $(CRITERION_LIBS)

tests_unit_test_processor_SOURCES = tests/unit/test_processor.c
tests_unit_test_processor_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_processor_LDADD = $(LIBS_DAEMON) $(SYS_DAEMON) $(CRITERION_LIBS)

tests_unit_test_pressure_SOURCES = tests/unit/test_pressure.c
tests_unit_test_pressure_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_pressure_LDADD = libdaemon.a $(LIBS_COMPUTE) $(CRITERION_LIBS)

tests_unit_test_queue_SOURCES = tests/unit/test_queue.c
tests_unit_test_queue_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_queue_LDADD = libdaemon.a $(LIBS_BASE) $(CRITERION_LIBS)

tests_unit_test_scheduler_SOURCES = tests/unit/test_scheduler.c
tests_unit_test_scheduler_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_scheduler_LDADD = $(LIBS_DAEMON) $(SYS_DAEMON) $(CRITERION_LIBS)
endif
