/* SPDX-License-Identifier: MIT */
#include "model/kv.h"

#include "base/mem.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { N_LAYERS = 3, N_SEQS = 2, N_HEADS = 2 };

static struct arena region, host;
static struct err err;

/* Memory as forward_open takes it. */
static struct kv kv_open(uint32_t n_ctx, uint32_t head_dim, bool on_demand)
{
    struct kv kv = { .type = KV_F16, .n_layers = N_LAYERS, .n_seqs = N_SEQS, .n_ctx = n_ctx, .on_demand = on_demand };

    region = host = (struct arena){ 0 };
    kv_lay(&kv, N_HEADS, head_dim, &region, &host);
    cr_assert_eq(arena_open(&region, kv_arena_flags(&kv), "region", &err), 0);
    cr_assert_eq(arena_open(&host, ARENA_PLAIN, "host", &err), 0);
    kv_lay(&kv, N_HEADS, head_dim, &region, &host);
    return kv;
}

static void kv_close(void)
{
    arena_close(&region);
    arena_close(&host);
}

/* Of the region, what the kernel has given. */
static uint64_t resident(const struct kv *kv)
{
    FILE *f = fopen("/proc/self/smaps", "r");
    uint64_t from, to, kib, total = 0;
    bool inside = false;
    char line[256];

    cr_assert_not_null(f);
    while (fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = from <= (uintptr_t)kv->base && (uintptr_t)kv->base < to;
        else if (inside && sscanf(line, "Rss: %lu", &kib) == 1)
            total += kib << 10;
    }
    fclose(f);
    return total;
}

static char *row(const struct kv *kv, uint32_t seq, uint32_t layer, bool value, uint32_t head, uint32_t pos)
{
    struct kv_view view = kv_layer(kv, seq, layer);

    return (char *)(value ? view.v : view.k) + kv_at(&view, kv->row_bytes, head, pos);
}

/* Every row of every sequence, layer and head is written with a number of its own, and still there at the end. */
static void check_rows(uint32_t n_ctx, bool on_demand)
{
    struct kv kv = kv_open(n_ctx, 8, on_demand);
    uint32_t n = 0, number;

    for (uint32_t seq = 0; seq < N_SEQS; seq++)
        cr_assert_eq(kv_hold(&kv, seq, n_ctx), 0);
    for (uint32_t i = 0; i < 2; i++, n = 0)
        for (uint32_t seq = 0; seq < N_SEQS; seq++)
            for (uint32_t layer = 0; layer < N_LAYERS; layer++)
                for (uint32_t head = 0; head < 2 * N_HEADS; head++)
                    for (uint32_t pos = 0; pos < n_ctx; pos++, n++) {
                        char *at = row(&kv, seq, layer, head % 2, head / 2, pos);

                        cr_assert(at >= kv.base && at + 16 <= kv.base + region.bytes);
                        if (i == 0)
                            memcpy(at, &n, sizeof(n));
                        memcpy(&number, at, sizeof(number));
                        cr_assert_eq(number, n, "context %u, sequence %u, layer %u, head %u, position %u", n_ctx, seq,
                                     layer, head, pos);
                    }
    kv_close();
}

Test(kv, every_row_has_a_place_of_its_own)
{
    static const uint32_t contexts[] = { 1, 5, 63, 512, 1023, 1024, 1025, 5000 };

    for (size_t i = 0; i < sizeof(contexts) / sizeof(contexts[0]); i++) {
        check_rows(contexts[i], false);
        check_rows(contexts[i], true);
    }
}

static uint64_t position_bytes(const struct kv *kv)
{
    return 2 * kv->row_bytes * N_HEADS * N_LAYERS;
}

