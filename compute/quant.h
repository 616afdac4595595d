/* SPDX-License-Identifier: MIT
 *
 * quant.h: the block formats in which GGUF stores weights, and their reference decoding.
 *
 * A row of n weights is n / block_len blocks of block_bytes bytes, little-endian, packed without gaps; n is a
 * multiple of block_len. Type numbers are GGUF's own, so a number read from a file is looked up with
 * quant_info before anything else is done with it. Decoding here is the definition of correct for every
 * faster kernel. Thread-safe; allocates nothing.
 *
 * Source of the layouts: the GGUF specification and ggml-common.h of ggml (facts of the format).
 */
#ifndef EXPERTD_COMPUTE_QUANT_H
#define EXPERTD_COMPUTE_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum quant_type {
    QUANT_F32 = 0,
    QUANT_F16 = 1,
    QUANT_Q4_0 = 2,
    QUANT_Q4_1 = 3,
    QUANT_Q5_0 = 6,
    QUANT_Q5_1 = 7,
    QUANT_Q8_0 = 8,
    QUANT_Q2_K = 10,
    QUANT_Q3_K = 11,
    QUANT_Q4_K = 12,
    QUANT_Q5_K = 13,
    QUANT_Q6_K = 14,
    QUANT_IQ2_XXS = 16,
    QUANT_IQ2_XS = 17,
    QUANT_IQ3_XXS = 18,
    QUANT_IQ1_S = 19,
    QUANT_IQ4_NL = 20,
    QUANT_IQ3_S = 21,
    QUANT_IQ2_S = 22,
    QUANT_IQ4_XS = 23,
    QUANT_IQ1_M = 29,
    QUANT_BF16 = 30,
    QUANT_MXFP4 = 39,
    QUANT_TYPES = 40, /* one past the greatest */
};

struct quant_info {
    const char *name;     /* as GGUF tools print it: "Q4_K" */
    uint32_t block_len;   /* weights per block */
    uint32_t block_bytes; /* bytes per block */
    bool computable;      /* we decode it and multiply with it */
};

/* Known format by number, or NULL. Formats that are known but not computable have their sizes filled. */
const struct quant_info *quant_info(uint32_t type);

/* Bytes of a row of n weights; n must be a multiple of the block length. */
size_t quant_row_bytes(enum quant_type type, size_t n);

/* Decode n weights (a multiple of block_len) of a computable type into dst. */
void quant_decode(enum quant_type type, const void *src, float *dst /* [n] f32 */, size_t n);

#endif
