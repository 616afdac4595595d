/* SPDX-License-Identifier: MIT */
#include "daemon/config.h"

#include "base/mem.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_CONFIG_PATH SYSCONFDIR "/expertd/expertd.conf"
#define CONFIG_MAX_BYTES (1u << 20)

enum option_kind { OPTION_TEXT, OPTION_SIZE, OPTION_COUNT, OPTION_CHOICE, OPTION_LEVEL, OPTION_GPU };

struct choice {
    const char *name;
    int value;
};

struct option_spec {
    const char *name;
    enum option_kind kind;
    size_t at; /* offset of the field in struct config */
    uint32_t min, max;
    const struct choice *choices;
    const char *arg, *help;
};

static const struct choice io_modes[] = {
    { "auto", IO_AUTO }, { "direct", IO_DIRECT }, { "buffered", IO_BUFFERED }, { NULL, 0 }
};
static const struct choice io_engines[] = {
    { "auto", IO_ENGINE_AUTO }, { "io_uring", IO_ENGINE_URING }, { "pread", IO_ENGINE_PREAD }, { NULL, 0 }
};
static const struct choice policies[] = { { "lru", POLICY_LRU },           { "lfu", POLICY_LFU },
                                          { "aged", POLICY_AGED },         { "lfru", POLICY_LFRU },
                                          { "next-use", POLICY_NEXT_USE }, { NULL, 0 } };
static const struct choice lookaheads[] = {
    { "auto", LOOKAHEAD_AUTO }, { "on", LOOKAHEAD_ON }, { "off", LOOKAHEAD_OFF }, { NULL, 0 }
};
static const struct choice kv_types[] = { { "f32", KV_F32 }, { "f16", KV_F16 }, { "q8_0", KV_Q8_0 }, { NULL, 0 } };
static const struct choice log_levels[] = { { "error", LOG_LEVEL_ERROR },
                                            { "warning", LOG_LEVEL_WARNING },
                                            { "info", LOG_LEVEL_INFO },
                                            { "debug", LOG_LEVEL_DEBUG },
                                            { NULL, 0 } };
static const struct choice switches[] = { { "off", 0 }, { "on", 1 }, { NULL, 0 } };

#define AT(field) offsetof(struct config, field)

