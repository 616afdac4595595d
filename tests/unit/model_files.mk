if HAVE_CRITERION
model_files_tests = tests/unit/test_gguf tests/unit/test_gguf_hostile tests/unit/test_model \
	tests/unit/test_model_forms tests/unit/test_model_hostile
check_PROGRAMS += $(model_files_tests)
TESTS += $(model_files_tests)

# Small models made in a test; see tests/support/gguf_builder.h.
RANDOM_MODEL_SOURCES = tests/support/gguf_builder.c tests/support/gguf_builder.h tests/support/random_model.c
FORMS_SOURCES = $(RANDOM_MODEL_SOURCES) tests/support/gguf_forms.c tests/support/gguf_forms.h
HOSTILE_SOURCES = $(RANDOM_MODEL_SOURCES) tests/support/hostile.c tests/support/hostile.h

tests_unit_test_gguf_SOURCES = tests/unit/test_gguf.c $(RANDOM_MODEL_SOURCES)
tests_unit_test_gguf_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_gguf_LDADD = $(LIBS_MODEL) $(SYS_MODEL) $(CRITERION_LIBS)

tests_unit_test_model_SOURCES = tests/unit/test_model.c $(FORMS_SOURCES)
tests_unit_test_model_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_model_LDADD = $(LIBS_MODEL) $(SYS_MODEL) $(CRITERION_LIBS)

tests_unit_test_model_forms_SOURCES = tests/unit/test_model_forms.c $(FORMS_SOURCES)
tests_unit_test_model_forms_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_model_forms_LDADD = $(LIBS_MODEL) $(SYS_MODEL) $(CRITERION_LIBS)

tests_unit_test_gguf_hostile_SOURCES = tests/unit/test_gguf_hostile.c $(HOSTILE_SOURCES)
tests_unit_test_gguf_hostile_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_gguf_hostile_LDADD = $(LIBS_MODEL) $(SYS_MODEL) $(CRITERION_LIBS)

tests_unit_test_model_hostile_SOURCES = tests/unit/test_model_hostile.c $(HOSTILE_SOURCES) \
	tests/support/gguf_forms.c tests/support/gguf_forms.h
tests_unit_test_model_hostile_CPPFLAGS = $(CRITERION_CPPFLAGS)
tests_unit_test_model_hostile_LDADD = $(LIBS_MODEL) $(SYS_MODEL) $(CRITERION_LIBS)
endif
