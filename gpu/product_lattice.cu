/* SPDX-License-Identifier: MIT
 *
 * product_lattice.cu: products with weights in blocks of 256 points of a lattice.
 */
#include "gpu/product_many.cuh"

int launch_product_lattice(struct queue *queue, enum quant_type type, const struct product_params *p, uint32_t n_jobs,
                           uint32_t max_rows, uint32_t max_tokens)
{
    switch (type) {
    case QUANT_IQ1_S:
        return launch_product_of<QUANT_IQ1_S>(queue, p, n_jobs, max_rows, max_tokens);
    case QUANT_IQ1_M:
        return launch_product_of<QUANT_IQ1_M>(queue, p, n_jobs, max_rows, max_tokens);
    case QUANT_IQ2_XXS:
        return launch_product_of<QUANT_IQ2_XXS>(queue, p, n_jobs, max_rows, max_tokens);
    case QUANT_IQ2_XS:
        return launch_product_of<QUANT_IQ2_XS>(queue, p, n_jobs, max_rows, max_tokens);
    case QUANT_IQ2_S:
        return launch_product_of<QUANT_IQ2_S>(queue, p, n_jobs, max_rows, max_tokens);
    case QUANT_IQ3_XXS:
        return launch_product_of<QUANT_IQ3_XXS>(queue, p, n_jobs, max_rows, max_tokens);
    default:
        return launch_product_of<QUANT_IQ3_S>(queue, p, n_jobs, max_rows, max_tokens);
    }
}
