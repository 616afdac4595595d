/* SPDX-License-Identifier: MIT
 *
 * Residency changes nothing: the logits of a prompt and of the tokens after it are the same bits whether all experts
 * are in RAM or almost none, however and from wherever they are read, in whatever order they arrive, and after reads
 * that failed once.
 */
#include "cache/cache.h"
#include "cache/pack.h"
#include "cache/pack_write.h"
#include "model/forward.h"
#include "model/model.h"
#include "prefetch/warmup.h"
#include "tests/support/gguf_forms.h"
#include "tests/support/io_sim.h"
#include "tests/support/ram_door.h"
#include "tests/support/tiny_model.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_PROMPT = 24, N_CHUNK = 20, N_STEPS = 10, N_ROWS = N_PROMPT + N_STEPS };

struct rig {
    struct model *model;
    struct device *device;
    uint32_t n_vocab;
    int32_t tokens[N_ROWS];
    float *expected;            /* [N_ROWS, n_vocab], all experts in RAM */
    float *logits;              /* the same, of the run that is looked at */
    struct expert_door *hinted; /* while set, each layer's experts are hinted for the next layer */
    struct warmup *warmup;      /* while set, goes a step ahead before each layer */
    enum kv_type kv_type;
    bool embd_on_disk;      /* embeddings are read row by row */
    struct cache *squeezed; /* while set, gives slots back and takes them again before each eval */
    uint64_t squeeze_least, squeeze_most;
};

static const struct forward_options forward_options = {
    .n_ctx = N_ROWS, .n_seqs = 1, .max_batch = N_CHUNK, .max_logits = N_CHUNK, .kv_type = KV_F16
};

/* Another share of the slots before each eval: the least, all, and what lies between, up and down. */
static void squeeze(const struct rig *rig, uint32_t row)
{
    uint64_t span = rig->squeeze_most - rig->squeeze_least;
    struct err err = { 0 };
    struct cache_stats stats;

    cr_assert_eq(cache_resize(rig->squeezed, rig->squeeze_least + span * (row * 5 % 9) / 8, &err), 0, "%s",
                 err_text(&err));
    cache_stats(rig->squeezed, &stats);
    cr_assert_leq(stats.slots_used, stats.slots);
}

/* The prompt in chunks, then token by token; a failed eval is done again, `ret_failed` times. */
static void forward_run(struct rig *rig, struct forward *forward, uint32_t *ret_failed)
{
    uint32_t failed = 0;

    for (uint32_t row = 0; row < N_ROWS;) {
        uint32_t left = N_PROMPT > row ? N_PROMPT - row : 1, n = left < N_CHUNK ? left : N_CHUNK;
        struct batch_span span = { .pos0 = row, .n_tokens = n, .tokens = rig->tokens + row, .all_logits = true };
        struct err err = { 0 };
        const float *logits;
        int rc;

        if (rig->squeezed != NULL)
            squeeze(rig, row);
        rc = forward_eval(forward, &span, 1, NULL, NULL, &logits, &err);
        if (rc < 0) {
            cr_assert_eq(rc, -EIO, "%s", err_text(&err));
            cr_assert_lt(++failed, 50);
            continue;
        }
        memcpy(rig->logits + (size_t)row * rig->n_vocab, logits, (size_t)n * rig->n_vocab * sizeof(*logits));
        row += n;
    }
    if (ret_failed != NULL)
        *ret_failed = failed;
}

static void on_route(void *ctx, uint32_t layer, const float *logits, const uint16_t *ids, uint32_t n)
{
    struct rig *rig = ctx;

    if (rig->hinted != NULL)
        rig->hinted->ops->hint(rig->hinted, layer + 1, ids, model_hparams(rig->model)->n_used);
    if (rig->warmup != NULL)
        warmup_step(rig->warmup);
}

static void door_run(struct rig *rig, struct expert_door *door, uint32_t *ret_failed)
{
    struct forward_options options = forward_options;
    struct forward *forward;
    struct err err = { 0 };

    options.kv_type = rig->kv_type;
    options.embd_on_disk = rig->embd_on_disk;
    options.hooks.on_route = on_route;
    options.hooks.ctx = rig;
    cr_assert_eq(forward_open(rig->model, rig->device, door, &options, NULL, NULL, &forward, &err), 0, "%s",
                 err_text(&err));
    memset(rig->logits, 0xff, (size_t)N_ROWS * rig->n_vocab * sizeof(*rig->logits));
    forward_run(rig, forward, ret_failed);
    forward_close(forward);
}

