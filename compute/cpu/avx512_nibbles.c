/* SPDX-License-Identifier: MIT
 *
 * avx512_nibbles.c: rows of 32-weight blocks with four bits for each, straight from the file (ACT_SMALL in kernels.h).
 *
 * The nibbles of four blocks fill a register: low ones are the first sixteen weights of each, high ones the others. The
 * activations are put into that order first, once for all rows. So the four lanes of a quarter belong to one block, and
 * sixteen blocks need ten instructions to be added up instead of 36.
 */
#include "compute/cpu/avx512_expand.h"

enum {
    STEP_BLOCKS = 16,
    STEP_WEIGHTS = STEP_BLOCKS * QUANT_SMALL,
    MAX_STEPS = 32, /* of arranged activations on the stack */
};

struct act_step {
    int8_t q[STEP_WEIGHTS];    /* of each four blocks the first halves, then the second halves */
    int32_t bias[STEP_BLOCKS]; /* what the weights' bias adds to a block's whole number */
    int32_t sum[STEP_BLOCKS];
    float d[STEP_BLOCKS];
} __attribute__((aligned(64)));

/* Blocks b .. b + m - 1 of a row, m <= 16; the others count as 0. */
static void act_step_set(enum quant_type type, const struct small_row *a, size_t b, size_t m, struct act_step *step)
{
    memset(step, 0, sizeof(*step));
    for (size_t i = 0; i < m; i++) {
        int8_t *q = step->q + i / 4 * 128 + i % 4 * 16;

        memcpy(q, a->q + (b + i) * QUANT_SMALL, 16);
        memcpy(q + 64, a->q + (b + i) * QUANT_SMALL + 16, 16);
        step->d[i] = a->d[b + i];
        step->sum[i] = a->sum[b + i];
        step->bias[i] = bias_shift(type) >= 0 ? a->sum[b + i] * (1 << bias_shift(type)) : 0;
    }
}

SIMD_INLINE size_t nibbles_offset(enum quant_type type)
{
    return type == QUANT_Q4_1 ? 4 : type == QUANT_MXFP4 ? 1 : 2;
}

/* The nibbles of m <= 4 blocks. */
SIMD_INLINE __m512i four_blocks(const uint8_t *p, size_t stride, size_t m)
{
    __m512i v = _mm512_setzero_si512();

    if (m > 0)
        v = _mm512_zextsi128_si512(_mm_loadu_si128((const __m128i *)p));
    if (m > 1)
        v = _mm512_mask_broadcast_i32x4(v, 0x00f0, _mm_loadu_si128((const __m128i *)(p + stride)));
    if (m > 2)
        v = _mm512_mask_broadcast_i32x4(v, 0x0f00, _mm_loadu_si128((const __m128i *)(p + 2 * stride)));
    if (m > 3)
        v = _mm512_mask_broadcast_i32x4(v, 0xf000, _mm_loadu_si128((const __m128i *)(p + 3 * stride)));
    return v;
}

SIMD_INLINE __m512i values_of(enum quant_type type, __m512i nibbles)
{
    if (type == QUANT_IQ4_NL)
        return _mm512_shuffle_epi8(biased_table(quant_iq4_values), nibbles);
    if (type == QUANT_MXFP4)
        return _mm512_shuffle_epi8(biased_table(quant_mxfp4_values), nibbles);
    return nibbles;
}

/* In each quarter four lanes that are a block's whole number together. */
SIMD_INLINE __m512i four_sums(enum quant_type type, const uint8_t *p, size_t stride, size_t m, const int8_t *q)
{
    const __m512i nibble = _mm512_set1_epi8(15);
    __m512i both = four_blocks(p + nibbles_offset(type), stride, m), sums = _mm512_setzero_si512();

    sums = _mm512_dpbusd_epi32(sums, values_of(type, _mm512_and_si512(both, nibble)), _mm512_load_si512(q));
    return _mm512_dpbusd_epi32(sums, values_of(type, _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble)),
                               _mm512_load_si512(q + 64));
}

/* Of two loads, of 64 bytes from the first of eight blocks on and as many up to the last one's head, the words in which
 * the blocks' scales lie. */
SIMD_INLINE __m512i eight_words(enum quant_type type, const uint8_t *p, __m128i places)
{
    const size_t second = type == QUANT_Q4_1 ? 80 : 64;

    return _mm512_permutex2var_epi16(_mm512_loadu_si512(p), _mm512_zextsi256_si512(_mm256_cvtepu16_epi32(places)),
                                     _mm512_loadu_si512(p + second));
}

/* Sixteen scales of halves, or the minima behind them. */
SIMD_INLINE __m512 sixteen_halves(enum quant_type type, const uint8_t *p, size_t stride, const int which)
{
    const __m128i narrow = _mm_setr_epi16(0, 9, 18, 27, 36, 45, 54, 63);
    const __m128i wide = _mm_setr_epi16(0, 10, 20, 30, 32, 42, 52, 62);
    __m128i places = type == QUANT_Q4_1 ? _mm_add_epi16(wide, _mm_set1_epi16((short)which)) : narrow;
    __m512i low = eight_words(type, p, places), high = eight_words(type, p + 8 * stride, places);

    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_inserti64x4(low, _mm512_castsi512_si256(high), 1)));
}

