noinst_LIBRARIES += libbase.a
libbase_a_SOURCES = \
	base/arith.h \
	base/clock.h \
	base/err.c base/err.h \
	base/log.c base/log.h \
	base/mem.c base/mem.h \
	base/parallel.h
