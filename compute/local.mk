noinst_LIBRARIES += libcompute.a
libcompute_a_SOURCES = \
	compute/cpu/acts.c \
	compute/cpu/attention.c \
	compute/cpu/cpu_internal.h \
	compute/cpu/device.c \
	compute/cpu/experts.c \
	compute/cpu/float_kernels.h \
	compute/cpu/kernels.c compute/cpu/kernels.h \
	compute/cpu/kernels_c.c \
	compute/cpu/product.c \
	compute/cpu/simple.c \
	compute/cpu/threads.c \
	compute/cpu/vec.h \
	compute/cpu_device.h \
	compute/device.h \
	compute/half.h \
	compute/pool.c compute/pool.h \
	compute/quant.c compute/quant.h \
	compute/quant_small.c compute/quant_super.c compute/quant_unpack.h

# SIMD levels, each a library with its own flags. They and libcompute.a refer to each other only one way.
LIBS_CPU_LEVELS =
if HOST_X86_64
noinst_LIBRARIES += libcpu_avx2.a libcpu_avx512.a
libcpu_avx2_a_SOURCES = compute/cpu/kernels_avx2.c
libcpu_avx2_a_CFLAGS = $(AM_CFLAGS) -mavx2 -mfma -mf16c
libcpu_avx512_a_SOURCES = compute/cpu/kernels_avx512.c
libcpu_avx512_a_CFLAGS = $(AM_CFLAGS) -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni
LIBS_CPU_LEVELS += libcpu_avx2.a libcpu_avx512.a
endif
