/* SPDX-License-Identifier: MIT
 *
 * kernels_amx.c: the table of the level: products of tiles by AMX-INT8; all else is what lies below.
 *
 * Only integers are multiplied here. AMX-BF16 would round activations to eight bits of mantissa and add in an order of
 * its own, which is not what ACT_F32 means.
 *
 * A thread holds tile registers for the time of one call: configured at its start, released at its end, so that an idle
 * thread has none to be saved. The configuration is constant data: GCC 12's _tile_loadconfig names but 8 bytes of its
 * operand, and stores to the others could be dropped.
 */
#include "compute/cpu/amx.h"
#include "compute/quant_small.h"
#include "compute/quant_super.h"

#include <immintrin.h>
#include <string.h>

struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t line_bytes[16];
    uint8_t lines[16];
} __attribute__((aligned(64)));

/* 0, 1: products; 2: activations, 3: weights, 64 of a row; 4, 5: the same with sixteen; 6, 7: with thirty-two. */
static const struct tile_config config = {
    .palette = 1,
    .line_bytes = { 64, 64, 64, 64, 16, 64, 32, 64 },
    .lines = { 16, 16, 16, 16, 16, 4, 16, 8 },
};

typedef float rows_f32 __attribute__((vector_size(AMX_ROWS * 4), aligned(4), may_alias));
typedef int32_t rows_i32 __attribute__((vector_size(AMX_ROWS * 4), aligned(4), may_alias));

/* Of some tokens, at most as many as a register has rows; those that are missing are 0. */
enum { TOKENS = 16 };

struct sums {
    int32_t low[TOKENS][AMX_ROWS], high[TOKENS][AMX_ROWS];
};

/* Lane b % 8 of kernels.h for each token, rows side by side. */
struct lanes {
    float lane[8][TOKENS][AMX_ROWS];
};

static inline rows_f32 *lane_at(struct lanes *lanes, size_t b, size_t t)
{
    return (rows_f32 *)lanes->lane[b % 8][t];
}

static inline rows_f32 whole_f32(const struct sums *sums, size_t t)
{
    rows_i32 low = *(const rows_i32 *)sums->low[t], high = *(const rows_i32 *)sums->high[t];

    return __builtin_convertvector(low + (high << 8), rows_f32);
}

static inline rows_f32 times(const float d[AMX_ROWS], float act_d, rows_f32 whole)
{
    return *(const rows_f32 *)d * act_d * whole;
}

/* The lanes added in the order of vec_sum. */
static void lanes_store(struct lanes *lanes, size_t n_tokens, size_t n_rows, float *y, size_t y_stride)
{
    for (size_t t = 0; t < n_tokens; t++) {
        rows_f32 four[4], sum;

        for (size_t l = 0; l < 4; l++)
            four[l] = *lane_at(lanes, l, t) + *lane_at(lanes, l + 4, t);
        sum = (four[0] + four[2]) + (four[1] + four[3]);
        memcpy(y + t * y_stride, &sum, n_rows * sizeof(*y));
    }
}

/* What a block's tokens have: weights come in steps of 64, minima are multiplied with the sums of groups, by bytes. */
struct super_acts {
    int8_t q[QUANT_SUPER / AMX_STEP][TOKENS][AMX_STEP];
    uint8_t sum_low[TOKENS][QUANT_GROUPS];
    int8_t sum_high[TOKENS][QUANT_GROUPS];
    float d[TOKENS];
};

static inline void super_acts_take(bool mins, struct super_acts *x, const void *const *acts, size_t n_tokens, size_t b)
{
    for (size_t t = 0; t < n_tokens; t++) {
        const struct act_super *a = (const struct act_super *)acts[t] + b;

        for (size_t step = 0; step < QUANT_SUPER / AMX_STEP; step++)
            memcpy(x->q[step][t], a->q + step * AMX_STEP, AMX_STEP);
        for (size_t g = 0; mins && g < QUANT_GROUPS; g++) {
            x->sum_low[t][g] = (uint8_t)a->sum[g];
            x->sum_high[t][g] = (int8_t)(a->sum[g] >> 8);
        }
        x->d[t] = a->d;
    }
}

