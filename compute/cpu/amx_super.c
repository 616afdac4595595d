/* SPDX-License-Identifier: MIT
 *
 * amx_super.c: products of tiles of super-blocks (ACT_SUPER in kernels.h) by AMX-INT8.
 *
 * A register of up to 16 tokens goes through a block of weights in two planes: an item. What follows (scales, minima,
 * lanes) is as much work for the vectors as the products are for the tiles, and so is making the next block's planes.
 * A processor looks a few hundred instructions ahead, so all three are mixed finely: two tokens of the item before are
 * added up between two products.
 *
 * Lanes are done in the order of their addition (avx512_tile.h), so that a sum for each level of that tree is kept.
 */
#include "compute/cpu/amx_planes.h"
#include "compute/cpu/amx_tiles.h"

enum {
    TILE_MOST = 16,  /* tokens of a register */
    CHUNK_MOST = 64, /* whose sums stay in the first-level cache */
    CHUNK_TILES = CHUNK_MOST / TILE_MOST,
    LANE_LEVELS = 4,
    BLOCK_STEPS = QUANT_SUPER / AMX_STEP,
    LINES = AMX_STEP / 4, /* of a register of weights */
    FETCH_LINES = 10,     /* of what is ahead, with each item */
};

/* Of a register of tokens, in both planes. */
struct sums {
    int32_t low[TILE_MOST][AMX_ROWS], high[TILE_MOST][AMX_ROWS];
};

typedef float lane_rows[TILE_MOST][AMX_ROWS];

/* A block and a register of tokens. */
struct item {
    const struct super_tile *w; /* NULL: a lane without blocks */
    const struct act_super *acts;
    struct sums *sums;
    lane_rows *lane; /* what is in the rows before it waits for it */
    bool first;      /* of its lane */
    int n_partners;  /* that the lane is added to, if this is its last block */
};

/* Weights on their way into planes. */
struct plane_job {
    const struct super_tile *w;
    struct planes *planes;
    int g, end; /* groups */
};

/* Tokens of one chunk on their way through the blocks. */
struct chunk {
    lane_rows lanes[CHUNK_TILES][LANE_LEVELS];
    struct sums sums[2];
    struct planes planes[2];
    const char *acts;
    size_t stride; /* of acts */
    struct dealt tiles;
} __attribute__((aligned(64)));

/* What all tokens of an item need. */
struct factors {
    __m512 d, dmin;
    __m512i low[PAIRS];
    __mmask16 go_on; /* of the lane */
};

SIMD_INLINE struct factors factors_load(enum kind kind, const struct item *item)
{
    struct factors f = { .d = _mm512_load_ps(item->w->d), .go_on = item->first ? 0 : 0xffff };
    const int n = is_halved(kind) ? PAIRS / 2 : PAIRS;

    if (has_minima(kind)) {
        f.dmin = _mm512_load_ps(item->w->dmin);
        UNROLL for (int i = 0; i < n; i++) f.low[i] = _mm512_load_si512(item->w->low[i]);
    }
    return f;
}

SIMD_INLINE __m512 whole_at(enum kind kind, const struct sums *sums, int t)
{
    __m512i whole = _mm512_load_si512(sums->low[t]);

    if (has_high(kind))
        whole = _mm512_add_epi32(whole, _mm512_slli_epi32(_mm512_load_si512(sums->high[t]), has_minima(kind) ? 3 : 8));
    return _mm512_cvtepi32_ps(whole);
}

SIMD_INLINE __m512 minima_at(enum kind kind, const struct factors *f, const struct act_super *a)
{
    const int n = is_halved(kind) ? PAIRS / 2 : PAIRS;
    __m512i sum = _mm512_setzero_si512();

    UNROLL for (int i = 0; i < n; i++) sum =
        _mm512_dpwssd_epi32(sum, f->low[i], spread4((is_halved(kind) ? a->pair_sum : a->sum) + 2 * i));
    return _mm512_cvtepi32_ps(sum);
}

SIMD_INLINE void token_add(enum kind kind, const struct factors *f, const struct act_super *a, const struct sums *sums,
                           lane_rows *lane, int t)
{
    __m512 d = _mm512_set1_ps(a->d), sum = _mm512_maskz_load_ps(f->go_on, (*lane)[t]);

    sum = _mm512_add_ps(sum, _mm512_mul_ps(_mm512_mul_ps(f->d, d), whole_at(kind, sums, t)));
    if (has_minima(kind))
        sum = _mm512_sub_ps(sum, _mm512_mul_ps(_mm512_mul_ps(f->dmin, d), minima_at(kind, f, a)));
    _mm512_store_ps((*lane)[t], sum);
}

