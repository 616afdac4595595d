/* SPDX-License-Identifier: MIT
 *
 * amx_super.c: products of tiles of super-blocks (ACT_SUPER in kernels.h) by AMX-INT8.
 *
 * Up to 32 tokens go through the registers together: two times activations and two planes of weights give four
 * products. What follows (scales, minima, lanes) is as much work for the vectors as the products are for the tiles, and
 * neither waits for the other: while a block is multiplied, the block before is added up.
 *
 * Lanes are done in the order of their addition (avx512_tile.h), so that a sum for each level of that tree is kept.
 */
#include "compute/cpu/amx_tiles.h"
#include "compute/cpu/avx512_turn.h"

enum {
    TILE_MOST = 16,  /* tokens of a register */
    PAIR_MOST = 32,  /* of two */
    CHUNK_MOST = 64, /* whose sums stay in the first-level cache */
    BLOCK_STEPS = QUANT_SUPER / AMX_STEP,
    LINES = AMX_STEP / 4, /* of a register of weights */
};

/* A block of sixteen rows, multiplied by their scales: 64 weights of each in sixteen lines. */
struct planes {
    uint8_t low[STEPS][AMX_LINE], high[STEPS][AMX_LINE];
};

typedef int32_t product[TILE_MOST][AMX_ROWS];

/* Of two registers of tokens, in both planes. */
struct sums {
    product low[2], high[2];
};

/* Of a token: its row in a register is its row here. */
typedef float token_rows[CHUNK_MOST][AMX_ROWS];

/* Tokens of one chunk on their way through the blocks. */
struct chunk {
    const void *const *acts;
    size_t stride; /* of acts, if all are as far apart; 0: they are copied */
    struct dealt pairs, tiles;
    token_rows lane, waiting[4];
    struct sums sums[2];
    struct planes planes;
    struct act_super copy[2][PAIR_MOST];
} __attribute__((aligned(64)));

/* A block and a pair of registers. */
struct item {
    const struct super_tile *w; /* NULL: a lane without blocks */
    const char *acts[2];
    size_t stride;
    size_t slot;      /* of the first token in a token_rows */
    bool first, last; /* of its lane */
    int n_levels;     /* of the tree, that this lane completes */
    struct sums *sums;
};

/* A scale of each row as 16-bit lanes, both of its dword. */
SIMD_INLINE __m512i scale_twice(const struct super_tile *t, int g)
{
    __m512i scale = _mm512_load_si512(t->scale[g]);

    return _mm512_mask_blend_epi16(0xaaaaaaaa, scale, _mm512_slli_epi32(scale, 16));
}

/* Both halves of a scale of six bits times unsigned weights of at most five: bytes that do not spill. */
SIMD_INLINE void planes_halves(__m512i q, __m512i scale, void *low, void *high)
{
    _mm512_store_si512(low, _mm512_mullo_epi16(q, _mm512_and_si512(scale, _mm512_set1_epi16(7))));
    _mm512_store_si512(high, _mm512_mullo_epi16(q, _mm512_srli_epi16(scale, 3)));
}

/* Scale times signed weight, a number of 16 bits, in its two bytes. */
SIMD_INLINE void planes_bytes(__m512i q, __m512i scale, void *low, void *high)
{
    const __m512i first = _mm512_set1_epi16(255);
    __m512i even = _mm512_mullo_epi16(_mm512_srai_epi16(_mm512_slli_epi16(q, 8), 8), scale);
    __m512i odd = _mm512_mullo_epi16(_mm512_srai_epi16(q, 8), scale);

    _mm512_store_si512(low, _mm512_ternarylogic_epi32(first, even, _mm512_slli_epi16(odd, 8), 0xca));
    _mm512_store_si512(high, _mm512_ternarylogic_epi32(first, _mm512_srli_epi16(even, 8), odd, 0xca));
}

