if HAVE_CRITERION
fault_tests = tests/fault/test_cache_fault tests/fault/test_device_fault
check_PROGRAMS += $(fault_tests)
TESTS += $(fault_tests)

tests_fault_test_cache_fault_SOURCES = tests/fault/test_cache_fault.c $(support_cache)
tests_fault_test_cache_fault_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_fault_test_cache_fault_LDADD = $(LIBS_CACHE) $(SYS_CACHE) $(CRITERION_LIBS)

tests_fault_test_device_fault_SOURCES = tests/fault/test_device_fault.c $(support_device_rig)
tests_fault_test_device_fault_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_fault_test_device_fault_LDADD = $(LIBS_PREFETCH) $(SYS_CACHE) $(CRITERION_LIBS)
endif
