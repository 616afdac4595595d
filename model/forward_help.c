/* SPDX-License-Identifier: MIT */
#include "model/forward_internal.h"

#include "base/clock.h"

#include <string.h>

bool forward_may_help(const struct forward *f, uint32_t n)
{
    return f->options.helper != NULL && n <= f->options.help_rows;
}

static int helper_error(const struct forward *f, int r, struct err *err)
{
    return err_set(err, r, "%s: %s", f->options.helper->name, err_text(&f->options.helper->err));
}

int forward_help_begin(struct forward *f, uint32_t n, struct err *err)
{
    uint32_t n_embd = f->hp->n_embd;
    int r;

    if (f->help.has_h)
        return 0;
    r = f->device->ops->download(f->device, f->help.h, f->b.h, (size_t)n * n_embd * sizeof(float));
    if (r < 0)
        return forward_device_error(f, r, err);
    r = f->options.helper->ops->acts_set(f->options.helper, f->help.acts, f->help.h, n, n_embd);
    if (r < 0)
        return helper_error(f, r, err);
    f->help.has_h = true;
    return 0;
}

static uint64_t call_bytes(const struct expert_call *call)
{
    return quant_row_bytes(call->gate.type, call->gate.cols) * call->gate.rows +
           quant_row_bytes(call->up.type, call->up.cols) * call->up.rows +
           quant_row_bytes(call->down.type, call->down.cols) * call->down.rows;
}

/* Rows that lie together go together. */
static int upload_written(struct forward *f)
{
    size_t n_embd = f->hp->n_embd, n_rows = (size_t)f->options.help_rows * f->hp->n_used;
    int r = 0;

    for (size_t from = 0, end; from < n_rows && r >= 0; from = end + 1) {
        for (end = from; end < n_rows && f->help.written[end]; end++)
            f->help.written[end] = false;
        if (end > from)
            r = f->device->ops->upload(f->device, f->b.y + from * n_embd, f->help.y + from * n_embd,
                                       (end - from) * n_embd * sizeof(float));
    }
    return r;
}

int forward_help_run(struct forward *f, struct err *err)
{
    struct device *helper = f->options.helper;
    uint64_t start_ns = clock_ns(), bytes = 0;
    int r = helper->ops->experts(helper, f->help.acts, f->moe.helped, f->moe.n_helped, f->help.y);

    if (r < 0)
        return helper_error(f, r, err);
    for (uint32_t i = 0; i < f->moe.n_helped; i++) {
        const struct expert_call *call = &f->moe.helped[i];

        bytes += call_bytes(call);
        for (uint32_t row = 0; row < call->n_rows; row++)
            f->help.written[call->dst[row]] = true;
    }
    r = upload_written(f);
    if (r < 0) {
        memset(f->help.written, 0, (size_t)f->options.help_rows * f->hp->n_used);
        return forward_device_error(f, r, err);
    }
    if (f->door->ops->spent != NULL)
        f->door->ops->spent(f->door, bytes, clock_ns() - start_ns);
    return 0;
}
