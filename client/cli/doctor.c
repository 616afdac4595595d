/* SPDX-License-Identifier: MIT */
#include "client/cli/doctor.h"

#include "client/cli/commands.h"
#include "client/cli/units.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const verdicts[] = { [DOCTOR_GOOD] = "ok", [DOCTOR_NOTE] = "note", [DOCTOR_BAD] = "FAIL" };

void doctor_say(struct doctor *doctor, enum doctor_verdict verdict, const char *check, const char *remedy,
                const char *format, ...)
{
    char text[1000];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (doctor->report != NULL) {
        json_array_append_new(doctor->report, json_pack("{s:s, s:s, s:s, s:s?}", "check", check, "verdict",
                                                        verdicts[verdict], "text", text, "remedy", remedy));
        return;
    }
    printf("%-4s  %-12s %s\n", verdicts[verdict], check, text);
    if (remedy != NULL)
        printf("%20s%s\n", "-> ", remedy);
}

/* Is somebody there, and is the model loaded? False when there is no use in going on. */
static bool check_daemon(struct doctor *doctor, struct session *session)
{
    const char *address = expert_address(session->client);
    struct expert_health health;
    struct expert_error error;

    if (expert_health(session->client, &health, &error) < 0) {
        doctor_say(doctor, DOCTOR_BAD, "daemon", NULL, "%s", error.text);
        doctor->status = session_exit_status(error.code);
        return false;
    }
    if (health.status == EXPERT_STATUS_OK) {
        doctor_say(doctor, DOCTOR_GOOD, "daemon", NULL, "answers on %s", address);
        return true;
    }
    if (health.status == EXPERT_STATUS_LOADING) {
        doctor_say(doctor, DOCTOR_NOTE, "daemon", "wait, then look again",
                   "answers on %s, and is still loading its model", address);
        doctor->status = EXIT_LOADING;
        return true;
    }
    doctor_say(doctor, DOCTOR_BAD, "daemon",
               "its log says why: journalctl -u expertd; if it stays so: systemctl restart expertd",
               "answers on %s, but is '%s'", address, health.text);
    doctor->status = EXIT_SERVER;
    return true;
}

static void check_model(struct doctor *doctor, const struct expert_props *props)
{
    char a[UNITS_TEXT];

    doctor_say(doctor, DOCTOR_GOOD, "model", NULL, "%s (%s), %s", props->model, props->architecture,
               units_byte_count(a, props->model_bytes));
}

static void check_memory(struct doctor *doctor, const struct expert_props *props, const struct expert_stats *stats)
{
    char a[UNITS_TEXT], b[UNITS_TEXT];

    if (props->memory_bytes == EXPERT_UNSET || stats->peak_rss_bytes == EXPERT_UNSET)
        doctor_say(doctor, DOCTOR_NOTE, "budget", NULL, "the daemon does not say what it uses");
    else if (stats->peak_rss_bytes > props->memory_bytes)
        doctor_say(doctor, DOCTOR_BAD, "budget", "please report this: a budget is a promise",
                   "%s were used at the peak, more than the budget of %s", units_byte_count(a, stats->peak_rss_bytes),
                   units_byte_count(b, props->memory_bytes));
    else
        doctor_say(doctor, DOCTOR_GOOD, "budget", NULL, "%s, of which %s were used at the peak",
                   units_byte_count(b, props->memory_bytes), units_byte_count(a, stats->peak_rss_bytes));
}

/* Below one token's working set, a cache of experts finds nothing again. */
static void check_slots(struct doctor *doctor, const struct expert_props *props)
{
    char a[UNITS_TEXT], b[UNITS_TEXT];

    if (props->slots_bytes == EXPERT_UNSET || props->token_bytes == EXPERT_UNSET)
        return;
    if (props->slots_bytes >= props->expert_bytes)
        doctor_say(doctor, DOCTOR_GOOD, "experts", NULL, "all of them fit in memory");
    else if (props->slots_bytes < 2 * props->token_bytes)
        doctor_say(doctor, DOCTOR_NOTE, "experts", "give it more with --memory, if there is more to give",
                   "room for %s, and a single token needs %s: few will be found in memory",
                   units_byte_count(a, props->slots_bytes), units_byte_count(b, props->token_bytes));
    else
        doctor_say(doctor, DOCTOR_GOOD, "experts", NULL, "room for %s, a token needs %s",
                   units_byte_count(a, props->slots_bytes), units_byte_count(b, props->token_bytes));
}

