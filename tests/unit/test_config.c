/* SPDX-License-Identifier: MIT */
#include "daemon/config.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct config config;
static struct err err;

static int load(const char *const *args)
{
    char *argv[32] = { (char *)"expertd" };
    int argc = 1;

    for (; *args; args++)
        argv[argc++] = (char *)(uintptr_t)*args;
    err = (struct err){ 0 };
    return config_load(argc, argv, &config, &err);
}

#define LOAD(...) load((const char *const[]){ __VA_ARGS__, NULL })

static void refused(int r, const char *words)
{
    cr_assert_lt(r, 0, "accepted; expected: %s", words);
    cr_assert_not_null(strstr(err.text, words), "'%s' does not say '%s'", err.text, words);
}

/* A file of options in a temporary place; the caller unlinks it. */
static char *write_file(const char *text)
{
    char *path = strdup("/tmp/expertd-config-XXXXXX");
    int fd = mkstemp(path);

    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    return path;
}

Test(config, sizes)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = { { "1048576", 1 << 20 }, { "512M", 512u << 20 }, { "4G", 4ull << 30 },
                 { "4g", 4ull << 30 },   { "4GiB", 4ull << 30 }, { "4 GB", 4ull << 30 },
                 { "1.5K", 1536 },       { "2T", 2ull << 40 },   { "7B", 7 } };
    static const char *const bad[] = { "",    "G",    "-1",  "+1",  " 1",     "1X",        "1GG",
                                       "1e9", "0x10", "nan", "inf", "1.2.3M", "99999999T", "1 0" };
    uint64_t bytes;
    char text[24];

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        cr_assert(size_parse(good[i].text, &bytes), "%s", good[i].text);
        cr_assert_eq(bytes, good[i].bytes, "%s is %llu", good[i].text, (unsigned long long)bytes);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_not(size_parse(bad[i], &bytes), "'%s' accepted", bad[i]);
    cr_assert_str_eq(size_format(1300ull << 20, text), "1.3 GiB");
    cr_assert_str_eq(size_format(512, text), "512 B");
    cr_assert_str_eq(size_format(640u << 20, text), "640 MiB");
}

Test(config, command_line)
{
    cr_assert_eq(LOAD("--model", "m.gguf", "--memory=4G", "--kv-type", "F32", "--io", "direct", "--parallel", "2"), 0);
    cr_assert_str_eq(config.model, "m.gguf");
    cr_assert_eq(config.memory, 4ull << 30);
    cr_assert_eq(config.kv_type, KV_F32);
    cr_assert_eq(config.io, IO_DIRECT);
    cr_assert_eq(config.parallel, 2);
    cr_assert_eq(config.log_level, LOG_LEVEL_INFO);
    cr_assert_eq(config.drain_s, 30);
    cr_assert_eq(config.receive_s, 30);
    cr_assert_eq(config.stall_s, 60);
    cr_assert_eq(config.queue, 32);
    cr_assert_eq(config.prefetch, LOOKAHEAD_AUTO);
    cr_assert_eq(config.cpu_level, CPU_LEVEL_BEST);
    config_fini(&config);
}

Test(config, types_of_keys_and_values)
{
    cr_assert_eq(LOAD("--model", "m.gguf"), 0);
    cr_expect_eq(config.kv_type, KV_F16, "unless told otherwise");
    config_fini(&config);
    for (enum kv_type type = 0; type < KV_TYPES; type++) {
        cr_assert_eq(LOAD("--model", "m.gguf", "--kv-type", kv_type_name(type)), 0, "%s", kv_type_name(type));
        cr_expect_eq(config.kv_type, type);
        config_fini(&config);
    }
}

