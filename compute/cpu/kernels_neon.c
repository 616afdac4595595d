/* SPDX-License-Identifier: MIT
 *
 * kernels_neon.c: the tables of the levels: ASIMD, with dot products, with I8MM. Compiled once for each.
 */
#include "compute/cpu/neon.h"

#if defined(__ARM_FEATURE_MATMUL_INT8)
#define LEVEL CPU_I8MM
void cpu_kernels_i8mm(struct cpu_kernels *k)
#elif defined(__ARM_FEATURE_DOTPROD)
#define LEVEL CPU_DOTPROD
void cpu_kernels_dotprod(struct cpu_kernels *k)
#else
#define LEVEL CPU_NEON
void cpu_kernels_neon(struct cpu_kernels *k)
#endif
{
    k->level = LEVEL;
    NEON_FILL(iq)(k);
    NEON_FILL(small)(k);
    NEON_FILL(super)(k);
}
