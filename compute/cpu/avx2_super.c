/* SPDX-License-Identifier: MIT
 *
 * avx2_super.c: products of super-blocks (ACT_SUPER in kernels.h), 32 weights to a register.
 *
 * Weights are unsigned bytes, activations signed: vpmaddubsw adds pairs of products to 16 bits, which cannot overflow
 * with weights up to 63, and vpmaddwd multiplies them by the groups' scales and adds to 32 bits.
 */
#include "compute/cpu/avx2.h"
#include "compute/cpu/unpack_kernels.h"

/* What a format has besides scales. */
enum extra { OFFSET, MINS, SIGNED };

/* A block as the arithmetic wants it, but for the weights. */
struct block {
    __m256i scale, min; /* sixteen of 16 bits */
    float d, dmin;
    int offset_shift; /* offset = 1 << offset_shift */
};

SIMD_INLINE __m256i sums_add(enum extra extra, __m256i sums, __m256i q, const struct act_super *a, __m256i scale, int c)
{
    __m256i x = load32(a->q + 32 * c);
    __m256i products = extra == SIGNED ? signed_products(q, x) : _mm256_maddubs_epi16(q, x);

    return scaled_add(sums, products, scale);
}

/* What eight blocks of a row give with one token. */
struct wholes {
    __m256i sums[LANE_BLOCKS], mins[LANE_BLOCKS];
    float d[LANE_BLOCKS], dmin[LANE_BLOCKS];
};

SIMD_INLINE void wholes_set(enum extra extra, struct wholes *wholes, size_t i, const struct block *w,
                            const struct act_super *a, __m256i sums)
{
    __m256i act_sums = load32(a->sum);

    if (extra == OFFSET)
        sums = _mm256_sub_epi32(sums, _mm256_slli_epi32(_mm256_madd_epi16(w->scale, act_sums), w->offset_shift));
    wholes->sums[i] = sums;
    wholes->d[i] = w->d * a->d;
    if (extra == MINS) {
        wholes->mins[i] = _mm256_madd_epi16(w->min, act_sums);
        wholes->dmin[i] = w->dmin * a->d;
    }
}

SIMD_INLINE void wholes_clear(struct wholes *wholes)
{
    *wholes = (struct wholes){ 0 };
}

SIMD_INLINE __m256 wholes_add(enum extra extra, const struct wholes *wholes, __m256 lanes)
{
    const __m256 one = _mm256_set1_ps(1);

    lanes = lanes_add(lanes, _mm256_loadu_ps(wholes->d), one, sums8(wholes->sums));
    return extra == MINS ? lanes_sub(lanes, _mm256_loadu_ps(wholes->dmin), one, sums8(wholes->mins)) : lanes;
}

/* Blocks of one unpacked row, some tokens; block i goes to lane i. */
SIMD_INLINE void unpacked_blocks(enum extra extra, const struct quant_super *row, size_t m, size_t block0,
                                 const void *const *acts, const int n_tokens, struct wholes *wholes)
{
    for (size_t i = 0; i < m; i++) {
        struct block w = { load32(row[i].scale), load32(row[i].min), row[i].d, row[i].dmin,
                           row[i].offset == 32 ? 5 : 2 };
        const struct act_super *a[4];
        __m256i sums[4];

        UNROLL for (int t = 0; t < n_tokens; t++)
        {
            a[t] = (const struct act_super *)acts[t] + block0 + i;
            sums[t] = _mm256_setzero_si256();
        }
        UNROLL for (int c = 0; c < 8; c++)
        {
            __m256i q = load32(row[i].q + 32 * c), scale = scales_of(w.scale, c);

            UNROLL for (int t = 0; t < n_tokens; t++) sums[t] = sums_add(extra, sums[t], q, a[t], scale, c);
        }
        UNROLL for (int t = 0; t < n_tokens; t++) wholes_set(extra, &wholes[t], i, &w, a[t], sums[t]);
    }
}

/* One unpacked row, some tokens. */
SIMD_INLINE void dots_tile(enum extra extra, const struct quant_super *row, size_t n, const void *const *acts,
                           const int n_tokens, float *y, size_t y_stride)
{
    size_t n_blocks = n / QUANT_SUPER;
    __m256 lanes[4];

    UNROLL for (int t = 0; t < n_tokens; t++) lanes[t] = _mm256_setzero_ps();
    for (size_t b = 0; b < n_blocks; b += LANE_BLOCKS) {
        size_t m = n_blocks - b < LANE_BLOCKS ? n_blocks - b : LANE_BLOCKS;
        struct wholes wholes[4];

        for (int t = 0; m < LANE_BLOCKS && t < n_tokens; t++)
            wholes_clear(&wholes[t]);
        unpacked_blocks(extra, row + b, m, b, acts, n_tokens, wholes);
        UNROLL for (int t = 0; t < n_tokens; t++) lanes[t] = wholes_add(extra, &wholes[t], lanes[t]);
    }
    UNROLL for (int t = 0; t < n_tokens; t++) y[(size_t)t * y_stride] = sum8(lanes[t]);
}

