/* SPDX-License-Identifier: MIT
 *
 * attention.cu: causal attention over stored keys and values, an online softmax, to the bits of the CPU.
 *
 * The definition (compute/cpu/attention.c) goes through the context in spans of ATTEND_SPAN positions counted from 0;
 * within a span blocks of 64 keys follow each other, and each span's result is merged into what the spans before it
 * gave. So spans may be computed beside each other: when there are few queries, each has blocks of its own that leave
 * their results behind, and a second kernel merges these in order. When there are many, a block goes through all spans
 * and merges as it goes. Both do the same arithmetic.
 *
 * A block has eight query rows of one KV head (tokens times the query heads that share it) and reads each key and value
 * once for all of them.
 */
#include "gpu/exact.cuh"
#include "gpu/kernels.h"

enum { QUERIES = 8, KEYS = KV_STEP, THREADS = 128, KEYS_AT_ONCE = THREADS / LANES };

struct attend_shared {
    float weights[QUERIES][KEYS];
    float max[QUERIES], sum[QUERIES], keep[QUERIES];    /* of the span */
    float total_max[QUERIES], total_sum[QUERIES];       /* of the spans before it */
    float keep_total[QUERIES], keep_span[QUERIES];
    uint32_t seen[QUERIES];   /* keys that the query sees in all */
    uint32_t n_keys[QUERIES]; /* of the block */
    uint32_t most_keys;       /* of any query in the block */
    /* then: q, y, total: [QUERIES, head_dim] each */
};

/* Number d of a row of keys or values of a type (compute/device.h), as the CPU reads it. */
template <int TYPE> DEVICE float cached(const void *cache, size_t row, uint32_t head_dim, uint32_t d)
{
    if (TYPE == KV_Q8_0) {
        size_t block = row * ((head_dim + KV_BLOCK - 1) / KV_BLOCK) + d / KV_BLOCK;
        const char *p = (const char *)cache + block * KV_BLOCK_BYTES;

        return half_value(*(const uint16_t *)p) * (float)*(const int8_t *)(p + 2 + d % KV_BLOCK);
    }
    if (TYPE == KV_F16)
        return half_value(((const uint16_t *)cache)[row * head_dim + d]);
    return ((const float *)cache)[row * head_dim + d];
}

/* Scores of a block's keys: sixteen threads a key, thread l the lane l of the dot products. */
template <int TYPE>
DEVICE void score(const struct attention_params &p, struct attend_shared *s, const float *q, const void *keys,
                  size_t key0)
{
    uint32_t lane = THREAD % LANES;

    for (uint32_t first = 0; first < KEYS; first += KEYS_AT_ONCE) {
        uint32_t key = first + THREAD / LANES;
        size_t row = key0 + (key < s->most_keys ? key : 0);
        float dot[QUERIES];

        if (first >= s->most_keys)
            break;
        UNROLL for (int i = 0; i < QUERIES; i++)
            dot[i] = 0;
        for (uint32_t d = lane; d < (p.head_dim + LANES - 1) / LANES * LANES; d += LANES) {
            float k = d < p.head_dim ? cached<TYPE>(keys, row, p.head_dim, d) : 0;

            UNROLL for (int i = 0; i < QUERIES; i++)
                dot[i] += d < p.head_dim ? k * q[i * p.head_dim + d] : 0;
        }
        UNROLL for (int i = 0; i < QUERIES; i++) {
            dot[i] = sum_of_sixteen(dot[i]) * p.scale;
            if (lane == (uint32_t)i)
                s->weights[i][key] = key < s->n_keys[i] ? dot[i] : -INFINITY;
        }
    }
}

/* Scores to weights, a warp a query. */
DEVICE void weigh(struct attend_shared *s)
{
    uint32_t thread = THREAD % 32, lane = thread % LANES;

    for (uint32_t i = THREAD / 32; i < QUERIES; i += THREADS / 32) {
        float old = s->max[i], low, high, max, sum;

        if (s->n_keys[i] == 0) {
            if (thread == 0)
                s->keep[i] = 1;
            continue;
        }
        low = thread < s->n_keys[i] ? s->weights[i][thread] : -INFINITY;
        high = thread + 32 < s->n_keys[i] ? s->weights[i][thread + 32] : -INFINITY;
        max = greater(low, high);
        for (int mask = 16; mask > 0; mask /= 2)
            max = greater(max, warp_shuffle_xor(max, mask));
        max = max > old || is_nan(max) ? max : old;
        low = exp_exact(low - max);
        high = exp_exact(high - max);
        sum = warp_shuffle(low, lane) + warp_shuffle(low, lane + LANES);
        sum = sum + warp_shuffle(high, lane);
        sum = sum + warp_shuffle(high, lane + LANES);
        sum = sum_of_sixteen(sum);
        warp_barrier();
        s->weights[i][thread] = low;
        s->weights[i][thread + 32] = high;
        if (thread == 0) {
            s->keep[i] = exp_exact(old - max);
            s->sum[i] = s->sum[i] * s->keep[i] + sum;
            s->max[i] = max;
        }
    }
}

