/* SPDX-License-Identifier: MIT
 *
 * doctor.h: what `expert doctor` looks at, and how it says what it found.
 *
 * A finding is good, a note (works, but slower or less safe than it could), or bad (stands in the way of answers). Each
 * that is not good says what to do, where something can be done. The checks of the machine are in doctor_machine.c;
 * they read /proc and /sys only, and take what they cannot read for unknown.
 */
#ifndef EXPERT_CLIENT_CLI_DOCTOR_H
#define EXPERT_CLIENT_CLI_DOCTOR_H

#include "client/expert.h"

#include <jansson.h>

enum doctor_verdict { DOCTOR_GOOD, DOCTOR_NOTE, DOCTOR_BAD };

struct doctor {
    json_t *report; /* findings for --json; NULL: they are printed as they come */
    int status;     /* the exit status so far */
};

/* Report a finding; `remedy` may be NULL. */
void doctor_say(struct doctor *doctor, enum doctor_verdict verdict, const char *check, const char *remedy,
                const char *format, ...) __attribute__((format(printf, 5, 6)));

void doctor_check_io(struct doctor *doctor, const struct expert_props *props);
void doctor_check_huge_pages(struct doctor *doctor, const struct expert_props *props, const struct expert_stats *stats);
void doctor_check_memlock(struct doctor *doctor, const char *socket_path, const struct expert_props *props);
void doctor_check_drive(struct doctor *doctor, const char *model_path);
void doctor_check_curve(struct doctor *doctor, const struct expert_props *props);

#endif
