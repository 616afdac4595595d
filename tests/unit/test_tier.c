/* SPDX-License-Identifier: MIT
 *
 * Who gets a slot of the device, who keeps it, and what RAM keeps beside it; who computes what lies in RAM; and that
 * the simulated device, on which tests of the tiers rest, sees what it is there to see.
 */
#include "cache/lend.h"
#include "cache/tier_cost.h"
#include "tests/support/device_rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

/* ---- who computes ---- */

Test(tier_cost, a_bus_without_cost_takes_everything)
{
    struct tier_cost cost = { 0 };

    for (int i = 1; i < 64; i++)
        cr_assert_not(tier_cost_choose(&cost, 1000));
}

Test(tier_cost, each_side_gets_what_its_rate_allows)
{
    struct tier_cost cost = { .copy_ns_per_byte = 0.3, .cpu_ns_per_byte = 0.1 };
    int cpu = 0;

    for (int i = 0; i < 40; i++)
        cpu += tier_cost_choose(&cost, 1000);
    cr_assert_eq(cpu, 30);
    cr_assert_eq(cost.cpu_bytes, 30000);
    cr_assert_eq(cost.copy_bytes, 10000);
}

Test(tier_cost, what_is_done_leaves_the_queue_and_moves_the_average)
{
    struct tier_cost cost = { .copy_bytes = 500 };

    tier_cost_copied(&cost, 1000, 2000);
    cr_assert_eq(cost.copy_bytes, 0);
    cr_assert_float_eq(cost.copy_ns_per_byte, 2.0, 1e-9);
    tier_cost_copied(&cost, 1000, 4000);
    cr_assert_float_eq(cost.copy_ns_per_byte, 2.2, 1e-9);
    tier_cost_computed(&cost, 0, 5);
    cr_assert_float_eq(cost.cpu_ns_per_byte, 0, 1e-9);
}

Test(tier_cost, the_other_side_is_tried_now_and_then)
{
    struct tier_cost cost = { .copy_ns_per_byte = 100, .cpu_ns_per_byte = 0.001 };
    int copies = 0;

    for (int i = 0; i < 640; i++) {
        copies += !tier_cost_choose(&cost, 10);
        cost.cpu_bytes = cost.copy_bytes = 0;
    }
    cr_assert_eq(copies, 10);
}

/* ---- who gets a slot ---- */

static struct rig_run run;
static const struct expert_layout *layout;

static void open_rig(const struct rig_shape *shape)
{
    rig_setup("olmoe-q4_0");
    rig_sim_reset(1, 0);
    cr_assert_eq(rig_open(&run, shape), 0, "%s", err_text(&run.err));
    layout = model_layout(rig_model);
}

static void close_rig(void)
{
    cr_assert_eq(rig_sim.n_misuse + rig_sim.n_races, 0, "%s", rig_sim.complaint);
    rig_close(&run);
    rig_teardown();
}

static struct tier_stats stats_now(void)
{
    struct tier_stats stats;

    tier_stats(run.tier, &stats);
    return stats;
}

/* Ask one layer for n experts from `first` on, and use each once. */
static void ask(uint32_t layer_index, uint16_t first, uint16_t n)
{
    struct expert_door *door = tier_door(run.tier);
    struct expert_view view;
    uint16_t ids[64];
    size_t index;

    for (uint16_t i = 0; i < n; i++)
        ids[i] = (uint16_t)(first + i);
    cr_assert_eq(door->ops->request(door, layout->layers[layer_index].layer, ids, n, &run.err), 0, "%s",
                 err_text(&run.err));
    for (uint16_t i = 0; i < n; i++) {
        cr_assert_eq(door->ops->next(door, &index, &view, &run.err), 1, "%s", err_text(&run.err));
        cr_assert_eq(view.expert, ids[index]);
        door->ops->release(door, &view);
    }
    cr_assert_eq(door->ops->next(door, &index, &view, &run.err), 0);
}

static void ask_all_layers(uint16_t first, uint16_t n)
{
    for (uint32_t i = 0; i < layout->n_layers; i++)
        ask(i, first, n);
}