static inline void super_products(const struct super_acts *x, const struct amx_super *w, struct sums *sums)
{
    _tile_zero(0);
    _tile_zero(1);
    for (size_t step = 0; step < QUANT_SUPER / AMX_STEP; step++) {
        _tile_loadd(2, x->q[step], AMX_STEP);
        _tile_loadd(3, w->low[step], AMX_LINE);
        _tile_dpbsud(0, 2, 3);
        _tile_loadd(3, w->high[step], AMX_LINE);
        _tile_dpbssd(1, 2, 3);
    }
    _tile_stored(0, sums->low, AMX_LINE);
    _tile_stored(1, sums->high, AMX_LINE);
}

static inline void super_minima(const struct super_acts *x, const struct amx_super *w, struct sums *sums)
{
    _tile_zero(0);
    _tile_zero(1);
    _tile_loadd(5, w->min, AMX_LINE);
    _tile_loadd(4, x->sum_low, QUANT_GROUPS);
    _tile_dpbuud(0, 4, 5);
    _tile_loadd(4, x->sum_high, QUANT_GROUPS);
    _tile_dpbssd(1, 4, 5);
    _tile_stored(0, sums->low, AMX_LINE);
    _tile_stored(1, sums->high, AMX_LINE);
}

static inline __attribute__((always_inline)) void super_group(bool mins, const struct amx_super *w, size_t n_rows,
                                                              size_t n_blocks, const void *const *acts, size_t n_tokens,
                                                              float *y, size_t y_stride)
{
    struct super_acts x = { 0 };
    struct lanes lanes = { 0 };
    struct sums sums;

    for (size_t b = 0; b < n_blocks; b++) {
        super_acts_take(mins, &x, acts, n_tokens, b);
        super_products(&x, &w[b], &sums);
        for (size_t t = 0; t < n_tokens; t++)
            *lane_at(&lanes, b, t) += times(w[b].d, x.d[t], whole_f32(&sums, t));
        if (!mins)
            continue;
        super_minima(&x, &w[b], &sums);
        for (size_t t = 0; t < n_tokens; t++)
            *lane_at(&lanes, b, t) -= times(w[b].dmin, x.d[t], whole_f32(&sums, t));
    }
    lanes_store(&lanes, n_tokens, n_rows, y, y_stride);
}

static inline __attribute__((always_inline)) void dots_super(bool mins, const void *tile, size_t n_rows, size_t n,
                                                             const void *const *acts, size_t n_acts, float *y,
                                                             size_t y_stride)
{
    _tile_loadconfig(&config);
    for (size_t t = 0; t < n_acts; t += TOKENS)
        super_group(mins, tile, n_rows, n / QUANT_SUPER, acts + t, n_acts - t < TOKENS ? n_acts - t : TOKENS,
                    y + t * y_stride, y_stride);
    _tile_release();
}

static void dots_super_plain(const void *tile, size_t n_rows, size_t n, const void *const *acts, size_t n_acts,
                             float *y, size_t y_stride)
{
    dots_super(false, tile, n_rows, n, acts, n_acts, y, y_stride);
}

static void dots_super_mins(const void *tile, size_t n_rows, size_t n, const void *const *acts, size_t n_acts, float *y,
                            size_t y_stride)
{
    dots_super(true, tile, n_rows, n, acts, n_acts, y, y_stride);
}

typedef int32_t line_i32 __attribute__((vector_size(AMX_LINE), aligned(4), may_alias));

/* Lanes of a and b whose numbers differ in bit k change places across. */
#define LANES(f, k)                                                                                                   \
    {                                                                                                                 \
        f(0, k), f(1, k), f(2, k), f(3, k), f(4, k), f(5, k), f(6, k), f(7, k), f(8, k), f(9, k), f(10, k), f(11, k), \
            f(12, k), f(13, k), f(14, k), f(15, k)                                                                    \
    }
