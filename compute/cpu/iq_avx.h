/* SPDX-License-Identifier: MIT
 *
 * iq_avx.h: blocks of the IQ1, IQ2 and IQ3 formats as AVX2 and AVX-512 kernels want them. See quant_iq.h for the
 * layouts.
 *
 * A block is taken apart in two steps: the head (indices, signs and scales, some vector instructions for all 256
 * weights) and the points, loaded one by one from the tables of iq_points.h. Internal to those levels; needs AVX2.
 *
 * Fields of bits that lie behind one another are brought to the same place of 16-bit lanes by a multiplication with
 * powers of two, since AVX2 shifts no 16-bit lanes by different counts.
 */
#ifndef EXPERTD_COMPUTE_CPU_IQ_AVX_H
#define EXPERTD_COMPUTE_CPU_IQ_AVX_H

#include "compute/cpu/avx_common.h"
#include "compute/cpu/iq_points.h"
#include "compute/quant_iq.h"

struct iq_head {
    uint16_t index[64]; /* 32 used by points of eight weights */
    uint32_t signs[8];  /* a bit per weight: it is negative */
    uint32_t ups;       /* IQ1: a bit per point: it is shifted up, else down */
    __m256i scale;      /* sixteen of 16 bits */
    float d;
};

SIMD_INLINE bool iq_has_signs(enum quant_type type)
{
    return type != QUANT_IQ1_S && type != QUANT_IQ1_M;
}

SIMD_INLINE bool iq_has_fours(enum quant_type type)
{
    return type == QUANT_IQ3_XXS || type == QUANT_IQ3_S;
}

SIMD_INLINE size_t iq_block_bytes(enum quant_type type)
{
    switch (type) {
    case QUANT_IQ2_XXS:
        return 66;
    case QUANT_IQ2_XS:
        return 74;
    case QUANT_IQ2_S:
        return 82;
    case QUANT_IQ3_XXS:
        return 98;
    case QUANT_IQ3_S:
        return 110;
    case QUANT_IQ1_S:
        return 50;
    default: /* QUANT_IQ1_M */
        return 56;
    }
}

SIMD_INLINE __m256i iq_load(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

SIMD_INLINE __m128i iq_load_half(const void *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

SIMD_INLINE __m128i iq_load_quarter(const void *p)
{
    return _mm_loadl_epi64((const __m128i *)p);
}

SIMD_INLINE void iq_store_index(struct iq_head *h, int at, __m256i index)
{
    _mm256_storeu_si256((__m256i *)(h->index + at), index);
}

/* 16 bytes to indices, with the bits above that `high` has in place. */
SIMD_INLINE void iq_index16(struct iq_head *h, int at, const uint8_t *low, __m256i high)
{
    iq_store_index(h, at, _mm256_or_si256(_mm256_cvtepu8_epi16(iq_load_half(low)), high));
}

/* 2s + 1 */
SIMD_INLINE __m256i iq_odd(__m256i s)
{
    return _mm256_or_si256(_mm256_add_epi16(s, s), _mm256_set1_epi16(1));
}

/* Eight bytes to sixteen lanes: low nibble, high nibble. */
SIMD_INLINE __m256i iq_nibbles16(__m128i bytes)
{
    const __m128i nibble = _mm_set1_epi8(15);

    return _mm256_cvtepu8_epi16(
        _mm_unpacklo_epi8(_mm_and_si128(bytes, nibble), _mm_and_si128(_mm_srli_epi16(bytes, 4), nibble)));
}

/* Bytes of seven signs get the eighth, which makes their number even. */
SIMD_INLINE void iq_store_signs(struct iq_head *h, __m256i sevens)
{
    const __m256i odd = _mm256_broadcastsi128_si256(
        _mm_set_epi8(0, -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0));
    __m256i low = _mm256_shuffle_epi8(odd, _mm256_and_si256(sevens, _mm256_set1_epi8(15)));
    __m256i high = _mm256_shuffle_epi8(odd, _mm256_and_si256(_mm256_srli_epi16(sevens, 4), _mm256_set1_epi8(7)));

    _mm256_storeu_si256((__m256i *)h->signs, _mm256_or_si256(sevens, _mm256_xor_si256(low, high)));
}

/* Eight words of four times seven signs and a scale for 32 weights. */
SIMD_INLINE void iq_signs_scales(struct iq_head *h, __m256i words)
{
    __m256i pairs = _mm256_or_si256(_mm256_and_si256(words, _mm256_set1_epi32(0x3fff)),
                                    _mm256_slli_epi32(_mm256_and_si256(words, _mm256_set1_epi32(0x0fffc000)), 2));
    __m256i scale = iq_odd(_mm256_srli_epi32(words, 28));

    iq_store_signs(h, _mm256_or_si256(_mm256_and_si256(pairs, _mm256_set1_epi16(0x7f)),
                                      _mm256_slli_epi16(_mm256_and_si256(pairs, _mm256_set1_epi16(0x3f80)), 1)));
    scale = _mm256_and_si256(scale, _mm256_set1_epi32(0xffff));
    h->scale = _mm256_or_si256(scale, _mm256_slli_epi32(scale, 16));
}

SIMD_INLINE void iq2_xxs_head(const uint8_t *p, struct iq_head *h)
{
    __m256 a = _mm256_castsi256_ps(iq_load(p + 2)), b = _mm256_castsi256_ps(iq_load(p + 34));
    __m256i bytes = _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88)), 0xd8);

    iq_store_index(h, 0, _mm256_cvtepu8_epi16(_mm256_castsi256_si128(bytes)));
    iq_store_index(h, 16, _mm256_cvtepu8_epi16(_mm256_extracti128_si256(bytes, 1)));
    iq_signs_scales(h, _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd)), 0xd8));
    h->d = _cvtsh_ss(half_load(p)) * 0.125f;
}

