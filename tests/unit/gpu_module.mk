# The loader of GPU modules, with modules that are none.
if HAVE_CRITERION
gpu_module_tests = tests/unit/test_gpu_module
check_PROGRAMS += $(gpu_module_tests)
TESTS += $(gpu_module_tests)

tests_unit_test_gpu_module_SOURCES = tests/unit/test_gpu_module.c
tests_unit_test_gpu_module_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_gpu_module_LDADD = $(LIBS_COMPUTE) -lm -ldl $(CRITERION_LIBS)
tests_unit_test_gpu_module_DEPENDENCIES = $(LIBS_COMPUTE) tests/support/module_bad.la

# -rpath makes libtool build what can be loaded, though it is never installed.
check_LTLIBRARIES += tests/support/module_bad.la
tests_support_module_bad_la_SOURCES = tests/support/module_bad.c
tests_support_module_bad_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared -rpath /nowhere
endif