static void rig_init_kept(struct rig *rig, const char *path, enum kv_type kv_type)
{
    struct cpu_device_options cpu = { .n_threads = 2, .max_level = CPU_LEVEL_BEST };
    struct ram_door *ram;
    struct err err = { 0 };

    memset(rig, 0, sizeof(*rig));
    rig->kv_type = kv_type;
    cr_assert_eq(model_open(path, &rig->model, &err), 0, "%s", err_text(&err));
    forward_cpu_options(rig->model, &forward_options, &cpu);
    cr_assert_eq(cpu_device_open(&cpu, &rig->device, &err), 0, "%s", err_text(&err));
    rig->n_vocab = model_hparams(rig->model)->n_vocab;
    for (uint32_t i = 0; i < N_ROWS; i++)
        rig->tokens[i] = (int32_t)((i * i * 31 + i * 17 + 5) % rig->n_vocab);
    rig->expected = calloc((size_t)N_ROWS * rig->n_vocab, sizeof(*rig->expected));
    rig->logits = calloc((size_t)N_ROWS * rig->n_vocab, sizeof(*rig->logits));
    cr_assert_eq(ram_door_open(rig->model, &(struct ram_door_options){ 0 }, &ram, &err), 0, "%s", err_text(&err));
    door_run(rig, ram_door_door(ram), NULL);
    ram_door_close(ram);
    memcpy(rig->expected, rig->logits, (size_t)N_ROWS * rig->n_vocab * sizeof(*rig->logits));
}

static void rig_init(struct rig *rig, const char *path)
{
    rig_init_kept(rig, path, KV_F16);
}

static void rig_fini(struct rig *rig)
{
    free(rig->expected);
    free(rig->logits);
    rig->device->ops->close(rig->device);
    model_close(rig->model);
}

/* Same bits, or the test says where they part. */
static void assert_same(const struct rig *rig, const struct cache *cache)
{
    size_t n = (size_t)N_ROWS * rig->n_vocab;

    if (memcmp(rig->logits, rig->expected, n * sizeof(*rig->logits)) == 0)
        return;
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(memcmp(&rig->logits[i], &rig->expected[i], sizeof(float)), 0,
                     "%s: position %zu, token %zu: %a, not %a", cache_describe(cache), i / rig->n_vocab,
                     i % rig->n_vocab, (double)rig->logits[i], (double)rig->expected[i]);
}

enum share { TOP_K, QUARTER, HALF, ALL, SHARES };

/* Slots for a share of the experts; padding to blocks makes slots of tiny experts larger than the experts. */
static uint64_t budget_of(const struct model *model, enum share share)
{
    const struct expert_layout *layout = model_layout(model);
    uint64_t least = cache_min_bytes(layout), all = 0;

    for (uint32_t i = 0; i < layout->n_layers; i++)
        all += layout->n_experts * ((layout->layers[i].expert_bytes + 6 * 4096) & ~4095ULL);
    all = share == ALL ? all + (64 << 20) : share == HALF ? all / 2 : share == QUARTER ? all / 4 : least;
    return all > least ? all : least;
}

static void cache_run(struct rig *rig, const struct cache_options *options, bool hints)
{
    struct cache *cache;
    struct cache_stats stats;
    struct err err = { 0 };

    cr_assert_eq(cache_open(model_layout(rig->model), options, &cache, &err), 0, "%s", err_text(&err));
    rig->hinted = hints ? cache_door(cache) : NULL;
    door_run(rig, cache_door(cache), NULL);
    assert_same(rig, cache);
    cache_stats(cache, &stats);
    cr_assert_gt(stats.misses + stats.hint_bytes, 0);
    cache_close(cache);
    rig->hinted = NULL;
}

/* Every share of slots x engine x mode x way of cutting reads, with the other switches in turn. */
static void rig_every_way(struct rig *rig)
{
    static const struct {
        uint32_t depth, piece_bytes;
    } cuts[] = { { 1, 4096 }, { 8, 256 << 10 }, { 64, 12288 } };

    for (unsigned i = 0; i < SHARES * 3 * 2 * 3; i++) {
        struct io_sim sim = { .order = IO_SIM_RANDOM };
        struct cache_options options;

        cache_options_default(&options);
        options.slot_budget = budget_of(rig->model, i % SHARES);
        options.io_engine = i / SHARES % 3 == 1 ? IO_ENGINE_PREAD : IO_ENGINE_AUTO;
        options.on_io_open = i / SHARES % 3 == 2 ? io_sim_open : NULL;
        options.io_ctx = &sim;
        options.io_mode = i / SHARES / 3 % 2 ? IO_DIRECT : IO_BUFFERED;
        options.queue_depth = cuts[i / SHARES / 6].depth;
        options.piece_bytes = cuts[i / SHARES / 6].piece_bytes;
        options.policy = (enum policy_kind)(i / 2 % POLICIES);
        options.read_by_part = i / 3 % 2;
        rig->embd_on_disk = i / 7 % 2;
        cache_run(rig, &options, i / 5 % 2);
    }
}

