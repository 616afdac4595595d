/* SPDX-License-Identifier: MIT
 *
 * json_tree.h: how much memory a JSON text takes once it is read.
 *
 * A tree is far larger than its text: `[{},{},{}]` becomes eighty times its length. So a body is looked over before
 * jansson reads it, and one that would take more than there is for it is refused. (To let jansson run into a limit
 * instead is no way: short of memory, its lexer loses characters.)
 *
 * Pure; one pass over the text, which need not be JSON.
 */
#ifndef EXPERTD_DAEMON_JSON_TREE_H
#define EXPERTD_DAEMON_JSON_TREE_H

#include <stddef.h>
#include <stdint.h>

/* Bytes that jansson allocates at most for this text, what it needs only while reading included. */
uint64_t json_tree_bytes(const char *text, size_t len);

#endif
