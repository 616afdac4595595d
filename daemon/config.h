/* SPDX-License-Identifier: MIT
 *
 * config.h: what the person who runs the daemon asked for, from a file and from the command line.
 *
 * Every option exists under one name in both places: `--memory 4G` and `memory = 4G`. The command line wins over the
 * file. An unknown name or a bad value is refused with where it stands ("expertd.conf:3") and what would be allowed.
 * Defaults that depend on the machine (memory, threads, context) stay unset here and are chosen, and said aloud, where
 * the machine is known (budget.c, engine.c).
 *
 * Ownership: a config owns its strings until config_fini. Threads: filled before any thread starts, read-only after.
 */
#ifndef EXPERTD_DAEMON_CONFIG_H
#define EXPERTD_DAEMON_CONFIG_H

#include "base/err.h"
#include "base/log.h"
#include "cache/cache.h"
#include "cache/policy.h"
#include "compute/cpu_device.h"
#include "prefetch/lookahead.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Which GPU: one of these, or the number of a card. */
enum { GPU_AUTO = -1, GPU_OFF = -2 };

struct config {
    char *model;       /* path of the GGUF; NULL when not given */
    uint64_t memory;   /* bytes for the whole process; 0: from what is free */
    char *socket;      /* path of the Unix socket; config_load fills in the default */
    bool socket_set;   /* given, not the default */
    char *listen;      /* HOST:PORT or NULL */
    uint32_t context;  /* positions per sequence; 0: chosen */
    uint32_t parallel; /* sequences at once; 0: chosen */
    uint32_t queue;    /* requests that may wait for a sequence */
    uint32_t threads;  /* 0: one per physical core */
    uint32_t batch;    /* tokens of a prompt read at once; 0: chosen */
    enum cpu_level cpu_level;
    enum io_mode io;
    enum io_engine io_engine;
    uint32_t queue_depth; /* 0: by the drive's curve */
    uint32_t read_kib;    /* likewise */
    enum policy_kind policy;
    enum lookahead_mode prefetch; /* looking ahead, and warming up after a start unless off */
    enum kv_type kv_type;
    char *state_dir; /* config_load fills in the default */
    bool state_dir_set;
    char *pack;         /* "auto" or NULL, "off", or the path of the model's pack */
    char *record_routing; /* file to record routing in, or NULL */
    char *alias;        /* name under which the API shows the model, or NULL */
    uint32_t drain_s;   /* seconds that running answers get at SIGTERM */
    uint32_t receive_s; /* for a request to arrive whole */
    uint32_t stall_s;   /* until a reader that takes nothing is dropped */
    enum log_level log_level;
    bool log_level_set; /* by the command line, which wins over the file's */
    int gpu;
    uint64_t vram; /* bytes of the card's memory; 0: from what is free */
    int cpu_help;  /* 1: beside a GPU, the CPU computes experts that lie in RAM */

    char *path;   /* of the configuration file that was read, or NULL */
    bool journal; /* standard error is the journal; set by main */
    bool check_config, verify, measure_drive, show_help, show_version;
    bool write_pack, force, json; /* write the pack instead of serving; over what is there; say the result in JSON */
};

/* Read the command line, the file it names (or the default one when that exists), and the defaults from the
 * environment. On failure `config` is empty. */
int config_load(int argc, char *const *argv, struct config *config, struct err *err);
void config_fini(struct config *config);

/* Set one option by name; `where` names the place in errors ("expertd.conf:3" or "command line"). */
int config_set(struct config *config, const char *name, const char *value, const char *where, struct err *err);
/* Read a file of `name = value` lines. */
int config_read_file(struct config *config, const char *path, struct err *err);

/* The log level alone, read again from the file (SIGHUP); the command line's stays. */
int config_reload_log_level(const struct config *config, enum log_level *ret_level, struct err *err);

void config_print_help(FILE *out);

/* "4G", "512M", "1.5GiB", "65536": powers of 1024. Returns false on anything else and on overflow. */
bool size_parse(const char *text, uint64_t *ret_bytes);
/* The shortest honest form: "1.3 GiB"; `out` holds at least 24 bytes. Returns `out`. */
char *size_format(uint64_t bytes, char *out);

#endif
