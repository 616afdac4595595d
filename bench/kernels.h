/* SPDX-License-Identifier: MIT
 *
 * kernels.h: the benchmark of the kernels, which bench/kernels and the parity test of the same kernels run.
 *
 * argv holds a name and options; see kernels.c. Returns an exit status.
 */
#ifndef EXPERTD_BENCH_KERNELS_H
#define EXPERTD_BENCH_KERNELS_H

int kernels_bench(int argc, char **argv);

#endif