static const struct option_spec specs[] = {
    { "model", OPTION_TEXT, AT(model), 0, 0, NULL, "FILE", "the model, a GGUF file (first file of a split one)" },
    { "memory", OPTION_SIZE, AT(memory), 0, 0, NULL, "SIZE",
      "bound on the whole process: 4G, 512M (default: what is free)" },
    { "socket", OPTION_TEXT, AT(socket), 0, 0, NULL, "PATH", "Unix socket to serve on" },
    { "listen", OPTION_TEXT, AT(listen), 0, 0, NULL, "HOST:PORT",
      "serve on TCP too; there is no password: use 127.0.0.1" },
    { "context", OPTION_COUNT, AT(context), 16, 1u << 24, NULL, "N", "tokens of prompt and answer together" },
    { "parallel", OPTION_COUNT, AT(parallel), 1, 256, NULL, "N", "answers written at once (default: 4 if they fit)" },
    { "queue", OPTION_COUNT, AT(queue), 0, 4096, NULL, "N", "requests that may wait for their turn (default 32)" },
    { "threads", OPTION_COUNT, AT(threads), 1, 1024, NULL, "N", "compute threads (default: physical cores)" },
    { "batch", OPTION_COUNT, AT(batch), 1, 1u << 16, NULL, "N", "tokens of a prompt read in one go" },
    { "cpu-level", OPTION_LEVEL, AT(cpu_level), 0, 0, NULL, "LEVEL",
      "best kernels to use: auto, c; avx2, avxvnni, avx512, amx; neon, dotprod, i8mm" },
    { "io", OPTION_CHOICE, AT(io), 0, 0, io_modes, "MODE", "auto, direct (O_DIRECT) or buffered reads" },
    { "io-engine", OPTION_CHOICE, AT(io_engine), 0, 0, io_engines, "ENGINE", "auto, io_uring or pread" },
    { "queue-depth", OPTION_COUNT, AT(queue_depth), 1, 1024, NULL, "N",
      "reads in flight at once (default: by the curve)" },
    { "read-kib", OPTION_COUNT, AT(read_kib), 4, 65536, NULL, "N", "KiB of one read (default: by the drive's curve)" },
    { "cache-policy", OPTION_CHOICE, AT(policy), 0, 0, policies, "POLICY",
      "which expert gives way: next-use (default), lru, lfu, aged, lfru" },
    { "prefetch", OPTION_CHOICE, AT(prefetch), 0, 0, lookaheads, "MODE",
      "read ahead by guesses: auto (as far as it pays), on, off" },
    { "kv-type", OPTION_CHOICE, AT(kv_type), 0, 0, kv_types, "TYPE",
      "keys and values kept as f16 (default), f32, or q8_0" },
    { "pack", OPTION_TEXT, AT(pack), 0, 0, NULL, "PACK",
      "auto (MODEL.pack, if it is there), off, or the model's pack" },
    { "state-dir", OPTION_TEXT, AT(state_dir), 0, 0, NULL, "DIR", "where checksums and heat are kept" },
    { "record-routing", OPTION_TEXT, AT(record_routing), 0, 0, NULL, "FILE",
      "write down which experts are chosen, for bench/replay" },
    { "alias", OPTION_TEXT, AT(alias), 0, 0, NULL, "NAME", "name of the model in the API" },
    { "drain-timeout", OPTION_COUNT, AT(drain_s), 0, 3600, NULL, "SECONDS",
      "time for running answers at SIGTERM (default 30)" },
    { "receive-timeout", OPTION_COUNT, AT(receive_s), 1, 3600, NULL, "SECONDS",
      "time for a request to arrive whole (default 30)" },
    { "stall-timeout", OPTION_COUNT, AT(stall_s), 1, 3600, NULL, "SECONDS",
      "a reader that takes nothing for so long is dropped (default 60)" },
    { "log-level", OPTION_CHOICE, AT(log_level), 0, 0, log_levels, "LEVEL", "error, warning, info or debug" },
    { "gpu", OPTION_GPU, AT(gpu), 0, 0, NULL, "WHICH", "auto (the first one, if any), off, or a card's number" },
    { "vram", OPTION_SIZE, AT(vram), 0, 0, NULL, "SIZE", "bound on the GPU's memory (default: what is free)" },
    { "cpu-help", OPTION_CHOICE, AT(cpu_help), 0, 0, switches, "MODE",
      "on: beside a GPU the CPU computes experts in RAM; last digits may differ" },
};

#define N_SPECS (sizeof(specs) / sizeof(specs[0]))

static const struct option_spec *spec_find(const char *name)
{
    for (size_t i = 0; i < N_SPECS; i++)
        if (strcmp(specs[i].name, name) == 0)
            return &specs[i];
    return NULL;
}

bool size_parse(const char *text, uint64_t *ret_bytes)
{
    static const char units[] = "KMGTP";
    char *end;
    const char *unit;
    double value;

    if (!isdigit((unsigned char)text[0]) || text[strspn(text, "0123456789.")] == 'e')
        return false;
    errno = 0;
    value = strtod(text, &end);
    if (errno || memchr(text, 'x', (size_t)(end - text)))
        return false;
    while (*end == ' ')
        end++;
    unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    if (unit) {
        value *= (double)((uint64_t)1 << (10 * (unit - units + 1)));
        end++;
        if (*end == 'i')
            end++;
    }
    if (*end == 'B')
        end++;
    if (*end || value >= 9e18)
        return false;
    *ret_bytes = (uint64_t)value;
    return true;
}

