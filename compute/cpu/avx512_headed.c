/* SPDX-License-Identifier: MIT
 *
 * avx512_headed.c: rows of Q4_K and Q5_K straight from the file (ACT_SUPER in kernels.h).
 *
 * Both formats have a head of 16 bytes before their weights: d, dmin, and twelve bytes of six-bit scales and minima.
 * The heads of four blocks are taken apart at once. The weights' nibbles come 128 to a register, low ones and high
 * ones, so the activations are put into that order first, once for all rows. Eight blocks make a step: of one row, or,
 * when rows have only four, of two neighbours.
 *
 * `ahead` is where what is fetched meanwhile lies; NULL: nowhere, since it has been.
 */
#include "compute/cpu/avx512_expand.h"

enum { HEAD_BYTES = 16, MAX_STEPS = 8 };

/* Eight blocks of activations as the products want them. */
struct act_step {
    int8_t q[LANE_BLOCKS][QUANT_SUPER]; /* weights 0-31 and 64-95, 32-63 and 96-127, and so on */
    __m512i pair_sums[LANE_BLOCKS / 2]; /* of two blocks, where two blocks' minima are; 0 where scales are */
    __m256 d;
    size_t n_blocks; /* that there are; the others count as 0 */
};

SIMD_INLINE void act_block_arrange(const struct act_super *a, int8_t *q)
{
    UNROLL for (int j = 0; j < 2; j++)
    {
        __m512i first = _mm512_load_si512(a->q + 128 * j), second = _mm512_load_si512(a->q + 128 * j + 64);

        _mm512_store_si512(q + 128 * j, _mm512_shuffle_i64x2(first, second, 0x44));
        _mm512_store_si512(q + 128 * j + 64, _mm512_shuffle_i64x2(first, second, 0xee));
    }
}

/* Blocks first .. first + m - 1, and once more behind them with `twice`. */
static void act_step_set(const struct act_super *a, size_t m, bool twice, struct act_step *step)
{
    const struct act_super *blocks[LANE_BLOCKS] = { NULL };

    for (size_t i = 0; i < m; i++)
        blocks[i] = blocks[twice ? m + i : i] = a + i;
    step->d = act_scales(a, m);
    if (twice)
        step->d = _mm256_permute2f128_ps(step->d, step->d, 0);
    step->n_blocks = twice ? 2 * m : m;
    for (size_t i = 0; i < LANE_BLOCKS; i++) {
        int16_t *sums = (int16_t *)&step->pair_sums[i / 2] + i % 2 * 16;

        memset(sums, 0, 16 * sizeof(*sums));
        if (blocks[i] == NULL)
            continue;
        memcpy(sums + 8, blocks[i]->pair_sum, sizeof(blocks[i]->pair_sum));
        act_block_arrange(blocks[i], step->q[i]);
    }
}

SIMD_INLINE __m512i four_heads(const uint8_t *p, size_t block_bytes, size_t m)
{
    __m512i v = _mm512_setzero_si512();

    if (m > 0)
        v = _mm512_zextsi128_si512(_mm_loadu_si128((const __m128i *)p));
    if (m > 1)
        v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(p + block_bytes)), 1);
    if (m > 2)
        v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(p + 2 * block_bytes)), 2);
    if (m > 3)
        v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(p + 3 * block_bytes)), 3);
    return v;
}

/* In each quarter eight scales and eight minima of a byte; see unpack_scales_mins. */
SIMD_INLINE __m512i head_scales(__m512i heads)
{
    const __m512i shifts = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0, 4, 4));
    __m512i last = _mm512_srlv_epi32(_mm512_shuffle_epi32(heads, 0xff), shifts);
    __m512i highs = _mm512_and_si512(_mm512_srli_epi32(_mm512_shuffle_epi32(heads, 0xa5), 2), _mm512_set1_epi8(0x30));
    __m512i low = _mm512_and_si512(_mm512_shuffle_epi32(heads, 0xa5), _mm512_set1_epi8(63));

    highs = _mm512_or_si512(highs, _mm512_and_si512(last, _mm512_set1_epi8(15)));
    return _mm512_mask_blend_epi32(0xaaaa, low, highs);
}

/* Eight times d, or dmin, from the first four bytes of each head. */
SIMD_INLINE __m256 head_halves(const __m512i heads[2], const int which)
{
    const __m512i firsts = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 0, 0, 0, 0, 0, 0, 0);
    __m256i pairs = _mm512_castsi512_si256(_mm512_permutex2var_epi32(heads[0], firsts, heads[1]));

    return _mm256_cvtph_ps(_mm256_cvtepi32_epi16(which ? _mm256_srli_epi32(pairs, 16) : pairs));
}

/* Which of a block's eight scales goes to each of 32 pairs of weights, of which half belong to the first group, half to
 * the one two further on. */
