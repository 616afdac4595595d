noinst_LIBRARIES += libdaemon.a
libdaemon_a_CPPFLAGS = $(AM_CPPFLAGS) $(UV_CFLAGS) $(MHD_CFLAGS) $(JANSSON_CFLAGS)
libdaemon_a_SOURCES = \
	daemon/config.c daemon/config.h \
	daemon/http.h daemon/http_impl.h \
	daemon/http_check.c daemon/http_check.h \
	daemon/http_request.c \
	daemon/http_server.c \
	daemon/listen.c daemon/listen.h \
	daemon/notify.c daemon/notify.h \
	daemon/queue.c daemon/queue.h