char *size_format(uint64_t bytes, char *out)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
    double value = (double)bytes;
    size_t i = 0;

    while (value >= 1024 && i + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1024;
        i++;
    }
    snprintf(out, 24, i && value < 100 ? "%.1f %s" : "%.0f %s", value, units[i]);
    return out;
}

static int set_text(char **field, const char *name, const char *value, const char *where, struct err *err)
{
    char *copy;

    if (!*value)
        return err_set(err, -EINVAL, "%s: '%s' needs a value", where, name);
    copy = mem_strdup(value);
    if (!copy)
        return err_set(err, -ENOMEM, "%s: out of memory", where);
    mem_free(*field);
    *field = copy;
    return 0;
}

static int set_size(uint64_t *field, const char *name, const char *value, const char *where, struct err *err)
{
    uint64_t bytes;

    if (!size_parse(value, &bytes) || bytes < 1u << 20)
        return err_set(err, -EINVAL, "%s: '%s = %s': a size of at least 1M is needed, like 512M, 4G or 1.5G", where,
                       name, value);
    *field = bytes;
    return 0;
}

static int set_count(uint32_t *field, const struct option_spec *spec, const char *value, const char *where,
                     struct err *err)
{
    char *end;
    unsigned long long n;

    errno = 0;
    n = strtoull(value, &end, 10);
    if (!isdigit((unsigned char)*value) || *end || errno || n < spec->min || n > spec->max)
        return err_set(err, -EINVAL, "%s: '%s = %s': a whole number from %u to %u is needed", where, spec->name, value,
                       spec->min, spec->max);
    *field = (uint32_t)n;
    return 0;
}

static int set_choice(int *field, const struct option_spec *spec, const char *value, const char *where, struct err *err)
{
    char list[128] = "";
    size_t n = 0;

    for (const struct choice *c = spec->choices; c->name; c++) {
        if (strcasecmp(c->name, value) == 0) {
            *field = c->value;
            return 0;
        }
        n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", c == spec->choices ? "" : ", ", c->name);
    }
    return err_set(err, -EINVAL, "%s: '%s = %s': one of %s is needed", where, spec->name, value, list);
}

static int set_level(enum cpu_level *field, const char *name, const char *value, const char *where, struct err *err)
{
    int r = cpu_level_parse(value, field, err);

    return r < 0 ? err_wrap(err, "%s: '%s'", where, name) : 0;
}

static int set_gpu(int *field, const char *name, const char *value, const char *where, struct err *err)
{
    char *end;
    unsigned long n = strtoul(value, &end, 10);

    if (strcasecmp(value, "auto") == 0)
        *field = GPU_AUTO;
    else if (strcasecmp(value, "off") == 0)
        *field = GPU_OFF;
    else if (isdigit((unsigned char)*value) && !*end && n < 64)
        *field = (int)n;
    else
        return err_set(err, -EINVAL, "%s: '%s = %s': auto, off, or the number of a card (0 is the first) is needed",
                       where, name, value);
    return 0;
}

int config_set(struct config *config, const char *name, const char *value, const char *where, struct err *err)
{
    const struct option_spec *spec = spec_find(name);
    char *field;
    int r = 0;

    if (!spec)
        return err_set(err, -EINVAL, "%s: there is no option '%s' (expertd --help lists them)", where, name);
    field = (char *)config + spec->at;
    switch (spec->kind) {
    case OPTION_TEXT:
        r = set_text((char **)(void *)field, name, value, where, err);
        break;
    case OPTION_SIZE:
        r = set_size((uint64_t *)(void *)field, name, value, where, err);
        break;
    case OPTION_COUNT:
        r = set_count((uint32_t *)(void *)field, spec, value, where, err);
        break;
    case OPTION_CHOICE:
        r = set_choice((int *)(void *)field, spec, value, where, err);
        break;
    case OPTION_GPU:
        r = set_gpu((int *)(void *)field, name, value, where, err);
        break;
    case OPTION_LEVEL:
        r = set_level((enum cpu_level *)(void *)field, name, value, where, err);
        break;
    }
    if (r < 0)
        return r;
    if (spec->at == AT(socket))
        config->socket_set = true;
    if (spec->at == AT(state_dir))
        config->state_dir_set = true;
    return 0;
}

