# Benchmarks are built on request: make bench-programs
benches = bench/replay bench/kernels bench/forward bench/io bench/pack
EXTRA_PROGRAMS += $(benches)
CLEANFILES += $(benches)
EXTRA_DIST += bench/compare.py bench/engines.py bench/memory.py

replay_sources = bench/trace.c bench/trace.h bench/replay_sim.c bench/replay_sim.h

bench_replay_SOURCES = bench/replay.c bench/replay_svg.c bench/replay_svg.h $(replay_sources)
bench_replay_LDADD = libcache.a $(LIBS_BASE)

bench_kernels_SOURCES = bench/kernels.c
bench_kernels_LDADD = $(LIBS_COMPUTE) -lm

bench_forward_SOURCES = bench/forward.c tests/support/ram_door.c tests/support/ram_door.h
bench_forward_LDADD = $(LIBS_MODEL) $(SYS_MODEL)

bench_io_SOURCES = bench/io.c
bench_io_LDADD = $(LIBS_CACHE) $(SYS_CACHE)

bench_pack_SOURCES = bench/pack.c
bench_pack_LDADD = $(LIBS_CACHE) $(SYS_CACHE)

.PHONY: bench-programs
bench-programs: $(benches)
