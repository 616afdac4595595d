# libexpert and the command-line client: they speak HTTP to the daemon like anyone else and include nothing of it.
include_HEADERS += client/expert.h
lib_LTLIBRARIES += libexpert.la

# The library's parts by themselves, so that tests can reach what libexpert does not export.
noinst_LTLIBRARIES += libexpertparts.la
libexpertparts_la_CPPFLAGS = $(AM_CPPFLAGS) -DEXPERT_VERSION='"$(PACKAGE_VERSION)"' $(CURL_CFLAGS) $(JANSSON_CFLAGS)
libexpertparts_la_LIBADD = $(CURL_LIBS) $(JANSSON_LIBS) -lm
libexpertparts_la_SOURCES = \
	client/answer.c client/answer.h \
	client/client.c client/client.h \
	client/endpoint.c client/endpoint.h \
	client/error.c client/error.h \
	client/expert.h \
	client/http.c client/http.h \
	client/reply.c client/reply.h \
	client/request.c client/request.h \
	client/sse.c client/sse.h \
	client/status.c \
	client/text.c client/text.h

# -version-info CURRENT:REVISION:AGE: see libtool's manual before changing what expert.h promises.
libexpert_la_SOURCES =
libexpert_la_LIBADD = libexpertparts.la
libexpert_la_LDFLAGS = $(AM_LDFLAGS) -version-info 0:0:0 -export-symbols-regex '^expert_' -no-undefined

bin_PROGRAMS += expert
expert_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS) $(EDIT_CFLAGS)
expert_LDADD = libexpert.la $(JANSSON_LIBS) $(EDIT_LIBS) -lm
expert_SOURCES = \
	client/cli/bench.c \
	client/cli/beside.c client/cli/beside.h \
	client/cli/chat.c \
	client/cli/commands.h \
	client/cli/doctor.c client/cli/doctor.h \
	client/cli/doctor_machine.c \
	client/cli/interrupt.c client/cli/interrupt.h \
	client/cli/line.c client/cli/line.h \
	client/cli/main.c \
	client/cli/options.c client/cli/options.h \
	client/cli/pack.c \
	client/cli/run.c \
	client/cli/session.c client/cli/session.h \
	client/cli/show.c \
	client/cli/terminal.c client/cli/terminal.h \
	client/cli/top.c \
	client/cli/units.c client/cli/units.h \
	client/cli/verify.c

bashcompletiondir = $(datadir)/bash-completion/completions
dist_bashcompletion_DATA = client/completion/expert
EXTRA_DIST += client/examples/hello.c
