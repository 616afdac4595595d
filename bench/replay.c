/* SPDX-License-Identifier: MIT
 *
 * replay.c: what each cache policy would have hit on a recorded routing trace.
 *
 *     bench/replay TRACE.csv [TRACE.csv ...]
 *
 * A trace is lines of turn,phase,step,layer,slot,expert,... (phase 0 = prefill, 1 = decode) under a header comment that
 * names n_layer, n_expert and n_expert_used. Uses are taken one by one in the order of the lines, from one pool of slots
 * for all layers; prefill warms, decode counts. Prints hit rates in percent per share of the experts that fit, beside
 * Belady's (which knows the future).
 */
#include "base/mem.h"
#include "cache/policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_KEYS (1u << 16)

struct use {
    uint32_t key, next; /* next: index of the next use of the same key, or UINT32_MAX */
    bool counts;        /* decode */
};

struct trace {
    uint32_t n_layers, n_experts, n_used;
    struct use *use;
    uint32_t n;
};

static int trace_parse_line(struct trace *t, const char *line, uint32_t cap)
{
    uint32_t turn, phase, step, layer, rank, expert;
    const char *p;

    if (line[0] == '#') {
        p = strstr(line, "n_layer=");
        if (p != NULL)
            sscanf(p, "n_layer=%u n_expert=%u n_expert_used=%u", &t->n_layers, &t->n_experts, &t->n_used);
        return 0;
    }
    if (sscanf(line, "%u,%u,%u,%u,%u,%u", &turn, &phase, &step, &layer, &rank, &expert) != 6)
        return 0;
    if (layer >= t->n_layers || expert >= t->n_experts || t->n >= cap)
        return -1;
    t->use[t->n++] = (struct use){ .key = layer * t->n_experts + expert, .counts = phase == 1 };
    return 0;
}

static void trace_link(struct trace *t)
{
    static uint32_t last[MAX_KEYS];

    memset(last, 0xff, sizeof(last));
    for (uint32_t i = t->n; i-- > 0;) {
        t->use[i].next = last[t->use[i].key];
        last[t->use[i].key] = i;
    }
}

static int trace_read(const char *path, struct trace *t)
{
    const uint32_t cap = 1u << 20;
    FILE *file = fopen(path, "r");
    char line[512];
    int r = 0;

    *t = (struct trace){ .use = mem_alloc(cap * sizeof(*t->use)) };
    while (file != NULL && t->use != NULL && r == 0 && fgets(line, sizeof(line), file) != NULL)
        r = trace_parse_line(t, line, cap);
    if (file != NULL)
        fclose(file);
    if (file == NULL || t->use == NULL || r != 0 || t->n == 0 || t->n_layers * t->n_experts > MAX_KEYS) {
        fprintf(stderr, "replay: '%s' is not a routing trace that can be read\n", path);
        return -1;
    }
    trace_link(t);
    return 0;
}

/* The cache as the policy sees it. */
struct replay {
    uint32_t n_slots, n_held;
    uint32_t slot_of[MAX_KEYS], key_of[MAX_KEYS];
    uint32_t next_of[MAX_KEYS]; /* per key, for Belady */
};

static bool may_go(const void *ctx, uint32_t slot)
{
    return true;
}

static uint32_t belady_victim(const struct replay *r)
{
    uint32_t best = SLOT_NONE;

    for (uint32_t slot = 0; slot < r->n_held; slot++)
        if (best == SLOT_NONE || r->next_of[r->key_of[slot]] > r->next_of[r->key_of[best]])
            best = slot;
    return best;
}

/* True when it was a hit. policy NULL: Belady. */
static bool replay_use(struct replay *r, struct policy *policy, const struct use *use)
{
    uint32_t slot = r->slot_of[use->key];
    bool hit = slot != SLOT_NONE;

    r->next_of[use->key] = use->next;
    if (!hit) {
        if (r->n_held < r->n_slots)
            slot = r->n_held++;
        else
            slot = policy != NULL ? policy->ops->victim(policy, 0, may_go, r) : belady_victim(r);
        if (r->key_of[slot] != SLOT_NONE) {
            r->slot_of[r->key_of[slot]] = SLOT_NONE;
            if (policy != NULL)
                policy->ops->drop(policy, slot);
        }
        r->slot_of[use->key] = slot;
        r->key_of[slot] = use->key;
    }
    if (policy != NULL)
        policy->ops->use(policy, slot, use->key);
    return hit;
}

static double replay_run(const struct trace *t, struct policy *policy, uint32_t n_slots)
{
    static struct replay r;
    uint64_t hits = 0, total = 0;

    r = (struct replay){ .n_slots = n_slots };
    memset(r.slot_of, 0xff, sizeof(r.slot_of));
    memset(r.key_of, 0xff, sizeof(r.key_of));
    for (uint32_t i = 0; i < t->n; i++) {
        bool hit = replay_use(&r, policy, &t->use[i]);

        hits += hit && t->use[i].counts;
        total += t->use[i].counts;
    }
    return total > 0 ? 100.0 * (double)hits / (double)total : 0;
}

static int replay_share(const struct trace *t, double share)
{
    uint32_t n_slots = (uint32_t)(share * t->n_layers * t->n_experts);
    uint8_t *class_of = mem_zalloc(n_slots + 1);

    if (class_of == NULL)
        return -1;
    printf("| %4.1f %% | %.2f |", 100 * share, (double)n_slots / (t->n_layers * t->n_used));
    for (int kind = 0; kind < POLICIES; kind++) {
        struct policy *policy = policy_open(kind, n_slots, class_of, 1, t->n_layers, t->n_experts);

        if (policy == NULL)
            break;
        printf(" %.1f |", replay_run(t, policy, n_slots));
        policy->ops->close(policy);
    }
    printf(" %.1f |\n", replay_run(t, NULL, n_slots));
    mem_free(class_of);
    return 0;
}

static void print_header(const char *path, const struct trace *t)
{
    printf("%s: %u layers, %u experts, %u used\n\n| experts that fit | in working sets |", path, t->n_layers,
           t->n_experts, t->n_used);
    for (int kind = 0; kind < POLICIES; kind++)
        printf(" %s |", policy_name(kind));
    printf(" belady |\n|---|---|");
    for (int kind = 0; kind <= POLICIES; kind++)
        printf("---|");
    printf("\n");
}

int main(int argc, char **argv)
{
    static const double shares[] = { 0.03125, 0.05, 0.08, 0.125, 0.25, 0.375, 0.5 };
    struct trace trace;

    for (int i = 1; i < argc; i++) {
        if (trace_read(argv[i], &trace) != 0)
            return 1;
        print_header(argv[i], &trace);
        for (size_t s = 0; s < sizeof(shares) / sizeof(shares[0]); s++)
            if (replay_share(&trace, shares[s]) != 0)
                return 1;
        printf("\n");
        mem_free(trace.use);
    }
    return argc > 1 ? 0 : 2;
}
