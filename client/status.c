/* SPDX-License-Identifier: MIT */
#include "client/client.h"
#include "client/error.h"
#include "client/reply.h"

#include <math.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

/* A member of a JSON object and where it goes. */
struct field {
    const char *name; /* "a.b": a member of a member */
    enum { FIELD_TEXT, FIELD_COUNT, FIELD_REAL } kind;
    size_t offset;
    size_t bytes; /* of a text's buffer */
};

#define TEXT(type, member, name)                                                 \
    {                                                                            \
        name, FIELD_TEXT, offsetof(type, member), sizeof(((type *)NULL)->member) \
    }
#define COUNT(type, member, name)                                  \
    {                                                              \
        name, FIELD_COUNT, offsetof(type, member), sizeof(int64_t) \
    }
#define REAL(type, member, name)                                 \
    {                                                            \
        name, FIELD_REAL, offsetof(type, member), sizeof(double) \
    }

#define N(array) (sizeof(array) / sizeof((array)[0]))

static const json_t *member(const json_t *object, const char *name)
{
    const char *dot = strchr(name, '.');
    char outer[64];

    if (dot == NULL)
        return json_object_get(object, name);
    error_quote(outer, sizeof(outer), name, (size_t)(dot - name));
    return member(json_object_get(object, outer), dot + 1);
}

static void field_unset(const struct field *field, char *base)
{
    const int64_t no_count = EXPERT_UNSET;
    const double no_real = NAN;

    if (field->kind == FIELD_TEXT)
        base[field->offset] = '\0';
    else if (field->kind == FIELD_COUNT)
        memcpy(base + field->offset, &no_count, sizeof(no_count));
    else
        memcpy(base + field->offset, &no_real, sizeof(no_real));
}

static void field_take(const struct field *field, char *base, const json_t *value)
{
    if (field->kind == FIELD_TEXT && json_is_string(value)) {
        error_quote(base + field->offset, field->bytes, json_string_value(value), json_string_length(value));
    } else if (field->kind == FIELD_COUNT && json_is_number(value)) {
        double number = json_number_value(value);
        int64_t count = json_is_integer(value)  ? json_integer_value(value)
                        : fabs(number) < 0x1p63 ? (int64_t)number
                                                : EXPERT_UNSET;

        memcpy(base + field->offset, &count, sizeof(count));
    } else if (field->kind == FIELD_REAL && json_is_number(value)) {
        double number = json_number_value(value);

        memcpy(base + field->offset, &number, sizeof(number));
    }
}

static void fields_take(const struct field *fields, size_t n, const json_t *object, void *base)
{
    for (size_t i = 0; i < n; i++) {
        field_unset(&fields[i], base);
        field_take(&fields[i], base, member(object, fields[i].name));
    }
}

/* GET a JSON object; an error status is an error. The caller drops the reference. */
static int get_object(struct expert_client *client, const char *path, json_t **ret_object, struct expert_error *error)
{
    int status;
    int r = client_call(client, path, NULL, &status, error);

    if (r < 0)
        return r;
    if (status < 200 || status >= 300)
        return reply_error(status, text_string(&client->body), client->body.n, error);
    return reply_parse(text_string(&client->body), client->body.n, ret_object, error);
}

static void health_take(struct expert_health *health, const json_t *object, int http_status)
{
    const json_t *status = json_object_get(object, "status"), *progress = json_object_get(object, "progress");
    const json_t *reason = json_object_get(object, "error");
    const char *word = json_string_value(status);

    memset(health, 0, sizeof(*health));
    health->progress = json_is_number(progress) ? json_number_value(progress) : -1;
    if (json_is_object(reason))
        reason = json_object_get(reason, "message");
    if (json_is_string(reason))
        status = reason;
    error_quote(health->text, sizeof(health->text), json_string_value(status), json_string_length(status));
    health->status = word != NULL && strcasecmp(word, "loading") == 0 ? EXPERT_STATUS_LOADING
                     : http_status < 300                              ? EXPERT_STATUS_OK
                                                                      : EXPERT_STATUS_FAILED;
}

