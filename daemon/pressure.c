/* SPDX-License-Identifier: MIT */
#include "daemon/pressure.h"

#include "base/arith.h"
#include "daemon/config.h"

#include <stdio.h>

/* A limit is close when less than this part of it is left; of a small one more, since the kernel charges in lots. */
#define LEAST_LEFT_OF_GROUP 256
#define LEAST_LEFT_OF_MACHINE 64
#define LOT_BYTES ((uint64_t)2 << 20)
#define LOT_PART 32
#define LITTLE_LEFT 16 /* when less than this part is left, waiting for memory is our doing too */
#define STALL_PERCENT 10
#define CALM_STALL_PERCENT 1
#define GIVEN_AT_ONCE 16 /* parts of all slots */
#define TAKEN_AT_ONCE 8
#define TOO_SOON 2 /* times of calm after taking within which giving back says that it was */

struct view {
    const struct memory_scope *scope;
    const char *name;
    uint64_t low; /* less left than this is too little */
    double stall_percent;
};

void pressure_init(struct pressure *p, uint64_t least, uint64_t most)
{
    *p = (struct pressure){ .least = u64_min(least, most), .most = most, .target = most, .calm_ns = PRESSURE_CALM_NS };
    p->seen.machine = p->seen.group = (struct memory_scope){ UINT64_MAX, UINT64_MAX, 0, UINT64_MAX };
}

static bool is_known(const struct memory_scope *scope)
{
    return scope->size != UINT64_MAX && scope->left != UINT64_MAX;
}

static double stall_percent(const struct memory_scope *scope, uint64_t *last_us, uint64_t ns)
{
    uint64_t last = *last_us;

    *last_us = scope->stall_us;
    if (scope->stall_us == UINT64_MAX || last == UINT64_MAX || scope->stall_us <= last || ns == 0)
        return 0;
    return (double)(scope->stall_us - last) * 1e5 / (double)ns;
}

static struct view view_of(const struct memory_scope *scope, const char *name, uint64_t part, double stalled)
{
    return (struct view){ .scope = scope,
                          .name = name,
                          .low = u64_max(scope->size / part, u64_min(LOT_BYTES, scope->size / LOT_PART)),
                          .stall_percent = is_known(scope) ? stalled : 0 };
}

/* What must be given back here: enough for twice the least to be left, or a part when processes wait. */
static uint64_t wanted_back(struct pressure *p, const struct view *view, uint64_t held)
{
    const struct memory_scope *s = view->scope;
    uint64_t wanted = 0;
    char left[24], size[24];

    if (!is_known(s))
        return 0;
    if (s->left < view->low)
        wanted = s->over + 2 * view->low - s->left;
    else if (view->stall_percent >= STALL_PERCENT && s->left < s->size / LITTLE_LEFT && held <= p->target)
        wanted = p->most / GIVEN_AT_ONCE;
    if (wanted > 0)
        snprintf(p->why, sizeof(p->why), "%s has %s of %s %s, and processes waited for memory %.0f%% of the time",
                 view->name, size_format(s->over ? s->over : s->left, left), size_format(s->size, size),
                 s->over ? "too little" : "left", view->stall_percent);
    return wanted;
}

static bool is_calm(const struct view *view)
{
    return !is_known(view->scope) || (view->scope->left >= 4 * view->low && view->stall_percent < CALM_STALL_PERCENT);
}

/* What may be taken here so that three times the least is left. */
static uint64_t may_take(const struct view *view)
{
    if (!is_known(view->scope))
        return UINT64_MAX;
    return view->scope->left > 3 * view->low ? view->scope->left - 3 * view->low : 0;
}

static bool give(struct pressure *p, uint64_t bytes, uint64_t held, uint64_t now_ns)
{
    uint64_t target = u64_max(held > bytes ? held - bytes : 0, p->least);

    p->calm_since_ns = now_ns;
    if (target >= p->target)
        return false;
    if (p->taken_ns > 0 && now_ns - p->taken_ns < TOO_SOON * p->calm_ns)
        p->calm_ns = u64_min(2 * p->calm_ns, PRESSURE_LONGEST_CALM_NS);
    p->taken_ns = 0;
    p->target = target;
    p->n_given++;
    return true;
}

static bool take(struct pressure *p, uint64_t may, uint64_t now_ns)
{
    uint64_t step = u64_min(u64_min(p->most / TAKEN_AT_ONCE + 1, may), p->most - p->target);

    if (step == 0 || now_ns - p->calm_since_ns < p->calm_ns)
        return false;
    p->target += step;
    p->calm_since_ns = p->taken_ns = now_ns;
    p->n_taken++;
    snprintf(p->why, sizeof(p->why), "nobody has waited for memory for %.0f s", (double)p->calm_ns / 1e9);
    return true;
}

bool pressure_look(struct pressure *p, const struct machine_memory *memory, uint64_t held, uint64_t now_ns)
{
    uint64_t ns = p->looked_ns > 0 ? now_ns - p->looked_ns : 0;
    struct view machine = view_of(&memory->machine, "the machine", LEAST_LEFT_OF_MACHINE,
                                  stall_percent(&memory->machine, &p->machine_stall_us, ns));
    struct view group = view_of(&memory->group, "the control group", LEAST_LEFT_OF_GROUP,
                                stall_percent(&memory->group, &p->group_stall_us, ns));
    uint64_t wanted = wanted_back(p, &machine, held);

    wanted = u64_max(wanted, wanted_back(p, &group, held));
    p->looked_ns = now_ns;
    p->seen = *memory;
    if (wanted > 0)
        return give(p, wanted, held, now_ns);
    if (p->target == p->most && now_ns - p->taken_ns > 2 * PRESSURE_LONGEST_CALM_NS)
        p->calm_ns = PRESSURE_CALM_NS;
    if (!is_calm(&machine) || !is_calm(&group) || p->calm_since_ns == 0 || p->target == p->most) {
        p->calm_since_ns = now_ns;
        return false;
    }
    return take(p, u64_min(may_take(&machine), may_take(&group)), now_ns);
}
