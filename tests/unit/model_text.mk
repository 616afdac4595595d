if HAVE_CRITERION
model_text_tests = tests/unit/test_sampler tests/unit/test_stops
check_PROGRAMS += $(model_text_tests)
TESTS += $(model_text_tests)

tests_unit_test_sampler_SOURCES = tests/unit/test_sampler.c
tests_unit_test_sampler_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_sampler_LDADD = libmodel.a $(LIBS_BASE) $(CRITERION_LIBS) $(SYS_MODEL)

tests_unit_test_stops_SOURCES = tests/unit/test_stops.c
tests_unit_test_stops_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_stops_LDADD = libmodel.a $(LIBS_BASE) $(CRITERION_LIBS) $(SYS_MODEL)
endif
