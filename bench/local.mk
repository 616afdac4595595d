# Benchmarks are built with the tests, so that they go on building, or on request: make bench-programs
benches = bench/replay bench/kernels bench/forward bench/gpu bench/io bench/pack bench/drive bench/sampler
check_PROGRAMS += $(benches)
EXTRA_DIST += bench/compare.py bench/engines.py bench/gguf_bytes.py bench/gpu.py bench/gpu_rates.cu bench/memory.py tests/check-gpu.sh

replay_sources = bench/trace.c bench/trace.h bench/replay_sim.c bench/replay_sim.h

bench_replay_SOURCES = bench/replay.c bench/replay_svg.c bench/replay_svg.h $(replay_sources)
bench_replay_LDADD = libcache.a $(LIBS_BASE) -lm

bench_kernels_SOURCES = bench/kernels.c bench/kernels.h bench/kernels_main.c
bench_kernels_LDADD = $(LIBS_COMPUTE) -lm

bench_forward_SOURCES = bench/forward.c tests/support/ram_door.c tests/support/ram_door.h
bench_forward_LDADD = $(LIBS_MODEL) $(SYS_MODEL)

bench_gpu_SOURCES = bench/gpu.c
bench_gpu_LDADD = $(LIBS_COMPUTE) -lm -ldl

bench_io_SOURCES = bench/io.c
bench_io_LDADD = $(LIBS_CACHE) $(SYS_CACHE)

bench_drive_SOURCES = bench/drive.c
bench_drive_LDADD = $(LIBS_CACHE) $(SYS_CACHE)

bench_pack_SOURCES = bench/pack.c
bench_pack_LDADD = $(LIBS_CACHE) $(SYS_CACHE)

bench_sampler_SOURCES = bench/sampler.c
bench_sampler_LDADD = $(LIBS_MODEL) $(SYS_MODEL)

.PHONY: bench-programs
bench-programs: $(benches)

# On a machine with a card. GPU_MODELS: model files to serve with less and less VRAM.
.PHONY: check-gpu bench-gpu
GPU_MODELS =
check-gpu: bench/gpu $(check_PROGRAMS)
	top_srcdir='$(abs_top_srcdir)' top_builddir='$(abs_top_builddir)' $(SHELL) $(top_srcdir)/tests/check-gpu.sh

if HAVE_CUDA
bench/gpu_rates: bench/gpu_rates.cu
	$(AM_V_NVCC)$(MKDIR_P) bench && $(NVCC) -std=c++20 -O3 $(NVCC_ARCHS) -o $@ $< -lcublas

bench-gpu: bench/gpu bench/gpu_rates gpu/expertd-cuda.so expertd
	PYTHONPATH=$(top_srcdir)/bench python3 $(top_srcdir)/bench/gpu.py --module gpu/expertd-cuda.so --expertd ./expertd \
	--out $(top_srcdir)/docs/performance-gpu.md $(GPU_MODELS)
CLEANFILES += bench/gpu_rates
else
bench-gpu:
	@echo "bench-gpu: no CUDA device can be used: this build has no module (configure found no nvcc)"; exit 77
endif
