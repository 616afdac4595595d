/* SPDX-License-Identifier: MIT */
#include "bench/kernels.h"

int main(int argc, char **argv)
{
    return kernels_bench(argc, argv);
}
