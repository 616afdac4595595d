if HAVE_CRITERION
residency_tests = tests/residency/test_residency tests/residency/test_residency_device
check_PROGRAMS += $(residency_tests)
TESTS += $(residency_tests)

tests_residency_test_residency_SOURCES = tests/residency/test_residency.c \
	tests/support/ram_door.c tests/support/ram_door.h tests/support/tiny_model.c tests/support/tiny_model.h \
	tests/support/io_sim.c tests/support/io_sim.h $(FORMS_SOURCES)
tests_residency_test_residency_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_residency_test_residency_LDADD = $(LIBS_PREFETCH) $(SYS_CACHE) $(CRITERION_LIBS)
tests_residency_test_residency_device_SOURCES = tests/residency/test_residency_device.c $(support_device_rig)
tests_residency_test_residency_device_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_residency_test_residency_device_LDADD = $(LIBS_PREFETCH) $(SYS_CACHE) $(CRITERION_LIBS)
tier_tests = tests/unit/test_tier
check_PROGRAMS += $(tier_tests)
TESTS += $(tier_tests)
tests_unit_test_tier_SOURCES = tests/unit/test_tier.c $(support_device_rig)
tests_unit_test_tier_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_tier_LDADD = $(LIBS_PREFETCH) $(SYS_CACHE) $(CRITERION_LIBS)

if HAVE_EMU
check_PROGRAMS += tests/residency/test_residency_gpu
TESTS += tests/residency/test_residency_gpu
tests_residency_test_residency_gpu_SOURCES = tests/residency/test_residency_gpu.c $(support_device_rig) $(emu_sources)
tests_residency_test_residency_gpu_CPPFLAGS = $(CRITERION_CPPFLAGS) -I$(top_srcdir)/tests
tests_residency_test_residency_gpu_LDADD = tests/emu/libgpu_emu.a $(LIBS_PREFETCH) $(SYS_CACHE) $(CRITERION_LIBS)
endif
endif
