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

# An empty place for the configuration, so that an editor finds its directory; what lies there already stays.
install-data-local:
	$(MKDIR_P) $(DESTDIR)$(sysconfdir)/expertd
	test -e $(DESTDIR)$(sysconfdir)/expertd/expertd.conf || \
	$(INSTALL_DATA) $(srcdir)/systemd/expertd.conf $(DESTDIR)$(sysconfdir)/expertd/expertd.conf
EXTRA_DIST += systemd/expertd.conf

# Only what nobody has edited is removed.
uninstall-local:
	cmp -s $(srcdir)/systemd/expertd.conf $(DESTDIR)$(sysconfdir)/expertd/expertd.conf && \
	rm -f $(DESTDIR)$(sysconfdir)/expertd/expertd.conf || :
