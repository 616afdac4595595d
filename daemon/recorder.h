/* SPDX-License-Identifier: MIT
 *
 * recorder.h: which experts the router chose, written to a file as it happens (--record-routing; the format is in
 * expertd(8), bench/replay reads it).
 *
 * The engine thread puts each row's choice into a ring, which neither allocates nor waits; the loop takes them out,
 * writes text and appends it. What does not fit the ring is dropped, and how much is said in the file. When the file
 * cannot be written, recording stops for good: the error comes once, and putting goes on into nothing.
 *
 * Threads: recorder_put the engine's, the others the loop's.
 */
#ifndef EXPERTD_DAEMON_RECORDER_H
#define EXPERTD_DAEMON_RECORDER_H

#include "base/err.h"
#include "model/layout.h"

#include <stddef.h>
#include <stdint.h>

enum recorder_phase { RECORD_PROMPT, RECORD_ANSWER, RECORD_GUESS, RECORD_MARGINS };

struct recorder;

/* A new file, or more for one that is a recording already; anything else is left alone, and an error. */
int recorder_open(const char *path, const struct expert_layout *layout, struct recorder **ret_recorder,
                  struct err *err);
void recorder_close(struct recorder *recorder); /* after a last flush */

/* turn: the request; step: the token's position; layer_index as in the layout. */
void recorder_put(struct recorder *recorder, uint32_t turn, enum recorder_phase phase, uint32_t step,
                  uint32_t layer_index, const uint16_t *ids, size_t n);
/* Of a token, before its choice: how far each expert was from being taken (cache/outlook.h), by the router's logits
 * [n_experts]. */
void recorder_put_margins(struct recorder *recorder, uint32_t turn, uint32_t step, uint32_t layer_index,
                          const float *logits);
/* 0, also after recording has stopped, or once why it stopped. */
int recorder_flush(struct recorder *recorder, struct err *err);

uint64_t recorder_bytes(void); /* of memory, at most */

#endif