SIMD_INLINE const struct act_super *act_at(const struct act_super *acts, size_t stride, int t)
{
    return (const struct act_super *)((const char *)acts + (size_t)t * stride);
}

/* Two tokens, as many as there is time for between two products. */
SIMD_INLINE void tokens_add(enum kind kind, const struct factors *f, const struct item *item, size_t stride,
                            int n_tokens, int t)
{
    if (t < n_tokens)
        token_add(kind, f, act_at(item->acts, stride, t), item->sums, item->lane, t);
    if (t + 1 < n_tokens)
        token_add(kind, f, act_at(item->acts, stride, t + 1), item->sums, item->lane, t + 1);
}

/* A lane that is done goes to those that wait for it: four tokens of it. */
SIMD_INLINE void lane_end(const struct item *item, int t0)
{
    lane_rows *lane = item->lane;

    for (int i = 0; i < item->n_partners; i++, lane--)
        UNROLL for (int t = t0; t < t0 + 4; t++)
            _mm512_store_ps(lane[-1][t], _mm512_add_ps(_mm512_load_ps(lane[-1][t]), _mm512_load_ps(lane[0][t])));
}

SIMD_INLINE void product_low(const struct act_super *acts, size_t stride, const struct planes *planes, int step)
{
    _tile_loadd(4, acts->q + AMX_STEP * step, stride);
    _tile_loadd(6, planes->low[LINES * step], AMX_LINE);
    _tile_dpbsud(0, 4, 6);
}

SIMD_INLINE void product_high(enum kind kind, const struct planes *planes, int step)
{
    if (!has_high(kind))
        return;
    _tile_loadd(7, planes->high[LINES * step], AMX_LINE);
    if (is_halved(kind) && has_minima(kind))
        _tile_dpbsud(1, 4, 7);
    else
        _tile_dpbssd(1, 4, 7);
}

/* What is done at once: multiply an item, add up the one before it, and go on with the next block's planes. */
struct step {
    const struct item *now;      /* NULL: behind the last */
    const struct planes *planes; /* of its block */
    const struct item *before;   /* NULL: none yet */
    struct plane_job job;        /* goes on from step to step */
    size_t stride;               /* of acts */
    int n_tokens;
};

SIMD_INLINE void step_mixed(enum kind kind, int bias_shift, const bool multiply, const bool add, struct step *s)
{
    int groups = (s->job.end - s->job.g + BLOCK_STEPS - 1) / BLOCK_STEPS;
    struct factors f;

    if (add)
        f = factors_load(kind, s->before);
    if (multiply) {
        _tile_zero(0);
        _tile_zero(1);
    }
    UNROLL for (int step = 0; step < BLOCK_STEPS; step++)
    {
        if (multiply)
            product_low(s->now->acts, s->stride, s->planes, step);
        if (add)
            tokens_add(kind, &f, s->before, s->stride, s->n_tokens, 4 * step);
        if (multiply)
            product_high(kind, s->planes, step);
        if (add)
            tokens_add(kind, &f, s->before, s->stride, s->n_tokens, 4 * step + 2);
        if (s->before != NULL)
            lane_end(s->before, 4 * step);
        for (int i = 0; i < groups && s->job.g < s->job.end; i++)
            planes_put(kind, bias_shift, s->job.w, s->job.g++, s->job.planes);
    }
    if (multiply) {
        _tile_stored(0, s->now->sums->low, AMX_LINE);
        if (has_high(kind))
            _tile_stored(1, s->now->sums->high, AMX_LINE);
    }
}

