/* SPDX-License-Identifier: MIT */
#include "daemon/api.h"

#include "base/clock.h"
#include "cache/pack.h"
#include "daemon/machine.h"
#include "daemon/pressure.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static void put_name(struct jbuf *out, const char *key, const char *value)
{
    jbuf_printf(out, "\"%s\":", key);
    jbuf_string(out, value, strlen(value));
}

/* As anybody may open it, wherever they stand. */
static void put_path(struct jbuf *out, const char *key, const char *path)
{
    char absolute[PATH_MAX];

    put_name(out, key, realpath(path, absolute) ? absolute : path);
}

static double ratio(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

void api_write_health(struct api *api, struct jbuf *out)
{
    const char *health = api_health(api);

    jbuf_put(out, "{");
    put_name(out, "status", health);
    if (strcmp(health, "loading") == 0) {
        engine_snapshot(api->engine, &api->snapshot);
        jbuf_printf(out, ",\"progress\":%.3f", ratio(api->snapshot.load_done, api->snapshot.load_total));
    } else if (strcmp(health, "stuck") == 0) {
        jbuf_printf(out, ",\"silent_s\":%.0f", (double)engine_silent_ns(api->engine) / 1e9);
    }
    jbuf_put(out, "}\n");
}

static void put_model(struct api *api, struct jbuf *out)
{
    const struct service *s = api->service;

    jbuf_put(out, "{");
    put_name(out, "id", s->name);
    jbuf_printf(out,
                ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"expertd\",\"meta\":{\"n_vocab\":%u,"
                "\"n_ctx\":%u,\"n_ctx_train\":%u,\"n_embd\":%u,\"n_layers\":%u,\"n_experts\":%u,\"n_used\":%u,"
                "\"size\":%" PRIu64 ",",
                (long long)s->started, model_hparams(s->model)->n_vocab, s->budget.shape.n_ctx,
                model_hparams(s->model)->n_ctx_train, model_hparams(s->model)->n_embd,
                model_hparams(s->model)->n_layers, model_hparams(s->model)->n_experts, model_hparams(s->model)->n_used,
                model_dense_bytes(s->model) + model_expert_bytes(s->model));
    put_name(out, "arch", model_arch_name(s->model));
    jbuf_put(out, ",");
    put_name(out, "quant", model_quant_name(s->model));
    jbuf_put(out, "}}");
}

void api_write_models(struct api *api, struct jbuf *out)
{
    jbuf_put(out, "{\"object\":\"list\",\"data\":[");
    put_model(api, out);
    jbuf_put(out, "]}\n");
}

void api_write_model(struct api *api, struct jbuf *out)
{
    put_model(api, out);
    jbuf_put(out, "\n");
}

static void put_budget(struct api *api, struct jbuf *out)
{
    const struct budget *b = &api->service->budget;

    jbuf_printf(out,
                "\"memory\":{\"total\":%" PRIu64 ",\"dense\":%" PRIu64 ",\"kv\":%" PRIu64 ",\"activations\":%" PRIu64
                ",\"device\":%" PRIu64 ",\"slots\":%" PRIu64 ",\"tables\":%" PRIu64 ",\"other\":%" PRIu64 "}",
                b->total, b->needs.dense, b->needs.kv, b->needs.activations, b->needs.device, b->slots,
                b->needs.cache_overhead, b->other);
}

/* How the card's memory divides, and whether answers are the same bits whatever lies there. */
static void put_vram(struct api *api, struct jbuf *out)
{
    const struct service *s = api->service;
    const struct budget *b = &s->gpu.budget;

    jbuf_printf(out, ",\"residency\":\"%s\"", s->config->cpu_help && api->snapshot.on_gpu ? "parity" : "exact");
    if (!s->gpu.module) {
        jbuf_put(out, ",\"gpu\":null");
        return;
    }
    jbuf_put(out, ",\"gpu\":{");
    put_name(out, "name", s->gpu.card.name);
    jbuf_printf(out,
                ",\"index\":%u,\"in_use\":%s,\"cpu_help\":%s,\"vram\":{\"total\":%" PRIu64 ",\"dense\":%" PRIu64
                ",\"kv\":%" PRIu64 ",\"activations\":%" PRIu64 ",\"device\":%" PRIu64 ",\"slots\":%" PRIu64 "}}",
                s->gpu.index, api->snapshot.on_gpu ? "true" : "false", s->config->cpu_help ? "true" : "false", b->total,
                b->needs.dense, b->needs.kv, b->needs.activations, b->needs.device, b->slots);
}

/* The curve's cells that were measured: [bytes, depth, bytes per second, ms]. */
static void put_drive(const struct cache_drive *d, struct jbuf *out)
{
    bool first = true;

    jbuf_printf(out,
                "\"drive\":{\"piece_bytes\":%u,\"depth\":%u,\"measuring\":%s,\"measured\":%" PRIu64 ",\"rate\":%" PRIu64
                ",\"latency_ms\":%.3f,",
                d->piece_bytes, d->depth, d->measuring ? "true" : "false", d->curve.measured_s, d->rate,
                (double)d->latency_ns / 1e6);
    put_name(out, "doubt", d->doubt ? d->doubt : "");
    jbuf_put(out, ",\"curve\":[");
    for (uint32_t i = 0; i < DRIVE_CELLS; i++) {
        if (d->curve.cell[i].rate == 0)
            continue;
        jbuf_printf(out, "%s[%u,%u,%" PRIu64 ",%.3f]", first ? "" : ",", drive_size(i), drive_depth(i),
                    d->curve.cell[i].rate, (double)d->curve.cell[i].latency_ns / 1e6);
        first = false;
    }
    jbuf_put(out, "]},");
}

static void put_scope(const char *name, const struct memory_scope *scope, struct jbuf *out)
{
    if (scope->size != UINT64_MAX && scope->left != UINT64_MAX)
        jbuf_printf(out, "\"%s_size\":%" PRIu64 ",\"%s_left\":%" PRIu64 ",", name, scope->size, name, scope->left);
}

void api_write_props(struct api *api, struct jbuf *out)
{
    const struct service *s = api->service;

    engine_snapshot(api->engine, &api->snapshot);
    jbuf_put(out, "{\"model\":");
    put_model(api, out);
    jbuf_put(out, ",");
    put_path(out, "path", s->config->model);
    jbuf_put(out, ",");
    put_path(out, "state_dir", s->config->state_dir);
    jbuf_put(out, ",");
    if (s->pack)
        put_path(out, "pack", s->pack->path);
    else
        jbuf_put(out, "\"pack\":null");
    jbuf_put(out, ",");
    put_name(out, "version", EXPERTD_VERSION);
    jbuf_put(out, ",");
    put_name(out, "chat_format", chat_format_name(s->format));
    jbuf_put(out, ",");
    put_name(out, "device", api->snapshot.device);
    jbuf_put(out, ",");
    put_name(out, "io", api->snapshot.io);
    jbuf_put(out, ",");
    put_name(out, "kv_type", kv_type_name(s->config->kv_type));
    jbuf_printf(out,
                ",\"context\":%u,\"parallel\":%u,\"batch\":%u,\"queue\":%u,\"threads\":%u,"
                "\"token_bytes\":%" PRIu64 ",\"expert_bytes\":%" PRIu64 ",",
                s->budget.shape.n_ctx, s->budget.shape.n_seqs, s->budget.shape.batch, s->config->queue, s->n_threads,
                model_token_bytes(s->model), model_expert_bytes(s->model));
    put_drive(&api->snapshot.drive, out);
    put_budget(api, out);
    put_vram(api, out);
    jbuf_put(out, "}\n");
}

static void put_sequence(const struct sequence_snapshot *seq, uint32_t index, struct jbuf *out)
{
    const struct job_figures *f = &seq->figures;
    uint32_t n = f->n_prompt - f->n_reused + f->n_written;

    jbuf_printf(out,
                "{\"slot\":%u,\"id\":%" PRIu64 ",\"state\":\"%s\",\"prompt_tokens\":%u,\"prompt_done\":%u,"
                "\"tokens\":%u,\"tokens_per_second\":%.2f,\"hit_rate\":%.4f,\"bytes_read_per_token\":%.0f,"
                "\"age_s\":%.1f,\"pid\":%d,\"uid\":%d}",
                index, seq->id,
                seq->paused    ? "paused"
                : seq->writing ? "writing"
                               : "reading",
                f->n_prompt, seq->n_read, f->n_written,
                f->write_ns && f->n_written ? (double)(f->n_written - 1) * 1e9 / (double)f->write_ns : 0,
                ratio(f->hits, f->hits + f->misses), n ? (double)f->bytes_read / n : 0,
                (double)(clock_ns() - seq->started_ns) / 1e9, (int)seq->pid, seq->pid ? (int)seq->uid : -1);
}

static void put_cache(const struct cache_stats *c, struct jbuf *out)
{
    jbuf_printf(out,
                "\"cache\":{\"hits\":%" PRIu64 ",\"misses\":%" PRIu64 ",\"hit_rate\":%.4f,\"bytes_read\":%" PRIu64
                ",\"read_ns\":%" PRIu64 ",\"wait_ns\":%" PRIu64 ",\"door_ns\":%" PRIu64 ",\"busy_ns\":%" PRIu64
                ",\"evictions\":%" PRIu64 ",\"reread\":%" PRIu64 ",\"pack_bad\":%" PRIu64 ",\"slots\":%" PRIu64
                ",\"slots_used\":%" PRIu64 ",\"slot_bytes\":%" PRIu64 ",\"huge_bytes\":%" PRIu64 "}",
                c->hits, c->misses, ratio(c->hits, c->hits + c->misses), c->bytes_read, c->read_ns, c->wait_ns,
                c->door_ns, c->busy_ns, c->evictions, c->reread, c->pack_bad, c->slots, c->slots_used, c->slot_bytes,
                c->huge_bytes);
}

/* What each policy would have found, and foresight. */
static void put_shadow(const struct shadow_counts *s, struct jbuf *out)
{
    jbuf_printf(out, "\"shadow\":{\"followed\":%u,\"asked\":%" PRIu64 ",\"found\":%" PRIu64 ",\"hits\":{",
                s->n_followed, s->asked, s->found);
    for (int kind = 0; kind < POLICIES; kind++)
        jbuf_printf(out, "\"%s\":%" PRIu64 ",", policy_name((enum policy_kind)kind), s->hits[kind]);
    jbuf_printf(out, "\"oracle\":%" PRIu64 "}}", s->oracle);
}

/* What tokens took at each level of a governor; 0: never tried. */
static void put_token_ms(const char *name, const struct lookahead_stats *l, enum lookahead_way way, struct jbuf *out)
{
    jbuf_printf(out, ",\"%s\":[", name);
    for (int level = 0; level < GOVERNOR_LEVELS; level++)
        jbuf_printf(out, "%s%.3f", level == 0 ? "" : ",", l->way[way].token_ns[level] / 1e6);
    jbuf_put(out, "]");
}

static void put_prefetch(const struct engine_snapshot *s, struct jbuf *out)
{
    const struct lookahead_stats *l = &s->lookahead;
    const struct cache_stats *c = &s->cache;

    jbuf_printf(out, "\"prefetch\":{\"level\":%u,\"guessed\":%" PRIu64 ",\"right\":%" PRIu64 ",\"chosen\":%" PRIu64,
                l->way[LOOKAHEAD_FROM_DRIVE].level, l->near.guessed, l->near.right, l->near.chosen);
    jbuf_printf(out, ",\"far_guessed\":%" PRIu64 ",\"far_right\":%" PRIu64, l->far.guessed, l->far.right);
    jbuf_printf(out,
                ",\"reads\":%" PRIu64 ",\"hits\":%" PRIu64 ",\"late\":%" PRIu64 ",\"wasted\":%" PRIu64
                ",\"bytes\":%" PRIu64 ",\"recall_over_misses\":%.4f",
                c->hint_reads, c->hint_hits, c->hint_late, c->hint_wasted, c->hint_bytes,
                ratio(c->hint_hits + c->hint_late, c->hint_hits + c->misses));
    put_token_ms("token_ms", l, LOOKAHEAD_FROM_DRIVE, out);
    jbuf_printf(out, ",\"warming\":%s}", s->warming ? "true" : "false");
}

/* What slots would hold but for memory pressure, and do not. */
static uint64_t given_back(const struct api *api)
{
    const struct pressure *p = api->pressure;
    uint64_t held = api->snapshot.cache.slot_bytes, lent = api->snapshot.lent_held;

    return p->target < p->most && p->most > held + lent ? p->most - held - lent : 0;
}

static void put_pressure(const struct api *api, struct jbuf *out)
{
    const struct pressure *p = api->pressure;

    jbuf_printf(out,
                "\"pressure\":{\"slots\":%" PRIu64 ",\"slots_wanted\":%" PRIu64 ",\"slots_most\":%" PRIu64
                ",\"given_back\":%" PRIu64 ",\"given\":%" PRIu64 ",\"taken\":%" PRIu64 ",",
                api->snapshot.cache.slot_bytes, p->target, p->most, given_back(api), p->n_given, p->n_taken);
    put_scope("machine", &p->seen.machine, out);
    put_scope("group", &p->seen.group, out);
    put_name(out, "why", p->why);
    jbuf_put(out, "}");
}

static void put_tier(const struct engine_snapshot *s, struct jbuf *out)
{
    const struct tier_stats *t = &s->tier;

    if (!s->on_gpu) {
        jbuf_printf(out, ",\"vram\":null,\"device_losses\":%u", s->device_losses);
        return;
    }
    jbuf_printf(out,
                ",\"vram\":{\"hits\":%" PRIu64 ",\"copied\":%" PRIu64 ",\"by_cpu\":%" PRIu64
                ",\"hit_rate\":%.4f,\"copies\":%" PRIu64 ",\"copy_bytes\":%" PRIu64 ",\"copy_ns\":%" PRIu64
                ",\"promotions\":%" PRIu64 ",\"demotions\":%" PRIu64 ",\"guess_copies\":%" PRIu64
                ",\"guess_hits\":%" PRIu64 ",\"guess_wasted\":%" PRIu64 ",\"guess_level\":%u",
                t->hits, t->copied, t->helped, ratio(t->hits, t->hits + t->copied + t->helped), t->copies,
                t->copy_bytes, t->copy_ns, t->promotions, t->demotions, t->guess_copies, t->guess_hits, t->guess_wasted,
                s->lookahead.way[LOOKAHEAD_FROM_RAM].level);
    put_token_ms("guess_token_ms", &s->lookahead, LOOKAHEAD_FROM_RAM, out);
    jbuf_printf(out,
                ",\"wait_ns\":%" PRIu64 ",\"cpu_ns\":%" PRIu64 ",\"device_waits\":%" PRIu64 ",\"passes\":%" PRIu64
                ",\"slots\":%" PRIu64 ",\"slots_used\":%" PRIu64 ",\"experts\":%" PRIu64 ",\"residents\":%" PRIu64
                ",\"slot_bytes\":%" PRIu64 ",\"given_back\":%" PRIu64
                ",\"copy_rate\":%.0f,\"cpu_rate\":%.0f},\"device_losses\":%u",
                t->wait_ns, t->cpu_ns, t->device_waits, t->passes, t->slots, t->slots_used, t->experts, t->residents,
                t->slot_bytes, t->given_back, t->copy_rate, t->cpu_rate, s->device_losses);
}

void api_write_stats(struct api *api, struct jbuf *out)
{
    struct engine_snapshot *s = &api->snapshot;
    bool first = true;

    engine_snapshot(api->engine, s);
    jbuf_put(out, "{");
    put_name(out, "status", api_health(api));
    jbuf_printf(out,
                ",\"uptime_s\":%lld,\"connections\":%u,\"requests\":%" PRIu64 ",\"requests_done\":%" PRIu64
                ",\"requests_failed\":%" PRIu64 ",\"requests_cancelled\":%" PRIu64 ",\"waiting\":%u,\"active\":%u,",
                (long long)(time(NULL) - api->service->started), http_connections(api->http), api->n_requests,
                s->requests_done, s->requests_failed, s->requests_cancelled, s->n_waiting, s->n_active);
    jbuf_printf(out,
                "\"prompt_tokens\":%" PRIu64 ",\"tokens\":%" PRIu64 ",\"steps\":%" PRIu64 ",\"step_ns\":%" PRIu64
                ",\"hit_rate\":%.4f,\"bytes_read_per_token\":%.0f,\"rss\":%" PRIu64 ",\"peak_rss\":%" PRIu64 ",",
                s->tokens_read, s->tokens_written, s->steps, s->step_ns,
                ratio(s->cache.hits, s->cache.hits + s->cache.misses),
                ratio(s->cache.bytes_read + s->cache.hint_bytes, s->tokens_read + s->tokens_written), machine_rss(),
                machine_peak_rss());
    put_name(out, "kv_type", kv_type_name(api->service->config->kv_type));
    jbuf_printf(out, ",\"kv_held\":%" PRIu64, s->kv_held);
    jbuf_put(out, ",");
    put_budget(api, out);
    jbuf_put(out, ",");
    put_cache(&s->cache, out);
    jbuf_put(out, ",");
    put_pressure(api, out);
    jbuf_put(out, ",");
    put_prefetch(s, out);
    put_tier(s, out);
    jbuf_put(out, ",");
    put_shadow(&s->cache.shadow, out);
    jbuf_put(out, ",\"sequences\":[");
    for (uint32_t i = 0; i < s->n_seqs; i++) {
        if (!s->seqs[i].id)
            continue;
        jbuf_put(out, first ? "" : ",");
        put_sequence(&s->seqs[i], i, out);
        first = false;
    }
    jbuf_put(out, "]}\n");
}

static void metric(struct jbuf *out, const char *name, const char *type, const char *help, double value)
{
    jbuf_printf(out, "# HELP expertd_%s %s\n# TYPE expertd_%s %s\nexpertd_%s %.17g\n", name, help, name, type, name,
                value);
}

static void write_shadow(const struct shadow_counts *s, struct jbuf *out)
{
    static const char name[] = "expertd_shadow_hits_total";

    metric(out, "shadow_asked_total", "counter", "uses of the experts that shadows follow", (double)s->asked);
    jbuf_printf(out, "# HELP %s of these, what each policy would have found\n# TYPE %s counter\n", name, name);
    for (int kind = 0; kind < POLICIES; kind++)
        jbuf_printf(out, "%s{policy=\"%s\"} %" PRIu64 "\n", name, policy_name((enum policy_kind)kind), s->hits[kind]);
    jbuf_printf(out, "%s{policy=\"oracle\"} %" PRIu64 "\n", name, s->oracle);
    jbuf_printf(out, "%s{policy=\"served\"} %" PRIu64 "\n", name, s->found);
}

void api_write_metrics(struct api *api, struct jbuf *out)
{
    const struct engine_snapshot *s = &api->snapshot;
    const struct cache_stats *c = &s->cache;

    engine_snapshot(api->engine, &api->snapshot);
    metric(out, "ready", "gauge", "1 when the model is loaded and the engine alive",
           strcmp(api_health(api), "ok") == 0);
    metric(out, "prompt_tokens_total", "counter", "prompt tokens evaluated", (double)s->tokens_read);
    metric(out, "tokens_total", "counter", "tokens written", (double)s->tokens_written);
    metric(out, "requests_done_total", "counter", "answers finished", (double)s->requests_done);
    metric(out, "requests_failed_total", "counter", "answers failed", (double)s->requests_failed);
    metric(out, "requests_cancelled_total", "counter", "answers whose client went away", (double)s->requests_cancelled);
    metric(out, "requests_active", "gauge", "answers being computed", s->n_active);
    metric(out, "requests_waiting", "gauge", "requests waiting for a sequence", s->n_waiting);
    metric(out, "connections", "gauge", "open connections", http_connections(api->http));
    metric(out, "step_seconds_total", "counter", "time spent in the forward pass", (double)s->step_ns / 1e9);
    metric(out, "expert_hits_total", "counter", "experts found in memory", (double)c->hits);
    metric(out, "expert_misses_total", "counter", "experts read from disk", (double)c->misses);
    metric(out, "expert_read_bytes_total", "counter", "bytes of experts read", (double)c->bytes_read);
    metric(out, "prefetch_read_bytes_total", "counter", "bytes of experts read on guesses", (double)c->hint_bytes);
    metric(out, "prefetch_hits_total", "counter", "guessed experts that were asked for in time", (double)c->hint_hits);
    metric(out, "expert_wait_seconds_total", "counter", "time the engine stood still for reads",
           (double)c->wait_ns / 1e9);
    metric(out, "expert_cache_seconds_total", "counter", "time the engine spent on the cache itself, checksums with it",
           (double)c->door_ns / 1e9);
    metric(out, "drive_busy_seconds_total", "counter", "time with reads in flight", (double)c->busy_ns / 1e9);
    metric(out, "expert_evictions_total", "counter", "experts evicted", (double)c->evictions);
    metric(out, "expert_rereads_total", "counter", "records read again after a fault", (double)c->reread);
    metric(out, "pack_bad_records", "gauge", "experts of the pack that are not used, being damaged",
           (double)c->pack_bad);
    if (s->on_gpu) {
        metric(out, "vram_hits_total", "counter", "experts found on the GPU", (double)s->tier.hits);
        metric(out, "vram_copies_total", "counter", "experts copied to the GPU for the layer at hand",
               (double)s->tier.copied);
        metric(out, "vram_copy_bytes_total", "counter", "bytes copied between memory and the GPU",
               (double)s->tier.copy_bytes);
        metric(out, "cpu_experts_total", "counter", "experts computed by the CPU beside the GPU",
               (double)s->tier.helped);
        metric(out, "vram_slot_bytes", "gauge", "the GPU's memory held by expert slots", (double)s->tier.slot_bytes);
    }
    metric(out, "device_losses_total", "counter", "times that the GPU was lost", s->device_losses);
    write_shadow(&c->shadow, out);
    metric(out, "slot_bytes", "gauge", "memory held by expert slots", (double)c->slot_bytes);
    metric(out, "slot_given_back_bytes", "gauge", "memory of expert slots given back under memory pressure",
           (double)given_back(api));
    metric(out, "pressure_given_total", "counter", "times that expert slots were told to give memory back",
           (double)api->pressure->n_given);
    metric(out, "memory_budget_bytes", "gauge", "the budget", (double)api->service->budget.total);
    metric(out, "resident_bytes", "gauge", "resident memory", (double)machine_rss());
    metric(out, "resident_peak_bytes", "gauge", "resident memory at its peak", (double)machine_peak_rss());
}