int expert_health(struct expert_client *client, struct expert_health *ret_health, struct expert_error *error)
{
    json_t *object;
    int status;
    int r = client_call(client, "/health", NULL, &status, error);

    if (r < 0)
        return r;
    if (status != 200 && status != 503)
        return reply_error(status, text_string(&client->body), client->body.n, error);
    r = reply_parse(text_string(&client->body), client->body.n, &object, error);
    if (r < 0)
        return r;
    if (json_object_get(object, "status") != NULL || json_object_get(object, "error") != NULL)
        health_take(ret_health, object, status);
    else
        r = error_set(error, EXPERT_ERR_PROTOCOL, "what answers on %s has no health to tell of: is it expertd?",
                      client->endpoint.address);
    json_decref(object);
    return r;
}

/* Fill `max` structures of `size` bytes from an array; `ret_n` counts what the array holds. */
static int take_list(const json_t *list, const struct field *fields, size_t n_fields, void *base, size_t size,
                     size_t max, size_t *ret_n, struct expert_error *error)
{
    char *item = base;

    if (!json_is_array(list))
        return error_set(error, EXPERT_ERR_PROTOCOL, "the answer holds no list where one should be: is it expertd?");
    for (size_t i = 0; i < json_array_size(list) && i < max; i++, item += size) {
        memset(item, 0, size);
        fields_take(fields, n_fields, json_array_get(list, i), item);
    }
    *ret_n = json_array_size(list);
    return 0;
}

int expert_models(struct expert_client *client, struct expert_model *models, size_t max_models, size_t *ret_n,
                  struct expert_error *error)
{
    static const struct field fields[] = {
        TEXT(struct expert_model, id, "id"),
        COUNT(struct expert_model, created, "created"),
    };
    json_t *object;
    int r = get_object(client, "/v1/models", &object, error);

    if (r < 0)
        return r;
    r = take_list(json_object_get(object, "data"), fields, N(fields), models, sizeof(*models), max_models, ret_n,
                  error);
    json_decref(object);
    return r;
}

int expert_sequences(struct expert_client *client, struct expert_sequence *sequences, size_t max_sequences,
                     size_t *ret_n, struct expert_error *error)
{
    static const struct field fields[] = {
        COUNT(struct expert_sequence, id, "id"),
        TEXT(struct expert_sequence, state, "state"),
        COUNT(struct expert_sequence, prompt_tokens, "prompt_tokens"),
        COUNT(struct expert_sequence, prompt_done, "prompt_done"),
        COUNT(struct expert_sequence, tokens, "tokens"),
        COUNT(struct expert_sequence, pid, "pid"),
        COUNT(struct expert_sequence, uid, "uid"),
        REAL(struct expert_sequence, age_s, "age_s"),
        REAL(struct expert_sequence, tokens_per_second, "tokens_per_second"),
        REAL(struct expert_sequence, hit_rate, "hit_rate"),
    };
    json_t *object;
    int r = get_object(client, "/stats", &object, error);

    if (r < 0)
        return r;
    r = take_list(json_object_get(object, "sequences"), fields, N(fields), sequences, sizeof(*sequences), max_sequences,
                  ret_n, error);
    json_decref(object);
    return r;
}

int expert_props(struct expert_client *client, struct expert_props *ret_props, struct expert_error *error)
{
    static const struct field fields[] = {
        TEXT(struct expert_props, model, "model.id"),
        TEXT(struct expert_props, model_path, "path"),
        TEXT(struct expert_props, architecture, "model.meta.arch"),
        TEXT(struct expert_props, quantization, "model.meta.quant"),
        TEXT(struct expert_props, io, "io"),
        TEXT(struct expert_props, device, "device"),
        TEXT(struct expert_props, version, "version"),
        COUNT(struct expert_props, context_tokens, "context"),
        COUNT(struct expert_props, n_layers, "model.meta.n_layers"),
        COUNT(struct expert_props, n_experts, "model.meta.n_experts"),
        COUNT(struct expert_props, n_experts_used, "model.meta.n_used"),
        COUNT(struct expert_props, n_threads, "threads"),
        COUNT(struct expert_props, n_parallel, "parallel"),
        COUNT(struct expert_props, model_bytes, "model.meta.size"),
        COUNT(struct expert_props, expert_bytes, "expert_bytes"),
        COUNT(struct expert_props, token_bytes, "token_bytes"),
        COUNT(struct expert_props, memory_bytes, "memory.total"),
        COUNT(struct expert_props, dense_bytes, "memory.dense"),
        COUNT(struct expert_props, kv_bytes, "memory.kv"),
        COUNT(struct expert_props, slots_bytes, "memory.slots"),
        COUNT(struct expert_props, read_bytes, "drive.piece_bytes"),
        COUNT(struct expert_props, read_depth, "drive.depth"),
        COUNT(struct expert_props, drive_rate, "drive.rate"),
        COUNT(struct expert_props, drive_measured_s, "drive.measured"),
    };
    json_t *object;
    int r = get_object(client, "/props", &object, error);

    if (r < 0)
        return r;
    memset(ret_props, 0, sizeof(*ret_props));
    fields_take(fields, N(fields), object, ret_props);
    json_decref(object);
    return 0;
}