SIMD_INLINE void step_run(enum kind kind, int bias_shift, struct step *s)
{
    bool multiply = s->now != NULL && s->now->w != NULL, add = s->before != NULL && s->before->w != NULL;

    if (s->before != NULL && !add)
        memset(s->before->lane, 0, sizeof(*s->before->lane));
    tiles_barrier();
    if (multiply && add)
        step_mixed(kind, bias_shift, true, true, s);
    else if (multiply)
        step_mixed(kind, bias_shift, true, false, s);
    else
        step_mixed(kind, bias_shift, false, add, s);
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

/* The next of the blocks in their order, and which lane it is of; false behind the last. */
struct place {
    int i, n_lanes;
    size_t b, n_blocks;
};

static inline bool place_next(struct place *p)
{
    p->b += LANE_BLOCKS;
    if (p->b < p->n_blocks)
        return true;
    if (++p->i == p->n_lanes)
        return false;
    p->b = lane_at(p->i, p->n_lanes);
    return true;
}

static inline struct item item_at(struct chunk *c, const struct place *p, const struct super_tile *w, size_t tile)
{
    bool there = p->b < p->n_blocks;
    size_t row = dealt_start(&c->tiles, tile);

    return (struct item){
        .w = there ? w + p->b : NULL,
        .acts = there ? (const struct act_super *)(c->acts + row * c->stride) + p->b : NULL,
        .lane = &c->lanes[tile][__builtin_popcount((unsigned)p->i)],
        .first = p->b < LANE_BLOCKS,
        .n_partners = p->b + LANE_BLOCKS >= p->n_blocks ? __builtin_ctz(~(unsigned)p->i) : 0,
    };
}

/* So few at a time that they arrive while an item is multiplied. */
static inline void fetch_some(struct ahead *ahead)
{
    for (int i = 0; i < FETCH_LINES && ahead->at < ahead->end; i++, ahead->at += AMX_LINE)
        __builtin_prefetch(ahead->at, 0, 2);
}

SIMD_INLINE void chunk_blocks(enum kind kind, int bias_shift, struct chunk *c, const struct super_tile *w,
                              size_t n_blocks, struct ahead *ahead)
{
    struct place place = { 0, lanes_used(n_blocks), 0, n_blocks };
    struct step step = { .stride = c->stride, .n_tokens = (int)c->tiles.size };
    struct item items[2];
    int at = 0, n_groups = planes_groups(kind), n_tiles = (int)c->tiles.n_groups;

    for (int g = 0; g < n_groups; g++)
        planes_put(kind, bias_shift, w, g, &c->planes[0]);
    for (bool more = true; more; at++) {
        struct place here = place;
        bool goes_on;

        more = place_next(&place);
        goes_on = more && place.b < n_blocks;
        step.planes = &c->planes[at & 1];
        step.job = (struct plane_job){ .w = goes_on ? w + place.b : NULL, .planes = &c->planes[~at & 1] };
        for (int tile = 0; tile < n_tiles; tile++) {
            struct item *now = step.before == &items[0] ? &items[1] : &items[0];

            fetch_some(ahead);
            *now = item_at(c, &here, w, (size_t)tile);
            now->sums = &c->sums[now - items];
            step.now = now;
            step.job.end = goes_on ? n_groups * (tile + 1) / n_tiles : 0;
            step_run(kind, bias_shift, &step);
            step.before = now;
        }
    }
    step.now = NULL;
    step.job = (struct plane_job){ 0 };
    step_run(kind, bias_shift, &step);
}

static void chunk_store(const struct chunk *c, size_t n_rows, float *y, size_t y_stride)
{
    __mmask16 rows = (__mmask16)((1u << n_rows) - 1);

    for (size_t tile = 0; tile < c->tiles.n_groups; tile++)
        for (size_t t = 0; t < c->tiles.size; t++)
            _mm512_mask_storeu_ps(y + (dealt_start(&c->tiles, tile) + t) * y_stride, rows,
                                  _mm512_load_ps(c->lanes[tile][0][t]));
}

SIMD_INLINE void dots_super(enum kind kind, int bias_shift, const void *tile, size_t n_rows, size_t n, const void *acts,
                            size_t stride, size_t n_acts, float *y, size_t y_stride, struct ahead *ahead)
{
    struct dealt chunks = deal(n_acts, CHUNK_MOST);
    struct chunk c;

    c.stride = stride;
    c.tiles = deal(chunks.size, TILE_MOST);
    tiles_take(c.tiles.size, AMX_STEP);
    for (size_t chunk = 0; chunk < chunks.n_groups; chunk++) {
        size_t start = dealt_start(&chunks, chunk);

        c.acts = (const char *)acts + start * stride;
        chunk_blocks(kind, bias_shift, &c, tile, n / QUANT_SUPER, ahead);
        chunk_store(&c, n_rows, y + start * y_stride, y_stride);
    }
    _tile_release();
}

#define DOTS(name, kind, bias_shift)                                                                            \
    static void name(const void *tile, size_t n_rows, size_t n, const void *acts, size_t stride, size_t n_acts, \
                     float *y, size_t y_stride, struct ahead *ahead)                                            \
    {                                                                                                           \
        dots_super(kind, bias_shift, tile, n_rows, n, acts, stride, n_acts, y, y_stride, ahead);                \
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