#define FIRST(j, k) ((j) & (k) ? 16 + (j) - (k) : (j))
#define SECOND(j, k) ((j) & (k) ? 16 + (j) : (j) + (k))
#define SWAP(r, k)                                                              \
    _Pragma("GCC unroll 16") for (int i = 0; i < AMX_ROWS; i++)                 \
        if ((i & (k)) == 0) {                                                   \
            line_i32 a = (r)[i], b = (r)[i + (k)];                              \
                                                                                \
            (r)[i] = __builtin_shuffle(a, b, (line_i32)LANES(FIRST, k));        \
            (r)[i + (k)] = __builtin_shuffle(a, b, (line_i32)LANES(SECOND, k)); \
        }

/* 64 weights of sixteen rows to lines: sixteen times sixteen fours of bytes, transposed. */
static void lines_put(const int8_t (*rows)[QUANT_SUPER], size_t at, amx_lines lines)
{
    line_i32 r[AMX_ROWS];

    for (int i = 0; i < AMX_ROWS; i++)
        memcpy(&r[i], rows[i] + at, sizeof(r[i]));
    SWAP(r, 1)
    SWAP(r, 2)
    SWAP(r, 4)
    SWAP(r, 8)
    memcpy(lines, r, sizeof(r));
}

/* A block of sixteen rows on its way. */
struct planes {
    int8_t low[AMX_ROWS][QUANT_SUPER], high[AMX_ROWS][QUANT_SUPER];
};

static inline void super_row_put(const struct quant_super *s, size_t r, struct planes *planes, struct amx_super *w)
{
    for (int g = 0; g < QUANT_GROUPS; g++)
        for (int i = QUANT_GROUP * g; i < QUANT_GROUP * (g + 1); i++) {
            int16_t v = (int16_t)(s->scale[g] * (int16_t)(s->q[i] - s->offset));

            planes->low[r][i] = (int8_t)v;
            planes->high[r][i] = (int8_t)(v >> 8);
        }
    for (size_t g = 0; g < QUANT_GROUPS; g++)
        w->min[g / 4][4 * r + g % 4] = (int8_t)s->min[g];
    w->d[r] = s->d;
    w->dmin[r] = s->dmin;
}

/* Rows that are missing are whatever the memory held: their products are not stored, and nothing traps. */
static void unpack_super(enum quant_type type, const void *src, size_t row_bytes, size_t n_rows, size_t n, void *tile)
{
    struct amx_super *w = tile;
    size_t block_bytes = quant_info(type)->block_bytes;
    struct planes planes;

    memset(&planes, 0, sizeof(planes));
    for (size_t b = 0; b < n / QUANT_SUPER; b++, w++) {
        for (size_t r = 0; r < n_rows; r++) {
            struct quant_super s;

            super_unpack_block(type, (const uint8_t *)src + r * row_bytes + b * block_bytes, &s);
            super_row_put(&s, r, &planes, w);
        }
        for (size_t step = 0; step < QUANT_SUPER / AMX_STEP; step++) {
            lines_put(planes.low, step * AMX_STEP, w->low[step]);
            lines_put(planes.high, step * AMX_STEP, w->high[step]);
        }
    }
}

struct small_acts {
    int8_t q[TOKENS][QUANT_SMALL];
    float d[TOKENS], sum[TOKENS];
};

static inline void small_acts_take(struct small_acts *x, const void *const *acts, size_t n_tokens, size_t n, size_t b)
{
    for (size_t t = 0; t < n_tokens; t++) {
        const char *row = acts[t];

        memcpy(x->q[t], row + b * QUANT_SMALL, QUANT_SMALL);
        x->d[t] = ((const float *)(row + small_d_offset(n)))[b];
        x->sum[t] = (float)((const int32_t *)(row + small_m_offset(n)))[b];
    }
}

