EXTRA_DIST += tests/golden/data tools/tiny
