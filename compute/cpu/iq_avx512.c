/* SPDX-License-Identifier: MIT
 *
 * iq_avx512.c: IQ1, IQ2 and IQ3 straight from the packed block (ACT_SUPER in kernels.h), 64 weights to a register. See
 * iq_avx2.c for the arithmetic.
 */
#include "compute/cpu/avx512.h"
#include "compute/cpu/iq_avx.h"

SIMD_INLINE __m512i pair_products(enum quant_type type, const struct iq_head *h, __m512i x, int c)
{
    __m512i q = _mm512_inserti64x4(_mm512_castsi256_si512(iq_bytes(type, h, 2 * c)), iq_bytes(type, h, 2 * c + 1), 1);
    uint64_t bits;

    if (!iq_has_signs(type)) {
        bits = _pdep_u64(h->ups >> (8 * c), 0x0101010101010101) * 255;
        q = _mm512_mask_add_epi8(q, bits, q, _mm512_set1_epi8(2));
        return _mm512_sub_epi16(_mm512_maddubs_epi16(q, x), _mm512_maddubs_epi16(_mm512_set1_epi8(9), x));
    }
    memcpy(&bits, h->signs + 2 * c, sizeof(bits));
    return _mm512_maddubs_epi16(q, _mm512_mask_sub_epi8(x, bits, _mm512_setzero_si512(), x));
}

/* Sixteen lanes whose sum is the block's whole number. */
SIMD_INLINE __m512i block_sums(enum quant_type type, const struct iq_head *h, const struct act_super *a)
{
    __m512i sums = _mm512_setzero_si512();

    UNROLL for (int c = 0; c < 4; c++) sums =
        _mm512_dpwssd_epi32(sums, pair_products(type, h, _mm512_load_si512(a->q + 64 * c), c),
                            _mm512_permutexvar_epi16(scale_index(c), _mm512_castsi256_si512(h->scale)));
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
            __m512i sums[LANE_BLOCKS];
            float d[LANE_BLOCKS];

            for (size_t i = 0; i < LANE_BLOCKS; i++) {
                const struct act_super *a = (const struct act_super *)act + b + i;
                struct iq_head h;

                sums[i] = _mm512_setzero_si512();
                d[i] = 0;
                if (i >= m)
                    continue;
                iq_head(type, row + (b + i) * iq_block_bytes(type), &h);
                sums[i] = block_sums(type, &h, a);
                d[i] = h.d * a->d;
            }
            lanes = lanes_add(lanes, _mm256_loadu_ps(d), _mm256_set1_ps(1), wide_sums8(sums));
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

#define IQ_FILL(format, name) k->rows[QUANT_##format] = rows_##name;

void avx512_iq_fill(struct cpu_kernels *k)
{
    IQ_FORMATS(IQ_FILL)
}
