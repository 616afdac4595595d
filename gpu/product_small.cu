/* SPDX-License-Identifier: MIT
 *
 * product_small.cu: products with weights in blocks of 32.
 */
#include "gpu/product_many.cuh"

int launch_product_small(struct queue *queue, enum quant_type type, const struct product_params *p, uint32_t n_jobs,
                         uint32_t max_rows, uint32_t max_tokens)
{
    switch (type) {
    case QUANT_Q4_0:
        return launch_product_of<QUANT_Q4_0>(queue, p, n_jobs, max_rows, max_tokens);
    case QUANT_Q4_1:
        return launch_product_of<QUANT_Q4_1>(queue, p, n_jobs, max_rows, max_tokens);
    case QUANT_Q5_0:
        return launch_product_of<QUANT_Q5_0>(queue, p, n_jobs, max_rows, max_tokens);
    case QUANT_Q5_1:
        return launch_product_of<QUANT_Q5_1>(queue, p, n_jobs, max_rows, max_tokens);
    case QUANT_Q8_0:
        return launch_product_of<QUANT_Q8_0>(queue, p, n_jobs, max_rows, max_tokens);
    case QUANT_IQ4_NL:
        return launch_product_of<QUANT_IQ4_NL>(queue, p, n_jobs, max_rows, max_tokens);
    default:
        return launch_product_of<QUANT_MXFP4>(queue, p, n_jobs, max_rows, max_tokens);
    }
}
