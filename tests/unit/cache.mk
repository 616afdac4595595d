if HAVE_CRITERION
cache_tests = tests/unit/test_cache tests/unit/test_door_burst tests/unit/test_catalog tests/unit/test_drive tests/unit/test_io tests/unit/test_lend tests/unit/test_slots tests/unit/test_sum tests/unit/test_warmup tests/unit/test_cache_budget \
	tests/unit/test_pack tests/unit/test_pack_write
check_PROGRAMS += $(cache_tests)
TESTS += $(cache_tests)

support_cache = tests/support/expert_file.c tests/support/expert_file.h \
	tests/support/door_check.c tests/support/door_check.h tests/support/io_sim.c tests/support/io_sim.h \
	tests/support/pack_check.c tests/support/pack_check.h

tests_unit_test_cache_SOURCES = tests/unit/test_cache.c $(support_cache)
tests_unit_test_cache_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_cache_LDADD = $(LIBS_CACHE) $(SYS_CACHE) $(CRITERION_LIBS)

tests_unit_test_door_burst_SOURCES = tests/unit/test_door_burst.c $(support_cache)
tests_unit_test_door_burst_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_door_burst_LDADD = $(LIBS_CACHE) $(SYS_CACHE) $(CRITERION_LIBS)

tests_unit_test_catalog_SOURCES = tests/unit/test_catalog.c $(support_cache)
tests_unit_test_catalog_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_catalog_LDADD = $(LIBS_CACHE) $(SYS_CACHE) $(CRITERION_LIBS)

tests_unit_test_drive_SOURCES = tests/unit/test_drive.c $(support_cache)
tests_unit_test_drive_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_drive_LDADD = $(LIBS_CACHE) $(SYS_CACHE) $(CRITERION_LIBS)

tests_unit_test_io_SOURCES = tests/unit/test_io.c $(support_cache)
tests_unit_test_io_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_io_LDADD = $(LIBS_CACHE) $(SYS_CACHE) $(CRITERION_LIBS)

tests_unit_test_lend_SOURCES = tests/unit/test_lend.c $(support_cache)
tests_unit_test_lend_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_lend_LDADD = $(LIBS_CACHE) $(SYS_CACHE) $(CRITERION_LIBS)

tests_unit_test_pack_SOURCES = tests/unit/test_pack.c $(support_cache)
tests_unit_test_pack_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_pack_LDADD = $(LIBS_CACHE) $(SYS_CACHE) $(CRITERION_LIBS)

tests_unit_test_pack_write_SOURCES = tests/unit/test_pack_write.c $(support_cache)
tests_unit_test_pack_write_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_pack_write_LDADD = $(LIBS_CACHE) $(SYS_CACHE) $(CRITERION_LIBS)

tests_unit_test_slots_SOURCES = tests/unit/test_slots.c $(support_cache)
tests_unit_test_slots_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_slots_LDADD = $(LIBS_CACHE) $(SYS_CACHE) $(CRITERION_LIBS)

tests_unit_test_sum_SOURCES = tests/unit/test_sum.c
tests_unit_test_sum_CPPFLAGS = $(CRITERION_CPPFLAGS) $(XXHASH_CFLAGS)
tests_unit_test_sum_LDADD = $(LIBS_CACHE) $(SYS_CACHE) $(CRITERION_LIBS)

tests_unit_test_warmup_SOURCES = tests/unit/test_warmup.c $(support_cache)
tests_unit_test_warmup_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_warmup_LDADD = $(LIBS_PREFETCH) $(SYS_CACHE) $(CRITERION_LIBS)

# Wrapped, so that the test sees what the cache takes.
tests_unit_test_cache_budget_SOURCES = tests/unit/test_cache_budget.c $(support_cache) $(support_memory_count)
tests_unit_test_cache_budget_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_cache_budget_LDFLAGS = $(AM_LDFLAGS) $(MEMORY_COUNT_LDFLAGS)
tests_unit_test_cache_budget_LDADD = $(LIBS_CACHE) $(SYS_CACHE) $(CRITERION_LIBS)
endif
