/* SPDX-License-Identifier: MIT
 *
 * amx_small.c: products of tiles of 32-weight blocks (ACT_SMALL in kernels.h) by AMX-INT8.
 *
 * A block is half a register, and its sixteen times sixteen whole numbers must be scaled: twice as much work for the
 * vectors as for the tiles. So sixteen tokens' sums of a lane stay in vector registers, and while a block is multiplied
 * the one before is added up.
 */
#include "compute/cpu/amx_tiles.h"
#include "compute/cpu/avx512_turn_small.h"

enum { GROUP_MOST = 16 /* tokens of a register */ };

_Static_assert(sizeof(struct small_tile) == sizeof(struct amx_small), "it is turned in place");

typedef int32_t product[GROUP_MOST][AMX_ROWS];

/* Tokens of one group on their way through the blocks. */
struct group {
    const char *q;                /* the first one's row */
    size_t stride;                /* between rows; 0: blocks are copied side by side */
    const char *acts[GROUP_MOST]; /* those that are not there are the last one */
    size_t n_tokens, n;
    float lanes[LANE_BLOCKS][GROUP_MOST][AMX_ROWS];
    product products[2];
    int8_t copy[GROUP_MOST][QUANT_SMALL];
} __attribute__((aligned(64)));

SIMD_INLINE void block_multiply(struct group *g, const struct amx_small *w, size_t b, int32_t (*ret)[AMX_ROWS])
{
    const char *q = g->q + b * QUANT_SMALL;
    size_t stride = g->stride;

    if (stride == 0) {
        q = (const char *)g->copy;
        stride = QUANT_SMALL;
        for (size_t t = 0; t < g->n_tokens; t++)
            memcpy(g->copy[t], g->acts[t] + b * QUANT_SMALL, QUANT_SMALL);
        tiles_barrier();
    }
    _tile_zero(0);
    _tile_loadd(4, q, stride);
    _tile_loadd(6, w[b].q, AMX_LINE);
    _tile_dpbssd(0, 4, 6);
    _tile_stored(0, ret, AMX_LINE);
}

SIMD_INLINE void block_add(bool minima, const struct group *g, const struct amx_small *w, size_t b,
                           int32_t (*products)[AMX_ROWS], __m512 *lane)
{
    size_t d_at = small_d_offset(g->n) + b * sizeof(float), sum_at = small_m_offset(g->n) + b * sizeof(int32_t);
    __m512 d = _mm512_load_ps(w[b].d), m = _mm512_load_ps(w[b].m);

    UNROLL for (int t = 0; t < GROUP_MOST; t++)
    {
        __m512 act_d = _mm512_set1_ps(*(const float *)(g->acts[t] + d_at));
        __m512 whole = _mm512_cvtepi32_ps(_mm512_load_si512(products[t]));

        lane[t] = _mm512_add_ps(lane[t], _mm512_mul_ps(_mm512_mul_ps(d, act_d), whole));
        if (minima)
            lane[t] = _mm512_add_ps(
                lane[t], _mm512_mul_ps(_mm512_mul_ps(m, act_d), _mm512_cvtepi32_ps(spread4(g->acts[t] + sum_at))));
    }
}

SIMD_INLINE void lane_keep(struct group *g, size_t b, __m512 *lane)
{
    UNROLL for (int t = 0; t < GROUP_MOST; t++)
    {
        _mm512_store_ps(g->lanes[b % LANE_BLOCKS][t], lane[t]);
        lane[t] = _mm512_setzero_ps();
    }
}

/* Lane by lane; the next block's products are under way while one is added up. */
SIMD_INLINE void group_blocks(bool minima, struct group *g, const struct amx_small *w, size_t n_blocks)
{
    __m512 lane[GROUP_MOST];
    size_t b = 0;
    int at = 0;

    UNROLL for (int t = 0; t < GROUP_MOST; t++) lane[t] = _mm512_setzero_ps();
    block_multiply(g, w, b, g->products[at]);
    for (;;) {
        size_t next = b + LANE_BLOCKS < n_blocks ? b + LANE_BLOCKS : b % LANE_BLOCKS + 1;
        bool ends = next % LANE_BLOCKS != b % LANE_BLOCKS, all = ends && (next >= n_blocks || next == LANE_BLOCKS);

        if (!all)
            block_multiply(g, w, next, g->products[at ^ 1]);
        block_add(minima, g, w, b, g->products[at], lane);
        if (ends)
            lane_keep(g, b, lane);
        if (all)
            return;
        b = next;
        at ^= 1;
    }
}