static void every_way(const char *path, enum kv_type kv_type)
{
    struct rig rig;

    rig_init_kept(&rig, path, kv_type);
    rig_every_way(&rig);
    rig_fini(&rig);
}

static void every_way_of_tiny(const char *name)
{
    every_way(tiny_model_path(name), KV_F16);
}

Test(residency, llama)
{
    every_way_of_tiny("llama-f32");
}

Test(residency, tied_embeddings)
{
    every_way_of_tiny("llama-factors-tied-f32");
}

Test(residency, olmoe)
{
    every_way_of_tiny("olmoe-q4_0");
}

Test(residency, qwen2moe)
{
    every_way_of_tiny("qwen2moe-q8_0");
}

Test(residency, qwen3moe)
{
    every_way_of_tiny("qwen3moe-q4_k");
}

Test(residency, qwen3moe_with_a_dense_layer)
{
    every_way_of_tiny("qwen3moe-dense-first-f32");
}

Test(residency, qwen3moe_with_keys_and_values_as_q8_0)
{
    every_way(tiny_model_path("qwen3moe-q4_k"), KV_Q8_0);
}

static void every_way_of_shared(const char *name)
{
    const char *shared = getenv("EXPERTD_SHARED");
    char path[500];

    snprintf(path, sizeof(path), "%s/goldens/%s/model.gguf", shared != NULL ? shared : "../shared", name);
    if (access(path, R_OK) != 0)
        cr_skip_test("skipped: no ../shared");
    every_way(path, KV_F16);
}

Test(residency, shared_mixtral)
{
    every_way_of_shared("llama-moe/mixtral-q4_k_m");
}

Test(residency, shared_olmoe)
{
    every_way_of_shared("olmoe/olmoe-q4_k_m");
}

Test(residency, shared_qwen2moe)
{
    every_way_of_shared("qwen2moe/qwen2moe-q8_0");
}

Test(residency, shared_qwen3moe)
{
    every_way_of_shared("qwen3moe/qwen3moe-iq4_xs");
}

/* A second start with the first one's heat: warm-up in the middle of an answer changes its speed only. */
Test(residency, while_warming_up)
{
    char dir[] = "/tmp/expertd-test-XXXXXX", path[60];
    struct cache_options options;
    struct rig rig;

    rig_init(&rig, tiny_model_path("olmoe-q4_0"));
    cr_assert_not_null(mkdtemp(dir));
    cache_options_default(&options);
    options.catalog_dir = dir;
    for (int start = 0; start < 6; start++) {
        struct cache *cache;
        struct err err = { 0 };

        options.slot_budget = budget_of(rig.model, start % SHARES);
        cr_assert_eq(cache_open(model_layout(rig.model), &options, &cache, &err), 0, "%s", err_text(&err));
        cr_assert_eq(warmup_open(model_layout(rig.model), cache, &rig.warmup, &err), 0);
        cr_assert_eq(warmup_count(rig.warmup) > 0, start > 0);
        door_run(&rig, cache_door(cache), NULL);
        assert_same(&rig, cache);
        warmup_close(rig.warmup);
        rig.warmup = NULL;
        cache_close(cache);
    }
    snprintf(path, sizeof(path), "%s/catalog.mdb", dir);
    unlink(path);
    snprintf(path, sizeof(path), "%s/catalog.lock", dir);
    unlink(path);
    rmdir(dir);
    rig_fini(&rig);
}

/* ---- with memory given back and taken again in mid-answer ---- */

static void squeezed_run(struct rig *rig, const struct cache_options *options, bool hints)
{
    struct cache_stats stats;
    struct err err = { 0 };

    cr_assert_eq(cache_open(model_layout(rig->model), options, &rig->squeezed, &err), 0, "%s", err_text(&err));
    cache_stats(rig->squeezed, &stats);
    rig->squeeze_least = cache_min_bytes(model_layout(rig->model));
    rig->squeeze_most = stats.slot_bytes;
    cr_assert_gt(rig->squeeze_most, rig->squeeze_least);
    rig->hinted = hints ? cache_door(rig->squeezed) : NULL;
    door_run(rig, cache_door(rig->squeezed), NULL);
    assert_same(rig, rig->squeezed);
    cache_close(rig->squeezed);
    rig->squeezed = NULL;
    rig->hinted = NULL;
}