/* Blocks round up to some positions that nobody uses, a page apart. */
Test(kv, takes_what_its_positions_take)
{
    static const struct {
        uint32_t n_ctx, n_blocks, n_rows;
    } cases[] = { { 100, 1, 100 },   { 1000, 1, 1000 },  { 1024, 2, 1024 },   { 1025, 2, 1152 },
                  { 2048, 4, 2048 }, { 4096, 8, 4096 }, { 32768, 8, 32768 }, { 32769, 8, 33280 } };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct kv kv = kv_open(cases[i].n_ctx, 64, true);

        cr_expect_eq(kv.n_blocks, cases[i].n_blocks, "%u: %u", cases[i].n_ctx, kv.n_blocks);
        cr_expect_geq(kv.seq_bytes, cases[i].n_rows * position_bytes(&kv));
        cr_expect_lt(kv.seq_bytes, cases[i].n_rows * position_bytes(&kv) + (2 << 20));
        kv_close();
        kv = kv_open(cases[i].n_ctx, 64, false);
        cr_expect_eq(kv.n_blocks, 1);
        cr_expect_lt(kv.seq_bytes, cases[i].n_ctx * position_bytes(&kv) + (2 << 20));
        kv_close();
    }
}

static void check_memory(uint32_t head_dim, uint64_t page)
{
    struct kv kv = kv_open(2000, head_dim, true);
    uint64_t block = kv.block_bytes;

    cr_expect_eq(resident(&kv), 0);
    cr_expect_eq(kv_room(&kv, 1), 0);
    cr_assert_eq(kv_hold(&kv, 1, 705), 0);
    cr_expect_eq(kv_room(&kv, 1), 1408);
    cr_expect_eq(kv_room(&kv, 0), 0);
    cr_expect_eq(kv_bytes(&kv, 705), (2 * block + page - 1) / page * page);
    cr_expect_eq(resident(&kv), kv_bytes(&kv, 705));
    memset(row(&kv, 1, 0, false, 0, 700), 7, 16);
    cr_assert_eq(kv_hold(&kv, 1, 2000), 0);
    cr_assert_eq(kv_hold(&kv, 0, 1), 0);
    cr_expect_eq(kv_room(&kv, 1), 2000);
    cr_expect_eq(resident(&kv), kv_bytes(&kv, 2000) + kv_bytes(&kv, 1));
    cr_expect_eq(*row(&kv, 1, 0, false, 0, 700), 7, "what was held stays");
    kv.lengths[1] = 1900;
    cr_assert_eq(kv_hold(&kv, 1, 701), 0);
    cr_expect_eq(kv.lengths[1], 704, "what has no memory any more is forgotten");
    cr_expect_eq(resident(&kv), kv_bytes(&kv, 701) + kv_bytes(&kv, 1));
    cr_expect_eq(*row(&kv, 1, 0, false, 0, 700), 7);
    cr_assert_eq(kv_hold(&kv, 1, 0), 0);
    cr_assert_eq(kv_hold(&kv, 0, 0), 0);
    cr_expect_eq(resident(&kv), 0);
    kv_close();
}

Test(kv, memory_comes_and_goes_with_the_positions)
{
    check_memory(64, 4096);
    check_memory(2048, 2 << 20);
}

Test(kv, no_memory_leaves_what_was_held)
{
    struct kv kv = kv_open(2000, 64, true);

    cr_assert_eq(kv_hold(&kv, 0, 704), 0);
    kv.lengths[0] = 200;
    mem_fail_after(0);
    cr_expect_eq(kv_hold(&kv, 0, 705), -ENOMEM);
    cr_expect_eq(kv_hold(&kv, 0, 200), 0, "nothing is needed for what is there");
    mem_fail_after(-1);
    cr_expect_eq(kv_room(&kv, 0), 704);
    cr_expect_eq(kv.lengths[0], 200);
    cr_expect_eq(resident(&kv), kv_bytes(&kv, 704));
    kv_close();
}

Test(kv, memory_that_is_not_on_demand_is_all_there)
{
    struct kv kv = kv_open(2000, 64, false);

    cr_expect_eq(kv_room(&kv, 0), 2000);
    cr_assert_eq(kv_hold(&kv, 0, 1), 0);
    cr_expect_eq(kv_room(&kv, 0), 2000);
    cr_expect_eq(resident(&kv), mem_map_bytes(region.bytes));
    kv_close();
}
