/* SPDX-License-Identifier: MIT
 *
 * pack_check.h: packs of an expert_file, for tests: made beside it, and held against it.
 */
#ifndef EXPERTD_TESTS_SUPPORT_PACK_CHECK_H
#define EXPERTD_TESTS_SUPPORT_PACK_CHECK_H

#include "cache/pack.h"
#include "cache/pack_write.h"
#include "tests/support/expert_file.h"

/* Path of the file's pack, beside it. Static storage: valid until the next call. */
const char *pack_check_path(const struct expert_file *file);
/* Writes it, with nothing out of the way; asserts that it succeeds. */
void pack_check_write(const struct expert_file *file);
/* Writes and opens it. */
struct pack *pack_check_make(const struct expert_file *file);
/* Asserts that the file at the path is a pack with every byte in its place. */
void pack_check_whole(const struct expert_file *file);
/* Removes it, and what is left of its writing. */
void pack_check_remove(const struct expert_file *file);

/* Whether there is a file of this name, with `suffix` behind the pack's. */
bool pack_check_exists(const struct expert_file *file, const char *suffix);

#endif
