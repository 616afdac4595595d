/* SPDX-License-Identifier: MIT
 *
 * replay.c: what each cache policy would have hit on a recorded routing trace.
 *
 *     bench/replay TRACE.csv [TRACE.csv ...]
 *
 * A trace is lines of turn,phase,step,layer,slot,expert,... (phase 1 = decode) under a header comment that names n_layer,
 * n_expert and n_expert_used. Only decode is replayed: each layer's experts are one request, a miss takes a
 * free slot or the policy's victim, experts of the request in hand are never victims. Prints hit rates in percent over all
 * but the first tokens, per share of the experts that fit, beside Belady's (which knows the future).
 */
#include "base/mem.h"
#include "cache/policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WARM_UP_TOKENS 5
#define MAX_KEYS (1u << 16)

struct use {
    uint32_t key, token, next; /* next: index of the next use of the same key, or UINT32_MAX */
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
    if (sscanf(line, "%u,%u,%u,%u,%u,%u", &turn, &phase, &step, &layer, &rank, &expert) != 6 || phase != 1)
        return 0;
    if (layer >= t->n_layers || expert >= t->n_experts || t->n >= cap)
        return -1;
    t->use[t->n++] = (struct use){ .key = layer * t->n_experts + expert, .token = step };
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
    const struct trace *trace;
    uint32_t n_slots, n_held;
    uint32_t slot_of[MAX_KEYS], key_of[MAX_KEYS];
    uint32_t next_of[MAX_KEYS]; /* per key, for Belady */
    uint32_t begin, end;        /* the request in hand */
};

static bool may_go(const void *ctx, uint32_t slot)
{
    const struct replay *r = ctx;

    for (uint32_t i = r->begin; i < r->end; i++)
        if (r->trace->use[i].key == r->key_of[slot])
            return false;
    return true;
}

static uint32_t belady_victim(const struct replay *r)
{
    uint32_t best = SLOT_NONE;

    for (uint32_t slot = 0; slot < r->n_held; slot++)
        if (may_go(r, slot) && (best == SLOT_NONE || r->next_of[r->key_of[slot]] > r->next_of[r->key_of[best]]))
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
        if (slot == SLOT_NONE)
            return false;
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

    r = (struct replay){ .trace = t, .n_slots = n_slots };
    memset(r.slot_of, 0xff, sizeof(r.slot_of));
    memset(r.key_of, 0xff, sizeof(r.key_of));
    for (r.begin = 0; r.begin < t->n; r.begin = r.end) {
        uint32_t layer = t->use[r.begin].key / t->n_experts;

        for (r.end = r.begin; r.end < t->n && t->use[r.end].key / t->n_experts == layer; r.end++)
            ;
        for (uint32_t i = r.begin; i < r.end; i++) {
            bool hit = replay_use(&r, policy, &t->use[i]);

            if (t->use[i].token >= t->use[0].token + WARM_UP_TOKENS) {
                hits += hit;
                total++;
            }
        }
    }
    return total > 0 ? 100.0 * (double)hits / (double)total : 0;
}

static void replay_share(const struct trace *t, double share)
{
    uint32_t n_slots = (uint32_t)(share * t->n_layers * t->n_experts);
    uint8_t *class_of = mem_zalloc(n_slots + 1);
    struct policy *lru = policy_lru_open(n_slots, class_of, 1);
    struct policy *nextuse = policy_nextuse_open(n_slots, class_of, t->n_layers, t->n_experts);

    if (class_of != NULL && lru != NULL && nextuse != NULL)
        printf("| %3.0f %% | %.2f | %.1f | %.1f | %.1f |\n", 100 * share, (double)n_slots / (t->n_layers * t->n_used),
               replay_run(t, lru, n_slots), replay_run(t, nextuse, n_slots), replay_run(t, NULL, n_slots));
    if (lru != NULL)
        lru->ops->close(lru);
    if (nextuse != NULL)
        nextuse->ops->close(nextuse);
    mem_free(class_of);
}

int main(int argc, char **argv)
{
    static const double shares[] = { 0.03, 0.05, 0.08, 0.12, 0.25, 0.5 };
    struct trace trace;

    for (int i = 1; i < argc; i++) {
        if (trace_read(argv[i], &trace) != 0)
            return 1;
        printf("%s: %u layers, %u experts, %u used\n\n| experts that fit | in working sets | lru | next-use | belady |\n"
               "|---|---|---|---|---|\n", argv[i], trace.n_layers, trace.n_experts, trace.n_used);
        for (size_t s = 0; s < sizeof(shares) / sizeof(shares[0]); s++)
            replay_share(&trace, shares[s]);
        printf("\n");
        mem_free(trace.use);
    }
    return argc > 1 ? 0 : 2;
}