/* Five sixths of the slots, of which some are for transit: the hot two of each layer stay through three prompts. */
Test(tier, a_prompt_streams_through_and_flushes_nothing)
{
    uint64_t hits;

    open_rig(&(struct rig_shape){ .vram = MOST, .ram = LEAST });
    for (int i = 0; i < 8; i++)
        ask_all_layers(0, 2);
    cr_assert_gt(stats_now().residents, 0);
    for (int i = 0; i < 3; i++)
        ask_all_layers(0, (uint16_t)layout->n_experts);
    hits = stats_now().hits;
    ask_all_layers(0, 2);
    cr_assert_eq(stats_now().hits - hits, 2 * layout->n_layers);
    close_rig();
}

/* Once is not often: only an expert that is asked for again and again takes a resident's place. */
Test(tier, promotion_takes_more_than_one_use)
{
    open_rig(&(struct rig_shape){ .vram = MOST, .ram = ALL });
    for (int i = 0; i < 10; i++)
        ask_all_layers(0, 3);
    ask_all_layers(3, 3);
    cr_assert_eq(stats_now().promotions, 0);
    for (int i = 0; i < 60; i++) {
        ask_all_layers(3, 3);
        ask_all_layers(2, 3);
    }
    cr_assert_gt(stats_now().hits, 0);
    close_rig();
}

static uint64_t ram_used(void)
{
    struct cache_stats stats;

    cr_assert_eq(tier_hold(run.tier, &run.err), 0);
    tier_go_on(run.tier);
    ask(0, 0, 1); /* the cache's figures are carried over */
    cache_stats(run.cache, &stats);
    return stats.slots_used;
}

Test(tier, what_lives_on_the_device_is_not_kept_in_ram)
{
    uint64_t n_keys;

    open_rig(&(struct rig_shape){ .vram = MOST, .ram = ALL });
    n_keys = (uint64_t)layout->n_layers * layout->n_experts;
    for (int i = 0; i < 3; i++)
        ask_all_layers(0, (uint16_t)layout->n_experts);
    cr_assert_gt(stats_now().residents, 0);
    cr_assert_eq(ram_used(), n_keys - stats_now().residents);
    close_rig();
}

Test(tier, inclusive_keeps_it_in_ram)
{
    open_rig(&(struct rig_shape){ .vram = MOST, .ram = ALL, .inclusive = true });
    for (int i = 0; i < 3; i++)
        ask_all_layers(0, (uint16_t)layout->n_experts);
    cr_assert_eq(ram_used(), (uint64_t)layout->n_layers * layout->n_experts);
    close_rig();
}

static struct expert_door_ops counted;
static int (*uncounted_request)(struct expert_door *, uint32_t, const uint16_t *, size_t, struct err *);
static uint32_t n_refused; /* by the cache for the sake of slots that are being filled from the device */

static int counted_request(struct expert_door *door, uint32_t layer, const uint16_t *ids, size_t n, struct err *err)
{
    int rc = uncounted_request(door, layer, ids, n, err);

    n_refused += rc == -EBUSY && strstr(err_text(err), " 0 being filled") == NULL;
    return rc;
}

static void count_refused(struct expert_door *door)
{
    counted = *door->ops;
    uncounted_request = counted.request;
    counted.request = counted_request;
    door->ops = &counted;
}

/* A resident on its way back to RAM holds one of the few slots there, and the next request would need all of them. */
Test(tier, who_needs_a_slot_that_a_copy_fills_waits_for_the_copy)
{
    open_rig(&(struct rig_shape){ .vram = MOST, .ram = LEAST });
    rig_sim.copy_rate = 1 << 20;
    count_refused(cache_door(run.cache));
    for (uint16_t i = 0; i < 40; i++) {
        for (int n = 0; n < 8; n++)
            ask_all_layers((uint16_t)(layout->n_experts - 2 - i % 4), 2);
        ask_all_layers(0, (uint16_t)layout->n_experts);
    }
    cr_assert_gt(stats_now().demotions, 0);
    cr_assert_gt(n_refused, 0);
    close_rig();
}

/* Layer 1's experts are in RAM after being asked for; pushed out of the device by others, a lift brings one back. */
Test(tier, guesses_are_counted)
{
    struct expert_door *door;
    uint16_t id = 4;
    uint64_t hits;

    open_rig(&(struct rig_shape){ .vram = LEAST, .ram = ALL });
    door = tier_door(run.tier);
    ask(1, 0, (uint16_t)layout->n_experts);
    ask(0, 0, 1);
    door->ops->hint(door, layout->layers[1].layer, &id, 1);
    cr_assert_eq(stats_now().guess_copies, 0, "a hint is for what lies on the drive");
    door->ops->lift(door, layout->layers[1].layer, &id, 1);
    cr_assert_eq(stats_now().guess_copies, 1);
    hits = stats_now().guess_hits;
    ask(1, id, 1);
    cr_assert_eq(stats_now().guess_hits - hits, stats_now().guess_copies);
    close_rig();
}