static char *trim(char *s)
{
    size_t n;

    while (isspace((unsigned char)*s))
        s++;
    n = strlen(s);
    while (n && isspace((unsigned char)s[n - 1]))
        s[--n] = '\0';
    return s;
}

/* One line: blank, a comment, or `name = value`; a value may stand in double quotes. */
static int read_line(struct config *config, char *line, const char *where, struct err *err)
{
    char *name = trim(line), *value;
    size_t n;

    if (!*name || *name == '#')
        return 0;
    value = strchr(name, '=');
    if (!value)
        return err_set(err, -EINVAL, "%s: '%s': a line has the form name = value", where, name);
    *value++ = '\0';
    name = trim(name);
    value = trim(value);
    n = strlen(value);
    if (n >= 2 && value[0] == '"' && value[n - 1] == '"') {
        value[n - 1] = '\0';
        value++;
    } else {
        char *comment = strstr(value, " #");

        if (comment) {
            *comment = '\0';
            value = trim(value);
        }
    }
    return config_set(config, name, value, where, err);
}

static int slurp(const char *path, char **ret_text, struct err *err)
{
    struct stat st;
    char *text = NULL;
    ssize_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int r = 0;

    if (fd < 0)
        return err_sys(err, errno, "configuration file '%s'", path);
    if (fstat(fd, &st) < 0)
        r = err_sys(err, errno, "configuration file '%s'", path);
    else if (!S_ISREG(st.st_mode) || st.st_size > (off_t)CONFIG_MAX_BYTES)
        r = err_set(err, -EINVAL, "configuration file '%s': not a regular file of at most 1 MiB", path);
    else if (!(text = mem_alloc((size_t)st.st_size + 1)))
        r = err_set(err, -ENOMEM, "configuration file '%s': out of memory", path);
    else if ((n = read(fd, text, (size_t)st.st_size)) < 0)
        r = err_sys(err, errno, "configuration file '%s'", path);
    else if (memchr(text, '\0', (size_t)n))
        r = err_set(err, -EINVAL, "configuration file '%s': holds a NUL byte, it is no text", path);
    close(fd);
    if (r < 0) {
        mem_free(text);
        return r;
    }
    text[n] = '\0';
    *ret_text = text;
    return 0;
}

int config_read_file(struct config *config, const char *path, struct err *err)
{
    char *text = NULL, *rest, *line, where[300];
    unsigned number = 0;
    int r = slurp(path, &text, err);

    if (r < 0)
        return r;
    rest = text;
    while (r == 0 && (line = strsep(&rest, "\n"))) {
        snprintf(where, sizeof(where), "%s:%u", path, ++number);
        r = read_line(config, line, where, err);
    }
    mem_free(text);
    return r;
}

static void config_init(struct config *config)
{
    *config = (struct config){ .queue = 32,
                               .cpu_level = CPU_LEVEL_BEST,
                               .policy = POLICY_NEXT_USE,
                               .kv_type = KV_F16,
                               .gpu = GPU_AUTO,
                               .drain_s = 30,
                               .receive_s = 30,
                               .stall_s = 60,
                               .log_level = LOG_LEVEL_INFO };
}

/* The command line, one `--name value` or `--name=value` at a time; the flags take no value. */
struct args {
    int argc, i;
    char *const *argv;
    char name[64];
    const char *value;
};

