/* SPDX-License-Identifier: MIT */
#include "model/forward_internal.h"

#include <errno.h>
#include <string.h>

int forward_device_error(const struct forward *f, int r, struct err *err)
{
    return err_set(err, r, "%s: %s", f->device->name, err_text(&f->device->err));
}

static uint32_t span_rows(const struct batch_span *span)
{
    return span->no_logits ? 0 : span->all_logits ? span->n_tokens : 1;
}

static int span_check(const struct forward *f, const struct batch_span *span, struct err *err)
{
    if (span->seq >= f->kv.n_seqs)
        return err_set(err, -EINVAL, "sequence %u, where %u are held", span->seq, f->kv.n_seqs);
    if (span->n_tokens == 0)
        return err_set(err, -EINVAL, "sequence %u: no tokens to evaluate", span->seq);
    if (span->n_tokens > f->kv.n_ctx || span->pos0 > f->kv.n_ctx - span->n_tokens)
        return err_set(err, ERR_TOO_LONG, "%llu tokens, where the context holds %u",
                       (unsigned long long)span->pos0 + span->n_tokens, f->kv.n_ctx);
    if (span->pos0 + span->n_tokens > kv_room(&f->kv, span->seq))
        return err_set(err, -EINVAL, "sequence %u: positions up to %u, where %u are held", span->seq,
                       span->pos0 + span->n_tokens, kv_room(&f->kv, span->seq));
    if (span->pos0 > f->kv.lengths[span->seq])
        return err_set(err, -EINVAL, "sequence %u: position %u, where %u have been evaluated", span->seq, span->pos0,
                       f->kv.lengths[span->seq]);
    for (uint32_t i = 0; i < span->n_tokens; i++)
        if (span->tokens[i] < 0 || (uint32_t)span->tokens[i] >= f->hp->n_vocab)
            return err_set(err, -EINVAL, "token %d, where the vocabulary has %u", span->tokens[i], f->hp->n_vocab);
    return 0;
}

/* Check the spans and write down tokens and positions row by row. */
static int batch_gather(struct forward *f, struct batch *batch, struct err *err)
{
    for (uint32_t i = 0; i < batch->n_spans; i++) {
        const struct batch_span *span = &batch->spans[i];
        int r = span_check(f, span, err);

        if (r < 0)
            return r;
        if (span->n_tokens > f->n_held - batch->n_tokens)
            return err_set(err, -EINVAL, "more than %u tokens in one batch", f->n_held);
        if (span_rows(span) > f->n_logits_held - batch->n_rows)
            return err_set(err, -EINVAL, "more than %u rows of logits in one batch", f->n_logits_held);
        for (uint32_t t = 0; t < span->n_tokens; t++) {
            f->b.tokens[batch->n_tokens + t] = span->tokens[t];
            f->b.pos[batch->n_tokens + t] = span->pos0 + t;
        }
        batch->n_tokens += span->n_tokens;
        if (span_rows(span) == 0)
            continue;
        if (batch->n_rows == 0)
            batch->asked_from = batch->n_tokens - span_rows(span);
        batch->asked_end = batch->n_tokens;
        batch->n_rows += span_rows(span);
    }
    return batch->n_tokens > 0 ? 0 : err_set(err, -EINVAL, "no tokens to evaluate");
}

/* Until the batch is through, what it writes does not count. */
static void lengths_cut(struct forward *f, const struct batch *batch)
{
    for (uint32_t i = 0; i < batch->n_spans; i++)
        if (f->kv.lengths[batch->spans[i].seq] > batch->spans[i].pos0)
            f->kv.lengths[batch->spans[i].seq] = batch->spans[i].pos0;
}

static void lengths_grow(struct forward *f, const struct batch *batch)
{
    for (uint32_t i = 0; i < batch->n_spans; i++)
        f->kv.lengths[batch->spans[i].seq] = batch->spans[i].pos0 + batch->spans[i].n_tokens;
}