/* The same of MXFP4, whose scales are bytes: of every other block the upper one of the word; see mxfp4_scale. */
SIMD_INLINE __m512 sixteen_powers(const uint8_t *p, size_t stride)
{
    const __m128i places = _mm_setr_epi16(0, 8, 17, 25, 34, 42, 51, 59);
    __m512i low = eight_words(QUANT_MXFP4, p, places), high = eight_words(QUANT_MXFP4, p + 8 * stride, places);
    __m512i words = _mm512_inserti64x4(low, _mm512_castsi512_si256(high), 1);
    __m512i e =
        _mm512_and_si512(_mm512_srlv_epi32(words, _mm512_set1_epi64((long long)8 << 32)), _mm512_set1_epi32(255));
    __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
    __mmask16 small = _mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2));

    return _mm512_castsi512_ps(_mm512_mask_sllv_epi32(normal, small, _mm512_set1_epi32(0x00200000), e));
}

/* m <= 16 scales. */
SIMD_INLINE __m512 scales_of(enum quant_type type, const uint8_t *p, size_t stride, size_t m)
{
    __m256 low, high = _mm256_setzero_ps();

    if (m == STEP_BLOCKS)
        return type == QUANT_MXFP4 ? sixteen_powers(p, stride) : sixteen_halves(type, p, stride, 0);
    low = small_scales_at(type, p, stride, m < LANE_BLOCKS ? m : LANE_BLOCKS);
    if (m > LANE_BLOCKS)
        high = small_scales_at(type, p + LANE_BLOCKS * stride, stride, m - LANE_BLOCKS);
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}

SIMD_INLINE __m512 minima_of(const uint8_t *p, size_t stride, size_t m)
{
    __m256 low, high = _mm256_setzero_ps();

    if (m == STEP_BLOCKS)
        return sixteen_halves(QUANT_Q4_1, p, stride, 1);
    low = halves_at(p + 2, stride, m < LANE_BLOCKS ? m : LANE_BLOCKS);
    if (m > LANE_BLOCKS)
        high = halves_at(p + LANE_BLOCKS * stride + 2, stride, m - LANE_BLOCKS);
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}

/* Of four registers of four blocks: lane i is block i's whole number. */
SIMD_INLINE __m512i sixteen_sums(const __m512i s[4])
{
    const __m512i by_register = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);

    return _mm512_permutexvar_epi32(by_register, quarter_sums(s[0], s[1], s[2], s[3]));
}

SIMD_INLINE __m512 terms(__m512 d, const struct act_step *act, __m512i whole)
{
    return _mm512_mul_ps(_mm512_mul_ps(d, _mm512_load_ps(act->d)), _mm512_cvtepi32_ps(whole));
}

/* m <= 16 blocks: the first eight go to the eight lanes, then the others. */
SIMD_INLINE __m256 step_add(enum quant_type type, const uint8_t *p, size_t stride, const uint8_t *ahead,
                            const struct act_step *act, size_t m, __m256 lanes)
{
    __m512i sums[4], whole;
    __m512 values, minima = _mm512_setzero_ps();

    if (ahead != NULL)
        for (size_t line = 0; line < STEP_BLOCKS * stride / CACHE_LINE; line++)
            _mm_prefetch((const char *)ahead + line * CACHE_LINE, _MM_HINT_T0);
    UNROLL for (size_t i = 0; i < 4; i++) sums[i] =
        four_sums(type, p + 4 * i * stride, stride, m > 4 * i ? m - 4 * i : 0, act->q + 128 * i);
    whole = sixteen_sums(sums);
    if (bias_shift(type) >= 0)
        whole = _mm512_sub_epi32(whole, _mm512_load_si512(act->bias));
    values = terms(scales_of(type, p, stride, m), act, whole);
    if (type == QUANT_Q4_1)
        minima = terms(minima_of(p, stride, m), act, _mm512_load_si512(act->sum));
    lanes = _mm256_add_ps(lanes, _mm512_castps512_ps256(values));
    if (type == QUANT_Q4_1)
        lanes = _mm256_add_ps(lanes, _mm512_castps512_ps256(minima));
    lanes = _mm256_add_ps(lanes, _mm512_extractf32x8_ps(values, 1));
    return type == QUANT_Q4_1 ? _mm256_add_ps(lanes, _mm512_extractf32x8_ps(minima, 1)) : lanes;
}