/* y = y * keep + the sum over keys, in order, of weight times value: a thread a dimension. */
template <int TYPE>
DEVICE void add_values(const struct attention_params &p, const struct attend_shared *s, float *y, const void *values,
                       size_t key0)
{
    for (uint32_t d = THREAD; d < p.head_dim; d += THREADS) {
        float sum[QUERIES];

        UNROLL for (int i = 0; i < QUERIES; i++)
            sum[i] = y[i * p.head_dim + d] * s->keep[i];
        for (uint32_t key = 0; key < s->most_keys; key++) {
            float v = cached<TYPE>(values, key0 + key, p.head_dim, d);

            UNROLL for (int i = 0; i < QUERIES; i++)
                if (key < s->n_keys[i])
                    sum[i] += v * s->weights[i][key];
        }
        UNROLL for (int i = 0; i < QUERIES; i++)
            y[i * p.head_dim + d] = sum[i];
    }
}

/* How many of the keys from key0 on each query sees, at most a block. */
DEVICE void count_keys(struct attend_shared *s, uint32_t key0)
{
    if (THREAD < QUERIES) {
        uint32_t n = s->seen[THREAD] > key0 ? s->seen[THREAD] - key0 : 0;

        s->n_keys[THREAD] = n < KEYS ? n : (uint32_t)KEYS;
    }
    block_barrier();
    if (THREAD == 0) {
        s->most_keys = 0;
        for (int i = 0; i < QUERIES; i++)
            s->most_keys = s->n_keys[i] > s->most_keys ? s->n_keys[i] : s->most_keys;
    }
    block_barrier();
}

template <int TYPE>
DEVICE void attend_span(const struct attention_params &p, struct attend_shared *s, const float *q, float *y,
                        uint32_t span)
{
    if (THREAD < QUERIES) {
        s->max[THREAD] = -INFINITY;
        s->sum[THREAD] = 0;
    }
    for (uint32_t i = THREAD; i < QUERIES * p.head_dim; i += THREADS)
        y[i] = 0;
    for (uint32_t key0 = span * ATTEND_SPAN; key0 < (span + 1) * ATTEND_SPAN; key0 += KEYS) {
        size_t block_at = key0 / p.kv.block_rows * p.kv.block_bytes + BLOCK_Y * p.kv.head_bytes;
        uint32_t row = key0 % p.kv.block_rows;

        count_keys(s, key0);
        if (s->most_keys == 0)
            break;
        score<TYPE>(p, s, q, (const char *)p.kv.k + block_at, row);
        block_barrier();
        weigh(s);
        block_barrier();
        add_values<TYPE>(p, s, y, (const char *)p.kv.v + block_at, row);
        block_barrier();
    }
}

struct merged {
    float max, keep_total, keep_span;
};

DEVICE struct merged merge(float total_max, float span_max)
{
    struct merged m;

    m.max = span_max > total_max || is_nan(span_max) ? span_max : total_max;
    m.keep_total = exp_exact(total_max - m.max);
    m.keep_span = exp_exact(span_max - m.max);
    return m;
}

/* A span's result into that of the spans before it. */
DEVICE void merge_span(const struct attention_params &p, struct attend_shared *s, const float *y, float *total,
                       uint32_t span)
{
    if (THREAD < QUERIES && s->seen[THREAD] > span * ATTEND_SPAN) {
        struct merged m = merge(s->total_max[THREAD], s->max[THREAD]);

        s->keep_total[THREAD] = m.keep_total;
        s->keep_span[THREAD] = m.keep_span;
        s->total_sum[THREAD] = s->total_sum[THREAD] * m.keep_total + s->sum[THREAD] * m.keep_span;
        s->total_max[THREAD] = m.max;
    }
    block_barrier();
    for (uint32_t i = THREAD; i < QUERIES * p.head_dim; i += THREADS) {
        uint32_t query = i / p.head_dim;

        if (s->seen[query] > span * ATTEND_SPAN)
            total[i] = total[i] * s->keep_total[query] + y[i] * s->keep_span[query];
    }
    block_barrier();
}

DEVICE void take_first_span(const struct attention_params &p, struct attend_shared *s, const float *y, float *total)
{
    if (THREAD < QUERIES) {
        s->total_max[THREAD] = s->max[THREAD];
        s->total_sum[THREAD] = s->sum[THREAD];
    }
    for (uint32_t i = THREAD; i < QUERIES * p.head_dim; i += THREADS)
        total[i] = y[i];
    block_barrier();
}

/* Query row `row` of a KV head: its row in q and y. */
DEVICE size_t query_at(const struct attention_params &p, uint32_t kv_head, uint32_t row)
{
    uint32_t group = p.n_heads / p.n_kv_heads;

    return ((size_t)(row / group) * p.n_heads + kv_head * group + row % group);
}

