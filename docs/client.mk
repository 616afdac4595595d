dist_man_MANS += docs/expert.1 docs/libexpert.3
EXTRA_DIST += docs/clients.md