Test(config, wrong_command_lines_are_refused_by_name)
{
    refused(LOAD("--modle", "x"), "no option '--modle'");
    refused(LOAD("--modle=x"), "no option 'modle'");
    refused(LOAD("model.gguf"), "'model.gguf' is not an option");
    refused(LOAD("--"), "not an option");
    refused(LOAD("--memory"), "'--memory' needs a value");
    refused(LOAD("--model="), "'model' needs a value");
    refused(LOAD("--memory", "much"), "a size of at least 1M");
    refused(LOAD("--memory", "100K"), "a size of at least 1M");
    refused(LOAD("--threads", "0"), "from 1 to 1024");
    refused(LOAD("--threads", "-1"), "from 1 to 1024");
    refused(LOAD("--threads", "4x"), "from 1 to 1024");
    refused(LOAD("--context", "99999999999999999999"), "from 16 to");
    refused(LOAD("--io", "fast"), "one of auto, direct, buffered");
    refused(LOAD("--io-engine", "aio"), "one of auto, io_uring, pread");
    refused(LOAD("--cpu-level", "sse"), "one of auto, c");
    refused(LOAD("--kv-type", "q8"), "one of f32, f16, q8_0");
    refused(LOAD("--log-level", "loud"), "one of error, warning, info, debug");
    refused(LOAD("--gpu", "on"), "auto, off, or the number of a card");
    refused(LOAD("--help=x"), "takes no value");
    refused(LOAD("--config", "/nonexistent/x.conf"), "No such file");
    refused(LOAD("--config", "/"), "not a regular file");
}

Test(config, file_with_comments_and_quotes_and_the_command_line_wins)
{
    char *path = write_file("# a comment\n\nmodel = /models/a b.gguf\n  memory=2G # half\nalias = \"my # model\"\n"
                            "log-level = debug");

    cr_assert_eq(LOAD("--memory", "3G", "--config", path), 0);
    cr_assert_str_eq(config.model, "/models/a b.gguf");
    cr_assert_eq(config.memory, 3ull << 30);
    cr_assert_str_eq(config.alias, "my # model");
    cr_assert_eq(config.log_level, LOG_LEVEL_DEBUG);
    config_fini(&config);
    unlink(path);
    free(path);
}

Test(config, wrong_files_are_refused_with_their_line)
{
    static const struct {
        const char *text, *words;
    } bad[] = { { "model = a\nmemroy = 4G\n", ":2: there is no option 'memroy'" },
                { "\n\nthreads = many\n", ":3: 'threads = many'" },
                { "just words\n", ":1: 'just words': a line has the form" },
                { "model =\n", ":1: 'model' needs a value" },
                { "config = other.conf\n", "no option 'config'" } };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char *path = write_file(bad[i].text);

        refused(LOAD("--config", path), bad[i].words);
        unlink(path);
        free(path);
    }
}

Test(config, defaults_come_from_the_service_manager_then_the_user)
{
    setenv("RUNTIME_DIRECTORY", "/run/a:/run/b", 1);
    setenv("STATE_DIRECTORY", "/var/lib/a", 1);
    cr_assert_eq(LOAD("--model", "m"), 0);
    cr_assert_str_eq(config.socket, "/run/a/expertd.sock");
    cr_assert_str_eq(config.state_dir, "/var/lib/a");
    cr_assert_not(config.socket_set);
    config_fini(&config);
    unsetenv("RUNTIME_DIRECTORY");
    unsetenv("STATE_DIRECTORY");
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    setenv("XDG_STATE_HOME", "/home/x/state", 1);
    cr_assert_eq(LOAD("--model", "m"), 0);
    cr_assert_str_eq(config.socket, "/run/user/7/expertd.sock");
    cr_assert_str_eq(config.state_dir, "/home/x/state/expertd");
    config_fini(&config);
    unsetenv("XDG_RUNTIME_DIR");
    cr_assert_eq(LOAD("--model", "m", "--socket", "/tmp/s"), 0);
    cr_assert_str_eq(config.socket, "/tmp/s");
    cr_assert(config.socket_set);
    config_fini(&config);
    cr_assert_eq(LOAD("--model", "m"), 0);
    cr_assert_str_eq(config.socket, "/run/expertd/expertd.sock");
    config_fini(&config);
}