/* The division says to the byte what forward and slots take of the device. */
Test(tier, the_devices_memory_is_what_was_said)
{
    struct gpu_options gpu;
    struct forward_bytes bytes;
    uint64_t sum;

    open_rig(&(struct rig_shape){ .vram = HALF, .ram = LEAST });
    rig_measure(&run, &gpu, &bytes);
    sum = bytes.dense + bytes.kv + bytes.activations + sim_device_bytes(&gpu) + stats_now().slot_bytes;
    cr_assert_leq(rig_sim.most_bytes, sum);
    cr_assert_geq(rig_sim.most_bytes, sum - sum / 100);
    close_rig();
}

/* ---- the simulated device itself ---- */

static struct sim sim;
static struct device *device;
static char *there;
static char here[8192];
static struct err err;

static void sim_setup(void)
{
    struct gpu_options options = { .max_rows = 1, .max_ff = 256, .max_expert_rows = 1 };

    sim = (struct sim){ .memory_bytes = 4 << 20 };
    cr_assert_eq(sim_device_open(&sim, &options, &device, &err), 0);
    cr_assert_eq(device->ops->alloc(device, sizeof(here), (void **)&there), 0);
}

static void sim_teardown(void)
{
    device->ops->close(device);
}

TestSuite(sim_device, .init = sim_setup, .fini = sim_teardown);

/* The kernel would touch it for us as we would. */
Test(sim_device, the_host_must_not_touch_its_memory)
{
    char c = 1;
    int fds[2];

    cr_assert_eq(pipe(fds), 0);
    cr_expect(write(fds[1], there, 1) == -1 && errno == EFAULT);
    cr_assert_eq(write(fds[1], &c, 1), 1);
    cr_expect(read(fds[0], there, 1) == -1 && errno == EFAULT);
    close(fds[0]);
    close(fds[1]);
}

Test(sim_device, addresses_are_checked)
{
    cr_expect_eq(device->ops->upload(device, here, here, 10), -EFAULT);
    cr_expect_eq(device->ops->upload(device, there, there, 10), -EFAULT);
    cr_expect_eq(device->ops->upload(device, there + 1, here, sizeof(here)), -EFAULT);
    cr_expect_eq(sim.n_misuse, 3);
    cr_expect_eq(device->ops->upload(device, there, here, sizeof(here)), 0);
}

Test(sim_device, memory_ends)
{
    void *p;

    cr_expect_eq(device->ops->alloc(device, 8 << 20, &p), -ENOMEM);
    cr_expect_eq(device->ops->alloc(device, 1 << 20, &p), 0);
    device->ops->free(device, p, 1 << 20);
    cr_expect_eq(sim.n_misuse, 0);
}

Test(sim_device, a_copy_takes_its_time)
{
    struct device_copy part = { there, here, 4096 };
    struct copy_progress progress;
    uint64_t ticket;

    sim.copy_rate = 1 << 20;
    cr_assert_eq(device->copy->submit(device, COPY_TO_DEVICE, &part, 1, &ticket), 0);
    cr_assert_eq(device->copy->poll(device, &progress), 0);
    cr_expect_eq(progress.done, 0);
    cr_assert_eq(device->copy->wait(device, ticket), 0);
    cr_assert_eq(device->copy->poll(device, &progress), 0);
    cr_expect_eq(progress.done, ticket);
    cr_expect_eq(progress.bytes, 4096);
    cr_expect_eq(progress.busy_ns, 3906250);
}

Test(sim_device, a_lost_device_stays_lost)
{
    sim.fault = SIM_LOST;
    sim.fault_at = sim.n_calls;
    sim.n_faults = 1;
    cr_expect_eq(device->ops->sync(device), ERR_DEVICE);
    cr_expect_eq(device->ops->sync(device), ERR_DEVICE);
    cr_expect_eq(device->ops->upload(device, there, here, 1), ERR_DEVICE);
}
