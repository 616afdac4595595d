/* SPDX-License-Identifier: MIT
 *
 * device_rig.h: a tiny model on the simulated device, with experts in three tiers, beside the logits that the CPU makes
 * of the same tokens with every expert in RAM.
 *
 * One rig at a time: its parts are the program's globals.
 */
#ifndef EXPERTD_TESTS_SUPPORT_DEVICE_RIG_H
#define EXPERTD_TESTS_SUPPORT_DEVICE_RIG_H

#include "cache/tier.h"
#include "model/forward.h"
#include "model/model.h"
#include "tests/support/io_sim.h"
#include "tests/support/sim_device.h"

enum { RIG_PROMPT = 24, RIG_CHUNK = 20, RIG_STEPS = 10, RIG_ROWS = RIG_PROMPT + RIG_STEPS };

enum share { LEAST, QUARTER, HALF, MOST, ALL, SHARES }; /* most: five sixths */

/* How much of the experts lies where, and the switches. */
struct rig_shape {
    enum share vram, ram;
    bool inclusive, help, hints;
    bool fill; /* slots are filled before anybody asks, as far as that goes */
};

/* What one run is made of. */
struct rig_run {
    struct device *device, *helper;
    struct cache *cache;
    struct tier *tier;
    struct forward *forward;
    struct expert_door *hinted; /* each layer's experts are hinted for the next layer */
    uint32_t failed;            /* evals so far */
    struct err err;
};

/* Opens the device of rig_open; NULL: the simulated one. */
extern int (*rig_device_open)(const struct gpu_options *options, struct device **ret_device, struct err *err);
extern enum kv_type rig_kv_type; /* of every forward pass; F16 unless a test says otherwise before rig_setup */
extern struct sim rig_sim;
extern struct io_sim rig_io;
extern struct model *rig_model;

void rig_setup(const char *model_name);
void rig_teardown(void);
void rig_sim_reset(uint64_t seed, uint64_t copy_rate);

/* 0, or the code of what could not be opened; rig_close in either case. */
int rig_open(struct rig_run *run, const struct rig_shape *shape);
void rig_close(struct rig_run *run); /* and none of the device's memory is lost */

/* The prompt in chunks, then token by token, from position *row on; a failed eval is done again when `on_failure` (may
 * be NULL) says 0. Returns 0 at the end, or what on_failure said. */
int rig_rows(struct rig_run *run, int (*on_failure)(struct rig_run *run, int code));
/* What the device was opened with, and what the forward pass says it takes. */
void rig_measure(const struct rig_run *run, struct gpu_options *ret_gpu, struct forward_bytes *ret_bytes);
/* Evals that rig_rows takes. */
enum { RIG_EVALS = (RIG_PROMPT + RIG_CHUNK - 1) / RIG_CHUNK + RIG_STEPS };
/* Same bits as the CPU's, or the test says where they part. */
void rig_assert_same(const char *what);
/* Until every expert that has a slot lies in it. */
void rig_fill(struct rig_run *run);
/* With every expert on the device, an eval is one hand-off; with a few of them gone it is more; and the bits are those
 * of the CPU in either case. `name` of a model. */
void rig_check_one_hand_off(const char *name, enum share ram);

#endif
