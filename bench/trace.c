/* SPDX-License-Identifier: MIT */
#include "bench/trace.h"

#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MAX_USES (1u << 24)

static int shape_take(struct trace *t, const char *line, struct err *err)
{
    const char *at = strstr(line, "n_layer=");
    struct trace shape = { 0 };

    if (at == NULL)
        return 0;
    if (sscanf(at, "n_layer=%u n_expert=%u n_expert_used=%u", &shape.n_layers, &shape.n_experts, &shape.n_used) != 3 ||
        shape.n_layers == 0 || shape.n_experts == 0 || shape.n_layers > TRACE_MAX_KEYS / shape.n_experts ||
        shape.n_used == 0 || shape.n_used > shape.n_experts)
        return err_set(err, -EINVAL, "a shape that cannot be: %s", at);
    if (t->n_layers > 0 &&
        (t->n_layers != shape.n_layers || t->n_experts != shape.n_experts || t->n_used != shape.n_used))
        return err_set(err, -EINVAL, "two models of different shape in one file");
    t->n_layers = shape.n_layers;
    t->n_experts = shape.n_experts;
    t->n_used = shape.n_used;
    return 0;
}

static int grow(struct trace *t, uint32_t *cap, struct err *err)
{
    uint32_t more = *cap > 0 ? 2 * *cap : 1u << 16;
    struct use *use = more <= MAX_USES ? mem_calloc(more, sizeof(*use)) : NULL;

    if (use == NULL)
        return err_set(err, -ENOMEM, "too many lines");
    if (t->n > 0)
        memcpy(use, t->use, t->n * sizeof(*use));
    mem_free(t->use);
    t->use = use;
    *cap = more;
    return 0;
}

static int line_take(struct trace *t, const char *line, uint32_t *cap, struct err *err)
{
    uint32_t turn, phase, step, layer, rank, expert;

    if (line[0] == '#')
        return shape_take(t, line, err);
    if (line[0] < '0' || line[0] > '9') /* the names of the columns */
        return 0;
    if (sscanf(line, "%u,%u,%u,%u,%u,%u", &turn, &phase, &step, &layer, &rank, &expert) != 6)
        return err_set(err, -EINVAL, "not turn,phase,step,layer,rank,expert");
    if (layer >= t->n_layers || expert >= t->n_experts || phase >= PHASES)
        return err_set(err, -EINVAL, "phase %u, layer %u or expert %u is beyond what the head of the file names", phase,
                       layer, expert);
    if (t->n == *cap && grow(t, cap, err) < 0)
        return err->code;
    t->use[t->n++] =
        (struct use){ .key = layer * t->n_experts + expert, .turn = turn, .step = step, .phase = (uint8_t)phase };
    return 0;
}

static int link_uses(struct trace *t, struct err *err)
{
    uint32_t *last = mem_alloc(TRACE_MAX_KEYS * sizeof(*last));

    if (last == NULL)
        return err_sys(err, ENOMEM, "trace");
    memset(last, 0xff, TRACE_MAX_KEYS * sizeof(*last));
    for (uint32_t i = t->n; i-- > 0;) {
        if (t->use[i].phase == PHASE_GUESS)
            continue;
        t->use[i].next = last[t->use[i].key];
        last[t->use[i].key] = i;
    }
    mem_free(last);
    return 0;
}

static int lines_read(FILE *file, struct trace *t, struct err *err)
{
    uint32_t cap = 0, number = 0;
    char line[512];
    int rc = 0;

    while (rc == 0 && fgets(line, sizeof(line), file) != NULL) {
        number++;
        rc = line_take(t, line, &cap, err);
    }
    if (rc == 0 && t->n == 0)
        return err_set(err, -EINVAL, "no uses in it");
    return rc == 0 ? link_uses(t, err) : err_wrap(err, "line %u", number);
}

int trace_open(const char *path, struct trace *ret_trace, struct err *err)
{
    FILE *file = fopen(path, "re");
    struct trace trace = { 0 };
    int rc;

    if (file == NULL)
        return err_sys(err, errno, "'%s'", path);
    rc = lines_read(file, &trace, err);
    fclose(file);
    if (rc == 0) {
        *ret_trace = trace;
        return 0;
    }
    trace_close(&trace);
    return err_wrap(err, "'%s'", path);
}

void trace_close(struct trace *trace)
{
    mem_free(trace->use);
    *trace = (struct trace){ 0 };
}
