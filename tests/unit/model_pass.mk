if HAVE_CRITERION
pass_tests = tests/unit/test_forward tests/unit/test_kv tests/unit/test_predict
check_PROGRAMS += $(pass_tests)
TESTS += $(pass_tests)

# Wrapped, so that the test sees what the forward pass takes.
tests_unit_test_forward_SOURCES = tests/unit/test_forward.c $(support_memory_count) \
	tests/support/ram_door.c tests/support/ram_door.h tests/support/tiny_model.c tests/support/tiny_model.h
tests_unit_test_forward_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_forward_LDFLAGS = $(AM_LDFLAGS) $(MEMORY_COUNT_LDFLAGS)
tests_unit_test_forward_LDADD = $(LIBS_MODEL) $(SYS_MODEL) $(CRITERION_LIBS)

tests_unit_test_kv_SOURCES = tests/unit/test_kv.c
tests_unit_test_kv_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_kv_LDADD = $(LIBS_MODEL) $(SYS_MODEL) $(CRITERION_LIBS)

tests_unit_test_predict_SOURCES = tests/unit/test_predict.c \
	tests/support/ram_door.c tests/support/ram_door.h tests/support/tiny_model.c tests/support/tiny_model.h
tests_unit_test_predict_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_predict_LDADD = $(LIBS_MODEL) $(SYS_MODEL) $(CRITERION_LIBS)
endif
