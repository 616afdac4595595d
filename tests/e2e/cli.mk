# The client against a peer that misbehaves on command.
cli_tests = \
	tests/e2e/cli_chat.test \
	tests/e2e/cli_peers.test \
	tests/e2e/cli_real.test \
	tests/e2e/cli_run.test \
	tests/e2e/cli_status.test
TESTS += $(cli_tests)
EXTRA_DIST += $(cli_tests) tests/e2e/client_support.py tests/e2e/peer.py tests/e2e/tap.py