/* The control group that the daemon is in, and what it had to give back to those beside it. */
static void check_limit(struct doctor *doctor, const struct expert_props *props, const struct expert_stats *stats)
{
    char a[UNITS_TEXT], b[UNITS_TEXT];

    if (stats->given_back_bytes > 0)
        doctor_say(doctor, DOCTOR_NOTE, "pressure",
                   "they are taken again when it is calm; a smaller --memory leaves more to others",
                   "%s of expert slots are given back, since memory was short",
                   units_byte_count(a, stats->given_back_bytes));
    if (stats->limit_bytes == EXPERT_UNSET || props->memory_bytes == EXPERT_UNSET)
        doctor_say(doctor, DOCTOR_GOOD, "limit", NULL, "no control group limits the daemon's memory");
    else if (stats->limit_bytes < props->memory_bytes)
        doctor_say(doctor, DOCTOR_NOTE, "limit", "raise the limit (MemoryMax= in the unit), or lower --memory",
                   "the control group's limit of %s is below the budget of %s", units_byte_count(a, stats->limit_bytes),
                   units_byte_count(b, props->memory_bytes));
    else
        doctor_say(doctor, DOCTOR_GOOD, "limit", NULL, "the control group's limit is %s, and %s are left",
                   units_byte_count(a, stats->limit_bytes), units_byte_count(b, stats->limit_left_bytes));
}

/* "cpu avx512" is good; plain C is a tenth of it. */
static void check_compute(struct doctor *doctor, const struct expert_props *props)
{
    size_t n = strlen(props->device);

    if (n >= 2 && strcmp(props->device + n - 2, " c") == 0)
        doctor_say(doctor, DOCTOR_NOTE, "compute",
                   "leave --cpu-level at auto; without AVX2 or NEON there is no more to be had",
                   "%s, without the processor's vector instructions", props->device);
    else
        doctor_say(doctor, DOCTOR_GOOD, "compute", NULL, "%s, %d threads", props->device, (int)props->n_threads);
}

static void check_running(struct doctor *doctor, struct session *session)
{
    struct expert_props props;
    struct expert_stats stats;
    struct expert_error error;

    if (expert_props(session->client, &props, &error) < 0 || expert_stats(session->client, &stats, &error) < 0) {
        doctor_say(doctor, DOCTOR_BAD, "daemon", "is it expertd, and of this version?", "%s", error.text);
        doctor->status = session_exit_status(error.code);
        return;
    }
    check_model(doctor, &props);
    check_memory(doctor, &props, &stats);
    check_slots(doctor, &props);
    check_limit(doctor, &props, &stats);
    if (strncmp(expert_address(session->client), "http", 4) == 0) {
        doctor_say(doctor, DOCTOR_NOTE, "machine", "run 'expert doctor' there, on its socket",
                   "not looked at: the daemon may be on another one");
        return;
    }
    check_compute(doctor, &props);
    doctor_check_io(doctor, &props);
    doctor_check_huge_pages(doctor, &props, &stats);
    doctor_check_memlock(doctor, expert_address(session->client), &props);
    doctor_check_drive(doctor, props.model_path);
    doctor_check_curve(doctor, &props);
}

int command_doctor(struct session *session)
{
    struct doctor doctor = { .report = session->options->json ? json_array() : NULL };

    if (check_daemon(&doctor, session))
        check_running(&doctor, session);
    if (doctor.report != NULL) {
        json_dumpf(doctor.report, stdout,
                   isatty(STDOUT_FILENO) == 1 ? JSON_INDENT(2) | JSON_ENSURE_ASCII : JSON_COMPACT);
        putchar('\n');
        json_decref(doctor.report);
    }
    return doctor.status;
}