SIMD_INLINE void dots_super(enum extra extra, const void *tile, size_t n_rows, size_t n, const void *const *acts,
                            size_t n_acts, float *y, size_t y_stride)
{
    for (size_t r = 0; r < n_rows; r++) {
        const struct quant_super *row = tile_row(tile, ACT_SUPER, n, r);
        size_t t = 0;

        for (; t + 4 <= n_acts; t += 4)
            dots_tile(extra, row, n, acts + t, 4, y + t * y_stride + r, y_stride);
        for (; t < n_acts; t++)
            dots_tile(extra, row, n, acts + t, 1, y + t * y_stride + r, y_stride);
    }
}

static void dots_offset(const void *tile, size_t n_rows, size_t n, const void *const *acts, size_t n_acts, float *y,
                        size_t y_stride)
{
    dots_super(OFFSET, tile, n_rows, n, acts, n_acts, y, y_stride);
}

static void dots_mins(const void *tile, size_t n_rows, size_t n, const void *const *acts, size_t n_acts, float *y,
                      size_t y_stride)
{
    dots_super(MINS, tile, n_rows, n, acts, n_acts, y, y_stride);
}

static void dots_signed(const void *tile, size_t n_rows, size_t n, const void *const *acts, size_t n_acts, float *y,
                        size_t y_stride)
{
    dots_super(SIGNED, tile, n_rows, n, acts, n_acts, y, y_stride);
}

SIMD_INLINE void expand_iq4_xs_scales(const uint8_t *p, struct block *block)
{
    uint32_t high = half_load(p), low = load_u32(p + 2);
    uint64_t scales = 0;

    for (int j = 0; j < 8; j++)
        scales |= (uint64_t)((low >> (4 * j) & 15) | (high >> (2 * j) & 3) << 4) << (8 * j);
    block->scale = _mm256_sub_epi16(twice8(scales), _mm256_set1_epi16(32));
}

SIMD_INLINE void expand_head(enum quant_type type, const uint8_t *p, struct block *block)
{
    switch (type) {
    case QUANT_Q2_K:
        block->scale = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
        block->min = _mm256_srli_epi16(block->scale, 4);
        block->scale = _mm256_and_si256(block->scale, _mm256_set1_epi16(15));
        expand_d_dmin(p + 80, &block->d, &block->dmin);
        break;
    case QUANT_Q3_K:
        block->scale = expand_q3_k_scales(p + 96);
        block->d = _cvtsh_ss(half_load(p + 108));
        block->offset_shift = 2;
        break;
    case QUANT_Q6_K:
        block->scale = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(p + 192)));
        block->d = _cvtsh_ss(half_load(p + 208));
        block->offset_shift = 5;
        break;
    case QUANT_IQ4_XS:
        expand_iq4_xs_scales(p + 2, block);
        block->d = _cvtsh_ss(half_load(p));
        break;
    default: /* QUANT_Q4_K, QUANT_Q5_K */
        expand_d_dmin(p, &block->d, &block->dmin);
        expand_scales_mins(p + 4, &block->scale, &block->min);
    }
}

/* Shifts of 16-bit lanes whose strays a mask takes away. */
SIMD_INLINE __m256i bits_of(__m256i v, int shift, int mask)
{
    return _mm256_and_si256(shift >= 0 ? _mm256_srli_epi16(v, shift) : _mm256_slli_epi16(v, -shift),
                            _mm256_set1_epi8((char)mask));
}

SIMD_INLINE __m256i expand_iq4_xs(const uint8_t *p)
{
    __m128i v = _mm_loadu_si128((const __m128i *)p);
    __m256i index = _mm256_and_si256(_mm256_inserti128_si256(_mm256_castsi128_si256(v), _mm_srli_epi16(v, 4), 1),
                                     _mm256_set1_epi8(15));

    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)quant_iq4_values)), index);
}

