/* SPDX-License-Identifier: MIT
 *
 * iq_avx2.c: IQ1, IQ2 and IQ3 straight from the packed block (ACT_SUPER in kernels.h), 32 weights to a register.
 *
 * Magnitudes stay unsigned and the activations take the signs. A point of IQ1 is 0 .. 18, nine more than the weight,
 * and nine times the activations of the same pair are taken off.
 */
#include "compute/cpu/avx2.h"
#include "compute/cpu/iq_avx.h"

/* Products of weights 32c .. 32c+31, pairs added to 16 bits. */
SIMD_INLINE __m256i pair_products(enum quant_type type, const struct iq_head *h, __m256i x, int c)
{
    __m256i q = iq_bytes(type, h, c), minus;

    if (!iq_has_signs(type))
        return _mm256_sub_epi16(_mm256_maddubs_epi16(_mm256_add_epi8(q, iq_up_bytes(h->ups, c)), x),
                                _mm256_maddubs_epi16(_mm256_set1_epi8(9), x));
    minus = iq_byte_mask(h->signs[c]);
    return _mm256_maddubs_epi16(q, _mm256_sub_epi8(_mm256_xor_si256(x, minus), minus));
}

/* Eight lanes whose sum is the block's whole number. */
SIMD_INLINE __m256i block_sums(enum quant_type type, const struct iq_head *h, const struct act_super *a)
{
    __m256i sums = _mm256_setzero_si256();

    UNROLL for (int c = 0; c < 8; c++) sums =
        scaled_add(sums, pair_products(type, h, load32(a->q + 32 * c), c), scales_of(h->scale, c));
    return sums;
}

SIMD_INLINE void rows_iq(enum quant_type type, const void *w, size_t row_bytes, size_t n_rows, size_t n,
                         const void *act, float *y)
{
    size_t n_blocks = n / QUANT_SUPER;
    const uint8_t *row = w;

    for (size_t r = 0; r < n_rows; r++, row += row_bytes) {
        __m256 lanes = _mm256_setzero_ps();

        for (size_t b = 0; b < n_blocks; b += LANE_BLOCKS) {
            size_t m = n_blocks - b < LANE_BLOCKS ? n_blocks - b : LANE_BLOCKS;
            __m256i sums[LANE_BLOCKS];
            float d[LANE_BLOCKS];

            for (size_t i = 0; i < LANE_BLOCKS; i++) {
                const struct act_super *a = (const struct act_super *)act + b + i;
                struct iq_head h;

                sums[i] = _mm256_setzero_si256();
                d[i] = 0;
                if (i >= m)
                    continue;
                iq_head(type, row + (b + i) * iq_block_bytes(type), &h);
                sums[i] = block_sums(type, &h, a);
                d[i] = h.d * a->d;
            }
            lanes = lanes_add(lanes, _mm256_loadu_ps(d), _mm256_set1_ps(1), sums8(sums));
        }
        y[r] = sum8(lanes);
    }
}

#define IQ_ROWS(format, name)                                                                                    \
    static void rows_##name(const void *w, size_t row_bytes, size_t n_rows, size_t n, const void *act, float *y) \
    {                                                                                                            \
        rows_iq(QUANT_##format, w, row_bytes, n_rows, n, act, y);                                                \
    }
IQ_FORMATS(IQ_ROWS)

#define IQ_UNPACK(format, name)                                                                                        \
    static void unpack_##name##_rows(enum quant_type type, const void *src, size_t row_bytes, size_t n_rows, size_t n, \
                                     void *tile)                                                                       \
    {                                                                                                                  \
        for (size_t r = 0; r < n_rows; r++)                                                                            \
            iq_unpack(QUANT_##format, (const uint8_t *)src + r * row_bytes, n,                                         \
                      (struct quant_super *)((char *)tile + r * tile_row_bytes(ACT_SUPER, n)));                        \
    }
IQ_FORMATS(IQ_UNPACK)

#define IQ_FILL(format, name)              \
    k->rows[QUANT_##format] = rows_##name; \
    k->unpack[QUANT_##format] = unpack_##name##_rows;

void AVX2_FILL(iq)(struct cpu_kernels *k)
{
    IQ_FORMATS(IQ_FILL)
}