Test(residency, while_memory_is_given_back_and_taken_again)
{
    static const char *const names[] = { "olmoe-q4_0", "qwen3moe-q4_k", "qwen3moe-dense-first-f32" };

    for (size_t n = 0; n < 3; n++) {
        struct rig rig;

        rig_init(&rig, tiny_model_path(names[n]));
        for (unsigned i = 0; i < POLICIES * 3 * 2 * 2; i++) {
            struct io_sim sim = { .order = IO_SIM_RANDOM };
            struct cache_options options;

            cache_options_default(&options);
            options.slot_budget = budget_of(rig.model, i % 2 ? HALF : ALL);
            options.policy = (enum policy_kind)(i / 2 % POLICIES);
            options.io_engine = i / 2 / POLICIES % 3 == 1 ? IO_ENGINE_PREAD : IO_ENGINE_AUTO;
            options.on_io_open = i / 2 / POLICIES % 3 == 2 ? io_sim_open : NULL;
            options.io_ctx = &sim;
            options.io_mode = i % 3 ? IO_DIRECT : IO_BUFFERED;
            squeezed_run(&rig, &options, i / 2 / POLICIES / 3);
        }
        rig_fini(&rig);
    }
}

/* ---- from a pack ---- */

static struct pack *pack_make(const struct rig *rig, const char *path)
{
    struct pack_write_options write = { .path = path, .force = true };
    struct pack_written written;
    struct pack *pack;
    struct err err = { 0 };

    cr_assert_eq(pack_write(model_layout(rig->model), &write, &written, &err), 0, "%s", err_text(&err));
    cr_assert_eq(pack_open(path, model_layout(rig->model), &pack, &err), 0, "%s", err_text(&err));
    return pack;
}

/* One wrong byte in every third record, in a part that follows the expert. */
static void pack_damage(const struct pack *pack)
{
    uint32_t n_keys = pack->layout->n_layers * pack->layout->n_experts;
    int fd = open(pack->path, O_RDWR);

    for (uint32_t key = 0; key < n_keys; key += 3) {
        struct extent extent;
        char c;

        pack_extent(pack, key, 0, &extent);
        cr_assert_eq(pread(fd, &c, 1, (off_t)(extent.range[0].offset + extent.part_at[key % EXPERT_PARTS])), 1);
        c ^= 0x20;
        cr_assert_eq(pwrite(fd, &c, 1, (off_t)(extent.range[0].offset + extent.part_at[key % EXPERT_PARTS])), 1);
    }
    cr_assert_eq(fsync(fd), 0);
    close(fd);
}

/* Share x engine x mode; sound at first, then with damaged records, then on a drive that fails now and then. */
static void rig_every_way_from_a_pack(struct rig *rig)
{
    const char *top = getenv("top_builddir");
    struct pack *pack;
    char path[300];

    snprintf(path, sizeof(path), "%s/expertd-test-%d.pack", top != NULL ? top : ".", (int)getpid());
    pack = pack_make(rig, path);
    for (unsigned i = 0; i < SHARES * 3 * 2 * 2; i++) {
        struct io_sim sim = { .order = IO_SIM_RANDOM };
        struct cache_options options;

        if (i == SHARES * 3 * 2)
            pack_damage(pack);
        cache_options_default(&options);
        options.pack = pack;
        options.slot_budget = budget_of(rig->model, i % SHARES);
        options.io_engine = i / SHARES % 3 == 1 ? IO_ENGINE_PREAD : IO_ENGINE_AUTO;
        options.on_io_open = i / SHARES % 3 == 2 ? io_sim_open : NULL;
        options.io_ctx = &sim;
        options.io_mode = i / SHARES / 3 % 2 ? IO_DIRECT : IO_BUFFERED;
        options.piece_bytes = i % 2 ? 0 : 4096;
        options.policy = (enum policy_kind)(i % POLICIES);
        options.read_by_part = i / 3 % 2;
        sim.fault = i / 5 % 2 ? IO_SIM_ERROR : IO_SIM_NONE;
        sim.fault_arg = EIO;
        sim.fault_files = 1U << model_layout(rig->model)->n_files;
        sim.fault_at = 11 * i;
        sim.n_faults = 7;
        cache_run(rig, &options, i / 5 % 2);
    }
    pack_close(pack);
    unlink(path);
}

