/* SPDX-License-Identifier: MIT
 *
 * experts.h: the expert door, between the forward pass and wherever experts live.
 *
 * For each layer the forward pass asks for the experts the router chose and takes them in whatever order
 * they become ready; the cache (cache/) implements the door over slots and disk reads, tests implement
 * it with everything in RAM. The order of `next` is not fixed and must not matter: the forward pass writes
 * each expert's output to a row of its own and sums rows in routing order.
 *
 * Protocol, per layer: one request; then next until each of the n ids has been returned exactly once; each view is
 * released after its last use, before the next layer's request or after. On an error from request or next, call
 * `abandon` once: it drops what is outstanding and releases what is pinned; the door is then ready for a new request.
 *
 * Threads: the engine thread only. Memory: views lend the cache's memory, pinned until release.
 */
#ifndef EXPERTD_MODEL_EXPERTS_H
#define EXPERTD_MODEL_EXPERTS_H

#include "base/err.h"
#include "compute/device.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct expert_view {
    struct weight gate, up, down;
    uint32_t layer;
    uint16_t expert;
    bool on_host; /* the weights lie in the host's memory, for the CPU to compute; only where host_views allows it */
    void *pin;    /* the door's own */
};

struct expert_door;

struct expert_door_ops {
    /* What the layer's router has made of every expert, chosen or not, host [n, n_experts] f32, before its experts are
     * asked for: it tells who may be wanted soon. Where the host has the logits. May be NULL. */
    void (*weigh)(struct expert_door *, uint32_t layer, const float *logits, uint32_t n);
    /* Ask for n different experts of a layer, all of which will be needed. Resident ones are ready at once, the rest
     * are read. `layer` is the model's layer index. n is at most the slots guaranteed at open (see max_request).
     * Fails without side effects. */
    int (*request)(struct expert_door *, uint32_t layer, const uint16_t *ids, size_t n, struct err *);
    /* Next ready expert: its index into ids, and its weights, pinned until release. Blocks only if none is ready.
     * Returns 1 with an expert, 0 when all have been returned, negative on error (read failed, checksum wrong). */
    int (*next)(struct expert_door *, size_t *ret_index, struct expert_view *ret_view, struct err *);
    /* As next, but returns -EAGAIN instead of blocking: lets the caller batch whatever is ready now. */
    int (*try_next)(struct expert_door *, size_t *ret_index, struct expert_view *ret_view, struct err *);
    void (*release)(struct expert_door *, const struct expert_view *);
    void (*abandon)(struct expert_door *);
    /* Put ids into the order in which they are best asked for when there are more than one request may name: those that
     * are there first, so that none of them falls victim to the others, each group as it was. May be NULL. */
    void (*arrange)(struct expert_door *, uint32_t layer, uint16_t *ids, size_t n);
    /* A wish, not a need (prefetch): may be ignored, never evicts what an open request needs. May be NULL. */
    void (*hint)(struct expert_door *, uint32_t layer, const uint16_t *ids, size_t n);
    /* The same wish for those that lie in the host's memory, to have them brought up to the device; `hint` is for those
     * that lie further away. May be NULL. */
    void (*lift)(struct expert_door *, uint32_t layer, const uint16_t *ids, size_t n);
    /* Something else is being computed and takes its time: see to the reads, so that the drive does not run dry. Costs
     * microseconds; never blocks. May be NULL. */
    void (*poll)(struct expert_door *);
    /* The three below: a device that looks experts up by itself (compute/device_stay.h) asks for none. Any may be NULL.
     * Whether every expert of every layer lies ready in the device's memory: 0 when not, else a number that changes
     * when any of them has come to lie elsewhere. What is computed from then on may read them until the door is called
     * for anything else but `look` and `used`. */
    uint64_t (*settled)(struct expert_door *);
    /* Where one of them lies; not pinned. */
    void (*look)(struct expert_door *, uint32_t layer, uint16_t expert, struct expert_view *ret_view);
    /* These of a layer have been used that way, layers in order; repetitions count once. */
    void (*used)(struct expert_door *, uint32_t layer, const uint16_t *ids, size_t n);
    /* The CPU took so long to compute experts of so many bytes that were handed out on the host. May be NULL. */
    void (*spent)(struct expert_door *, uint64_t bytes, uint64_t ns);
};

struct expert_door {
    const struct expert_door_ops *ops;
    size_t max_request; /* most experts that one request may name; a larger set is asked for in parts */
    bool host_views;    /* set by who asks, before a request: views may be on_host */
    bool burst;         /* likewise: the request is of a pass over a prompt, which names many experts of each layer in
                           turn and does not come back to most of them */
};

#endif
