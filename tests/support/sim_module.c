/* SPDX-License-Identifier: MIT
 *
 * sim_module.c: the simulated device as a module, for the real daemon: EXPERTD_GPU_MODULE names it, EXPERTD_SIM says
 * what it is like: words "memory=64M", "rate=BYTES/S", "seed=N", "cards=N" (0: none), "fault=memory|copy|lost@CALL",
 * "faults=N", "failing_opens=N", "later=8M" (memory from the second open on: others took some) and "lost=FILE" (lost
 * while there is such a file), with spaces between.
 */
#include "tests/support/sim_device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct sim sim;
static unsigned n_cards = 1;
static char lost_file[300];
static uint64_t later_bytes; /* of memory, from the second open on; 0: as before */

static uint64_t size_of(const char *text)
{
    char *end;
    uint64_t n = strtoull(text, &end, 10);

    return *end == 'K' ? n << 10 : *end == 'M' ? n << 20 : *end == 'G' ? n << 30 : n;
}

static void fault_of(const char *text)
{
    const char *at = strchr(text, '@');

    sim.fault = strncmp(text, "memory", 6) == 0 ? SIM_MEMORY : strncmp(text, "copy", 4) == 0 ? SIM_COPY : SIM_LOST;
    sim.fault_at = at != NULL ? strtoull(at + 1, NULL, 10) : 0;
    sim.n_faults = sim.n_faults > 0 ? sim.n_faults : 1;
}

static void word_take(const char *word)
{
    const char *value = strchr(word, '=');

    value = value != NULL ? value + 1 : "";
    if (strncmp(word, "memory=", 7) == 0)
        sim.memory_bytes = size_of(value);
    else if (strncmp(word, "rate=", 5) == 0)
        sim.copy_rate = size_of(value);
    else if (strncmp(word, "seed=", 5) == 0)
        sim.seed = size_of(value);
    else if (strncmp(word, "cards=", 6) == 0)
        n_cards = (unsigned)size_of(value);
    else if (strncmp(word, "faults=", 7) == 0)
        sim.n_faults = size_of(value);
    else if (strncmp(word, "fault=", 6) == 0)
        fault_of(value);
    else if (strncmp(word, "failing_opens=", 14) == 0)
        sim.n_failing_opens = (uint32_t)size_of(value);
    else if (strncmp(word, "later=", 6) == 0)
        later_bytes = size_of(value);
    else if (strncmp(word, "lost=", 5) == 0)
        snprintf(lost_file, sizeof(lost_file), "%s", value);
}

static void configure(void)
{
    static bool done;
    const char *env = getenv("EXPERTD_SIM");
    char words[600], *rest = words, *word;

    if (done)
        return;
    done = true;
    sim.memory_bytes = 64 << 20;
    sim.max_level = CPU_LEVEL_BEST;
    snprintf(words, sizeof(words), "%s", env != NULL ? env : "");
    while ((word = strsep(&rest, " ")) != NULL)
        word_take(word);
    sim.lost_file = lost_file[0] != '\0' ? lost_file : NULL;
}

static int module_count(struct err *err)
{
    configure();
    return n_cards > 0 ? (int)n_cards : err_set(err, -ENODEV, "no device was found (simulated)");
}

static int module_card(uint32_t index, struct gpu_card *ret_card, struct err *err)
{
    *ret_card = (struct gpu_card){ .name = "simulated",
                                   .free_bytes = sim.memory_bytes - sim.used_bytes,
                                   .total_bytes = sim.memory_bytes };
    return 0;
}

static int module_open(const struct gpu_options *options, struct device **ret_device, struct err *err)
{
    static unsigned n_opens;

    configure();
    if (n_opens++ > 0 && later_bytes > 0)
        sim.memory_bytes = later_bytes;
    return sim_device_open(&sim, options, ret_device, err);
}

extern const struct gpu_module expertd_gpu_module;
const struct gpu_module expertd_gpu_module = { .magic = GPU_MODULE_MAGIC,
                                               .abi = GPU_MODULE_ABI,
                                               .layout = GPU_MODULE_LAYOUT,
                                               .name = "sim",
                                               .version = "0",
                                               .count = module_count,
                                               .card = module_card,
                                               .device_bytes = sim_device_bytes,
                                               .open = module_open };
