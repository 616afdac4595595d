# One list per kind of test and floor, so that they grow side by side.
include tests/unit/base.mk
include tests/unit/gpu_module.mk
include tests/unit/model_files.mk
include tests/unit/model_text.mk
include tests/unit/model_pass.mk
include tests/unit/cache.mk
include tests/unit/policy.mk
include tests/unit/prefetch.mk
include tests/unit/daemon.mk
include tests/unit/client.mk
include tests/emu/local.mk
include tests/parity/local.mk
include tests/golden/local.mk
include tests/residency/local.mk
include tests/fault/local.mk
include tests/e2e/local.mk
include tests/e2e/cli.mk
include tests/fuzz/local.mk

# A device with a memory of its own that is none.
support_sim = tests/support/sim_device.c tests/support/sim_device.h tests/support/sim_internal.h \
	tests/support/sim_memory.c tests/support/sim_stay.c tests/support/sim_stream.c

support_device_rig = tests/support/device_rig.c tests/support/device_rig.h $(support_sim) \
	tests/support/ram_door.c tests/support/ram_door.h tests/support/tiny_model.c tests/support/tiny_model.h \
	tests/support/io_sim.c tests/support/io_sim.h

# The same as a module, for the real daemon. Its symbols but one are its own, so code that was not compiled for a shared
# object can be linked into one. -rpath makes libtool build what can be loaded, though it is never installed.
check_LTLIBRARIES += tests/support/module_sim.la
tests_support_module_sim_la_SOURCES = tests/support/sim_module.c $(support_sim)
tests_support_module_sim_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared -rpath /nowhere \
	-Wl,--version-script=$(srcdir)/tests/support/module.sym
tests_support_module_sim_la_LIBADD = $(LIBS_COMPUTE) -lm
tests_support_module_sim_la_DEPENDENCIES = $(LIBS_COMPUTE) tests/support/module.sym
EXTRA_DIST += tests/support/module.sym

# Counts what is taken through base/mem.h.
support_memory_count = tests/support/memory_count.c tests/support/memory_count.h
MEMORY_COUNT_LDFLAGS = -Wl,--wrap=mem_map,--wrap=mem_alloc,--wrap=mem_calloc,--wrap=mem_zalloc,--wrap=mem_realloc,--wrap=mem_free

CRITERION_CPPFLAGS = $(AM_CPPFLAGS) $(CRITERION_CFLAGS)
