noinst_LIBRARIES += libcompute.a
libcompute_a_SOURCES = \
	compute/cpu_device.h \
	compute/device.h \
	compute/quant.h

# SIMD levels, each a library with its own flags: see compute/cpu/.
LIBS_CPU_LEVELS =
