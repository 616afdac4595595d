/* SPDX-License-Identifier: MIT
 *
 * product_super.cu: products with weights in blocks of 256.
 */
#include "gpu/product_many.cuh"

int launch_product_super(struct queue *queue, enum quant_type type, const struct product_params *p, uint32_t n_jobs,
                         uint32_t max_rows, uint32_t max_tokens)
{
    switch (type) {
    case QUANT_Q2_K:
        return launch_product_of<QUANT_Q2_K>(queue, p, n_jobs, max_rows, max_tokens);
    case QUANT_Q3_K:
        return launch_product_of<QUANT_Q3_K>(queue, p, n_jobs, max_rows, max_tokens);
    case QUANT_Q4_K:
        return launch_product_of<QUANT_Q4_K>(queue, p, n_jobs, max_rows, max_tokens);
    case QUANT_Q5_K:
        return launch_product_of<QUANT_Q5_K>(queue, p, n_jobs, max_rows, max_tokens);
    case QUANT_Q6_K:
        return launch_product_of<QUANT_Q6_K>(queue, p, n_jobs, max_rows, max_tokens);
    default:
        return launch_product_of<QUANT_IQ4_XS>(queue, p, n_jobs, max_rows, max_tokens);
    }
}