DEVICE uint32_t load_queries(const struct attention_params &p, struct attend_shared *s, float *q)
{
    uint32_t group = p.n_heads / p.n_kv_heads, row0 = BLOCK_X * QUERIES, n_rows = p.n_tokens * group;
    uint32_t last = row0 + QUERIES < n_rows ? row0 + QUERIES - 1 : n_rows - 1;

    for (uint32_t i = THREAD; i < QUERIES * p.head_dim; i += THREADS) {
        uint32_t row = row0 + i / p.head_dim;

        q[i] = row < n_rows ? p.q[query_at(p, BLOCK_Y, row) * p.head_dim + i % p.head_dim] : 0;
    }
    if (THREAD < QUERIES)
        s->seen[THREAD] = row0 + THREAD < n_rows ? p.pos0 + (row0 + THREAD) / group + 1 : 0;
    block_barrier();
    return (p.pos0 + last / group) / ATTEND_SPAN + 1; /* spans that any of them sees */
}

/* Without `partial`, y; with it, this span's y, maximum and sum. */
DEVICE void store_result(const struct attention_params &p, const struct attend_shared *s, const float *y,
                         const float *sums, const float *maxima)
{
    uint32_t n_rows = p.n_tokens * (p.n_heads / p.n_kv_heads);

    for (uint32_t i = THREAD; i < QUERIES * p.head_dim; i += THREADS) {
        uint32_t query = i / p.head_dim, d = i % p.head_dim, row = BLOCK_X * QUERIES + query;
        size_t at;

        if (row >= n_rows)
            continue;
        at = query_at(p, BLOCK_Y, row);
        if (p.partial == NULL) {
            p.y[at * p.head_dim + d] = y[i] / sums[query];
        } else {
            float *part = p.partial + (at * p.n_spans + BLOCK_Z) * (p.head_dim + 2);

            part[2 + d] = y[i];
            if (d == 0) {
                part[0] = maxima[query];
                part[1] = sums[query];
            }
        }
    }
}

template <int TYPE> KERNEL(THREADS) attention_kernel(PARAMS(attention_params) p)
{
    SHARED(struct attend_shared, s);
    float *q = (float *)(s + 1), *y = q + QUERIES * p.head_dim, *total = y + QUERIES * p.head_dim;
    uint32_t n_spans = load_queries(p, s, q);

    if (p.partial != NULL) {
        if (BLOCK_Z < n_spans) {
            attend_span<TYPE>(p, s, q, y, BLOCK_Z);
            store_result(p, s, y, s->sum, s->max);
        }
        return;
    }
    attend_span<TYPE>(p, s, q, y, 0);
    take_first_span(p, s, y, total);
    for (uint32_t span = 1; span < n_spans; span++) {
        attend_span<TYPE>(p, s, q, y, span);
        merge_span(p, s, y, total, span);
    }
    store_result(p, s, total, s->total_sum, s->total_max);
}

/* The spans of one query row, merged in order. */
KERNEL(THREADS) merge_kernel(PARAMS(attention_params) p)
{
    uint32_t n_spans = (p.pos0 + BLOCK_X / p.n_heads) / ATTEND_SPAN + 1;
    const float *part = p.partial + (size_t)BLOCK_X * p.n_spans * (p.head_dim + 2);

    for (uint32_t d = THREAD; d < p.head_dim; d += THREADS) {
        float max = part[0], sum = part[1], y = part[2 + d];

        for (uint32_t span = 1; span < n_spans; span++) {
            const float *next = part + (size_t)span * (p.head_dim + 2);
            struct merged m = merge(max, next[0]);

            sum = sum * m.keep_total + next[1] * m.keep_span;
            y = y * m.keep_total + next[2 + d] * m.keep_span;
            max = m.max;
        }
        p.y[(size_t)BLOCK_X * p.head_dim + d] = y / sum;
    }
}

size_t attention_shared_bytes(uint32_t head_dim)
{
    return sizeof(struct attend_shared) + 3 * sizeof(float) * QUERIES * head_dim;
}

static int launch_attention_of(struct queue *queue, const struct attention_params *p, uint32_t units, uint32_t spans)
{
    size_t shared = attention_shared_bytes(p->head_dim);

    switch (p->kv_type) {
    case KV_Q8_0:
        return launch(queue, attention_kernel<KV_Q8_0>, units, p->n_kv_heads, spans, THREADS, shared, *p);
    case KV_F16:
        return launch(queue, attention_kernel<KV_F16>, units, p->n_kv_heads, spans, THREADS, shared, *p);
    default:
        return launch(queue, attention_kernel<KV_F32>, units, p->n_kv_heads, spans, THREADS, shared, *p);
    }
}

int launch_attention(struct queue *queue, const struct attention_params *p)
{
    uint32_t rows = p->n_tokens * (p->n_heads / p->n_kv_heads), units = (rows + QUERIES - 1) / QUERIES;
    int r = launch_attention_of(queue, p, units, p->partial != NULL ? p->n_spans : 1);

    if (r < 0 || p->partial == NULL)
        return r;
    return launch(queue, merge_kernel, p->n_tokens * p->n_heads, 1, 1, THREADS, 0, *p);
}
