noinst_LIBRARIES += libprefetch.a
libprefetch_a_SOURCES = \
	prefetch/governor.c prefetch/governor.h \
	prefetch/lookahead.c prefetch/lookahead.h \
	prefetch/warmup.c prefetch/warmup.h
