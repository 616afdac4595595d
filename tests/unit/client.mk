if HAVE_CRITERION
client_tests = \
	tests/unit/test_client \
	tests/unit/test_endpoint \
	tests/unit/test_request \
	tests/unit/test_sse
check_PROGRAMS += $(client_tests)
TESTS += $(client_tests)

CLIENT_TEST_CPPFLAGS = $(CRITERION_CPPFLAGS) $(JANSSON_CFLAGS)
LIBS_CLIENT = libexpertparts.la $(CRITERION_LIBS)

tests_unit_test_client_SOURCES = tests/unit/test_client.c tests/unit/client_peer.c tests/unit/client_peer.h
tests_unit_test_client_CPPFLAGS = $(CLIENT_TEST_CPPFLAGS)
tests_unit_test_client_LDADD = $(LIBS_CLIENT)

tests_unit_test_endpoint_SOURCES = tests/unit/test_endpoint.c
tests_unit_test_endpoint_CPPFLAGS = $(CLIENT_TEST_CPPFLAGS)
tests_unit_test_endpoint_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=getgrgid_r,--wrap=getpwuid_r
tests_unit_test_endpoint_LDADD = $(LIBS_CLIENT)

tests_unit_test_request_SOURCES = tests/unit/test_request.c
tests_unit_test_request_CPPFLAGS = $(CLIENT_TEST_CPPFLAGS)
tests_unit_test_request_LDADD = $(LIBS_CLIENT)

tests_unit_test_sse_SOURCES = tests/unit/test_sse.c
tests_unit_test_sse_CPPFLAGS = $(CLIENT_TEST_CPPFLAGS)
tests_unit_test_sse_LDADD = $(LIBS_CLIENT)
endif
