dist_man_MANS += docs/expertd.8 docs/expertd.conf.5