SIMD_INLINE __m512i scale_places(int group)
{
    return _mm512_inserti64x4(_mm512_set1_epi16((short)group), _mm256_set1_epi16((short)(group + 2)), 1);
}

/* 16 where a fifth bit is set: `high` has the bits of group g at 1 << g, twice. */
SIMD_INLINE __m512i fifth_add(__m512i low, __m512i high, int group)
{
    return _mm512_mask_add_epi8(low, _mm512_test_epi8_mask(high, halves8(1 << group, 4 << group)), low,
                                _mm512_set1_epi8(16));
}

/* Sixteen lanes that are the block's whole number together; `words` begins with its scales. */
SIMD_INLINE __m512i block_sums(enum quant_type type, const uint8_t *p, const int8_t *act, __m512i words)
{
    const __m512i nibble = _mm512_set1_epi8(15);
    __m512i sums[2] = { _mm512_setzero_si512(), _mm512_setzero_si512() };
    __m512i high = type == QUANT_Q5_K ? load32_twice(p + HEAD_BYTES) : _mm512_setzero_si512();
    const uint8_t *nibbles = p + (type == QUANT_Q5_K ? HEAD_BYTES + 32 : HEAD_BYTES);

    UNROLL for (int j = 0; j < 2; j++)
    {
        __m512i both = _mm512_loadu_si512(nibbles + 64 * j), w[2];

        w[0] = _mm512_and_si512(both, nibble);
        w[1] = _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble);
        UNROLL for (int i = 0; i < 2; i++)
        {
            if (type == QUANT_Q5_K)
                w[i] = fifth_add(w[i], high, 4 * j + i);
            sums[i] =
                _mm512_dpwssd_epi32(sums[i], _mm512_maddubs_epi16(w[i], _mm512_load_si512(act + 128 * j + 64 * i)),
                                    _mm512_permutexvar_epi16(scale_places(4 * j + i), words));
        }
    }
    return _mm512_add_epi32(sums[0], sums[1]);
}

/* m <= 8 blocks. */
SIMD_INLINE __m256 step_add(enum quant_type type, size_t block_bytes, const uint8_t *p, const uint8_t *ahead,
                            const struct act_step *act, size_t m, __m256 lanes)
{
    __m512i sums[LANE_BLOCKS], mins[LANE_BLOCKS / 2], heads[2];

    UNROLL for (size_t h = 0; h < 2; h++)
    {
        __m512i scales;

        heads[h] = four_heads(p + 4 * h * block_bytes, block_bytes, m > 4 * h ? m - 4 * h : 0);
        scales = head_scales(heads[h]);
        UNROLL for (size_t j = 2 * h; j < 2 * h + 2; j++)
        {
            __m512i words = _mm512_cvtepu8_epi16(j % 2 == 0 ? _mm512_castsi512_si256(scales)
                                                            : _mm512_extracti64x4_epi64(scales, 1));

            mins[j] = _mm512_madd_epi16(words, act->pair_sums[j]);
            UNROLL for (size_t i = 2 * j; i < 2 * j + 2; i++)
            {
                sums[i] = _mm512_setzero_si512();
                if (i % 2 == 1)
                    words = _mm512_zextsi256_si512(_mm512_extracti64x4_epi64(words, 1));
                if (i < m) {
                    if (ahead != NULL)
                        look_ahead(ahead, block_bytes, i);
                    sums[i] = block_sums(type, p + i * block_bytes, act->q[i], words);
                }
            }
        }
    }
    lanes = lanes_add(lanes, head_halves(heads, 0), act->d, wide_sums8(sums));
    return lanes_sub(lanes, head_halves(heads, 1), act->d, half_sums(mins));
}

/* Two rows of four blocks, which fill four lanes each. */
SIMD_INLINE void two_products(enum quant_type type, size_t block_bytes, const uint8_t *p, const uint8_t *ahead,
                              const struct act_step *act, float *y)
{
    __m256 lanes = step_add(type, block_bytes, p, ahead, act, LANE_BLOCKS, _mm256_setzero_ps());
    __m256 halves = _mm256_add_ps(lanes, _mm256_permute_ps(lanes, 0x4e));

    halves = _mm256_add_ps(halves, _mm256_permute_ps(halves, 0xb1));
    y[0] = _mm256_cvtss_f32(halves);
    y[1] = _mm_cvtss_f32(_mm256_extractf128_ps(halves, 1));
}

