noinst_LIBRARIES += libcache.a
libcache_a_CPPFLAGS = $(AM_CPPFLAGS) $(URING_CFLAGS) $(LMDB_CFLAGS) $(XXHASH_CFLAGS)
libcache_a_SOURCES = \
	cache/cache.h