/* A block's weights times their scales. `shift`: of their bias. */
SIMD_INLINE void planes_put(enum kind kind, int bias_shift, const struct super_tile *t, struct planes *planes)
{
    const int n_groups = is_halved(kind) ? QUANT_GROUPS / 2 : QUANT_GROUPS, n_steps = STEPS / n_groups;

    for (int g = 0; g < n_groups; g++) {
        __m512i scale = scale_twice(t, g);

        UNROLL for (int k = g * n_steps; k < (g + 1) * n_steps; k++)
        {
            __m512i q = _mm512_load_si512(t->q[k]);

            if (kind == MINIMA_HALVED)
                planes_halves(q, scale, planes->low[k], planes->high[k]);
            else if (kind == MINIMA)
                _mm512_store_si512(planes->low[k], _mm512_mullo_epi16(q, scale));
            else
                planes_bytes(_mm512_sub_epi8(q, _mm512_set1_epi8((char)(1 << bias_shift))), scale, planes->low[k],
                             planes->high[k]);
        }
    }
    tiles_barrier();
}

/* Where a pair's tokens lie at a block; they are copied side by side if they are strewn. */
static inline void item_acts(struct chunk *c, size_t pair, size_t b, struct act_super *copy, struct item *item)
{
    size_t start = dealt_start(&c->pairs, pair), second = dealt_start(&c->tiles, c->tiles.n_groups - 1);
    const char *at = (const char *)copy;

    item->stride = sizeof(struct act_super);
    if (c->stride > 0) {
        at = (const char *)((const struct act_super *)c->acts[start] + b);
        item->stride = c->stride;
    } else {
        for (size_t t = 0; t < c->pairs.size; t++)
            copy[t] = ((const struct act_super *)c->acts[start + t])[b];
        tiles_barrier();
    }
    item->acts[0] = at;
    item->acts[1] = at + second * item->stride;
}

SIMD_INLINE bool has_high(enum kind kind)
{
    return kind != MINIMA; /* Q2_K: a scale of four bits times a weight of two */
}

SIMD_INLINE void products_zero(enum kind kind, bool two)
{
    _tile_zero(0);
    if (has_high(kind))
        _tile_zero(1);
    if (two) {
        _tile_zero(2);
        if (has_high(kind))
            _tile_zero(3);
    }
}

SIMD_INLINE void products_step(enum kind kind, const struct item *item, const struct planes *planes, bool two, int step)
{
    _tile_loadd(4, item->acts[0] + AMX_STEP * step, item->stride);
    _tile_loadd(6, planes->low[LINES * step], AMX_LINE);
    _tile_dpbsud(0, 4, 6);
    if (two) {
        _tile_loadd(5, item->acts[1] + AMX_STEP * step, item->stride);
        _tile_dpbsud(2, 5, 6);
    }
    if (!has_high(kind))
        return;
    _tile_loadd(7, planes->high[LINES * step], AMX_LINE);
    if (is_halved(kind) && has_minima(kind)) {
        _tile_dpbsud(1, 4, 7);
        if (two)
            _tile_dpbsud(3, 5, 7);
    } else {
        _tile_dpbssd(1, 4, 7);
        if (two)
            _tile_dpbssd(3, 5, 7);
    }
}

SIMD_INLINE void products_store(enum kind kind, struct sums *sums, bool two)
{
    _tile_stored(0, sums->low[0], AMX_LINE);
    if (has_high(kind))
        _tile_stored(1, sums->high[0], AMX_LINE);
    if (two) {
        _tile_stored(2, sums->low[1], AMX_LINE);
        if (has_high(kind))
            _tile_stored(3, sums->high[1], AMX_LINE);
    }
}

SIMD_INLINE __m512 whole_at(enum kind kind, const struct sums *sums, int tile, size_t t)
{
    __m512i whole = _mm512_load_si512(sums->low[tile][t]);

    if (has_high(kind))
        whole = _mm512_add_epi32(whole,
                                 _mm512_slli_epi32(_mm512_load_si512(sums->high[tile][t]), has_minima(kind) ? 3 : 8));
    return _mm512_cvtepi32_ps(whole);
}

