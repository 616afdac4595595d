/* SPDX-License-Identifier: MIT */
#include "bench/trace.h"

#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_USES (1u << 24)
#define MAX_MARGINS (1u << 27)
#define PHASE_MARGINS 3

/* A trace that is being read, and for how much it has room. */
struct reading {
    struct trace *trace;
    uint32_t uses, rows;
    uint32_t n_known; /* margins of the last row so far */
};

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

static int uses_grow(struct reading *r, struct err *err)
{
    uint32_t more = r->uses > 0 ? 2 * r->uses : 1u << 16;
    struct use *use = more <= MAX_USES ? mem_realloc(r->trace->use, more * sizeof(*use)) : NULL;

    if (use == NULL)
        return err_set(err, -ENOMEM, "too many lines");
    r->trace->use = use;
    r->uses = more;
    return 0;
}

static int rows_grow(struct reading *r, struct err *err)
{
    struct trace *t = r->trace;
    uint32_t more = r->rows > 0 ? 2 * r->rows : 1u << 8;
    void *weighed = NULL, *margin = NULL;

    if (more <= MAX_MARGINS / t->n_experts) {
        weighed = mem_realloc(t->weighed, more * sizeof(*t->weighed));
        t->weighed = weighed != NULL ? weighed : t->weighed;
        margin = mem_realloc(t->margin, (size_t)more * t->n_experts * sizeof(*t->margin));
        t->margin = margin != NULL ? margin : t->margin;
    }
    if (weighed == NULL || margin == NULL)
        return err_set(err, -ENOMEM, "too many margins");
    r->rows = more;
    return 0;
}

/* ",-12,345" and so on, n of them. */
static int numbers_take(const char *text, uint32_t n, int16_t *ret, struct err *err)
{
    for (uint32_t i = 0; i < n; i++) {
        char *end = NULL;
        long v = text[0] == ',' ? strtol(text + 1, &end, 10) : 0;

        if (text[0] != ',' || end == text + 1 || v < INT16_MIN || v > INT16_MAX)
            return err_set(err, -EINVAL, "not %u margins", n);
        ret[i] = (int16_t)v;
        text = end;
    }
    return 0;
}

static int row_check(const struct reading *r, struct err *err)
{
    if (r->n_known > 0 && r->n_known < r->trace->n_experts)
        return err_set(err, -EINVAL, "margins of %u experts of %u before it", r->n_known, r->trace->n_experts);
    return 0;
}

static int margins_take(struct reading *r, uint32_t layer, uint32_t first, uint32_t n, const char *rest,
                        struct err *err)
{
    struct trace *t = r->trace;

    if (first == 0) {
        if (row_check(r, err) < 0 || (t->n_weighed == r->rows && rows_grow(r, err) < 0))
            return err->code;
        t->weighed[t->n_weighed++] = (struct weighed){ .before = t->n, .layer = layer };
        r->n_known = 0;
    }
    if (t->n_weighed == 0 || first != r->n_known || n == 0 || n > t->n_experts - first ||
        t->weighed[t->n_weighed - 1].layer != layer)
        return err_set(err, -EINVAL, "margins of %u experts from %u on do not go on with those before", n, first);
    r->n_known += n;
    return numbers_take(rest, n, t->margin + (size_t)(t->n_weighed - 1) * t->n_experts + first, err);
}

static int line_take(struct reading *r, const char *line, struct err *err)
{
    struct trace *t = r->trace;
    uint32_t turn, phase, step, layer, rank, expert;
    int end = 0;

    if (line[0] == '#')
        return shape_take(t, line, err);
    if (line[0] < '0' || line[0] > '9') /* the names of the columns */
        return 0;
    if (sscanf(line, "%u,%u,%u,%u,%u,%u%n", &turn, &phase, &step, &layer, &rank, &expert, &end) != 6)
        return err_set(err, -EINVAL, "not turn,phase,step,layer,rank,expert");
    if (phase == PHASE_MARGINS && layer < t->n_layers)
        return margins_take(r, layer, rank, expert, line + end, err);
    if (layer >= t->n_layers || expert >= t->n_experts || phase >= PHASES)
        return err_set(err, -EINVAL, "phase %u, layer %u or expert %u is beyond what the head of the file names", phase,
                       layer, expert);
    if (row_check(r, err) < 0 || (t->n == r->uses && uses_grow(r, err) < 0))
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
    struct reading r = { .trace = t };
    uint32_t number = 0;
    char line[512];
    int rc = 0;

    while (rc == 0 && fgets(line, sizeof(line), file) != NULL) {
        number++;
        rc = line_take(&r, line, err);
    }
    if (rc == 0 && t->n > 0)
        rc = row_check(&r, err);
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
    mem_free(trace->margin);
    mem_free(trace->weighed);
    mem_free(trace->use);
    *trace = (struct trace){ 0 };
}
