/* SPDX-License-Identifier: MIT
 *
 * ram_door.h: the expert door (model/experts.h) with every expert in RAM, for tests and benchmarks.
 *
 * It can be made awkward: hand experts out in a shuffled order, claim that nothing is ready, take only small requests,
 * fail at a given place. It keeps count of the protocol, so that a test can see that every view was released.
 *
 * Ownership: a ram_door owns its copy of the experts. The model is borrowed for open only.
 */
#ifndef EXPERTD_TESTS_RAM_DOOR_H
#define EXPERTD_TESTS_RAM_DOOR_H

#include "model/experts.h"
#include "model/model.h"

#include <stdbool.h>
#include <stdint.h>

struct ram_door_options {
    size_t max_request;       /* 0: all experts of a layer */
    uint64_t shuffle_seed;    /* 0: in the order asked for, all ready at once */
    uint64_t fail_next_at;    /* the n-th expert to come out fails instead, once; 0: never */
    uint64_t fail_request_at; /* the n-th request fails, once; 0: never */
    struct device *device;    /* at open: whose memory holds the experts; NULL: the host's. Borrowed. */
};

struct ram_door_counts {
    uint64_t requests, handed_out, released, abandoned;
    uint64_t weighed;   /* layers, of which the door has been told what the router made of them */
    uint64_t misuse;    /* calls that the protocol forbids */
    size_t most_pinned; /* at one time */
};

struct ram_door;

int ram_door_open(const struct model *model, const struct ram_door_options *options, struct ram_door **ret_door,
                  struct err *err);
void ram_door_close(struct ram_door *ram);
struct expert_door *ram_door_door(struct ram_door *ram);
struct ram_door_counts ram_door_counts(const struct ram_door *ram);
/* Change the manners of an open door; takes effect with the next request. */
void ram_door_set(struct ram_door *ram, const struct ram_door_options *options);
/* Views that are out: 0 between evals. */
size_t ram_door_pinned(const struct ram_door *ram);

#endif
