# The GPU device: kernels and what launches them. With nvcc they become expertd-cuda.so, a module that is loaded when the
# daemon starts; without it the tests still compile them for the host (tests/emu/local.mk).
gpu_headers = \
	gpu/device.h gpu/device_internal.h \
	gpu/exact.cuh gpu/formats.cuh \
	gpu/kernels.h gpu/product.cuh gpu/product_many.cuh \
	gpu/queue.h gpu/queue_common.h gpu/types.h
gpu_sources = \
	gpu/attention.cu gpu/device.cu gpu/device_copy.cu gpu/device_products.cu gpu/device_stay.cu \
	gpu/product_lattice.cu \
	gpu/product_plain.cu gpu/product_small.cu gpu/product_super.cu gpu/quantise.cu gpu/queue_common.cu \
	gpu/rms_norm.cu gpu/route.cu gpu/rows.cu gpu/top_k.cu
cuda_headers = gpu/cuda/dialect.h gpu/cuda/runtime.h
cuda_sources = gpu/cuda/module.cu gpu/cuda/queue.cu gpu/cuda/queue_copy.cu gpu/cuda/queue_graph.cu
EXTRA_DIST += $(gpu_headers) $(gpu_sources) $(cuda_headers) $(cuda_sources)

# What kernels and device include of the other floors.
gpu_depends = $(gpu_headers) base/err.h base/mem.h compute/device.h compute/device_copy.h compute/device_stay.h compute/exp.h \
	compute/gpu_module.h compute/quant.h compute/quant_grids.h

if HAVE_CUDA
CUDA_OBJECTS = $(gpu_sources:gpu/%.cu=gpu/cuda_%.o) $(cuda_sources:gpu/cuda/%.cu=gpu/cuda_runtime_%.o)
# The little of the lower floors that the module needs, hidden inside it.
CUDA_BELOW = gpu/below_base_err.o gpu/below_base_mem.o gpu/below_compute_quant.o gpu/below_compute_quant_grids.o \
	gpu/below_compute_quant_small.o gpu/below_compute_quant_super.o

# Every operation rounds: no contraction, no flushing, exact division and root, or the bits would not be the CPU's.
NVCC_FLAGS = -std=c++20 -O3 -fmad=false -ftz=false -prec-div=true -prec-sqrt=true $(NVCC_WERROR) \
	-Xcompiler -Wall,-Wextra,-Wno-unused-parameter,-fPIC,-fvisibility=hidden \
	-D_GNU_SOURCE -DEXPERTD_VERSION='"$(PACKAGE_VERSION)"' -I$(top_srcdir) -I$(top_srcdir)/gpu/cuda
# Machine code for each architecture, and PTX of the last for what comes after it.
NVCC_ARCHS = `set -- $(GPU_ARCHS); last=; for a; do printf ' -gencode=arch=compute_%s,code=sm_%s' $$a $$a; last=$$a; done; \
	printf ' -gencode=arch=compute_%s,code=compute_%s' $$last $$last`
NVCC_COMPILE = $(MKDIR_P) gpu && $(NVCC) $(NVCC_FLAGS) $(NVCC_ARCHS) -c -o $@
AM_V_NVCC = $(am__v_NVCC_@AM_V@)
am__v_NVCC_ = $(am__v_NVCC_@AM_DEFAULT_V@)
am__v_NVCC_0 = @echo "  NVCC    " $@;
am__v_NVCC_1 =

gpu/cuda_%.o: gpu/%.cu $(gpu_depends) gpu/cuda/dialect.h
	$(AM_V_NVCC)$(NVCC_COMPILE) $<

gpu/cuda_runtime_%.o: gpu/cuda/%.cu $(gpu_depends) $(cuda_headers)
	$(AM_V_NVCC)$(NVCC_COMPILE) $<

gpu/below_base_%.o: base/%.c
	$(AM_V_CC)$(MKDIR_P) gpu && $(CC) $(AM_CPPFLAGS) $(KERNEL_CFLAGS) $(CFLAGS) -fPIC -fvisibility=hidden -c -o $@ $<

gpu/below_compute_%.o: compute/%.c
	$(AM_V_CC)$(MKDIR_P) gpu && $(CC) $(AM_CPPFLAGS) $(KERNEL_CFLAGS) $(CFLAGS) -fPIC -fvisibility=hidden -c -o $@ $<

gpu/expertd-cuda.so: $(CUDA_OBJECTS) $(CUDA_BELOW)
	$(AM_V_NVCC)$(NVCC) -shared -cudart static -o $@ $(CUDA_OBJECTS) $(CUDA_BELOW)

cudamoduledir = $(pkglibdir)
cudamodule_DATA = gpu/expertd-cuda.so
CLEANFILES += gpu/expertd-cuda.so $(CUDA_OBJECTS) $(CUDA_BELOW)
endif