/* Norm the rows whose logits are asked for, together: neighbours in x in one go. */
static int last_norm(struct forward *f, const struct batch *batch)
{
    uint32_t n_embd = f->hp->n_embd, row = 0, taken = 0;

    for (uint32_t i = 0; i < batch->n_spans;) {
        uint32_t from = row + batch->spans[i].n_tokens - span_rows(&batch->spans[i]), n = 0;
        int r = 0;

        do {
            n += span_rows(&batch->spans[i]);
            row += batch->spans[i++].n_tokens;
        } while (i < batch->n_spans && from + n == row && span_rows(&batch->spans[i]) == batch->spans[i].n_tokens);
        if (n > 0)
            r = f->device->ops->rms_norm(f->device, f->b.x + (size_t)from * n_embd, f->dense.output_norm,
                                         f->hp->rms_eps, n, n_embd, f->b.last + (size_t)taken * n_embd);
        if (r < 0)
            return r;
        taken += n;
    }
    return 0;
}

/* All exponent bits set: an infinity or no number. */
static bool row_is_finite(const float *row, uint32_t n)
{
    uint32_t bad = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t bits;

        memcpy(&bits, row + i, sizeof(bits));
        bad |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return bad == 0;
}

/* The rows that came back hold numbers: of the best, what is none is the first. */
static bool rows_are_finite(const struct forward *f, const struct batch *batch)
{
    const float *row = batch->best > 0 ? f->stay.host_best_values : f->b.host_logits;
    size_t stride = batch->best > 0 ? batch->best : f->hp->n_vocab;

    for (uint32_t i = 0; i < batch->n_rows; i++)
        if (!row_is_finite(row + i * stride, (uint32_t)stride))
            return false;
    return true;
}

static int logits_of(struct forward *f, const struct batch *batch, struct err *err)
{
    const struct device_ops *ops = f->device->ops;
    const struct linear out = { f->dense.output, NULL, f->b.logits };
    uint32_t n = batch->n_rows;
    int r = 0;

    if (n > 0 &&
        ((r = last_norm(f, batch)) < 0 || (r = ops->acts_set(f->device, f->acts, f->b.last, n, f->hp->n_embd)) < 0 ||
         (r = ops->linear(f->device, f->acts, &out, 1)) < 0))
        return forward_device_error(f, r, err);
    if (batch->best > 0)
        r = f->device->stay->top_k(f->device, f->b.logits, n, f->hp->n_vocab, batch->best, f->stay.best_ids,
                                   f->stay.best_values);
    if (r >= 0)
        r = forward_bring(f, batch);
    if (r < 0)
        return forward_device_error(f, r, err);
    if (!rows_are_finite(f, batch))
        return err_set(err, ERR_FORMAT, "the model produced non-finite logits (corrupt weights?)");
    return 0;
}

/* Several tokens of one sequence: of a prompt. */
static bool reads_prompt(const struct batch *batch)
{
    bool reads = false;

    for (uint32_t i = 0; i < batch->n_spans; i++)
        reads |= batch->spans[i].n_tokens > 1;
    return reads;
}

static int layers_run(struct forward *f, const struct batch *batch, bool (*should_stop)(void *ctx), void *stop_ctx,
                      struct err *err)
{
    for (uint32_t layer = 0; layer < f->hp->n_layers; layer++) {
        int r;

        if (should_stop != NULL && should_stop(stop_ctx))
            return err_set(err, ERR_CANCELED, "stopped at layer %u of %u", layer, f->hp->n_layers);
        r = forward_layer(f, layer, batch, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int forward_eval(struct forward *f, const struct batch_span *spans, uint32_t n_spans, bool (*should_stop)(void *ctx),
                 void *stop_ctx, const float **ret_logits, struct err *err)
{
    struct batch batch = { .spans = spans, .n_spans = n_spans };
    int r = batch_gather(f, &batch, err);

    if (r < 0)
        return r;
    lengths_cut(f, &batch);
    f->door->burst = reads_prompt(&batch);
    batch.best = forward_stay_best(f, &batch);
    if ((r = forward_stay_begin(f, &batch, err)) < 0 || (r = forward_embed(f, batch.n_tokens, err)) < 0 ||
        (r = layers_run(f, &batch, should_stop, stop_ctx, err)) < 0 || (r = logits_of(f, &batch, err)) < 0 ||
        (r = forward_stay_end(f, &batch, err)) < 0)
        return r;
    lengths_grow(f, &batch);
    f->best = batch.best;
    *ret_logits = batch.n_rows > 0 && batch.best == 0 ? f->b.host_logits : NULL;
    return 0;
}
