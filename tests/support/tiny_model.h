/* SPDX-License-Identifier: MIT
 *
 * tiny_model.h: the project's tiny models (tests/golden/data), for tests of what lies above the file.
 */
#ifndef EXPERTD_TESTS_TINY_MODEL_H
#define EXPERTD_TESTS_TINY_MODEL_H

/* Path of tests/golden/data/NAME.gguf. Static storage: valid until the next call. */
const char *tiny_model_path(const char *name);

/* A copy that the test may damage, in a file of its own under $TMPDIR. Aborts the test on failure; the caller frees the
 * path and removes the file. */
char *tiny_model_copy(const char *name);

#endif
