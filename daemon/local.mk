bin_PROGRAMS += expertd
expertd_SOURCES = daemon/main.c
expertd_CPPFLAGS = $(libdaemon_a_CPPFLAGS)
expertd_LDADD = $(LIBS_DAEMON) $(SYS_DAEMON)

noinst_LIBRARIES += libdaemon.a
libdaemon_a_CPPFLAGS = $(AM_CPPFLAGS) -DEXPERTD_VERSION='"$(PACKAGE_VERSION)"' $(UV_CFLAGS) $(JANSSON_CFLAGS)
libdaemon_a_SOURCES = \
	daemon/answer.c daemon/answer.h \
	daemon/answer_json.c \
	daemon/api.c daemon/api.h \
	daemon/api_error.c daemon/api_error.h \
	daemon/api_info.c \
	daemon/api_params.c daemon/api_params.h \
	daemon/budget.c daemon/budget.h \
	daemon/chores.c daemon/chores.h \
	daemon/config.c daemon/config.h \
	daemon/engine.c daemon/engine.h daemon/engine_impl.h \
	daemon/engine_load.c \
	daemon/engine_memory.c \
	daemon/engine_write.c \
	daemon/engine_gpu.c \
	daemon/gpu.c daemon/gpu.h \
	daemon/http.h daemon/http_impl.h \
	daemon/http_check.c daemon/http_check.h \
	daemon/http_conn.c \
	daemon/http_out.c \
	daemon/http_parse.c daemon/http_parse.h \
	daemon/http_request.c \
	daemon/http_server.c \
	daemon/jbuf.c daemon/jbuf.h \
	daemon/json_tree.c daemon/json_tree.h \
	daemon/job.c daemon/job.h \
	daemon/listen.c daemon/listen.h \
	daemon/machine.c daemon/machine.h \
	daemon/notify.c daemon/notify.h \
	daemon/pressure.c daemon/pressure.h \
	daemon/processor.c daemon/processor.h \
	daemon/queue.c daemon/queue.h \
	daemon/recorder.c daemon/recorder.h daemon/engine_record.c \
	daemon/scheduler.c daemon/scheduler.h \
	daemon/server.c daemon/server.h \
	daemon/service.c daemon/service.h
