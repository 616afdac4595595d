/* SPDX-License-Identifier: MIT
 *
 * processor.h: what is chosen for this processor, and what the person who runs the daemon should hear about it.
 *
 * Sentences come from functions of what was asked for and what was found, so that tests can ask about machines that
 * are not there. They are written to the log at start-up, each once.
 */
#ifndef EXPERTD_DAEMON_PROCESSOR_H
#define EXPERTD_DAEMON_PROCESSOR_H

#include "compute/cpu_device.h"
#include "daemon/machine.h"
#include "model/gguf.h"

#include <stddef.h>
#include <stdint.h>

enum { PROCESSOR_NOTE = 256 };

/* Compute threads: `wish` (0: physical cores within the control group's quota), at most the processors online. */
uint32_t processor_threads(uint32_t wish);

/* A warning about the level, or "" when there is nothing to say: `asked` is what the configuration caps at, `got` the
 * level in use. */
const char *processor_level_note(enum cpu_level asked, enum cpu_level got, char note[PROCESSOR_NOTE]);

/* Names the formats, a set of 1 << type, that have no kernel of their own at the level; "" when all have. At the C
 * level none has, and processor_level_note says so. */
const char *processor_format_note(uint64_t types, enum cpu_level level, char note[PROCESSOR_NOTE]);

/* Both to the log. */
void processor_say(const struct gguf *gguf, enum cpu_level asked);

/* Where there are several memory nodes, large blocks that are taken from now on lie on all of them, and that is said.
 */
void processor_spread_memory(void);

/* How much of this process's memory is in huge pages, once all is taken: what the log says. */
const char *processor_pages_note(const struct machine_pages *pages, char note[PROCESSOR_NOTE]);
void processor_say_pages(void);

#endif
