/* SPDX-License-Identifier: MIT
 *
 * Slots in somebody else's hands: what is pinned or lent is no slot for a request, which says so at once instead of
 * waiting for what no read brings back.
 */
#include "cache/lend.h"
#include "cache/state.h"
#include "tests/support/door_check.h"
#include "tests/support/io_sim.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

static const struct expert_file_shape small = { .n_layers = 3, .n_experts = 16, .n_used = 4, .rows = 40, .seed = 1 };
static const uint16_t ids[] = { 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };

static struct io_sim sim;
static struct expert_file file;
static struct cache *cache;
static struct expert_door *door;
static size_t n_slots; /* fewer than a layer's experts, so that a request may take all */
static struct err err;

static void lend_setup(void)
{
    struct cache_options options;

    expert_file_init(&file, &small);
    cache_options_default(&options);
    options.slot_budget = cache_min_bytes(&file.layout);
    options.on_io_open = io_sim_open;
    options.io_ctx = &sim;
    cache = door_check_open(&file, &options);
    door = cache_door(cache);
    n_slots = door->max_request;
    cr_assert_leq(n_slots, sizeof(ids) / sizeof(ids[0]));
}

static void lend_teardown(void)
{
    cache_close(cache);
    expert_file_fini(&file);
}

TestSuite(lend, .init = lend_setup, .fini = lend_teardown);

/* Asked for while one slot is being filled: all of them are too many, all but that one are not. */
static void check_with_one_lent(uint32_t layer_index, const char *what)
{
    cr_assert_eq(door->ops->request(door, layer_index, ids, n_slots, &err), -EBUSY, "%s", what);
    cr_assert_not_null(strstr(err_text(&err), "1 being filled from elsewhere"), "%s", err_text(&err));
    cr_assert_eq(door_check_ask(cache, &file, layer_index, ids, n_slots - 1, &err), 0, "%s: %s", what, err_text(&err));
}

Test(lend, a_slot_being_filled_is_none_for_a_request)
{
    const uint32_t key = 2 * 16 + 15;
    struct expert_view view;
    uint32_t slot;

    for (int good = 0; good < 2; good++) {
        cr_assert(cache_make_room(cache, key, &slot, &view));
        check_with_one_lent(0, "free slots beside it");
        check_with_one_lent(1, "victims beside it");
        cache_adopt(cache, key, slot, good);
        cr_assert_eq(cache_has(cache, key), good);
        cr_assert_eq(door_check_ask(cache, &file, 0, ids, n_slots, &err), 0, "%s", err_text(&err));
        for (uint16_t e = 0; e < small.n_experts; e++) /* room anew */
            cache_forget(cache, e);
    }
    cr_assert_eq(cache_resize(cache, 0, &err), 0, "%s", err_text(&err));
}

/* Reads for a guess into all the other slots are withdrawn for a request, but the lent slot is still none. */
Test(lend, nor_is_it_with_guesses_in_flight)
{
    struct expert_view view;
    uint32_t slot;

    sim.hold = true;
    cr_assert(cache_make_room(cache, 0, &slot, &view));
    door->ops->hint(door, 1, ids, n_slots);
    cr_assert_gt(sim.n_in_flight, 0);
    check_with_one_lent(2, "guesses in flight");
    cache_adopt(cache, 0, slot, false);
    cr_assert_eq(door_check_ask(cache, &file, 2, ids, n_slots, &err), 0, "%s", err_text(&err));
}

/* Should the cache ever lose count of a slot, a request fails rather than waits for ever. */
Test(lend, a_lost_slot_is_an_error)
{
    uint32_t lost = slots_borrow(&cache->slots, 0);

    cr_assert_neq(lost, SLOT_NONE);
    cr_assert_eq(door_check_ask(cache, &file, 0, ids, n_slots, &err), -ENOBUFS);
    cr_assert_not_null(strstr(err_text(&err), "no slot for an expert"), "%s", err_text(&err));
    cr_assert_eq(door_check_ask(cache, &file, 0, ids, n_slots - 1, &err), 0, "%s", err_text(&err));
    slots_give(&cache->slots, lost);
    cr_assert_eq(door_check_ask(cache, &file, 0, ids, n_slots, &err), 0, "%s", err_text(&err));
}

/* A copy under way has its source pinned; that a request fails meanwhile takes nothing from it. */
Test(lend, a_failed_request_leaves_pins_alone)
{
    struct expert_view view;

    cr_assert_eq(door_check_ask(cache, &file, 0, ids, 1, &err), 0, "%s", err_text(&err));
    cr_assert(cache_lend(cache, ids[0], &view));
    sim.n_failing_reaps = 1;
    cr_assert_eq(door->ops->request(door, 1, ids, n_slots - 1, &err), -EIO);
    cr_assert_eq(door->ops->request(door, 1, ids, n_slots, &err), -EBUSY, "the view is still pinned");
    cr_assert(expert_file_matches(&file, 0, ids[0], &view));
    door->ops->release(door, &view);
    cr_assert_eq(door_check_ask(cache, &file, 1, ids, n_slots, &err), 0, "%s", err_text(&err));
    cr_assert_eq(cache_resize(cache, 0, &err), 0, "%s", err_text(&err));
}

/* A request has no slots yet for most of what it misses; whoever pins or fills others meanwhile leaves it enough. */
Test(lend, a_request_in_the_midst_of_reading_keeps_its_room)
{
    struct expert_view view, views[16];
    uint32_t slot;
    size_t index, n = n_slots - 1;

    cr_assert_eq(door_check_ask(cache, &file, 0, ids, n, &err), 0, "%s", err_text(&err));
    sim.hold = true;
    cr_assert_eq(door->ops->request(door, 1, ids, n, &err), 0, "%s", err_text(&err));
    cr_assert_not(cache_make_room(cache, 2 * 16, &slot, &view), "the one free slot is spoken for");
    for (size_t i = 0, n_lent = 0; i < n_slots; i++) {
        n_lent += cache_lend(cache, ids[i], &view);
        cr_assert_leq(n_lent, 1, "all but one are spoken for");
    }
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(door->ops->next(door, &index, &views[i], &err), 1, "%s", err_text(&err));
    door->ops->abandon(door);
}
