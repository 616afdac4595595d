/* SPDX-License-Identifier: MIT
 *
 * What the cache takes, counted where it is taken (linked with --wrap), against what it says it will take.
 */
#include "base/mem.h"
#include "tests/support/door_check.h"
#include "tests/support/memory_count.h"

#include <criterion/criterion.h>

/* Small and many experts, few slots and all of them, each engine and policy. */
Test(cache_budget, takes_no_more_than_it_says)
{
    static const struct expert_file_shape shapes[] = {
        { .n_layers = 2, .n_experts = 8, .n_used = 2, .rows = 2, .seed = 1 },
        { .n_layers = 24, .n_experts = 128, .n_used = 8, .rows = 1, .seed = 2 },
        { .n_layers = 4, .n_experts = 16, .n_used = 4, .rows = 30, .grow = 50, .seed = 3 },
    };

    for (unsigned i = 0; i < 3 * 4 * POLICIES; i++) {
        struct expert_file file;
        struct cache_options options;
        struct cache *cache;
        struct cache_stats stats;
        uint64_t allocated;

        expert_file_init(&file, &shapes[i % 3]);
        cache_options_default(&options);
        options.io_engine = i / 3 % 2 ? IO_ENGINE_PREAD : IO_ENGINE_AUTO;
        options.policy = (enum policy_kind)(i / 12);
        options.slot_budget = i / 6 % 2 ? 256 << 20 : cache_min_bytes(&file.layout);
        memory_count = (struct memory_count){ 0 };
        cache = door_check_open(&file, &options);
        cache_stats(cache, &stats);
        cr_assert_leq(stats.slot_bytes, options.slot_budget);
        /* and, for a moment, a probe of the alignment */
        cr_assert_leq(memory_count.mapped_bytes, stats.slot_bytes + 2 * 4096);
        allocated = memory_count.allocated_bytes;
        cr_assert_leq(allocated, cache_overhead_bytes(&file.layout, &options), "%lu bytes", (unsigned long)allocated);
        options.slot_budget = 0; /* before it is known */
        cr_assert_leq(allocated, cache_overhead_bytes(&file.layout, &options));
        cache_close(cache);
        expert_file_fini(&file);
    }
}