SIMD_INLINE void iq2_xs_head(const uint8_t *p, struct iq_head *h)
{
    const __m256i index = _mm256_set1_epi16(511);
    __m256i a = iq_load(p + 2), b = iq_load(p + 34);

    iq_store_index(h, 0, _mm256_and_si256(a, index));
    iq_store_index(h, 16, _mm256_and_si256(b, index));
    iq_store_signs(
        h, _mm256_permute4x64_epi64(_mm256_packus_epi16(_mm256_srli_epi16(a, 9), _mm256_srli_epi16(b, 9)), 0xd8));
    h->scale = iq_odd(iq_nibbles16(iq_load_quarter(p + 66)));
    h->d = _cvtsh_ss(half_load(p)) * 0.125f;
}

/* Lanes of 16 bits from the bytes of the lower eight: `from` names them, with 0x80 for a zero. */
SIMD_INLINE __m256i iq_lanes(__m128i bytes, __m256i from)
{
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), from);
}

/* Byte numbers for iq_lanes: each of four bytes four times, of two bytes eight times. */
#define IQ_LANES_OF_4(first)                                                                                          \
    _mm256_add_epi16(_mm256_set_epi16(-32765, -32765, -32765, -32765, -32766, -32766, -32766, -32766, -32767, -32767, \
                                      -32767, -32767, -32768, -32768, -32768, -32768),                                \
                     _mm256_set1_epi16(first))
#define IQ_LANES_OF_2(first)                                                                                          \
    _mm256_add_epi16(_mm256_set_epi16(-32767, -32767, -32767, -32767, -32767, -32767, -32767, -32767, -32768, -32768, \
                                      -32768, -32768, -32768, -32768, -32768, -32768),                                \
                     _mm256_set1_epi16(first))

SIMD_INLINE __m256i iq_field(__m256i lanes, __m256i powers, int mask)
{
    return _mm256_and_si256(_mm256_mullo_epi16(lanes, powers), _mm256_set1_epi16((short)mask));
}

SIMD_INLINE void iq2_s_head(const uint8_t *p, struct iq_head *h)
{
    const __m256i powers = _mm256_set_epi16(4, 16, 64, 256, 4, 16, 64, 256, 4, 16, 64, 256, 4, 16, 64, 256);
    __m128i high = iq_load_quarter(p + 66);

    iq_index16(h, 0, p + 2, iq_field(iq_lanes(high, IQ_LANES_OF_4(0)), powers, 0x300));
    iq_index16(h, 16, p + 18, iq_field(iq_lanes(high, IQ_LANES_OF_4(4)), powers, 0x300));
    memcpy(h->signs, p + 34, sizeof(h->signs));
    h->scale = iq_odd(iq_nibbles16(iq_load_quarter(p + 74)));
    h->d = _cvtsh_ss(half_load(p)) * 0.125f;
}

SIMD_INLINE void iq3_xxs_head(const uint8_t *p, struct iq_head *h)
{
    UNROLL for (int i = 0; i < 4; i++) iq_index16(h, 16 * i, p + 2 + 16 * i, _mm256_setzero_si256());
    iq_signs_scales(h, iq_load(p + 66));
    h->d = _cvtsh_ss(half_load(p)) * 0.25f;
}

