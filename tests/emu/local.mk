# The GPU kernels and the device above them, compiled for the host: see tests/emu/machine.h.
gpu_headers = \
	gpu/device.h gpu/device_internal.h \
	gpu/exact.cuh gpu/formats.cuh \
	gpu/kernels.h gpu/product.cuh gpu/product_many.cuh \
	gpu/queue.h gpu/types.h
gpu_sources = \
	gpu/attention.cu gpu/device.cu gpu/device_copy.cu gpu/device_products.cu gpu/product_lattice.cu \
	gpu/product_plain.cu gpu/product_small.cu gpu/product_super.cu gpu/quantise.cu gpu/rms_norm.cu gpu/route.cu \
	gpu/rows.cu
EXTRA_DIST += $(gpu_headers) $(gpu_sources) tests/emu/dialect.h tests/emu/queue.cc tests/emu/bad_kernels.cc \
	tests/emu/bad_kernels.h

emu_sources = \
	tests/emu/fibre.c tests/emu/fibre.h tests/emu/machine.c tests/emu/machine.h tests/emu/memory.c \
	tests/emu/queue_emu.h

if HAVE_EMU
EMU_OBJECTS = $(gpu_sources:gpu/%.cu=tests/emu/gpu_%.o) tests/emu/queue.o tests/emu/bad_kernels.o
EMU_FLAGS = -x c++ -std=gnu++20 -O1 -g -Wall -Wextra -Wno-unused-parameter -Wno-unknown-pragmas \
	$(EMU_WERROR) $(FP_CFLAGS) -fno-exceptions -fno-rtti $(SANITIZE_FLAGS) -I$(top_srcdir) -I$(top_srcdir)/tests/emu \
	-I$(top_srcdir)/tests -D_GNU_SOURCE
EMU_DEPENDS = $(gpu_headers) tests/emu/dialect.h tests/emu/machine.h tests/emu/queue_emu.h compute/exp.h compute/device.h \
	compute/gpu_module.h compute/device_copy.h compute/quant.h
EMU_COMPILE = $(MKDIR_P) tests/emu && $(EMU_CXX) $(EMU_FLAGS) -c -o $@

tests/emu/gpu_%.o: gpu/%.cu $(EMU_DEPENDS)
	$(AM_V_CXX)$(EMU_COMPILE) $<

tests/emu/%.o: tests/emu/%.cc $(EMU_DEPENDS)
	$(AM_V_CXX)$(EMU_COMPILE) $<

tests/emu/libgpu_emu.a: $(EMU_OBJECTS)
	$(AM_V_AR)rm -f $@ && $(AR) $(ARFLAGS) $@ $(EMU_OBJECTS)

CLEANFILES += $(EMU_OBJECTS) tests/emu/libgpu_emu.a
AM_V_CXX = $(am__v_CXX_@AM_V@)
am__v_CXX_ = $(am__v_CXX_@AM_DEFAULT_V@)
am__v_CXX_0 = @echo "  CXX     " $@;
am__v_CXX_1 =
endif
