/* SPDX-License-Identifier: MIT
 *
 * half.h: 16-bit floats, one at a time and in plain integer arithmetic: IEEE 754 binary16 ("half", GGUF's F16) and
 * bfloat16. Conversions to float are exact; float_to_half rounds to nearest, ties to even, as the F16C instruction
 * does.
 */
#ifndef EXPERTD_COMPUTE_HALF_H
#define EXPERTD_COMPUTE_HALF_H

#include <stdint.h>
#include <string.h>

/* A little-endian 16-bit number at any address. */
static inline uint16_t half_load(const void *p)
{
    const uint8_t *b = p;

    return (uint16_t)(b[0] | b[1] << 8);
}

static inline float float_from_bits(uint32_t bits)
{
    float f;

    memcpy(&f, &bits, sizeof(f));
    return f;
}

static inline uint32_t float_bits(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

static inline float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13;

    if (magnitude >= 0x0f800000) /* infinity and NaN keep their fraction */
        return float_from_bits(sign | 0x7f800000 | (magnitude & 0x007fffff));
    /* The exponent is off by 112; a multiplication sets it right and normalises subnormals too. */
    return float_from_bits(sign | float_bits(float_from_bits(magnitude) * 0x1p112f));
}

static inline uint16_t float_to_half(float f)
{
    uint32_t bits = float_bits(f);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);

    bits &= 0x7fffffff;
    if (bits > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (bits >> 13 & 0x3ff));
    if (bits >= 0x477ff000) /* rounds to 65536 or more */
        return sign | 0x7c00;
    if (bits < 0x38800000) /* subnormal: the addition does the rounding, at 2^-24 */
        return (uint16_t)(sign | (float_bits(float_from_bits(bits) + 0.5f) - float_bits(0.5f)));
    bits += 0xfff + (bits >> 13 & 1);
    return (uint16_t)(sign | (bits - 0x38000000) >> 13);
}

static inline float bf16_to_float(uint16_t h)
{
    return float_from_bits((uint32_t)h << 16);
}

#endif