SIMD_INLINE void iq3_s_head(const uint8_t *p, struct iq_head *h)
{
    const __m256i powers = _mm256_set_epi16(2, 4, 8, 16, 32, 64, 128, 256, 2, 4, 8, 16, 32, 64, 128, 256);
    __m128i high = iq_load_quarter(p + 66);
    __m256i nibbles = iq_nibbles16(_mm_cvtsi32_si128((int)load_u32(p + 106)));

    UNROLL for (int i = 0; i < 4; i++)
        iq_index16(h, 16 * i, p + 2 + 16 * i, iq_field(iq_lanes(high, IQ_LANES_OF_2(2 * i)), powers, 0x100));
    memcpy(h->signs, p + 74, sizeof(h->signs));
    /* eight of them, each twice */
    nibbles = _mm256_permute4x64_epi64(nibbles, 0x50);
    h->scale = iq_odd(_mm256_unpacklo_epi16(nibbles, nibbles));
    h->d = _cvtsh_ss(half_load(p));
}

/* Four fields of three bits in each of four words: to bits 9 .. 11 of sixteen lanes. */
SIMD_INLINE __m256i iq1_fields(__m128i words, int first)
{
    const __m256i powers = _mm256_set_epi16(1, 8, 64, 512, 1, 8, 64, 512, 1, 8, 64, 512, 1, 8, 64, 512);
    const __m256i each =
        _mm256_set_epi64x(0x0706070607060706, 0x0504050405040504, 0x0302030203020302, 0x0100010001000100);

    return _mm256_mullo_epi16(iq_lanes(words, _mm256_add_epi8(each, _mm256_set1_epi8((char)(2 * first)))), powers);
}

SIMD_INLINE void iq1_s_head(const uint8_t *p, struct iq_head *h)
{
    const __m256i field = _mm256_set1_epi16(0x700);
    __m128i high = iq_load_half(p + 34), scale = _mm_and_si128(_mm_srli_epi16(high, 12), _mm_set1_epi16(7));
    __m128i down = _mm_packs_epi16(_mm_srai_epi16(high, 15), high), twice = _mm_unpacklo_epi8(down, down);

    UNROLL for (int i = 0; i < 2; i++)
        iq_index16(h, 16 * i, p + 2 + 16 * i, _mm256_and_si256(_mm256_srli_epi16(iq1_fields(high, 4 * i), 1), field));
    h->ups = ~((uint32_t)_mm_movemask_epi8(_mm_unpacklo_epi8(twice, twice)) |
               (uint32_t)_mm_movemask_epi8(_mm_unpackhi_epi8(twice, twice)) << 16);
    h->scale = iq_odd(_mm256_inserti128_si256(_mm256_castsi128_si256(_mm_unpacklo_epi16(scale, scale)),
                                              _mm_unpackhi_epi16(scale, scale), 1));
    h->d = _cvtsh_ss(half_load(p)) * 0.125f;
}

SIMD_INLINE void iq1_m_head(const uint8_t *p, struct iq_head *h)
{
    const __m128i nibble = _mm_set1_epi8(15);
    __m128i high = iq_load_half(p + 32), low = _mm_and_si128(high, nibble);
    uint64_t words;
    __m256i nibbles;

    high = _mm_and_si128(_mm_srli_epi16(high, 4), nibble);
    nibbles =
        _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_unpacklo_epi8(low, high)), _mm_unpackhi_epi8(low, high), 1);
    UNROLL for (int i = 0; i < 2; i++)
    {
        __m128i half = i == 0 ? _mm256_castsi256_si128(nibbles) : _mm256_extracti128_si256(nibbles, 1);

        iq_index16(h, 16 * i, p + 16 * i,
                   _mm256_slli_epi16(_mm256_cvtepu8_epi16(_mm_and_si128(half, _mm_set1_epi8(7))), 8));
    }
    h->ups = ~(uint32_t)_mm256_movemask_epi8(_mm256_slli_epi16(nibbles, 4));
    memcpy(&words, p + 48, sizeof(words));
    h->scale = iq_odd(_mm256_and_si256(_mm256_srli_epi16(iq1_fields(_mm_cvtsi64_si128((long long)words), 0), 9),
                                       _mm256_set1_epi16(7)));
    words = words >> 12 & 0x000f000f000f000f;
    h->d = _cvtsh_ss((uint16_t)(words | words >> 12 | words >> 24 | words >> 36)) * 0.125f;
}

