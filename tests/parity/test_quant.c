/* SPDX-License-Identifier: MIT
 *
 * Block formats: sizes, and decoding against vectors of another implementation (tools/quant_vectors.py).
 */
#include "compute/half.h"
#include "compute/quant.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct vector {
    uint32_t type, n, bytes;
};

static unsigned char *vectors_read(size_t *ret_bytes)
{
    static unsigned char data[1 << 17];
    char path[4096];
    const char *top = getenv("top_srcdir");
    FILE *f;

    snprintf(path, sizeof(path), "%s/tests/parity/quant_vectors.bin", top != NULL ? top : ".");
    f = fopen(path, "rb");
    cr_assert_not_null(f, "cannot open %s; set top_srcdir", path);
    *ret_bytes = fread(data, 1, sizeof(data), f);
    fclose(f);
    return data;
}

Test(quant, decodes_what_another_implementation_decodes)
{
    size_t bytes;
    unsigned char *data = vectors_read(&bytes);
    bool seen[QUANT_TYPES] = { [QUANT_F32] = true };

    for (size_t at = 0; at < bytes;) {
        struct vector v;
        static float got[4096];
        const struct quant_info *info;

        memcpy(&v, data + at, sizeof(v));
        at += sizeof(v);
        info = quant_info(v.type);
        cr_assert_not_null(info, "type %u is unknown", v.type);
        cr_assert_eq(v.bytes, (size_t)v.n / info->block_len * info->block_bytes, "%s has other sizes", info->name);
        cr_assert_leq(v.n, 4096);
        if (info->computable) {
            quant_decode(v.type, data + at, got, v.n);
            cr_assert_arr_eq(got, data + at + v.bytes, v.n * sizeof(float), "%s decodes to other values", info->name);
            seen[v.type] = true;
        }
        at += v.bytes + v.n * sizeof(float);
    }
    for (uint32_t type = 0; type < QUANT_TYPES; type++)
        if (quant_info(type) != NULL && quant_info(type)->computable)
            cr_assert(seen[type], "%s has no vector", quant_info(type)->name);
}

Test(quant, f32_is_copied)
{
    const float src[3] = { 1, -0.0f, 3e38f };
    float dst[3];

    quant_decode(QUANT_F32, src, dst, 3);
    cr_assert_arr_eq(dst, src, sizeof(src));
}

Test(quant, unknown_numbers_have_no_info)
{
    const uint32_t unknown[] = { 4, 5, 31, 32, 33, 36, 37, 38, QUANT_TYPES, 1000, UINT32_MAX };

    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
        cr_assert_null(quant_info(unknown[i]), "%u", unknown[i]);
}

Test(quant, row_bytes)
{
    cr_assert_eq(quant_row_bytes(QUANT_F32, 3), 12);
    cr_assert_eq(quant_row_bytes(QUANT_Q8_0, 64), 68);
    cr_assert_eq(quant_row_bytes(QUANT_Q4_K, 512), 288);
    cr_assert_eq(quant_row_bytes(QUANT_Q4_K, (size_t)1 << 40), ((size_t)1 << 40) / 256 * 144);
}

Test(quant, half_round_trip_of_every_number)
{
    for (uint32_t h = 0; h < 0x10000; h++) {
        float f = half_to_float((uint16_t)h);

        if (isnan(f))
            cr_assert(isnan(half_to_float(float_to_half(f))));
        else
            cr_assert_eq(float_to_half(f), h, "%04x became %04x", h, float_to_half(f));
    }
}

/* The nearest half by search among the finite ones, ties to the even. */
static uint16_t nearest_half(float f)
{
    uint16_t best = 0;
    double best_error = INFINITY;

    for (uint32_t h = 0; h < 0x7c00; h++) {
        double error = fabs((double)half_to_float((uint16_t)h) - (double)f);

        if (error < best_error || (error == best_error && h % 2 == 0)) {
            best = (uint16_t)h;
            best_error = error;
        }
    }
    return best;
}

Test(quant, half_rounds_to_nearest_even)
{
    const float numbers[] = { 0.1f,       1.00048828125f, 1.00146484375f, 65519.0f, 0x1p-24f,    0x1p-25f,
                              0x1.8p-25f, 6.1e-5f,        5.96e-8f,       2049.0f,  0x1.ffcp-15f };

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        cr_assert_eq(float_to_half(numbers[i]), nearest_half(numbers[i]), "%a", (double)numbers[i]);
        cr_assert_eq(float_to_half(-numbers[i]), nearest_half(numbers[i]) | 0x8000, "%a", (double)-numbers[i]);
    }
    cr_assert_eq(float_to_half(65520.0f), 0x7c00);
    cr_assert_eq(float_to_half(-INFINITY), 0xfc00);
}
