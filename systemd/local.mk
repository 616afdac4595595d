systemdunitdir = $(SYSTEMD_UNIT_DIR)
nodist_systemdunit_DATA = systemd/expertd.service
dist_systemdunit_DATA = systemd/expertd.socket
sysusersdir = $(prefix)/lib/sysusers.d
dist_sysusers_DATA = systemd/expertd-sysusers.conf
EXTRA_DIST += systemd/expertd.service.in
CLEANFILES += systemd/expertd.service

systemd/expertd.service: $(srcdir)/systemd/expertd.service.in Makefile
	$(AM_V_GEN)$(MKDIR_P) systemd && \
	sed -e 's|@bindir[@]|$(bindir)|g' -e 's|@sysconfdir[@]|$(sysconfdir)|g' \
	$(srcdir)/systemd/expertd.service.in >$@.tmp && mv $@.tmp $@
