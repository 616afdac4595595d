# The kernels of another architecture, under qemu where it is there.
TESTS += tests/parity/aarch64.test
EXTRA_DIST += tests/parity/aarch64.test tests/parity/plain/plain.c tests/parity/plain/criterion/criterion.h
.PHONY: check-aarch64
check-aarch64:
	top_srcdir='$(abs_top_srcdir)' top_builddir='$(abs_top_builddir)' $(SHELL) $(top_srcdir)/tests/parity/aarch64.test

mostlyclean-local:
	rm -rf tests/parity/aarch64

EXTRA_DIST += tests/parity/quant_vectors.bin tools/quant_grids.py tools/quant_vectors.py

if HAVE_CRITERION
parity_tests = \
	tests/parity/test_device \
	tests/parity/test_kernels \
	tests/parity/test_levels \
	tests/parity/test_pool \
	tests/parity/test_quant \
	tests/parity/test_threads
check_PROGRAMS += $(parity_tests)
TESTS += $(parity_tests)

PARITY_CPPFLAGS = $(CRITERION_CPPFLAGS) -I$(top_srcdir)/tests
PARITY_LDADD = $(LIBS_COMPUTE) $(CRITERION_LIBS) -lm

tests_parity_test_device_SOURCES = tests/parity/test_device.c tests/parity/test_attention.c \
	tests/parity/variant.c tests/parity/variant.h tests/parity/parity.c tests/parity/parity.h tests/parity/kv_room.h
tests_parity_test_device_CPPFLAGS = $(PARITY_CPPFLAGS)
tests_parity_test_device_LDADD = $(PARITY_LDADD)

kernel_tests = tests/parity/test_kernels.c tests/parity/parity.c tests/parity/parity.h
tests_parity_test_kernels_SOURCES = $(kernel_tests) tests/parity/bench_main.c bench/kernels.c bench/kernels.h
tests_parity_test_kernels_CPPFLAGS = $(PARITY_CPPFLAGS)
tests_parity_test_kernels_LDADD = $(PARITY_LDADD)

# Levels that the machine may lack: the same kernels over instructions made of others, the same tests. The emulating
# library stands before the level's own, which is then not linked.
if HOST_X86_64
parity_tests += tests/parity/test_emulated
check_LIBRARIES = tests/parity/libamx_emulated.a tests/parity/libavxvnni_emulated.a
EXTRA_DIST += tests/parity/emulated/amx.h tests/parity/emulated/avxvnni.h
tests_parity_libamx_emulated_a_SOURCES = $(AMX_SOURCES)
tests_parity_libamx_emulated_a_CFLAGS = $(libcpu_avx512_a_CFLAGS) \
	-include $(top_srcdir)/tests/parity/emulated/amx.h
tests_parity_libavxvnni_emulated_a_SOURCES = $(AVXVNNI_SOURCES)
tests_parity_libavxvnni_emulated_a_CFLAGS = $(KERNEL_CFLAGS) $(AVX2_CFLAGS) -include $(top_srcdir)/tests/parity/emulated/avxvnni.h

tests_parity_test_emulated_SOURCES = $(kernel_tests)
tests_parity_test_emulated_CPPFLAGS = $(PARITY_CPPFLAGS) -DEMULATED -DQUICK
tests_parity_test_emulated_LDADD = libcompute.a tests/parity/libamx_emulated.a tests/parity/libavxvnni_emulated.a \
	$(LIBS_CPU_LEVELS) $(LIBS_BASE) $(CRITERION_LIBS) -lm
endif

tests_parity_test_levels_SOURCES = tests/parity/test_levels.c
tests_parity_test_levels_CPPFLAGS = $(PARITY_CPPFLAGS)
tests_parity_test_levels_LDADD = $(PARITY_LDADD)

tests_parity_test_threads_SOURCES = tests/parity/test_threads.c
tests_parity_test_threads_CPPFLAGS = $(PARITY_CPPFLAGS)
tests_parity_test_threads_LDADD = $(PARITY_LDADD)

tests_parity_test_pool_SOURCES = tests/parity/test_pool.c
tests_parity_test_pool_CPPFLAGS = $(PARITY_CPPFLAGS)
tests_parity_test_pool_LDADD = $(PARITY_LDADD)

tests_parity_test_quant_SOURCES = tests/parity/test_quant.c
tests_parity_test_quant_CPPFLAGS = $(PARITY_CPPFLAGS)
tests_parity_test_quant_LDADD = $(PARITY_LDADD)

if HAVE_EMU
gpu_tests = tests/parity/test_gpu tests/parity/test_machine
check_PROGRAMS += $(gpu_tests)
TESTS += $(gpu_tests)

tests_parity_test_gpu_SOURCES = tests/parity/test_gpu.c tests/parity/test_gpu_route.c \
	tests/parity/gpu_pair.c tests/parity/gpu_pair.h tests/parity/parity.c tests/parity/parity.h tests/parity/kv_room.h $(emu_sources)
tests_parity_test_gpu_CPPFLAGS = $(PARITY_CPPFLAGS)
tests_parity_test_gpu_LDADD = tests/emu/libgpu_emu.a $(PARITY_LDADD) -ldl

tests_parity_test_machine_SOURCES = tests/parity/test_machine.c $(emu_sources)
tests_parity_test_machine_CPPFLAGS = $(PARITY_CPPFLAGS)
tests_parity_test_machine_LDADD = tests/emu/libgpu_emu.a $(PARITY_LDADD) -ldl
else
TESTS += tests/parity/gpu.test
endif
endif
EXTRA_DIST += tests/parity/gpu.test
