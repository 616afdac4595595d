/* SPDX-License-Identifier: MIT */
#include "daemon/processor.h"

#include "base/log.h"
#include "base/mem.h"
#include "daemon/config.h"

#include <stdio.h>
#include <unistd.h>

uint32_t processor_threads(uint32_t wish)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);

    if (wish == 0)
        return cpu_threads_detect();
    if (online > 0 && wish > (uint32_t)online) {
        log_warning("threads: %u asked for, but there are only %ld processors; using %ld", wish, online, online);
        return (uint32_t)online;
    }
    return wish;
}

const char *processor_level_note(enum cpu_level asked, enum cpu_level got, char note[PROCESSOR_NOTE])
{
    note[0] = '\0';
    if (asked != CPU_LEVEL_BEST && got != asked)
        snprintf(note, PROCESSOR_NOTE, "cpu-level: %s was asked for and needs %s, which this processor lacks; using %s",
                 cpu_level_name(asked), cpu_level_needs(asked), cpu_level_name(got));
    else if (asked != CPU_C && got == CPU_C)
        snprintf(note, PROCESSOR_NOTE,
                 "compute: this processor has none of the vector instructions that there are fast kernels for; the "
                 "plain C ones serve, many times slower, with the same answers");
    return note;
}

const char *processor_format_note(uint64_t types, enum cpu_level level, char note[PROCESSOR_NOTE])
{
    char list[PROCESSOR_NOTE / 2] = "";
    size_t n = 0;

    note[0] = '\0';
    for (uint32_t type = 0; level != CPU_C && type < QUANT_TYPES && n < sizeof(list); type++)
        if ((types >> type & 1) != 0 && !cpu_level_is_fast(level, type))
            n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", n > 0 ? ", " : "", quant_info(type)->name);
    if (n > 0)
        snprintf(note, PROCESSOR_NOTE,
                 "compute: no kernel of its own at level %s for weights in %s: they are decoded row by row, slowly",
                 cpu_level_name(level), list);
    return note;
}

static uint64_t types_of(const struct gguf *gguf)
{
    uint64_t types = 0;

    for (size_t i = 0; i < gguf_tensor_count(gguf); i++)
        types |= (uint64_t)1 << gguf_tensor_at(gguf, i)->type;
    return types;
}

void processor_say(const struct gguf *gguf, enum cpu_level asked)
{
    enum cpu_level got = cpu_level_within(asked);
    char note[PROCESSOR_NOTE];

    if (*processor_level_note(asked, got, note))
        log_warning("%s", note);
    if (*processor_format_note(types_of(gguf), got, note))
        log_warning("%s", note);
}

void processor_spread_memory(void)
{
    uint64_t nodes = cpu_nodes_detect();
    int n = __builtin_popcountll(nodes);

    if (n < 2)
        return;
    mem_interleave(nodes);
    log_info("memory: weights and slots are spread over %d memory nodes", n);
}

const char *processor_pages_note(const struct machine_pages *pages, char note[PROCESSOR_NOTE])
{
    char huge[24], all[24];

    snprintf(note, PROCESSOR_NOTE, "memory: %s of %s lie in huge pages%s", size_format(pages->huge, huge),
             size_format(pages->anonymous, all),
             pages->off ? "; the kernel makes none: write madvise to /sys/kernel/mm/transparent_hugepage/enabled" : "");
    return note;
}

void processor_say_pages(void)
{
    struct machine_pages pages;
    char note[PROCESSOR_NOTE];

    machine_pages("", &pages);
    if (pages.anonymous > 0)
        log_info("%s", processor_pages_note(&pages, note));
}
