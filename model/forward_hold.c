/* SPDX-License-Identifier: MIT */
#include "model/forward_internal.h"

#include "base/arith.h"
#include "base/mem.h"

#include <errno.h>

#define HUGE_FROM (16 * MEM_HUGE_BYTES) /* of less a huge page would be too large a part */

bool forward_on_demand(const struct forward *f)
{
    return f->options.on_demand && f->device->host_visible;
}

/* ---- keys and values ---- */

int forward_hold(struct forward *f, uint32_t seq, uint32_t n_positions, struct err *err)
{
    int r = 0;

    if (seq >= f->options.n_seqs || n_positions > f->options.n_ctx)
        return err_set(err, -EINVAL, "%u positions of sequence %u: there are %u of %u", n_positions, seq,
                       f->options.n_ctx, f->options.n_seqs);
    r = kv_hold(&f->kv, seq, n_positions);
    return r == 0 ? 0 : err_set(err, r, "no memory for the keys and values of %u positions", n_positions);
}

uint64_t forward_kv_bytes(const struct forward *f, uint32_t n_positions)
{
    return kv_bytes(&f->kv, n_positions);
}

uint64_t forward_kv_held(const struct forward *f, uint32_t seq)
{
    return kv_bytes(&f->kv, kv_room(&f->kv, seq));
}

/* ---- activations ---- */

/* The work arena's bytes up to somewhere, in whole pages. */
static size_t pages_up_to(const struct forward *f, size_t used)
{
    size_t page = f->work_bytes >= HUGE_FROM ? MEM_HUGE_BYTES : MEM_PAGE_BYTES;

    return u64_min((used + page - 1) / page * page, f->work_bytes);
}

static size_t fixed_bytes(const struct forward *f)
{
    return pages_up_to(f, f->batch_at);
}

uint64_t forward_batch_bytes(const struct forward *f, uint32_t n_tokens, uint32_t n_logits)
{
    struct forward laid = *f;

    laid.work_arena = (struct arena){ .device = f->device };
    forward_lay_batch(&laid, n_tokens, n_logits);
    return pages_up_to(f, laid.work_arena.used) - fixed_bytes(f);
}

/* The shared expert's rows of y lie behind those of the others. */
void forward_number_rows(struct forward *f)
{
    for (uint32_t i = 0; i < f->n_held; i++)
        f->moe.shared_dst[i] = f->n_held * f->hp->n_used + i;
}

unsigned forward_batch_flags(const struct forward *f)
{
    if (!forward_on_demand(f))
        return ARENA_PLAIN;
    return f->work_bytes >= HUGE_FROM ? ARENA_HUGE : ARENA_SMALL;
}

int forward_hold_none(struct forward *f, struct err *err)
{
    if (!forward_on_demand(f))
        return 0;
    forward_lay_batch(f, 0, 0);
    if (mem_map_take(f->work_arena.base, fixed_bytes(f)) < 0)
        return err_set(err, -ENOMEM, "no memory for activations");
    return 0;
}

int forward_hold_batch(struct forward *f, uint32_t n_tokens, uint32_t n_logits, struct err *err)
{
    char *base = f->work_arena.base + fixed_bytes(f);
    size_t before = f->batch_held, after = forward_batch_bytes(f, n_tokens, n_logits);

    if (n_tokens > f->options.max_batch || n_logits > f->options.max_logits)
        return err_set(err, -EINVAL, "%u tokens and %u rows of logits in one batch, where %u and %u are the most",
                       n_tokens, n_logits, f->options.max_batch, f->options.max_logits);
    if (!forward_on_demand(f))
        return 0;
    if (after < before)
        mem_map_let_go(base + after, before - after);
    if (after > before && mem_map_take(base + before, after - before) < 0) {
        mem_map_let_go(base + before, after - before);
        return err_set(err, -ENOMEM, "no memory for the activations of %u tokens", n_tokens);
    }
    f->batch_held = after;
    forward_lay_batch(f, n_tokens, n_logits);
    forward_number_rows(f);
    return 0;
}

uint64_t forward_batch_held(const struct forward *f)
{
    return forward_on_demand(f) ? f->batch_held : forward_batch_bytes(f, f->options.max_batch, f->options.max_logits);
}
