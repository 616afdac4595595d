/* SPDX-License-Identifier: MIT */
#include "daemon/job.h"

#include "base/mem.h"

#include <errno.h>
#include <string.h>

struct job *job_new(void)
{
    struct job *job = mem_zalloc(sizeof(*job));

    if (!job)
        return NULL;
    atomic_init(&job->refs, 1);
    job->max_tokens = UINT32_MAX;
    job->n_logprobs = -1;
    sampler_options_default(&job->sampling);
    return job;
}

struct job *job_ref(struct job *job)
{
    atomic_fetch_add(&job->refs, 1);
    return job;
}

void job_unref(struct job *job)
{
    if (!job || atomic_fetch_sub(&job->refs, 1) != 1)
        return;
    for (size_t i = 0; i < job->n_messages; i++) {
        mem_free((void *)(uintptr_t)job->messages[i].role);
        mem_free((void *)(uintptr_t)job->messages[i].content);
    }
    for (size_t i = 0; i < job->n_stops; i++)
        mem_free((void *)(uintptr_t)job->stop_texts[i].p);
    mem_free(job->stop_texts);
    mem_free(job->messages);
    mem_free(job->text);
    mem_free(job->bias);
    token_ids_fini(&job->prompt);
    if (job->sampler)
        sampler_close(job->sampler);
    if (job->stops)
        stops_close(job->stops);
    mem_free(job);
}

static int encode(struct job *job, const struct service *service, size_t max_ids, struct err *err)
{
    unsigned flags = (job->no_bos ? 0 : TOKENIZE_BOS) | (job->parse_special ? TOKENIZE_SPECIAL : 0);

    if (job->tokenize_only)
        max_ids = SIZE_MAX;
    if (job->chat)
        return chat_encode(service->format, service->tokenizer, job->messages, job->n_messages, max_ids, &job->prompt,
                           err);
    if (job->text)
        return tokenizer_encode(service->tokenizer, job->text, job->text_len, flags, max_ids, &job->prompt, err);
    return job->prompt.n > max_ids ? err_set(err, ERR_TOO_LONG, "too long") : 0;
}

static int open_stops(struct job *job, const struct service *service, struct err *err)
{
    const char *const *own = chat_format_stops(service->format);
    struct stop_text texts[STOPS_MAX];
    size_t n = 0;

    for (; n < job->n_stops && n < STOPS_MAX; n++)
        texts[n] = job->stop_texts[n];
    for (; job->chat && *own && n < STOPS_MAX; own++, n++)
        texts[n] = (struct stop_text){ *own, strlen(*own) };
    return stops_open(texts, n, &job->stops, err);
}

int job_prepare(struct job *job, const struct service *service, struct err *err)
{
    uint32_t n_ctx = service->budget.shape.n_ctx;
    /* The answer needs a place too, unless none is asked for. */
    size_t max_ids = job->max_tokens ? n_ctx - 1 : n_ctx;
    int r = encode(job, service, max_ids, err);

    if (r == ERR_TOO_LONG)
        return err_set(err, ERR_TOO_LONG,
                       "the prompt is longer than this server's context of %u tokens (prompt and answer together); "
                       "shorten it, or start expertd with a larger --context",
                       n_ctx);
    if (r < 0)
        return r;
    if (job->tokenize_only)
        return 0;
    if (!job->prompt.n)
        return err_set(err, -EINVAL, "the prompt is empty: there is no token to start from");
    return open_stops(job, service, err);
}
