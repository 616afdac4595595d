# The real daemon on a private socket, driven by Python's standard library.
e2e_tests = tests/e2e/answers.test tests/e2e/cgroup.test tests/e2e/faults.test tests/e2e/forms.test tests/e2e/gpu.test \
	tests/e2e/gpu_residency.test tests/e2e/half.test tests/e2e/http.test tests/e2e/kv.test tests/e2e/lifecycle.test \
	tests/e2e/openai.test tests/e2e/pack.test tests/e2e/reserve.test tests/e2e/restart.test tests/e2e/soak.test
TESTS += $(e2e_tests)

# Preloaded by faults.test.
check_LTLIBRARIES += tests/support/failing_pread.la
tests_support_failing_pread_la_SOURCES = tests/support/failing_pread.c
tests_support_failing_pread_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared -rpath /nowhere
tests_support_failing_pread_la_LIBADD = -ldl
EXTRA_DIST += $(e2e_tests) tests/e2e/harness.py