static void every_way_from_a_pack(const char *name)
{
    struct rig rig;

    rig_init(&rig, tiny_model_path(name));
    rig_every_way_from_a_pack(&rig);
    rig_fini(&rig);
}

Test(residency, llama_from_a_pack)
{
    every_way_from_a_pack("llama-f32");
}

Test(residency, olmoe_from_a_pack)
{
    every_way_from_a_pack("olmoe-q4_0");
}

Test(residency, qwen3moe_from_a_pack)
{
    every_way_from_a_pack("qwen3moe-q4_k");
}

/* ---- the same experts in another form ---- */

/* What is expected are the logits of the form that everything else here is tested with. */
static void every_way_of_form(const char *arch, void (*form)(struct gguf_builder *))
{
    struct random_model shape = RANDOM_MODEL(arch);
    struct gguf_builder b;
    struct rig rig;
    struct err err = { 0 };
    char dir[64], path[80];

    builder_mkdir(dir);
    snprintf(path, sizeof(path), "%s/stacked.gguf", dir);
    gguf_builder_model(&b, &shape);
    gguf_builder_write(&b, path);
    rig_init(&rig, path);
    model_close(rig.model);
    form(&b);
    snprintf(path, sizeof(path), "%s/formed.gguf", dir);
    gguf_builder_write(&b, path);
    gguf_builder_fini(&b);
    cr_assert_eq(model_open(path, &rig.model, &err), 0, "%s", err_text(&err));
    rig_every_way(&rig);
    rig_every_way_from_a_pack(&rig);
    rig_fini(&rig);
    builder_rmdir(dir);
}

Test(residency, gate_and_up_in_one_tensor)
{
    every_way_of_form("qwen3moe", gguf_forms_fuse);
}

Test(residency, each_expert_a_tensor)
{
    every_way_of_form("llama", gguf_forms_apart);
}

Test(residency, each_expert_a_tensor_anywhere)
{
    every_way_of_form("llama", gguf_forms_strew);
}

/* ---- with faults in mid-answer ---- */

static struct rig rig;
static struct io_sim sim;
static struct cache_options options;

static void faults_setup(void)
{
    rig_init(&rig, tiny_model_path("qwen3moe-q4_k"));
    memset(&sim, 0, sizeof(sim));
    cache_options_default(&options);
    options.slot_budget = cache_min_bytes(model_layout(rig.model));
    options.on_io_open = io_sim_open;
    options.io_ctx = &sim;
    options.piece_bytes = 8192;
}

static void faults_teardown(void)
{
    rig_fini(&rig);
}

TestSuite(residency_faults, .init = faults_setup, .fini = faults_teardown);

/* Runs twice: the second time every expert's checksum is known. Returns how many evals failed. */
static uint32_t run_with_fault(enum io_sim_fault fault, uint32_t arg, uint64_t at, uint64_t n)
{
    uint32_t failed = 0;
    struct cache *cache;
    struct err err = { 0 };

    sim.fault = IO_SIM_NONE;
    cr_assert_eq(cache_open(model_layout(rig.model), &options, &cache, &err), 0, "%s", err_text(&err));
    door_run(&rig, cache_door(cache), NULL);
    assert_same(&rig, cache);
    sim.fault = fault;
    sim.fault_arg = arg;
    sim.fault_at = sim.n_submitted + at;
    sim.n_faults = n;
    door_run(&rig, cache_door(cache), &failed);
    assert_same(&rig, cache);
    cache_close(cache);
    return failed;
}

Test(residency_faults, reads_that_fail_once)
{
    for (uint64_t at = 0; at < 30; at += 3)
        cr_assert_eq(run_with_fault(IO_SIM_ERROR, EIO, at, 1), 0);
}

Test(residency_faults, short_reads)
{
    for (uint32_t arg = 4096; arg < 8192; arg += 1111)
        cr_assert_eq(run_with_fault(IO_SIM_SHORT, arg, 0, UINT64_MAX), 0);
}

Test(residency_faults, wrong_bytes_once)
{
    for (uint64_t at = 0; at < 30; at += 3)
        cr_assert_eq(run_with_fault(IO_SIM_WRONG, (uint32_t)at * 313, at, 1), 0);
}

/* The eval fails, says so, and done again gives the same logits. */
Test(residency_faults, a_failed_eval_can_be_done_again)
{
    for (uint64_t at = 0; at < 30; at += 3)
        cr_assert_gt(run_with_fault(IO_SIM_ERROR, EIO, at, 40), 0);
}
