EXTRA_DIST += tests/parity/quant_vectors.bin tools/quant_grids.py tools/quant_vectors.py

if HAVE_CRITERION
parity_tests = \
	tests/parity/test_device \
	tests/parity/test_kernels \
	tests/parity/test_levels \
	tests/parity/test_pool \
	tests/parity/test_quant
check_PROGRAMS += $(parity_tests)
TESTS += $(parity_tests)

PARITY_CPPFLAGS = $(CRITERION_CPPFLAGS) -I$(top_srcdir)/tests
PARITY_LDADD = $(LIBS_COMPUTE) $(CRITERION_LIBS) -lm

tests_parity_test_device_SOURCES = tests/parity/test_device.c tests/parity/parity.c tests/parity/parity.h
tests_parity_test_device_CPPFLAGS = $(PARITY_CPPFLAGS)
tests_parity_test_device_LDADD = $(PARITY_LDADD)

tests_parity_test_kernels_SOURCES = tests/parity/test_kernels.c tests/parity/parity.c tests/parity/parity.h
tests_parity_test_kernels_CPPFLAGS = $(PARITY_CPPFLAGS)
tests_parity_test_kernels_LDADD = $(PARITY_LDADD)

tests_parity_test_levels_SOURCES = tests/parity/test_levels.c
tests_parity_test_levels_CPPFLAGS = $(PARITY_CPPFLAGS)
tests_parity_test_levels_LDADD = $(PARITY_LDADD)

tests_parity_test_pool_SOURCES = tests/parity/test_pool.c
tests_parity_test_pool_CPPFLAGS = $(PARITY_CPPFLAGS)
tests_parity_test_pool_LDADD = $(PARITY_LDADD)

tests_parity_test_quant_SOURCES = tests/parity/test_quant.c
tests_parity_test_quant_CPPFLAGS = $(PARITY_CPPFLAGS)
tests_parity_test_quant_LDADD = $(PARITY_LDADD)
endif
