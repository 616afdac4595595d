/* SPDX-License-Identifier: MIT */
#include "compute/quant.h"

#include "compute/half.h"
#include "compute/quant_unpack.h"

#include <assert.h>
#include <string.h>

#define KNOWN(type, len, bytes) [QUANT_##type] = { #type, len, bytes, false }
#define COMPUTED(type, len, bytes) [QUANT_##type] = { #type, len, bytes, true }

/* Numbers that GGUF knows and that no model's weights come in, or not yet, have no name in quant.h. */
#define QUANT_Q8_1 9
#define QUANT_Q8_K 15
#define QUANT_I8 24
#define QUANT_I16 25
#define QUANT_I32 26
#define QUANT_I64 27
#define QUANT_F64 28
#define QUANT_TQ1_0 34
#define QUANT_TQ2_0 35

static const struct quant_info formats[QUANT_TYPES] = {
    COMPUTED(F32, 1, 4),        COMPUTED(F16, 1, 2),       COMPUTED(BF16, 1, 2),       COMPUTED(Q4_0, 32, 18),
    COMPUTED(Q4_1, 32, 20),     COMPUTED(Q5_0, 32, 22),    COMPUTED(Q5_1, 32, 24),     COMPUTED(Q8_0, 32, 34),
    COMPUTED(Q2_K, 256, 84),    COMPUTED(Q3_K, 256, 110),  COMPUTED(Q4_K, 256, 144),   COMPUTED(Q5_K, 256, 176),
    COMPUTED(Q6_K, 256, 210),   COMPUTED(IQ4_NL, 32, 18),  COMPUTED(IQ4_XS, 256, 136), COMPUTED(MXFP4, 32, 17),
    COMPUTED(IQ2_XXS, 256, 66), COMPUTED(IQ2_XS, 256, 74), COMPUTED(IQ2_S, 256, 82),   COMPUTED(IQ3_XXS, 256, 98),
    COMPUTED(IQ3_S, 256, 110),  COMPUTED(IQ1_S, 256, 50),  COMPUTED(IQ1_M, 256, 56),   KNOWN(Q8_1, 32, 40),
    KNOWN(Q8_K, 256, 292),      KNOWN(I8, 1, 1),           KNOWN(I16, 1, 2),           KNOWN(I32, 1, 4),
    KNOWN(I64, 1, 8),           KNOWN(F64, 1, 8),          KNOWN(TQ1_0, 256, 54),      KNOWN(TQ2_0, 256, 66),
};

const struct quant_info *quant_info(uint32_t type)
{
    return type < QUANT_TYPES && formats[type].name != NULL ? &formats[type] : NULL;
}

size_t quant_row_bytes(enum quant_type type, size_t n)
{
    return n / formats[type].block_len * formats[type].block_bytes;
}

static void decode_plain(enum quant_type type, const uint8_t *src, float *dst, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = type == QUANT_F16 ? half_to_float(half_load(src + 2 * i)) : bf16_to_float(half_load(src + 2 * i));
}

static void decode_small(enum quant_type type, const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / QUANT_SMALL; b++) {
        int8_t q[QUANT_SMALL];
        float d, m;

        quant_unpack_small(type, src + b * formats[type].block_bytes, 1, q, &d, &m);
        for (size_t i = 0; i < QUANT_SMALL; i++)
            dst[b * QUANT_SMALL + i] = d * (float)q[i] + m;
    }
}

static void decode_super(enum quant_type type, const uint8_t *src, float *dst, size_t n)
{
    for (size_t b = 0; b < n / QUANT_SUPER; b++) {
        struct quant_super s;

        quant_unpack_super(type, src + b * formats[type].block_bytes, 1, &s);
        for (size_t i = 0; i < QUANT_SUPER; i++)
            dst[b * QUANT_SUPER + i] =
                s.d * (float)s.scale[i / 16] * (float)(s.q[i] - s.offset) - s.dmin * (float)s.min[i / 16];
    }
}

void quant_decode(enum quant_type type, const void *src, float *dst, size_t n)
{
    assert(type < QUANT_TYPES && formats[type].computable && n % formats[type].block_len == 0);
    switch (formats[type].block_len) {
    case 1:
        if (type == QUANT_F32)
            memcpy(dst, src, n * sizeof(float));
        else
            decode_plain(type, src, dst, n);
        break;
    case QUANT_SMALL:
        decode_small(type, src, dst, n);
        break;
    default:
        decode_super(type, src, dst, n);
    }
}
