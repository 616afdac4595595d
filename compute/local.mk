noinst_LIBRARIES += libcompute.a
libcompute_a_SOURCES = \
	compute/cpu/acts.c \
	compute/cpu/amx.h \
	compute/cpu/attend_kernels.h \
	compute/cpu/attention.c \
	compute/cpu/cpu_internal.h \
	compute/cpu/device.c \
	compute/cpu/experts.c \
	compute/cpu/float_dots.h \
	compute/cpu/float_kernels.h \
	compute/cpu/iq_points.c compute/cpu/iq_points.h \
	compute/cpu/kernels.c compute/cpu/kernels.h \
	compute/cpu/kernels_c.c \
	compute/cpu/levels.c compute/cpu/levels.h \
	compute/cpu/product.c \
	compute/cpu/shares.c \
	compute/cpu/simple.c \
	compute/cpu/threads.c compute/cpu/threads.h \
	compute/cpu/tile_rows.h \
	compute/cpu/to_bytes.h \
	compute/cpu/unpack_kernels.h \
	compute/cpu/vec.h \
	compute/cpu_device.h \
	compute/device.h compute/device_copy.h compute/device_stay.h \
	compute/exp.h \
	compute/gpu_module.c compute/gpu_module.h \
	compute/half.h \
	compute/pool.c compute/pool.h \
	compute/quant.c compute/quant.h \
	compute/quant_grids.c compute/quant_grids.h compute/quant_iq.h \
	compute/quant_small.c compute/quant_small.h \
	compute/quant_super.c compute/quant_super.h \
	compute/quant_unpack.h

# Kernels are loops that want to be vectors, whatever -O level the user asks for.
KERNEL_CFLAGS = $(AM_CFLAGS) $(VECT_CFLAGS)
libcompute_a_CFLAGS = $(KERNEL_CFLAGS)

# SIMD levels, each a library with its own flags, linked behind libcompute.a, which calls them.
LIBS_CPU_LEVELS =
if HOST_X86_64
noinst_LIBRARIES += libcpu_avx2.a libcpu_avxvnni.a libcpu_avx512.a libcpu_amx.a
AVX2_CFLAGS = -mavx2 -mfma -mf16c
libcpu_avx2_a_SOURCES = \
	compute/cpu/avx_common.h \
	compute/cpu/avx2.h \
	compute/cpu/avx2_small.c \
	compute/cpu/avx2_super.c \
	compute/cpu/iq_avx.h \
	compute/cpu/iq_avx2.c \
	compute/cpu/kernels_avx2.c
libcpu_avx2_a_CFLAGS = $(KERNEL_CFLAGS) $(AVX2_CFLAGS)
# The AVX2 files again, with one instruction for two or three.
AVXVNNI_SOURCES = \
	compute/cpu/avx2_small.c \
	compute/cpu/avx2_super.c \
	compute/cpu/iq_avx2.c \
	compute/cpu/kernels_avxvnni.c
libcpu_avxvnni_a_SOURCES = $(AVXVNNI_SOURCES)
libcpu_avxvnni_a_CFLAGS = $(KERNEL_CFLAGS) $(AVX2_CFLAGS) -mavxvnni
libcpu_avx512_a_SOURCES = \
	compute/cpu/avx512.h \
	compute/cpu/avx512_expand.h \
	compute/cpu/avx512_headed.c \
	compute/cpu/avx512_tile.h \
	compute/cpu/avx512_tile_small.c \
	compute/cpu/avx512_tile_super.c \
	compute/cpu/avx512_turn.h \
	compute/cpu/avx512_turn_small.h \
	compute/cpu/avx512_nibbles.c \
	compute/cpu/avx512_small.c \
	compute/cpu/avx512_super.c \
	compute/cpu/iq_avx512.c \
	compute/cpu/kernels_avx512.c
libcpu_avx512_a_CFLAGS = $(KERNEL_CFLAGS) $(AVX2_CFLAGS) -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mbmi2
AMX_SOURCES = \
	compute/cpu/amx_super.c \
	compute/cpu/amx_planes.h \
	compute/cpu/amx_tiles.h \
	compute/cpu/kernels_amx.c
libcpu_amx_a_SOURCES = $(AMX_SOURCES)
libcpu_amx_a_CFLAGS = $(libcpu_avx512_a_CFLAGS) -mamx-tile -mamx-int8
LIBS_CPU_LEVELS += libcpu_avx2.a libcpu_avxvnni.a libcpu_avx512.a libcpu_amx.a
endif

# One source, compiled for what the CPU may have.
if HOST_AARCH64
noinst_LIBRARIES += libcpu_neon.a libcpu_dotprod.a libcpu_i8mm.a
NEON_SOURCES = \
	compute/cpu/kernels_neon.c \
	compute/cpu/neon.h \
	compute/cpu/neon_iq.c \
	compute/cpu/neon_small.c \
	compute/cpu/neon_super.c \
	compute/cpu/neon_wholes.h
libcpu_neon_a_SOURCES = $(NEON_SOURCES)
libcpu_neon_a_CFLAGS = $(KERNEL_CFLAGS)
libcpu_dotprod_a_SOURCES = $(NEON_SOURCES)
libcpu_dotprod_a_CFLAGS = $(KERNEL_CFLAGS) -march=armv8.2-a+dotprod
libcpu_i8mm_a_SOURCES = $(NEON_SOURCES)
libcpu_i8mm_a_CFLAGS = $(KERNEL_CFLAGS) -march=armv8.2-a+dotprod+i8mm
LIBS_CPU_LEVELS += libcpu_neon.a libcpu_dotprod.a libcpu_i8mm.a
endif
