/* SPDX-License-Identifier: MIT */
#include "emu/bad_kernels.h"

#include "dialect.h"

struct two {
    int words[64];
};

/* What a block of 64 threads would rightly do: each thread the sum of its warp, by shuffles, then through shared
 * memory that of the other warp. */
KERNEL(64) bad_kernel(PARAMS(bad_params) p)
{
    SHARED(struct two, s);
    int sum = (int)THREAD;

    if (p.how == WARP_LEAVES && THREAD == 40)
        return;
    if (p.how == WARP_SPLITS && THREAD % 32 < 16)
        sum += warp_shuffle_xor(sum, 1);
    for (int mask = 1; mask < 32; mask *= 2)
        sum += warp_shuffle_xor(sum, mask);
    if (p.how == BARRIER_LEAVES && THREAD < 32)
        return;
    s->words[THREAD] = sum;
    if (p.how == BARRIER_SPLITS && THREAD < 32)
        block_barrier();
    block_barrier();
    p.out[THREAD] = s->words[(THREAD + 32) % 64];
    if (p.how == SHARED_OVERRUN && THREAD == 0)
        ((volatile char *)(s + 1))[0] = 1;
    if (p.how == SHARED_TOO_MUCH)
        machine_shared(sizeof(*s) + 1);
    if (p.how == BUFFER_OVERRUN && THREAD == 0)
        ((volatile char *)p.out)[250 * sizeof(int)] = 1;
    if (p.how == BUFFER_UNDERRUN && THREAD == 0)
        ((volatile char *)p.out)[-1] = 1;
}

extern "C" struct machine_launch bad_launch(const struct bad_params *params)
{
    kernel_of<bad_params> kernel = bad_kernel;

    return (struct machine_launch){ .kernel = (const void *)kernel,
                                    .params = params,
                                    .call = call_kernel<bad_params>,
                                    .grid = { 1, 1, 1 },
                                    .n_threads = 64,
                                    .shared_bytes = sizeof(struct two) };
}
