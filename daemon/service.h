/* SPDX-License-Identifier: MIT
 *
 * service.h: the model that is served, as far as it is known before its weights are loaded: its file, its
 * vocabulary, its way of writing a conversation, and how the memory budget divides over it.
 *
 * Opened on the main thread before the loop and the engine start; immutable after that, so both may read it.
 */
#ifndef EXPERTD_DAEMON_SERVICE_H
#define EXPERTD_DAEMON_SERVICE_H

#include "base/err.h"
#include "daemon/budget.h"
#include "daemon/config.h"
#include "daemon/gpu.h"
#include "model/chat.h"
#include "model/forward.h"
#include "model/model.h"
#include "model/tokenizer.h"

#include <limits.h>
#include <stdbool.h>
#include <time.h>

struct service {
    const struct config *config;
    struct model *model;
    struct tokenizer *tokenizer;
    enum chat_format format;
    struct budget budget; /* of --memory */
    struct gpu gpu;
    uint32_t n_threads;
    uint64_t free_bytes;       /* of the machine or the control group, when we started */
    struct pack *pack;         /* read experts from there; NULL: from the model */
    struct recorder *recorder; /* of routing; NULL: none */
    bool catalog;              /* the state directory can be written */
    const char *name;          /* under which the API shows the model; lent by config or model */
    time_t started;
};

/* Open the model, read its vocabulary, divide the budget, and say so in log lines. */
int service_open(const struct config *config, struct service *ret_service, struct err *err);
void service_close(struct service *service);

/* Its first part: the model and the state directory. On failure service_close is still to be called. */
int service_open_files(const struct config *config, struct service *service, struct err *err);
/* Where the configuration has the model's pack, or would have it. */
int service_pack_path(const struct config *config, char path[PATH_MAX], struct err *err);

/* Divide --memory for computing on the CPU; a `shape` that is given is kept. */
int service_divide_cpu(const struct service *service, const struct budget_wish *wish, const struct budget_shape *shape,
                       struct budget *ret_budget, struct err *err);

/* What keys, values and activations take of the budget, as far as experts that have no slot otherwise may lie there
 * while it is not needed, bytes. */
uint64_t service_lent(const struct service *service);
/* What slots hold when nothing else needs it, bytes. */
uint64_t service_slots_most(const struct service *service);

/* How the engine is to open its parts, so that they take what the budget measured. */
void service_device_options(const struct service *service, struct cpu_device_options *ret_options);
void service_forward_options(const struct config *config, const struct budget_shape *shape,
                             struct forward_options *ret_options);
void service_cache_options(const struct service *service, struct cache_options *ret_options);
/* What samplers may take beyond what the reserve of a budget of `total` has for them. */
uint64_t service_samplers_bytes(const struct model *model, const struct budget_shape *shape, uint64_t total);

/* How experts are read and why so, in a log line. */
void service_say_drive(const struct cache_drive *drive);

#endif