/* The options that take no value. */
static const struct flag_spec {
    const char *name;
    size_t at;
} flags[] = {
    { "help", AT(show_help) }, { "version", AT(show_version) },        { "check-config", AT(check_config) },
    { "verify", AT(verify) },  { "write-pack", AT(write_pack) },       { "force", AT(force) },
    { "json", AT(json) },      { "measure-drive", AT(measure_drive) },
};

/* The flag of this name in `config`, or NULL when there is none. */
static bool *flag_find(struct config *config, const char *name)
{
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
        if (strcmp(flags[i].name, name) == 0)
            return (bool *)((char *)config + flags[i].at);
    return NULL;
}

static int args_next(struct args *a, struct err *err)
{
    const char *arg, *eq;

    if (++a->i >= a->argc)
        return 0;
    arg = a->argv[a->i];
    if (strcmp(arg, "-h") == 0)
        arg = "--help";
    else if (strcmp(arg, "-V") == 0)
        arg = "--version";
    if (strncmp(arg, "--", 2) != 0 || !arg[2])
        return err_set(err, -EINVAL, "command line: '%s' is not an option (expertd --help lists them)", arg);
    eq = strchr(arg, '=');
    snprintf(a->name, sizeof(a->name), "%.*s", eq ? (int)(eq - arg - 2) : (int)strlen(arg + 2), arg + 2);
    a->value = eq ? eq + 1 : NULL;
    if (flag_find(&(struct config){ 0 }, a->name))
        return a->value ? err_set(err, -EINVAL, "command line: '--%s' takes no value", a->name) : 1;
    if (!a->value && strcmp(a->name, "config") != 0 && !spec_find(a->name))
        return err_set(err, -EINVAL, "command line: there is no option '--%s' (expertd --help lists them)", a->name);
    if (!a->value && ++a->i >= a->argc)
        return err_set(err, -EINVAL, "command line: '--%s' needs a value", a->name);
    if (!a->value)
        a->value = a->argv[a->i];
    return 1;
}

/* First pass: what decides where options come from. */
static int load_flags(int argc, char *const *argv, struct config *config, struct err *err)
{
    struct args a = { .argc = argc, .argv = argv };
    int r;

    while ((r = args_next(&a, err)) > 0) {
        bool *flag = flag_find(config, a.name);

        if (flag)
            *flag = true;
        else if (strcmp(a.name, "config") == 0)
            r = set_text(&config->path, "config", a.value, "command line", err);
        if (r < 0)
            break;
    }
    return r;
}

static int load_options(int argc, char *const *argv, struct config *config, struct err *err)
{
    struct args a = { .argc = argc, .argv = argv };
    int r;

    while ((r = args_next(&a, err)) > 0) {
        if (!spec_find(a.name) && (!a.value || strcmp(a.name, "config") == 0))
            continue;
        r = config_set(config, a.name, a.value, "command line", err);
        if (r < 0)
            break;
        config->log_level_set = config->log_level_set || strcmp(a.name, "log-level") == 0;
    }
    return r;
}

/* Tests of a whole machine cap the level without touching each command line. */
static int load_environment(struct config *config, struct err *err)
{
    const char *level = getenv("EXPERTD_CPU_LEVEL");

    return level ? config_set(config, "cpu-level", level, "environment variable EXPERTD_CPU_LEVEL", err) : 0;
}

static int load_file(struct config *config, struct err *err)
{
    if (!config->path) {
        if (access(DEFAULT_CONFIG_PATH, F_OK) != 0)
            return 0;
        config->path = mem_strdup(DEFAULT_CONFIG_PATH);
        if (!config->path)
            return err_set(err, -ENOMEM, "out of memory");
    }
    return config_read_file(config, config->path, err);
}

/* The first directory of systemd's list, or NULL. */
static const char *systemd_directory(const char *variable, int *ret_len)
{
    const char *list = getenv(variable);

    if (!list || list[0] != '/')
        return NULL;
    *ret_len = (int)strcspn(list, ":");
    return list;
}

