# The GPU kernels and the device above them, compiled for the host: see tests/emu/machine.h.
EXTRA_DIST += tests/emu/dialect.h tests/emu/queue.cc tests/emu/bad_kernels.cc \
	tests/emu/bad_kernels.h

emu_sources = \
	tests/emu/fibre.c tests/emu/fibre.h tests/emu/machine.c tests/emu/machine.h tests/emu/memory.c \
	tests/emu/queue_emu.h tests/emu/under_test.c tests/emu/under_test.h

if HAVE_EMU
EMU_OBJECTS = $(gpu_sources:gpu/%.cu=tests/emu/gpu_%.o) tests/emu/queue.o tests/emu/bad_kernels.o
EMU_FLAGS = -x c++ -std=gnu++20 -O1 -g -Wall -Wextra -Wno-unused-parameter -Wno-unknown-pragmas \
	$(EMU_WERROR) $(FP_CFLAGS) -fno-exceptions -fno-rtti $(SANITIZE_FLAGS) -I$(top_srcdir) -I$(top_srcdir)/tests/emu \
	-I$(top_srcdir)/tests -D_GNU_SOURCE
EMU_DEPENDS = $(gpu_depends) tests/emu/bad_kernels.h tests/emu/dialect.h tests/emu/machine.h tests/emu/queue_emu.h
EMU_COMPILE = $(MKDIR_P) tests/emu && $(EMU_CXX) $(EMU_FLAGS) -c -o $@

tests/emu/gpu_%.o: gpu/%.cu $(EMU_DEPENDS)
	$(AM_V_CXX)$(EMU_COMPILE) $<

tests/emu/%.o: tests/emu/%.cc $(EMU_DEPENDS)
	$(AM_V_CXX)$(EMU_COMPILE) $<

tests/emu/libgpu_emu.a: $(EMU_OBJECTS)
	$(AM_V_AR)rm -f $@ && $(AR) $(ARFLAGS) $@ $(EMU_OBJECTS)

CLEANFILES += $(EMU_OBJECTS) tests/emu/libgpu_emu.a

# The emulated card for the real daemon.
check_LTLIBRARIES += tests/emu/module_emu.la
tests_emu_module_emu_la_SOURCES = tests/emu/module_emu.c tests/emu/fibre.c tests/emu/machine.c tests/emu/memory.c
tests_emu_module_emu_la_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests
tests_emu_module_emu_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared -rpath /nowhere \
	-Wl,--version-script=$(srcdir)/tests/support/module.sym
tests_emu_module_emu_la_LIBADD = tests/emu/libgpu_emu.a $(LIBS_COMPUTE) -lm
tests_emu_module_emu_la_DEPENDENCIES = tests/emu/libgpu_emu.a $(LIBS_COMPUTE) tests/support/module.sym
AM_V_CXX = $(am__v_CXX_@AM_V@)
am__v_CXX_ = $(am__v_CXX_@AM_DEFAULT_V@)
am__v_CXX_0 = @echo "  CXX     " $@;
am__v_CXX_1 =
endif
