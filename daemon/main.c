/* SPDX-License-Identifier: MIT */
#include "base/log.h"
#include "daemon/chores.h"
#include "daemon/config.h"
#include "daemon/notify.h"
#include "daemon/server.h"
#include "daemon/service.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Exit codes, as expertd(8) lists them. */
enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* Standard error is the journal when the service manager says so and it is still the same stream. */
static bool is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long dev, ino;
    struct stat st;

    return stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
           st.st_dev == dev && st.st_ino == ino;
}

/* One arena per thread would take memory that no budget knows of. */
static void tame_malloc(void)
{
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_TRIM_THRESHOLD, 1 << 20);
    mallopt(M_MMAP_THRESHOLD, 256 << 10);
    setenv("UV_THREADPOOL_SIZE", "1", 0);
}

static int serve(const struct config *config, struct err *err)
{
    struct listeners listeners = { 0 };
    struct service service;
    int r;

    if (config->verify)
        return chore_verify(config, err);
    if (config->measure_drive)
        return chore_measure_drive(config, err);
    if (config->write_pack)
        return chore_write_pack(config, err);
    r = config->check_config ? 0 : listeners_open(config, &listeners, err);
    if (r < 0)
        return r;
    r = service_open(config, &service, err);
    if (r == 0) {
        if (config->check_config)
            log_info("the configuration is good");
        else
            r = server_run(config, &service, &listeners, err);
        service_close(&service);
    }
    listeners_close(&listeners);
    return r;
}

int main(int argc, char **argv)
{
    struct config config;
    struct err err = { 0 };
    int r;

    tame_malloc();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error of the write, like a full disk */
    log_init(LOG_LEVEL_INFO, is_journal());
    notify_init();
    if (config_load(argc, argv, &config, &err) < 0) {
        log_error("%s", err_text(&err));
        return EXIT_USAGE;
    }
    if (config.show_help || config.show_version) {
        if (config.show_help)
            config_print_help(stdout);
        else
            printf("expertd " EXPERTD_VERSION "\n");
        config_fini(&config);
        return EXIT_OK;
    }
    config.journal = is_journal();
    log_init(config.log_level, config.journal);
    r = serve(&config, &err);
    if (r < 0) {
        log_error("%s", err_text(&err));
        notify_send("STATUS=%s\nERRNO=%d", err_text(&err), r > -1000 ? -r : 0);
    }
    notify_fini();
    config_fini(&config);
    return r < 0 ? EXIT_FAILED : EXIT_OK;
}