/* The lanes added in the order of vec_sum. */
SIMD_INLINE void group_store(const struct group *g, size_t n_rows, float *y, size_t y_stride)
{
    __mmask16 rows = (__mmask16)((1u << n_rows) - 1);

    for (size_t t = 0; t < g->n_tokens; t++) {
        __m512 four[4];

        UNROLL for (int l = 0; l < 4; l++) four[l] =
            _mm512_add_ps(_mm512_load_ps(g->lanes[l][t]), _mm512_load_ps(g->lanes[l + 4][t]));
        _mm512_mask_storeu_ps(y + t * y_stride, rows,
                              _mm512_add_ps(_mm512_add_ps(four[0], four[2]), _mm512_add_ps(four[1], four[3])));
    }
}

SIMD_INLINE void dots_small(bool minima, const void *tile, size_t n_rows, size_t n, const void *const *acts,
                            size_t n_acts, float *y, size_t y_stride)
{
    struct dealt groups = deal(n_acts, GROUP_MOST);
    struct group g = { .stride = acts_stride(acts, n_acts), .n_tokens = groups.size, .n = n };

    tiles_take(groups.size, QUANT_SMALL);
    for (size_t group = 0; group < groups.n_groups; group++) {
        size_t start = dealt_start(&groups, group);

        g.q = acts[start];
        for (size_t t = 0; t < GROUP_MOST; t++)
            g.acts[t] = acts[start + (t < groups.size ? t : groups.size - 1)];
        group_blocks(minima, &g, tile, n / QUANT_SMALL);
        group_store(&g, n_rows, y + start * y_stride, y_stride);
    }
    _tile_release();
}

static void dots_plain(const void *tile, size_t n_rows, size_t n, const void *const *acts, size_t n_acts, float *y,
                       size_t y_stride)
{
    dots_small(false, tile, n_rows, n, acts, n_acts, y, y_stride);
}

static void dots_minima(const void *tile, size_t n_rows, size_t n, const void *const *acts, size_t n_acts, float *y,
                        size_t y_stride)
{
    dots_small(true, tile, n_rows, n, acts, n_acts, y, y_stride);
}

#define UNPACK(name, type, block_bytes)                                                                              \
    static void name(enum quant_type unused, const void *src, size_t row_bytes, size_t n_rows, size_t n, void *tile) \
    {                                                                                                                \
        turn_small(type, true, block_bytes, src, row_bytes, n_rows, n, tile);                                        \
    }

UNPACK(unpack_q4_0_amx, QUANT_Q4_0, 18)
UNPACK(unpack_q4_1_amx, QUANT_Q4_1, 20)
UNPACK(unpack_q5_0_amx, QUANT_Q5_0, 22)
UNPACK(unpack_q5_1_amx, QUANT_Q5_1, 24)
UNPACK(unpack_q8_0_amx, QUANT_Q8_0, 34)
UNPACK(unpack_iq4_nl_amx, QUANT_IQ4_NL, 18)
UNPACK(unpack_mxfp4_amx, QUANT_MXFP4, 17)

static void set(struct cpu_kernels *k, enum quant_type type,
                void (*unpack)(enum quant_type, const void *, size_t, size_t, size_t, void *),
                void (*dots)(const void *, size_t, size_t, const void *const *, size_t, float *, size_t))
{
    k->unpack[type] = unpack;
    k->dots[type] = dots;
}

void amx_small_fill(struct cpu_kernels *k)
{
    set(k, QUANT_Q4_0, unpack_q4_0_amx, dots_plain);
    set(k, QUANT_Q5_0, unpack_q5_0_amx, dots_plain);
    set(k, QUANT_Q8_0, unpack_q8_0_amx, dots_plain);
    set(k, QUANT_IQ4_NL, unpack_iq4_nl_amx, dots_plain);
    set(k, QUANT_MXFP4, unpack_mxfp4_amx, dots_plain);
    set(k, QUANT_Q4_1, unpack_q4_1_amx, dots_minima);
    set(k, QUANT_Q5_1, unpack_q5_1_amx, dots_minima);
}