static inline __attribute__((always_inline)) void small_group(bool mins, const struct amx_small *w, size_t n_rows,
                                                              size_t n, const void *const *acts, size_t n_tokens,
                                                              float *y, size_t y_stride)
{
    struct small_acts x = { 0 };
    struct lanes lanes = { 0 };
    int32_t sums[TOKENS][AMX_ROWS];

    for (size_t b = 0; b < n / QUANT_SMALL; b++) {
        small_acts_take(&x, acts, n_tokens, n, b);
        _tile_zero(0);
        _tile_loadd(6, x.q, QUANT_SMALL);
        _tile_loadd(7, w[b].q, AMX_LINE);
        _tile_dpbssd(0, 6, 7);
        _tile_stored(0, sums, AMX_LINE);
        for (size_t t = 0; t < n_tokens; t++) {
            rows_f32 *lane = lane_at(&lanes, b, t);

            *lane += times(w[b].d, x.d[t], __builtin_convertvector(*(const rows_i32 *)sums[t], rows_f32));
            if (mins)
                *lane += *(const rows_f32 *)w[b].m * x.d[t] * x.sum[t];
        }
    }
    lanes_store(&lanes, n_tokens, n_rows, y, y_stride);
}

static inline __attribute__((always_inline)) void dots_small(bool mins, const void *tile, size_t n_rows, size_t n,
                                                             const void *const *acts, size_t n_acts, float *y,
                                                             size_t y_stride)
{
    _tile_loadconfig(&config);
    for (size_t t = 0; t < n_acts; t += TOKENS)
        small_group(mins, tile, n_rows, n, acts + t, n_acts - t < TOKENS ? n_acts - t : TOKENS, y + t * y_stride,
                    y_stride);
    _tile_release();
}

static void dots_small_plain(const void *tile, size_t n_rows, size_t n, const void *const *acts, size_t n_acts,
                             float *y, size_t y_stride)
{
    dots_small(false, tile, n_rows, n, acts, n_acts, y, y_stride);
}

static void dots_small_mins(const void *tile, size_t n_rows, size_t n, const void *const *acts, size_t n_acts, float *y,
                            size_t y_stride)
{
    dots_small(true, tile, n_rows, n, acts, n_acts, y, y_stride);
}

static void unpack_small(enum quant_type type, const void *src, size_t row_bytes, size_t n_rows, size_t n, void *tile)
{
    struct amx_small *w = tile;
    size_t block_bytes = quant_info(type)->block_bytes;

    for (size_t r = 0; r < n_rows; r++)
        for (size_t b = 0; b < n / QUANT_SMALL; b++) {
            int8_t q[QUANT_SMALL];

            small_unpack_block(type, (const uint8_t *)src + r * row_bytes + b * block_bytes, q, &w[b].d[r], &w[b].m[r]);
            for (size_t i = 0; i < QUANT_SMALL; i += 4)
                memcpy(w[b].q[i / 4] + 4 * r, q + i, 4);
        }
}

void cpu_kernels_amx(struct cpu_kernels *k)
{
    k->level = CPU_AMX;
    for (uint32_t type = 0; type < QUANT_TYPES; type++) {
        const struct quant_info *info = quant_info(type);
        bool small_mins = type == QUANT_Q4_1 || type == QUANT_Q5_1;
        bool super_mins = type == QUANT_Q2_K || type == QUANT_Q4_K || type == QUANT_Q5_K;

        if (info == NULL || !info->computable || info->block_len == 1)
            continue;
        if (info->block_len == QUANT_SMALL) {
            k->unpack[type] = unpack_small;
            k->dots[type] = small_mins ? dots_small_mins : dots_small_plain;
        } else {
            k->unpack[type] = unpack_super;
            k->dots[type] = super_mins ? dots_super_mins : dots_super_plain;
        }
    }
}