/* n_blocks of a row, from where its lanes are. */
SIMD_INLINE __m256 blocks_add(enum quant_type type, const uint8_t *p, size_t stride, const uint8_t *ahead,
                              const struct act_step *acts, size_t n_blocks, __m256 lanes)
{
    for (; n_blocks >= STEP_BLOCKS; n_blocks -= STEP_BLOCKS, p += STEP_BLOCKS * stride, acts++) {
        lanes = step_add(type, p, stride, ahead, acts, STEP_BLOCKS, lanes);
        ahead = ahead != NULL ? ahead + STEP_BLOCKS * stride : NULL;
    }
    return n_blocks > 0 ? step_add(type, p, stride, ahead, acts, n_blocks, lanes) : lanes;
}

static size_t acts_arrange(enum quant_type type, const struct small_row *a, size_t b, size_t n_blocks,
                           struct act_step *steps)
{
    size_t n = 0;

    for (; n_blocks > 0 && n < MAX_STEPS; n++) {
        size_t m = n_blocks < STEP_BLOCKS ? n_blocks : STEP_BLOCKS;

        act_step_set(type, a, b + n * STEP_BLOCKS, m, &steps[n]);
        n_blocks -= m;
    }
    return n;
}

/* Rows that have too many columns for the stack wait for their activations to be arranged again and again. */
SIMD_INLINE void run_long(enum quant_type type, size_t stride, const struct row_runs *runs, const struct row_run *run,
                          size_t t)
{
    size_t n_blocks = runs->n / QUANT_SMALL;
    struct small_row a = small_row_at(runs->acts[t], runs->n);
    struct act_step steps[MAX_STEPS];

    for (size_t r = 0; r < run->n_rows; r++) {
        const uint8_t *p = (const uint8_t *)run->w + r * runs->row_bytes;
        __m256 lanes = _mm256_setzero_ps();

        for (size_t b = 0; b < n_blocks; b += MAX_STEPS * STEP_BLOCKS) {
            size_t m = n_blocks - b < MAX_STEPS * STEP_BLOCKS ? n_blocks - b : MAX_STEPS * STEP_BLOCKS;

            acts_arrange(type, &a, b, m, steps);
            lanes = blocks_add(type, p + b * stride, stride, p + b * stride + AHEAD_BYTES, steps, m, lanes);
        }
        run->y[runs->y_at[t] + r] = sum8(lanes);
    }
}

/* Acts act0 .. act0 + n_acts - 1, all of which fit. */
SIMD_INLINE void runs_arranged(enum quant_type type, size_t stride, const struct row_runs *runs, size_t act0,
                               size_t n_acts)
{
    size_t n_blocks = runs->n / QUANT_SMALL, n_steps = (n_blocks + STEP_BLOCKS - 1) / STEP_BLOCKS;
    size_t n_rows = runs_rows(runs);
    struct act_step steps[MAX_STEPS];

    for (size_t t = 0; t < n_acts; t++) {
        struct small_row a = small_row_at(runs->acts[act0 + t], runs->n);

        acts_arrange(type, &a, 0, n_blocks, steps + t * n_steps);
    }
    for (size_t r = 0; r < n_rows; r++)
        for (int i = 0; i < 2; i++) {
            const struct row_run *run = &runs->run[i];
            const uint8_t *p = (const uint8_t *)run->w + r * runs->row_bytes, *ahead = run_ahead(runs, run, r);

            for (size_t t = 0; t < n_acts && r < run->n_rows; t++, ahead = NULL)
                run->y[runs->y_at[act0 + t] + r] =
                    sum8(blocks_add(type, p, stride, ahead, steps + t * n_steps, n_blocks, _mm256_setzero_ps()));
        }
}

SIMD_INLINE void runs_nibbles(enum quant_type type, size_t stride, const struct row_runs *runs)
{
    size_t n_steps = (runs->n / QUANT_SMALL + STEP_BLOCKS - 1) / STEP_BLOCKS;
    size_t at_once = n_steps > 0 ? MAX_STEPS / n_steps : MAX_STEPS;

    for (size_t t = 0; at_once > 0 && t < runs->n_acts; t += at_once)
        runs_arranged(type, stride, runs, t, runs->n_acts - t < at_once ? runs->n_acts - t : at_once);
    for (size_t t = 0; at_once == 0 && t < runs->n_acts; t++)
        for (int i = 0; i < 2; i++)
            run_long(type, stride, runs, &runs->run[i], t);
}

RUNS_KERNELS(q4_0, runs_nibbles(QUANT_Q4_0, 18, runs))
RUNS_KERNELS(q4_1, runs_nibbles(QUANT_Q4_1, 20, runs))
RUNS_KERNELS(iq4_nl, runs_nibbles(QUANT_IQ4_NL, 18, runs))
RUNS_KERNELS(mxfp4, runs_nibbles(QUANT_MXFP4, 17, runs))

void avx512_nibbles_fill(struct cpu_kernels *k)
{
    RUNS_FILL(q4_0, QUANT_Q4_0)
    RUNS_FILL(q4_1, QUANT_Q4_1)
    RUNS_FILL(iq4_nl, QUANT_IQ4_NL)
    RUNS_FILL(mxfp4, QUANT_MXFP4)
}