/* Weights 32c .. 32c+31; see quant_super.h for the layouts. */
SIMD_INLINE __m256i expand(enum quant_type type, const uint8_t *p, int c)
{
    switch (type) {
    case QUANT_Q2_K:
        return bits_of(load32(p + 16 + c / 4 * 32), c % 4 * 2, 3);
    case QUANT_Q3_K:
        return _mm256_or_si256(bits_of(load32(p + 32 + c / 4 * 32), c % 4 * 2, 3), bits_of(load32(p), c - 2, 4));
    case QUANT_Q4_K:
        return bits_of(load32(p + 16 + c / 2 * 32), c % 2 * 4, 15);
    case QUANT_Q5_K:
        return _mm256_or_si256(bits_of(load32(p + 48 + c / 2 * 32), c % 2 * 4, 15), bits_of(load32(p + 16), c - 4, 16));
    case QUANT_Q6_K:
        return _mm256_or_si256(bits_of(load32(p + c / 4 * 64 + c % 2 * 32), c / 2 % 2 * 4, 15),
                               bits_of(load32(p + 128 + c / 4 * 32), c % 4 * 2 - 4, 0x30));
    default: /* QUANT_IQ4_XS */
        return expand_iq4_xs(p + 8 + 16 * c);
    }
}

SIMD_INLINE void packed_block(enum quant_type type, enum extra extra, const uint8_t *p, const struct act_super *a,
                              size_t i, struct wholes *wholes)
{
    __m256i sums = _mm256_setzero_si256();
    struct block block;

    expand_head(type, p, &block);
    UNROLL for (int c = 0; c < 8; c++) sums =
        sums_add(extra, sums, expand(type, p, c), a, scales_of(block.scale, c), c);
    wholes_set(extra, wholes, i, &block, a, sums);
}

SIMD_INLINE void rows_super(enum quant_type type, enum extra extra, size_t block_bytes, const void *w, size_t row_bytes,
                            size_t n_rows, size_t n, const void *act, float *y)
{
    size_t n_blocks = n / QUANT_SUPER;
    const uint8_t *row = w;

    for (size_t r = 0; r < n_rows; r++, row += row_bytes) {
        const struct act_super *a = act;
        const uint8_t *p = row;
        __m256 lanes = _mm256_setzero_ps();

        for (size_t b = 0; b < n_blocks; b += LANE_BLOCKS) {
            size_t m = n_blocks - b < LANE_BLOCKS ? n_blocks - b : LANE_BLOCKS;
            struct wholes wholes;

            if (m < LANE_BLOCKS)
                wholes_clear(&wholes);
            for (size_t i = 0; i < m; i++, p += block_bytes, a++)
                packed_block(type, extra, p, a, i, &wholes);
            lanes = wholes_add(extra, &wholes, lanes);
        }
        y[r] = sum8(lanes);
    }
}

#define ROWS_SUPER(name, type, extra, block_bytes)                                                        \
    static void name(const void *w, size_t row_bytes, size_t n_rows, size_t n, const void *act, float *y) \
    {                                                                                                     \
        rows_super(type, extra, block_bytes, w, row_bytes, n_rows, n, act, y);                            \
    }

ROWS_SUPER(rows_q2_k, QUANT_Q2_K, MINS, 84)
ROWS_SUPER(rows_q3_k, QUANT_Q3_K, OFFSET, 110)
ROWS_SUPER(rows_q4_k, QUANT_Q4_K, MINS, 144)
ROWS_SUPER(rows_q5_k, QUANT_Q5_K, MINS, 176)
ROWS_SUPER(rows_q6_k, QUANT_Q6_K, OFFSET, 210)
ROWS_SUPER(rows_iq4_xs, QUANT_IQ4_XS, SIGNED, 136)

void AVX2_FILL(super)(struct cpu_kernels *k)
{
    k->dots[QUANT_Q2_K] = k->dots[QUANT_Q4_K] = k->dots[QUANT_Q5_K] = dots_mins;
    k->dots[QUANT_Q3_K] = k->dots[QUANT_Q6_K] = dots_offset;
    k->dots[QUANT_IQ4_XS] = dots_signed;
    k->dots[QUANT_IQ2_XXS] = k->dots[QUANT_IQ2_XS] = k->dots[QUANT_IQ2_S] = dots_signed;
    k->dots[QUANT_IQ3_XXS] = k->dots[QUANT_IQ3_S] = dots_signed;
    k->dots[QUANT_IQ1_S] = k->dots[QUANT_IQ1_M] = dots_signed;
    k->rows[QUANT_Q2_K] = rows_q2_k;
    k->rows[QUANT_Q3_K] = rows_q3_k;
    k->rows[QUANT_Q4_K] = rows_q4_k;
    k->rows[QUANT_Q5_K] = rows_q5_k;
    k->rows[QUANT_Q6_K] = rows_q6_k;
    k->rows[QUANT_IQ4_XS] = rows_iq4_xs;
}