SIMD_INLINE float row_product(enum quant_type type, size_t block_bytes, const uint8_t *p, const uint8_t *ahead,
                              const struct act_step *acts, size_t n_blocks)
{
    __m256 lanes = _mm256_setzero_ps();
    size_t b = 0;

    for (; b + LANE_BLOCKS <= n_blocks; b += LANE_BLOCKS, acts++)
        lanes = step_add(type, block_bytes, p + b * block_bytes, ahead != NULL ? ahead + b * block_bytes : NULL, acts,
                         LANE_BLOCKS, lanes);
    if (b < n_blocks)
        lanes = step_add(type, block_bytes, p + b * block_bytes, ahead != NULL ? ahead + b * block_bytes : NULL, acts,
                         n_blocks - b, lanes);
    return sum8(lanes);
}

/* Activations arranged: those of act t from step t * n_steps on. */
struct arranged {
    struct act_step steps[MAX_STEPS];
    size_t n_blocks, n_steps;
    bool by_two;
};

SIMD_INLINE void runs_arranged(enum quant_type type, size_t block_bytes, const struct row_runs *runs,
                               const struct arranged *a, size_t act0, size_t n_acts)
{
    size_t n_rows = runs_rows(runs), each = a->by_two ? 2 : 1;

    for (size_t r = 0; r < n_rows; r += each)
        for (int i = 0; i < 2; i++) {
            const struct row_run *run = &runs->run[i];
            const uint8_t *p = (const uint8_t *)run->w + r * runs->row_bytes;
            const uint8_t *ahead = run_ahead(runs, run, r);

            for (size_t t = 0; t < n_acts && r < run->n_rows; t++, ahead = NULL) {
                float *y = run->y + runs->y_at[act0 + t] + r;

                if (a->by_two && r + 2 <= run->n_rows)
                    two_products(type, block_bytes, p, ahead, a->steps + t * a->n_steps, y);
                else
                    *y = row_product(type, block_bytes, p, ahead, a->steps + t * a->n_steps, a->n_blocks);
            }
        }
}

/* Rows that have too many columns for the stack wait for their activations to be arranged again and again. */
SIMD_INLINE void run_long(enum quant_type type, size_t block_bytes, const struct row_runs *runs,
                          const struct row_run *run, size_t n_blocks, size_t t)
{
    const struct act_super *a = runs->acts[t];

    for (size_t r = 0; r < run->n_rows; r++) {
        const uint8_t *p = (const uint8_t *)run->w + r * runs->row_bytes;
        __m256 lanes = _mm256_setzero_ps();

        for (size_t b = 0; b < n_blocks; b += LANE_BLOCKS) {
            size_t m = n_blocks - b < LANE_BLOCKS ? n_blocks - b : LANE_BLOCKS;
            struct act_step act;

            act_step_set(a + b, m, false, &act);
            lanes = step_add(type, block_bytes, p + b * block_bytes, p + b * block_bytes + AHEAD_BYTES, &act, m, lanes);
        }
        run->y[runs->y_at[t] + r] = sum8(lanes);
    }
}

static void acts_arrange(const struct row_runs *runs, size_t act0, size_t n_acts, struct arranged *a)
{
    for (size_t t = 0; t < n_acts; t++)
        for (size_t i = 0; i < a->n_steps; i++) {
            size_t left = a->n_blocks - i * LANE_BLOCKS;

            act_step_set((const struct act_super *)runs->acts[act0 + t] + i * LANE_BLOCKS,
                         left < LANE_BLOCKS ? left : LANE_BLOCKS, a->by_two, &a->steps[t * a->n_steps + i]);
        }
}

SIMD_INLINE void runs_headed(enum quant_type type, size_t block_bytes, const struct row_runs *runs)
{
    struct arranged a;
    size_t at_once;

    a.n_blocks = runs->n / QUANT_SUPER;
    a.n_steps = (a.n_blocks + LANE_BLOCKS - 1) / LANE_BLOCKS;
    a.by_two = 2 * a.n_blocks == LANE_BLOCKS && runs->row_bytes == a.n_blocks * block_bytes;
    at_once = a.n_steps > 0 ? MAX_STEPS / a.n_steps : 1;
    for (size_t t = 0; at_once == 0 && t < runs->n_acts; t++)
        for (int i = 0; i < 2; i++)
            run_long(type, block_bytes, runs, &runs->run[i], a.n_blocks, t);
    for (size_t t = 0; at_once > 0 && t < runs->n_acts; t += at_once) {
        size_t n = runs->n_acts - t < at_once ? runs->n_acts - t : at_once;

        acts_arrange(runs, t, n, &a);
        runs_arranged(type, block_bytes, runs, &a, t, n);
    }
}

RUNS_KERNELS(q4_k, runs_headed(QUANT_Q4_K, 144, runs))
RUNS_KERNELS(q5_k, runs_headed(QUANT_Q5_K, 176, runs))

void avx512_headed_fill(struct cpu_kernels *k)
{
    RUNS_FILL(q4_k, QUANT_Q4_K)
    RUNS_FILL(q5_k, QUANT_Q5_K)
}
