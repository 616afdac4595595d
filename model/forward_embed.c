/* SPDX-License-Identifier: MIT */
#include "model/forward_internal.h"

/* Only where the device computes on the host's memory, and not when the table is needed whole as the output, too. */
uint32_t forward_embd_rows(const struct forward *f)
{
    const struct model_tensors *t = model_tensors(f->model);

    return f->options.embd_on_disk && f->device->host_visible && t->output != t->token_embd ? f->options.max_batch : 0;
}

/* The rows of these tokens from the file, each where its turn is. What they are multiplied with later is checked by its
 * checksum; that they come from the same file, by its size and time. A prompt's rows are asked for all at once. */
static int fetch_rows(struct forward *f, uint32_t n, struct err *err)
{
    const struct gguf *gguf = model_gguf(f->model);
    const struct gguf_tensor *t = model_tensors(f->model)->token_embd;
    uint64_t row_bytes = t->bytes / t->dims[1];
    char *rows = (char *)(uintptr_t)f->dense.token_embd.data; /* ours to fill: lent as const to those who compute */
    int r = gguf_check_unchanged(gguf, err);

    for (uint32_t i = 0; i < n && n > 1; i++)
        gguf_prefetch(gguf, t, (uint64_t)f->b.tokens[i] * row_bytes, row_bytes);
    for (uint32_t i = 0; i < n && r == 0; i++) {
        r = gguf_read(gguf, t, (uint64_t)f->b.tokens[i] * row_bytes, rows + i * row_bytes, row_bytes, err);
        f->embd_ids[i] = (int32_t)i;
    }
    return r;
}

int forward_embed(struct forward *f, uint32_t n, struct err *err)
{
    bool fetched = forward_embd_rows(f) > 0;
    int r = fetched ? fetch_rows(f, n, err) : 0;

    if (r < 0)
        return r;
    r = f->device->ops->embed(f->device, &f->dense.token_embd, fetched ? f->embd_ids : f->b.tokens, n, f->b.x);
    return r < 0 ? forward_device_error(f, r, err) : 0;
}
