noinst_LIBRARIES += libmodel.a
libmodel_a_CPPFLAGS = $(AM_CPPFLAGS) $(XXHASH_CFLAGS) $(PCRE2_CFLAGS) $(UTF8PROC_CFLAGS)
libmodel_a_SOURCES = \
	model/experts.h \
	model/forward.h \
	model/layout.h \
	model/model.h

# The parts, each with its own list, so that they grow side by side.
include model/files.mk
include model/text.mk
include model/pass.mk