SIMD_INLINE __m512 minima_at(enum kind kind, const struct super_tile *w, const struct act_super *a)
{
    const int n = is_halved(kind) ? PAIRS / 2 : PAIRS;
    __m512i sum = _mm512_setzero_si512();

    UNROLL for (int i = 0; i < n; i++) sum = _mm512_dpwssd_epi32(
        sum, _mm512_load_si512(w->low[i]), spread4((is_halved(kind) ? a->pair_sum : a->sum) + 2 * i));
    return _mm512_cvtepi32_ps(sum);
}

/* A lane's sum goes where its partner waits, or waits itself. */
SIMD_INLINE void lane_put(struct chunk *c, const struct item *item, size_t slot, __m512 sum)
{
    if (!item->last) {
        _mm512_store_ps(c->lane[slot], sum);
        return;
    }
    for (int level = 0; level < item->n_levels; level++)
        sum = _mm512_add_ps(_mm512_load_ps(c->waiting[level][slot]), sum);
    _mm512_store_ps(c->waiting[item->n_levels][slot], sum);
}

SIMD_INLINE void token_add(enum kind kind, struct chunk *c, const struct item *item, int tile, size_t t)
{
    const struct act_super *a = (const struct act_super *)(item->acts[tile] + t * item->stride);
    size_t slot = item->slot + TILE_MOST * (size_t)tile + t;
    __m512 d = _mm512_set1_ps(a->d), sum = item->first ? _mm512_setzero_ps() : _mm512_load_ps(c->lane[slot]);

    sum = _mm512_add_ps(
        sum, _mm512_mul_ps(_mm512_mul_ps(_mm512_load_ps(item->w->d), d), whole_at(kind, item->sums, tile, t)));
    if (has_minima(kind))
        sum = _mm512_sub_ps(
            sum, _mm512_mul_ps(_mm512_mul_ps(_mm512_load_ps(item->w->dmin), d), minima_at(kind, item->w, a)));
    lane_put(c, item, slot, sum);
}

/* A quarter of an item's tokens. */
SIMD_INLINE void tokens_add(enum kind kind, struct chunk *c, const struct item *item, size_t step)
{
    size_t end = 4 * step + 4 < c->tiles.size ? 4 * step + 4 : c->tiles.size;

    for (size_t tile = 0; tile < c->tiles.n_groups; tile++)
        for (size_t t = 4 * step; t < end; t++)
            if (item->w != NULL)
                token_add(kind, c, item, (int)tile, t);
            else
                lane_put(c, item, item->slot + TILE_MOST * tile + t, _mm512_setzero_ps());
}

/* Multiply one item while the one before is added up; either may be NULL. */
SIMD_INLINE void items_step(enum kind kind, struct chunk *c, const struct item *now, const struct item *before)
{
    bool two = c->tiles.n_groups == 2, multiply = now != NULL && now->w != NULL;

    if (multiply)
        products_zero(kind, two);
    for (int step = 0; step < BLOCK_STEPS; step++) {
        if (multiply)
            products_step(kind, now, &c->planes, two, step);
        if (before != NULL)
            tokens_add(kind, c, before, (size_t)step);
    }
    if (multiply)
        products_store(kind, now->sums, two);
}

/* How many lanes a row of few blocks has that are not empty: a power of two, so that whole subtrees are left out. */
static inline int lanes_used(size_t n_blocks)
{
    return n_blocks > 4 ? 8 : n_blocks > 2 ? 4 : n_blocks > 1 ? 2 : 1;
}

/* The i-th lane in the order of their addition, of so many. */
static inline size_t lane_at(int i, int n_lanes)
{
    return lane_order[i * (LANE_BLOCKS / n_lanes)];
}