SIMD_INLINE void iq_head(enum quant_type type, const uint8_t *p, struct iq_head *h)
{
    switch (type) {
    case QUANT_IQ2_XXS:
        iq2_xxs_head(p, h);
        break;
    case QUANT_IQ2_XS:
        iq2_xs_head(p, h);
        break;
    case QUANT_IQ2_S:
        iq2_s_head(p, h);
        break;
    case QUANT_IQ3_XXS:
        iq3_xxs_head(p, h);
        break;
    case QUANT_IQ3_S:
        iq3_s_head(p, h);
        break;
    case QUANT_IQ1_S:
        iq1_s_head(p, h);
        break;
    default: /* QUANT_IQ1_M */
        iq1_m_head(p, h);
    }
}

SIMD_INLINE const uint64_t *iq_eights(enum quant_type type)
{
    switch (type) {
    case QUANT_IQ2_XXS:
        return iq_points.iq2_xxs;
    case QUANT_IQ2_XS:
        return iq_points.iq2_xs;
    case QUANT_IQ2_S:
        return iq_points.iq2_s;
    default: /* QUANT_IQ1_S, QUANT_IQ1_M */
        return iq_points.iq1;
    }
}

/* The bytes of weights 32c .. 32c+31, before signs and shifts. */
SIMD_INLINE __m256i iq_bytes(enum quant_type type, const struct iq_head *h, int c)
{
    if (iq_has_fours(type)) {
        const uint32_t *points = type == QUANT_IQ3_S ? iq_points.iq3_s : iq_points.iq3_xxs;
        const uint16_t *i = h->index + 8 * c;

        return _mm256_set_epi32((int)points[i[7]], (int)points[i[6]], (int)points[i[5]], (int)points[i[4]],
                                (int)points[i[3]], (int)points[i[2]], (int)points[i[1]], (int)points[i[0]]);
    }
    const uint64_t *points = iq_eights(type);
    const uint16_t *i = h->index + 4 * c;

    return _mm256_set_epi64x((long long)points[i[3]], (long long)points[i[2]], (long long)points[i[1]],
                             (long long)points[i[0]]);
}

/* 0xff in each byte whose bit is set. */
SIMD_INLINE __m256i iq_byte_mask(uint32_t bits)
{
    const __m256i bytes = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
    const __m256i each = _mm256_set1_epi64x((long long)0x8040201008040201);

    return _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), bytes), each), each);
}

/* 2 in each byte of the points 4c .. 4c+3 that are shifted up. */
SIMD_INLINE __m256i iq_up_bytes(uint32_t ups, int c)
{
    const __m256i bits = _mm256_set_epi64x(8, 4, 2, 1);
    __m256i mine = _mm256_and_si256(_mm256_set1_epi64x((long long)(ups >> (4 * c))), bits);

    return _mm256_and_si256(_mm256_cmpeq_epi64(mine, bits), _mm256_set1_epi8(2));
}

SIMD_INLINE __m256i iq_signed_bytes(enum quant_type type, const struct iq_head *h, int c)
{
    __m256i q = iq_bytes(type, h, c), minus;

    if (!iq_has_signs(type))
        return _mm256_add_epi8(_mm256_sub_epi8(q, _mm256_set1_epi8(9)), iq_up_bytes(h->ups, c));
    minus = iq_byte_mask(h->signs[c]);
    return _mm256_sub_epi8(_mm256_xor_si256(q, minus), minus);
}

SIMD_INLINE void iq_unpack(enum quant_type type, const uint8_t *p, size_t n, struct quant_super *s)
{
    for (size_t b = 0; b < n / QUANT_SUPER; b++, p += iq_block_bytes(type), s++) {
        struct iq_head h;

        iq_head(type, p, &h);
        UNROLL for (int c = 0; c < 8; c++) _mm256_store_si256((__m256i *)(s->q + 32 * c), iq_signed_bytes(type, &h, c));
        _mm256_store_si256((__m256i *)s->scale, h.scale);
        _mm256_store_si256((__m256i *)s->min, _mm256_setzero_si256());
        s->d = h.d;
        s->dmin = 0;
        s->offset = 0;
    }
}

#define IQ_FORMATS(X)   \
    X(IQ2_XXS, iq2_xxs) \
    X(IQ2_XS, iq2_xs)   \
    X(IQ2_S, iq2_s)     \
    X(IQ3_XXS, iq3_xxs) \
    X(IQ3_S, iq3_s)     \
    X(IQ1_S, iq1_s)     \
    X(IQ1_M, iq1_m)

#endif
