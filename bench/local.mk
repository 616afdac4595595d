# Benchmarks are built on request: make bench-programs
benches = bench/replay
EXTRA_PROGRAMS += $(benches)
CLEANFILES += $(benches)
EXTRA_DIST += bench/compare.py

bench_replay_SOURCES = bench/replay.c
bench_replay_LDADD = libcache.a $(LIBS_BASE)

.PHONY: bench-programs
bench-programs: $(benches)
