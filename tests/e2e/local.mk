# The real daemon on a private socket, driven by Python's standard library.
e2e_tests = tests/e2e/answers.test tests/e2e/cgroup.test tests/e2e/half.test tests/e2e/http.test tests/e2e/lifecycle.test tests/e2e/openai.test tests/e2e/pack.test tests/e2e/restart.test tests/e2e/soak.test
TESTS += $(e2e_tests)
EXTRA_DIST += $(e2e_tests) tests/e2e/harness.py