int expert_stats(struct expert_client *client, struct expert_stats *ret_stats, struct expert_error *error)
{
    static const struct field fields[] = {
        TEXT(struct expert_stats, status, "status"),
        COUNT(struct expert_stats, uptime_s, "uptime_s"),
        COUNT(struct expert_stats, requests, "requests"),
        COUNT(struct expert_stats, requests_done, "requests_done"),
        COUNT(struct expert_stats, requests_failed, "requests_failed"),
        COUNT(struct expert_stats, requests_canceled, "requests_cancelled"),
        COUNT(struct expert_stats, active, "active"),
        COUNT(struct expert_stats, waiting, "waiting"),
        COUNT(struct expert_stats, prompt_tokens, "prompt_tokens"),
        COUNT(struct expert_stats, tokens, "tokens"),
        COUNT(struct expert_stats, step_ns, "step_ns"),
        COUNT(struct expert_stats, expert_hits, "cache.hits"),
        COUNT(struct expert_stats, expert_misses, "cache.misses"),
        COUNT(struct expert_stats, bytes_read, "cache.bytes_read"),
        COUNT(struct expert_stats, wait_ns, "cache.wait_ns"),
        COUNT(struct expert_stats, door_ns, "cache.door_ns"),
        COUNT(struct expert_stats, busy_ns, "cache.busy_ns"),
        COUNT(struct expert_stats, shadow_asked, "shadow.asked"),
        COUNT(struct expert_stats, shadow_found, "shadow.found"),
        COUNT(struct expert_stats, shadow_lru, "shadow.hits.lru"),
        COUNT(struct expert_stats, shadow_lfu, "shadow.hits.lfu"),
        COUNT(struct expert_stats, shadow_aged, "shadow.hits.aged"),
        COUNT(struct expert_stats, shadow_lfru, "shadow.hits.lfru"),
        COUNT(struct expert_stats, shadow_next_use, "shadow.hits.next-use"),
        COUNT(struct expert_stats, shadow_oracle, "shadow.hits.oracle"),
        COUNT(struct expert_stats, slots, "cache.slots"),
        COUNT(struct expert_stats, slots_used, "cache.slots_used"),
        COUNT(struct expert_stats, huge_bytes, "cache.huge_bytes"),
        COUNT(struct expert_stats, vram_slots, "vram.slots"),
        COUNT(struct expert_stats, vram_hits, "vram.hits"),
        COUNT(struct expert_stats, rss_bytes, "rss"),
        COUNT(struct expert_stats, peak_rss_bytes, "peak_rss"),
        COUNT(struct expert_stats, memory_bytes, "memory.total"),
        COUNT(struct expert_stats, given_back_bytes, "pressure.given_back"),
        COUNT(struct expert_stats, limit_bytes, "pressure.group_size"),
        COUNT(struct expert_stats, limit_left_bytes, "pressure.group_left"),
        REAL(struct expert_stats, hit_rate, "hit_rate"),
        REAL(struct expert_stats, bytes_read_per_token, "bytes_read_per_token"),
    };
    json_t *object;
    int r = get_object(client, "/stats", &object, error);

    if (r < 0)
        return r;
    memset(ret_stats, 0, sizeof(*ret_stats));
    fields_take(fields, N(fields), object, ret_stats);
    json_decref(object);
    return 0;
}