SIMD_INLINE void chunk_blocks(enum kind kind, int bias_shift, struct chunk *c, const struct super_tile *w,
                              size_t n_blocks)
{
    struct item items[2], *before = NULL;
    int n_lanes = lanes_used(n_blocks), at = 0;

    for (int i = 0; i < n_lanes; i++) {
        size_t b = lane_at(i, n_lanes);

        do {
            if (b < n_blocks)
                planes_put(kind, bias_shift, w + b, &c->planes);
            for (size_t pair = 0; pair < c->pairs.n_groups; pair++, at ^= 1) {
                struct item *now = &items[at];

                *now = (struct item){ .w = b < n_blocks ? w + b : NULL,
                                      .slot = pair * PAIR_MOST,
                                      .first = b < LANE_BLOCKS,
                                      .last = b + LANE_BLOCKS >= n_blocks,
                                      .n_levels = __builtin_ctz(~(unsigned)i),
                                      .sums = &c->sums[at] };
                if (now->w != NULL)
                    item_acts(c, pair, b, c->copy[at], now);
                items_step(kind, c, now, before);
                before = now;
            }
            b += LANE_BLOCKS;
        } while (b < n_blocks);
    }
    items_step(kind, c, NULL, before);
}

static void chunk_store(const struct chunk *c, size_t n_blocks, size_t n_rows, float *y, size_t y_stride)
{
    const token_rows *sums = &c->waiting[__builtin_ctz((unsigned)lanes_used(n_blocks))];
    __mmask16 rows = (__mmask16)((1u << n_rows) - 1);

    for (size_t pair = 0; pair < c->pairs.n_groups; pair++)
        for (size_t tile = 0; tile < c->tiles.n_groups; tile++)
            for (size_t t = 0; t < c->tiles.size; t++)
                _mm512_mask_storeu_ps(y + (dealt_start(&c->pairs, pair) + dealt_start(&c->tiles, tile) + t) * y_stride,
                                      rows, _mm512_load_ps((*sums)[pair * PAIR_MOST + TILE_MOST * tile + t]));
}

SIMD_INLINE void dots_super(enum kind kind, int bias_shift, const void *tile, size_t n_rows, size_t n,
                            const void *const *acts, size_t n_acts, float *y, size_t y_stride)
{
    struct dealt chunks = deal(n_acts, CHUNK_MOST);
    struct chunk c;

    c.stride = acts_stride(acts, n_acts);
    c.pairs = deal(chunks.size, PAIR_MOST);
    c.tiles = deal(c.pairs.size, TILE_MOST);
    tiles_take(c.tiles.size, AMX_STEP);
    for (size_t chunk = 0; chunk < chunks.n_groups; chunk++) {
        size_t start = dealt_start(&chunks, chunk);

        c.acts = acts + start;
        chunk_blocks(kind, bias_shift, &c, tile, n / QUANT_SUPER);
        chunk_store(&c, n / QUANT_SUPER, n_rows, y + start * y_stride, y_stride);
    }
    _tile_release();
}

#define DOTS(name, kind, bias_shift)                                                                              \
    static void name(const void *tile, size_t n_rows, size_t n, const void *const *acts, size_t n_acts, float *y, \
                     size_t y_stride)                                                                             \
    {                                                                                                             \
        dots_super(kind, bias_shift, tile, n_rows, n, acts, n_acts, y, y_stride);                                 \
    }

DOTS(dots_by_4, BIAS, 2)
DOTS(dots_by_32, BIAS, 5)
DOTS(dots_by_128, BIAS, 7)
DOTS(dots_halved_by_128, BIAS_HALVED, 7)
DOTS(dots_minima, MINIMA, 0)
DOTS(dots_minima_halved, MINIMA_HALVED, 0)

/* Tiles are the level's below. */
void amx_super_fill(struct cpu_kernels *k)
{
    k->dots_many[QUANT_Q2_K] = dots_minima;
    k->dots_many[QUANT_Q3_K] = dots_by_4;
    k->dots_many[QUANT_Q4_K] = k->dots_many[QUANT_Q5_K] = dots_minima_halved;
    k->dots_many[QUANT_Q6_K] = dots_by_32;
    k->dots_many[QUANT_IQ4_XS] = dots_halved_by_128;
#define SET_LATTICE(format, name) k->dots_many[QUANT_##format] = dots_by_128;
    IQ_FORMATS(SET_LATTICE)
}
