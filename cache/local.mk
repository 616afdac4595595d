noinst_LIBRARIES += libcache.a
libcache_a_CPPFLAGS = $(AM_CPPFLAGS) $(URING_CFLAGS) $(LMDB_CFLAGS) $(XXHASH_CFLAGS)
libcache_a_SOURCES = \
	cache/cache.c cache/cache.h cache/state.h cache/door.c cache/door_timed.c cache/feed.c cache/shadow.c cache/shadow.h cache/oracle.c cache/oracle.h cache/arrival.c \
	cache/drive.c cache/drive.h cache/measure.c cache/resize.c cache/slots_resize.c cache/slots.c cache/slots.h cache/slot_plan.c cache/policy.c cache/policy.h cache/policy_lru.c cache/policy_scored.c \
	cache/policy_scored.h cache/policy_frequency.c cache/policy_nextuse.c cache/outlook.c cache/outlook.h \
	cache/extent.c cache/extent.h cache/files.c cache/files.h cache/pack.c cache/pack.h \
	cache/pack_write.c cache/pack_write.h cache/pack_file.c cache/pack_file.h cache/pack_use.c \
	cache/sum.c cache/sum.h \
	cache/reader.c cache/reader.h cache/io.h cache/io_uring.c cache/io_pread.c \
	cache/catalog.c cache/catalog.h cache/catalog_seal.c cache/catalog_seal.h \
	cache/lend.c cache/lend.h \
	cache/tier.c cache/tier.h cache/tier_state.h cache/tier_copy.c cache/tier_cost.c cache/tier_cost.h cache/tier_door.c \
	cache/tier_slots.c \
	cache/verify.c