static char *default_path(const char *systemd, const char *xdg, const char *home_tail, const char *leaf,
                          const char *fallback)
{
    char path[4096];
    const char *dir;
    int len, n;

    if ((dir = systemd_directory(systemd, &len)))
        n = snprintf(path, sizeof(path), "%.*s%s", len, dir, leaf);
    else if ((dir = getenv(xdg)) && dir[0] == '/')
        n = snprintf(path, sizeof(path), "%s/expertd%s", dir, home_tail ? leaf : ".sock");
    else if (home_tail && geteuid() != 0 && (dir = getenv("HOME")) && dir[0] == '/')
        n = snprintf(path, sizeof(path), "%s%s", dir, home_tail);
    else
        return mem_strdup(fallback);
    return n < (int)sizeof(path) ? mem_strdup(path) : NULL;
}

static int load_defaults(struct config *config, struct err *err)
{
    if (!config->socket)
        config->socket =
            default_path("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", NULL, "/expertd.sock", "/run/expertd/expertd.sock");
    if (!config->state_dir)
        config->state_dir =
            default_path("STATE_DIRECTORY", "XDG_STATE_HOME", "/.local/state/expertd", "", "/var/lib/expertd");
    if (!config->socket || !config->state_dir)
        return err_set(err, -ENOMEM, "out of memory");
    return 0;
}

int config_load(int argc, char *const *argv, struct config *config, struct err *err)
{
    int r;

    config_init(config);
    r = load_flags(argc, argv, config, err);
    if (r == 0 && !config->show_help && !config->show_version) {
        r = load_file(config, err);
        if (r == 0)
            r = load_environment(config, err);
        if (r == 0)
            r = load_options(argc, argv, config, err);
        if (r == 0 && (config->force || config->json) && !config->write_pack)
            r = err_set(err, -EINVAL, "command line: --force and --json go with --write-pack");
        if (r == 0)
            r = load_defaults(config, err);
    }
    if (r < 0)
        config_fini(config);
    return r;
}

int config_reload_log_level(const struct config *config, enum log_level *ret_level, struct err *err)
{
    struct config again;
    int r = 0;

    config_init(&again);
    if (config->path)
        r = config_read_file(&again, config->path, err);
    if (r == 0)
        *ret_level = config->path && !config->log_level_set ? again.log_level : config->log_level;
    config_fini(&again);
    return r;
}

void config_fini(struct config *config)
{
    for (size_t i = 0; i < N_SPECS; i++)
        if (specs[i].kind == OPTION_TEXT)
            mem_free(*(char **)(void *)((char *)config + specs[i].at));
    mem_free(config->path);
    *config = (struct config){ 0 };
}

void config_print_help(FILE *out)
{
    fprintf(out, "Usage: expertd --model FILE [OPTIONS]\n"
                 "Serve a Mixture-of-Experts model larger than memory on a Unix socket (OpenAI-compatible HTTP).\n\n");
    for (size_t i = 0; i < N_SPECS; i++) {
        char left[64];

        snprintf(left, sizeof(left), "--%s %s", specs[i].name, specs[i].arg);
        fprintf(out, "  %-26s %s\n", left, specs[i].help);
    }
    fprintf(out,
            "  %-26s %s\n  %-26s %s\n  %-26s %s\n  %-26s %s\n  %-26s %s\n  %-26s %s\n  %-26s %s\n\n"
            "A configuration file has lines `name = value` with the same names; the command line wins.\n"
            "Manual: expertd(8), expertd.conf(5)\n",
            "--config FILE", "read options from FILE (default: " DEFAULT_CONFIG_PATH ")", "--check-config",
            "check options, model and budget, print the division, and exit", "--verify",
            "read every expert against what is recorded of it, and exit", "--measure-drive",
            "measure what the model's drive gives, print and keep it, and exit", "--write-pack [--force] [--json]",
            "write the model's pack (--pack says where), and exit", "-V, --version", "print the version", "-h, --help",
            "print this");
}
