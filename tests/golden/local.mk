EXTRA_DIST += tests/golden/data tools/tiny

if HAVE_CRITERION
golden_tests = tests/golden/test_golden tests/golden/test_golden_shared tests/golden/test_golden_device
check_PROGRAMS += $(golden_tests)
TESTS += $(golden_tests)

golden_sources = \
	tests/golden/golden.h \
	tests/golden/golden_compare.c tests/golden/golden_read.c tests/golden/golden_run.c \
	tests/support/ram_door.c tests/support/ram_door.h
# For devices beside the CPU.
golden_same = tests/golden/golden_same.c tests/support/tiny_model.c tests/support/tiny_model.h

tests_golden_test_golden_SOURCES = tests/golden/test_golden.c $(golden_sources) \
	tests/support/tiny_model.c tests/support/tiny_model.h
tests_golden_test_golden_CPPFLAGS = $(CRITERION_CPPFLAGS) $(JANSSON_CFLAGS)
tests_golden_test_golden_LDADD = $(LIBS_MODEL) $(SYS_MODEL) $(JANSSON_LIBS) $(CRITERION_LIBS)

tests_golden_test_golden_shared_SOURCES = tests/golden/test_golden_shared.c $(golden_sources)
tests_golden_test_golden_shared_CPPFLAGS = $(CRITERION_CPPFLAGS) $(JANSSON_CFLAGS)
tests_golden_test_golden_shared_LDADD = $(LIBS_MODEL) $(SYS_MODEL) $(JANSSON_LIBS) $(CRITERION_LIBS)
tests_golden_test_golden_device_SOURCES = tests/golden/test_golden_device.c $(golden_sources) $(golden_same) \
	$(support_sim)
tests_golden_test_golden_device_CPPFLAGS = $(CRITERION_CPPFLAGS) $(JANSSON_CFLAGS)
tests_golden_test_golden_device_LDADD = $(LIBS_MODEL) $(SYS_MODEL) $(JANSSON_LIBS) $(CRITERION_LIBS)

if HAVE_EMU
check_PROGRAMS += tests/golden/test_golden_gpu
TESTS += tests/golden/test_golden_gpu
tests_golden_test_golden_gpu_SOURCES = tests/golden/test_golden_gpu.c $(golden_sources) $(golden_same) \
	$(emu_sources)
tests_golden_test_golden_gpu_CPPFLAGS = $(CRITERION_CPPFLAGS) $(JANSSON_CFLAGS) -I$(top_srcdir)/tests
tests_golden_test_golden_gpu_LDADD = tests/emu/libgpu_emu.a $(LIBS_MODEL) $(SYS_MODEL) $(JANSSON_LIBS) $(CRITERION_LIBS)
endif
endif
