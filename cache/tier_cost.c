/* SPDX-License-Identifier: MIT */
#include "cache/tier_cost.h"

#define FADE 0.9
#define EXPLORE_EVERY 64
#define CPU_GUESS 0.1 /* ns per byte, until it has been measured: 10 GB/s */

bool tier_cost_choose(struct tier_cost *c, uint64_t bytes)
{
    double cpu_ns_per_byte = c->cpu_ns_per_byte > 0 ? c->cpu_ns_per_byte : CPU_GUESS;
    double copy_ns = (double)(c->copy_bytes + bytes) * c->copy_ns_per_byte;
    bool cpu = (double)(c->cpu_bytes + bytes) * cpu_ns_per_byte < copy_ns;

    if (++c->n_choices % EXPLORE_EVERY == 0)
        cpu = !cpu;
    *(cpu ? &c->cpu_bytes : &c->copy_bytes) += bytes;
    return cpu;
}

void tier_cost_copying(struct tier_cost *c, uint64_t bytes)
{
    c->copy_bytes += bytes;
}

static void average(double *ns_per_byte, uint64_t bytes, uint64_t ns)
{
    double now = bytes > 0 ? (double)ns / (double)bytes : 0;

    *ns_per_byte = *ns_per_byte > 0 ? FADE * *ns_per_byte + (1 - FADE) * now : now;
}

void tier_cost_copied(struct tier_cost *c, uint64_t bytes, uint64_t ns)
{
    average(&c->copy_ns_per_byte, bytes, ns);
    c->copy_bytes -= bytes < c->copy_bytes ? bytes : c->copy_bytes;
}

void tier_cost_computed(struct tier_cost *c, uint64_t bytes, uint64_t ns)
{
    average(&c->cpu_ns_per_byte, bytes, ns);
    c->cpu_bytes -= bytes < c->cpu_bytes ? bytes : c->cpu_bytes;
}