Test(config, the_environment_caps_the_level_and_the_command_line_wins)
{
    setenv("EXPERTD_CPU_LEVEL", "c", 1);
    cr_assert_eq(LOAD("--model", "m"), 0);
    cr_assert_eq(config.cpu_level, CPU_C);
    config_fini(&config);
    cr_assert_eq(LOAD("--model", "m", "--cpu-level", "auto"), 0);
    cr_assert_eq(config.cpu_level, CPU_LEVEL_BEST);
    config_fini(&config);
    setenv("EXPERTD_CPU_LEVEL", "mmx", 1);
    refused(LOAD("--model", "m"), "environment variable EXPERTD_CPU_LEVEL: 'cpu-level': unknown CPU level 'mmx'");
}

Test(config, the_log_level_can_be_read_again)
{
    char *path = write_file("log-level = debug\n");
    enum log_level level = LOG_LEVEL_INFO;
    FILE *f;

    cr_assert_eq(LOAD("--config", path), 0);
    f = fopen(path, "w");
    fputs("log-level = error\n", f);
    fclose(f);
    cr_assert_eq(config_reload_log_level(&config, &level, &err), 0);
    cr_assert_eq(level, LOG_LEVEL_ERROR);
    f = fopen(path, "w");
    fputs("log-level = loud\n", f);
    fclose(f);
    refused(config_reload_log_level(&config, &level, &err), "one of error");
    cr_assert_eq(level, LOG_LEVEL_ERROR);
    config_fini(&config);
    f = fopen(path, "w");
    fputs("log-level = error\n", f);
    fclose(f);
    cr_assert_eq(LOAD("--config", path, "--log-level", "debug"), 0);
    cr_assert_eq(config_reload_log_level(&config, &level, &err), 0);
    cr_assert_eq(level, LOG_LEVEL_DEBUG, "the command line wins, also later");
    config_fini(&config);
    unlink(path);
    free(path);
}

/* As many reloads as a year may bring leave nothing behind. */
Test(config, what_is_read_is_freed)
{
    char *path = write_file("model = m\nsocket = s\nlisten = l:1\nstate-dir = d\npack = p\nalias = a\n"
                            "record-routing = a-name-that-is-long-enough-to-count.csv\n");
    enum log_level level;
    size_t before = 0;

    cr_assert_eq(LOAD("--config", path), 0);
    for (int i = 0; i < 1000; i++) {
        cr_assert_eq(config_reload_log_level(&config, &level, &err), 0);
        before = i == 0 ? mallinfo2().uordblks : before;
    }
    cr_assert_lt(mallinfo2().uordblks, before + 1000);
    config_fini(&config);
    unlink(path);
    free(path);
}

Test(config, which_gpu)
{
    static const struct {
        const char *value;
        int gpu;
    } good[] = { { "auto", GPU_AUTO }, { "off", GPU_OFF }, { "0", 0 }, { "3", 3 } };
    static const char *const bad[] = { "", "-1", "on", "1x", "64", "99999999999999999999" };

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        cr_expect_eq(config_set(&config, "gpu", good[i].value, "here", &err), 0, "%s", err_text(&err));
        cr_expect_eq(config.gpu, good[i].gpu);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_expect_eq(config_set(&config, "gpu", bad[i], "here", &err), -EINVAL, "'%s'", bad[i]);
    cr_expect_eq(config_set(&config, "vram", "6G", "here", &err), 0);
    cr_expect_eq(config.vram, (uint64_t)6 << 30);
    cr_expect_eq(config_set(&config, "cpu-help", "on", "here", &err), 0);
    cr_expect_eq(config.cpu_help, 1);
    cr_expect_eq(config_set(&config, "cpu-help", "maybe", "here", &err), -EINVAL);
}
