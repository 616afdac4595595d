/* SPDX-License-Identifier: MIT
 *
 * formats.cuh: the 23 block formats, read the way a GPU multiplies: four weights at a time, as the bytes of one word.
 *
 * Formats of 32 weights to a block (family SMALL): run r = 0..7 is weights 4r .. 4r+3; w = d * q + m.
 * Formats of 256 weights (family SUPER): column l = 0..7 is the eight runs of weights 32j + 4l .. 32j + 4l + 3, j =
 * 0..7, which the layouts keep close together; group g = 0..15 of 16 weights has a scale and a minimum; w = d *
 * scale(g) * (q - OFFSET) - dmin * min(g). PAIRS: two neighbouring groups have the same scale.
 *
 * ALIGN is what a block's address is a multiple of, as long as the matrix itself begins at such an address.
 * `points` are the lattices of the IQ formats, see struct lattices.
 * Layouts: compute/quant_small.h, quant_super.h, quant_iq.h.
 */
#ifndef EXPERTD_GPU_FORMATS_H
#define EXPERTD_GPU_FORMATS_H

#include "gpu/exact.cuh"
#include "gpu/types.h"

/* A little-endian word at an address that is a multiple of A. */
template <int A> DEVICE uint32_t load_word(const uint8_t *p)
{
    if (A >= 4)
        return *(const uint32_t *)p;
    if (A == 2)
        return *(const uint16_t *)p | (uint32_t) * (const uint16_t *)(p + 2) << 16;
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

DEVICE uint32_t load_half(const uint8_t *p)
{
    return *(const uint16_t *)p;
}

DEVICE float half_at(const uint8_t *p)
{
    return half_value(*(const uint16_t *)p);
}

/* Four bits to the low bits of four bytes, four pairs, four triples. */
DEVICE uint32_t spread_bits(uint32_t v)
{
    return (v & 1) | (v & 2) << 7 | (v & 4) << 14 | (v & 8) << 21;
}

DEVICE uint32_t spread_pairs(uint32_t v)
{
    return (v & 3) | (v & 0xc) << 6 | (v & 0x30) << 12 | (v & 0xc0) << 18;
}

DEVICE uint32_t spread_triples(uint32_t v)
{
    return (v & 7) | (v & 0x38) << 5 | (v & 0x1c0) << 10 | (v & 0xe00) << 15;
}

/* Bytes below 128 less a number up to 128, each by itself. */
DEVICE uint32_t bytes_less(uint32_t bytes, uint32_t n)
{
    return (bytes + (128 - n) * 0x01010101u) ^ 0x80808080u;
}

/* Magnitudes, none of them 0, with four signs. */
DEVICE uint32_t bytes_signed(uint32_t magnitudes, uint32_t signs)
{
    uint32_t minus = spread_bits(signs) * 255;

    return (magnitudes ^ minus) + (minus & 0x01010101);
}

/* Seven signs; the eighth makes their number even. */
DEVICE uint32_t eight_signs(uint32_t seven)
{
    uint32_t parity = seven ^ seven >> 4;

    parity ^= parity >> 2;
    parity ^= parity >> 1;
    return seven | (parity & 1) << 7;
}

/* Four bytes 0..15, looked up in a table of sixteen bytes. */
DEVICE uint32_t look_up(uint32_t index, uint32_t t0, uint32_t t1, uint32_t t2, uint32_t t3)
{
    uint32_t low_bits = index & 0x07070707, pairs = low_bits | low_bits >> 4;
    uint32_t selector = (pairs & 0xff) | (pairs >> 8 & 0xff00), high = (index >> 3 & 0x01010101) * 255;

    return (byte_permute(t0, t1, selector) & ~high) | (byte_permute(t2, t3, selector) & high);
}

/* The values of IQ4_NL and IQ4_XS: -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113. */
DEVICE uint32_t iq4_values(uint32_t index)
{
    return look_up(index, 0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u);
}

/* Those of MXFP4, doubled: 0 1 2 3 4 6 8 12 and the same below zero. */
DEVICE uint32_t mxfp4_values(uint32_t index)
{
    return look_up(index, 0x03020100u, 0x0c080604u, 0xfdfeff00u, 0xf4f8fafcu);
}

enum family { PLAIN, SMALL, SUPER };

template <int TYPE> struct format;

/* What most formats have; each hides what is different. */
struct small_format {
    enum { FAMILY = SMALL, BLOCK = 32, MINS = 0, ALIGN = 2 };
    DEVICE_MEMBER float d(const uint8_t *p)
    {
        return half_at(p);
    }
    DEVICE_MEMBER float m(const uint8_t *)
    {
        return 0;
    }
};

/* Run r of 16 bytes of nibbles: low ones first. */
template <int A> DEVICE uint32_t nibble_run(const uint8_t *p, int r)
{
    return load_word<A>(p + 4 * (r & 3)) >> (r & 4) & 0x0f0f0f0f;
}

template <> struct format<QUANT_Q4_0> : small_format {
    enum { BYTES = 18 };
    DEVICE_MEMBER uint32_t run(const uint8_t *p, int r)
    {
        return bytes_less(nibble_run<2>(p + 2, r), 8);
    }
};

template <> struct format<QUANT_Q4_1> : small_format {
    enum { BYTES = 20, MINS = 1, ALIGN = 4 };
    DEVICE_MEMBER float m(const uint8_t *p)
    {
        return half_at(p + 2);
    }
    DEVICE_MEMBER uint32_t run(const uint8_t *p, int r)
    {
        return nibble_run<4>(p + 4, r);
    }
};

template <> struct format<QUANT_Q5_0> : small_format {
    enum { BYTES = 22 };
    DEVICE_MEMBER uint32_t run(const uint8_t *p, int r)
    {
        uint32_t high = spread_bits(load_half(p + 2 + (r & 4) / 2) >> 4 * (r & 3));

        return bytes_less(nibble_run<2>(p + 6, r) | high << 4, 16);
    }
};

template <> struct format<QUANT_Q5_1> : small_format {
    enum { BYTES = 24, MINS = 1, ALIGN = 4 };
    DEVICE_MEMBER float m(const uint8_t *p)
    {
        return half_at(p + 2);
    }
    DEVICE_MEMBER uint32_t run(const uint8_t *p, int r)
    {
        return nibble_run<4>(p + 8, r) | spread_bits(load_word<4>(p + 4) >> 4 * r) << 4;
    }
};

template <> struct format<QUANT_Q8_0> : small_format {
    enum { BYTES = 34 };
    DEVICE_MEMBER uint32_t run(const uint8_t *p, int r)
    {
        return load_word<2>(p + 2 + 4 * r);
    }
};

template <> struct format<QUANT_IQ4_NL> : small_format {
    enum { BYTES = 18 };
    DEVICE_MEMBER uint32_t run(const uint8_t *p, int r)
    {
        return iq4_values(nibble_run<2>(p + 2, r));
    }
};

template <> struct format<QUANT_MXFP4> : small_format {
    enum { BYTES = 17, ALIGN = 1 };
    DEVICE_MEMBER float d(const uint8_t *p)
    {
        return bits_float(p[0] < 2 ? 0x00200000u << p[0] : (uint32_t)(p[0] - 1) << 23);
    }
    DEVICE_MEMBER uint32_t run(const uint8_t *p, int r)
    {
        return mxfp4_values(nibble_run<1>(p + 1, r));
    }
};

struct super_format {
    enum { FAMILY = SUPER, BLOCK = 256, MINS = 0, OFFSET = 0, ALIGN = 2, PAIRS = 0 };
    DEVICE_MEMBER float d(const uint8_t *p)
    {
        return half_at(p);
    }
    DEVICE_MEMBER float dmin(const uint8_t *)
    {
        return 0;
    }
    DEVICE_MEMBER int min(const uint8_t *, int)
    {
        return 0;
    }
};

template <> struct format<QUANT_Q2_K> : super_format {
    enum { BYTES = 84, MINS = 1, ALIGN = 4 };
    DEVICE_MEMBER float d(const uint8_t *p)
    {
        return half_at(p + 80);
    }
    DEVICE_MEMBER float dmin(const uint8_t *p)
    {
        return half_at(p + 82);
    }
    DEVICE_MEMBER int scale(const uint8_t *p, int g)
    {
        return p[g] & 15;
    }
    DEVICE_MEMBER int min(const uint8_t *p, int g)
    {
        return p[g] >> 4;
    }
    DEVICE_MEMBER void column(const uint8_t *p, int l, const struct lattices *, uint32_t q[8])
    {
        const uint32_t low[2] = { load_word<4>(p + 16 + 4 * l), load_word<4>(p + 48 + 4 * l) };

        UNROLL for (int j = 0; j < 8; j++)
            q[j] = low[j / 4] >> (j % 4 * 2) & 0x03030303;
    }
};

template <> struct format<QUANT_Q3_K> : super_format {
    enum { BYTES = 110, OFFSET = 4 };
    DEVICE_MEMBER float d(const uint8_t *p)
    {
        return half_at(p + 108);
    }
    DEVICE_MEMBER int scale(const uint8_t *p, int g)
    {
        return (p[96 + g % 8] >> (g / 8 * 4) & 15) + ((p[104 + g % 4] >> (g / 4 * 2) & 3) << 4) - 32;
    }
    DEVICE_MEMBER void column(const uint8_t *p, int l, const struct lattices *, uint32_t q[8])
    {
        const uint32_t low[2] = { load_word<2>(p + 32 + 4 * l), load_word<2>(p + 64 + 4 * l) };
        uint32_t high = load_word<2>(p + 4 * l);

        UNROLL for (int j = 0; j < 8; j++)
            q[j] = (low[j / 4] >> (j % 4 * 2) & 0x03030303) | (high >> j & 0x01010101) << 2;
    }
};

/* Eight six-bit scales and eight six-bit minima in 12 bytes, each for 32 weights. */
struct six_bit_format : super_format {
    enum { MINS = 1, ALIGN = 4, PAIRS = 1 };
    DEVICE_MEMBER float dmin(const uint8_t *p)
    {
        return half_at(p + 2);
    }
    DEVICE_MEMBER int scale(const uint8_t *p, int g)
    {
        int j = g / 2;

        return j < 4 ? p[4 + j] & 63 : (p[8 + j] & 15) | (p[j] >> 6) << 4;
    }
    DEVICE_MEMBER int min(const uint8_t *p, int g)
    {
        int j = g / 2;

        return j < 4 ? p[8 + j] & 63 : p[8 + j] >> 4 | (p[4 + j] >> 6) << 4;
    }
};

template <> struct format<QUANT_Q4_K> : six_bit_format {
    enum { BYTES = 144 };
    DEVICE_MEMBER void column(const uint8_t *p, int l, const struct lattices *, uint32_t q[8])
    {
        UNROLL for (int j = 0; j < 8; j += 2) {
            uint32_t both = load_word<4>(p + 16 + 16 * j + 4 * l);

            q[j] = both & 0x0f0f0f0f;
            q[j + 1] = both >> 4 & 0x0f0f0f0f;
        }
    }
};

template <> struct format<QUANT_Q5_K> : six_bit_format {
    enum { BYTES = 176 };
    DEVICE_MEMBER void column(const uint8_t *p, int l, const struct lattices *, uint32_t q[8])
    {
        uint32_t high = load_word<4>(p + 16 + 4 * l);

        UNROLL for (int j = 0; j < 8; j += 2) {
            uint32_t both = load_word<4>(p + 48 + 16 * j + 4 * l);

            q[j] = (both & 0x0f0f0f0f) | (high >> j & 0x01010101) << 4;
            q[j + 1] = (both >> 4 & 0x0f0f0f0f) | (high >> (j + 1) & 0x01010101) << 4;
        }
    }
};

template <> struct format<QUANT_Q6_K> : super_format {
    enum { BYTES = 210, OFFSET = 32 };
    DEVICE_MEMBER float d(const uint8_t *p)
    {
        return half_at(p + 208);
    }
    DEVICE_MEMBER int scale(const uint8_t *p, int g)
    {
        return (int8_t)p[192 + g];
    }
    DEVICE_MEMBER void column(const uint8_t *p, int l, const struct lattices *, uint32_t q[8])
    {
        const uint32_t high[2] = { load_word<2>(p + 128 + 4 * l), load_word<2>(p + 160 + 4 * l) };
        uint32_t low[4];

        UNROLL for (int k = 0; k < 4; k++)
            low[k] = load_word<2>(p + 32 * k + 4 * l);
        UNROLL for (int j = 0; j < 8; j++)
            q[j] = (low[j / 4 * 2 + j % 2] >> (j / 2 % 2 * 4) & 0x0f0f0f0f) |
                   (high[j / 4] >> (j % 4 * 2) & 0x03030303) << 4;
    }
};

template <> struct format<QUANT_IQ4_XS> : super_format {
    enum { BYTES = 136, ALIGN = 4, PAIRS = 1 };
    DEVICE_MEMBER int scale(const uint8_t *p, int g)
    {
        int j = g / 2;

        return (int)(p[4 + j / 2] >> (j % 2 * 4) & 15) + (int)((load_half(p + 2) >> (2 * j) & 3) << 4) - 32;
    }
    DEVICE_MEMBER void column(const uint8_t *p, int l, const struct lattices *, uint32_t q[8])
    {
        UNROLL for (int j = 0; j < 8; j++)
            q[j] = iq4_values(nibble_run<4>(p + 8 + 16 * j, l));
    }
};

/* Magnitudes 8, 25, 43: half `h` of a point of eight. */
DEVICE uint32_t iq2_half(uint32_t point, uint32_t signs, int h)
{
    uint32_t i = spread_pairs(point >> (8 * h));

    return bytes_signed(i * 17 + (i >> 1 & 0x01010101) + 0x08080808, signs >> (4 * h));
}

template <> struct format<QUANT_IQ2_XXS> : super_format {
    enum { BYTES = 66, PAIRS = 1 };
    DEVICE_MEMBER float d(const uint8_t *p)
    {
        return half_at(p) * 0.125f;
    }
    DEVICE_MEMBER int scale(const uint8_t *p, int g)
    {
        return 2 * (p[9 + g / 2 * 8] >> 4) + 1;
    }
    DEVICE_MEMBER void column(const uint8_t *p, int l, const struct lattices *points, uint32_t q[8])
    {
        UNROLL for (int j = 0; j < 8; j++) {
            uint32_t rest = load_word<2>(p + 6 + 8 * j);

            q[j] = iq2_half(points->iq2_xxs[p[2 + 8 * j + l / 2]], eight_signs(rest >> (7 * (l / 2)) & 127), l % 2);
        }
    }
};

template <> struct format<QUANT_IQ2_XS> : super_format {
    enum { BYTES = 74 };
    DEVICE_MEMBER float d(const uint8_t *p)
    {
        return half_at(p) * 0.125f;
    }
    DEVICE_MEMBER int scale(const uint8_t *p, int g)
    {
        return 2 * (p[66 + g / 2] >> (g % 2 * 4) & 15) + 1;
    }
    DEVICE_MEMBER void column(const uint8_t *p, int l, const struct lattices *points, uint32_t q[8])
    {
        UNROLL for (int j = 0; j < 8; j++) {
            uint32_t v = load_half(p + 2 + 2 * (4 * j + l / 2));

            q[j] = iq2_half(points->iq2_xs[v & 511], eight_signs(v >> 9), l % 2);
        }
    }
};

template <> struct format<QUANT_IQ2_S> : super_format {
    enum { BYTES = 82 };
    DEVICE_MEMBER float d(const uint8_t *p)
    {
        return half_at(p) * 0.125f;
    }
    DEVICE_MEMBER int scale(const uint8_t *p, int g)
    {
        return 2 * (p[74 + g / 2] >> (g % 2 * 4) & 15) + 1;
    }
    DEVICE_MEMBER void column(const uint8_t *p, int l, const struct lattices *points, uint32_t q[8])
    {
        UNROLL for (int j = 0; j < 8; j++) {
            int i = 4 * j + l / 2;
            uint32_t high = p[66 + j] >> (l / 2 * 2) & 3;

            q[j] = iq2_half(points->iq2_s[p[2 + i] | high << 8], p[34 + i], l % 2);
        }
    }
};

template <> struct format<QUANT_IQ3_XXS> : super_format {
    enum { BYTES = 98, PAIRS = 1 };
    DEVICE_MEMBER float d(const uint8_t *p)
    {
        return half_at(p) * 0.25f;
    }
    DEVICE_MEMBER int scale(const uint8_t *p, int g)
    {
        return 2 * (p[69 + g / 2 * 4] >> 4) + 1;
    }
    /* Magnitudes 4, 12, 20, 28, 36, 44, 52, 62. */
    DEVICE_MEMBER void column(const uint8_t *p, int l, const struct lattices *points, uint32_t q[8])
    {
        UNROLL for (int j = 0; j < 8; j++) {
            uint32_t i = spread_triples(points->iq3_xxs[p[2 + 8 * j + l]]), last = i & i >> 1 & i >> 2 & 0x01010101;
            uint32_t signs = eight_signs(load_word<2>(p + 66 + 4 * j) >> (7 * (l / 2)) & 127);

            q[j] = bytes_signed(i * 8 + last * 2 + 0x04040404, signs >> (l % 2 * 4));
        }
    }
};

template <> struct format<QUANT_IQ3_S> : super_format {
    enum { BYTES = 110, PAIRS = 1 };
    DEVICE_MEMBER int scale(const uint8_t *p, int g)
    {
        return 2 * (p[106 + g / 4] >> (g / 2 % 2 * 4) & 15) + 1;
    }
    /* Magnitudes 1, 3 .. 15. */
    DEVICE_MEMBER void column(const uint8_t *p, int l, const struct lattices *points, uint32_t q[8])
    {
        UNROLL for (int j = 0; j < 8; j++) {
            uint32_t index = p[2 + 8 * j + l] | (uint32_t)(p[66 + j] >> l & 1) << 8;

            q[j] = bytes_signed(spread_triples(points->iq3_s[index]) * 2 + 0x01010101,
                                p[74 + 4 * j + l / 2] >> (l % 2 * 4));
        }
    }
};

/* -8, 0, 8, and one more or less: half `h` of a point of eight. */
DEVICE uint32_t iq1_half(uint32_t point, bool less, int h)
{
    return bytes_less(spread_pairs(point >> (8 * h)) * 8, less ? 9 : 7);
}

template <> struct format<QUANT_IQ1_S> : super_format {
    enum { BYTES = 50, PAIRS = 1 };
    DEVICE_MEMBER float d(const uint8_t *p)
    {
        return half_at(p) * 0.125f;
    }
    DEVICE_MEMBER int scale(const uint8_t *p, int g)
    {
        return 2 * (p[35 + g / 2 * 2] >> 4 & 7) + 1;
    }
    DEVICE_MEMBER void column(const uint8_t *p, int l, const struct lattices *points, uint32_t q[8])
    {
        UNROLL for (int j = 0; j < 8; j++) {
            uint32_t high = load_half(p + 34 + 2 * j);
            uint32_t index = p[2 + 4 * j + l / 2] | (high >> (3 * (l / 2)) & 7) << 8;

            q[j] = iq1_half(points->iq1[index], (high & 0x8000) != 0, l % 2);
        }
    }
};

template <> struct format<QUANT_IQ1_M> : super_format {
    enum { BYTES = 56 };
    DEVICE_MEMBER float d(const uint8_t *p)
    {
        uint32_t bits = 0;

        UNROLL for (int i = 0; i < 4; i++)
            bits |= load_half(p + 48 + 2 * i) >> 12 << (4 * i);
        return half_value((uint16_t)bits) * 0.125f;
    }
    DEVICE_MEMBER int scale(const uint8_t *p, int g)
    {
        return (int)(2 * (load_half(p + 48 + g / 4 * 2) >> (g % 4 * 3) & 7) + 1);
    }
    DEVICE_MEMBER void column(const uint8_t *p, int l, const struct lattices *points, uint32_t q[8])
    {
        UNROLL for (int j = 0; j < 8; j++) {
            int i = 4 * j + l / 2;
            uint32_t high = p[32 + i / 2] >> (i % 2 * 4);

            q[j] = iq1_half(points->iq1[p[i] | (high & 7) << 8], (high & 8) != 0, l % 2);
        }
    }
};

/* Numbers as they are. */
template <> struct format<QUANT_F32> {
    enum { FAMILY = PLAIN, BLOCK = 1, BYTES = 4, ALIGN = 4 };
    DEVICE_MEMBER float value(const uint8_t *p)
    {
        return *(const float *)p;
    }
};

template <> struct format<QUANT_F16> {
    enum { FAMILY = PLAIN, BLOCK = 1, BYTES = 2, ALIGN = 2 };
    DEVICE_MEMBER float value(const uint8_t *p)
    {
        return half_at(p);
    }
};

template <> struct format<QUANT_BF16> {
    enum { FAMILY = PLAIN, BLOCK = 1, BYTES = 2, ALIGN = 2 };
    DEVICE_MEMBER float value(const uint8_t *p)
    {
        return bits_float(load_half(p) << 16);
    }
};

#endif
