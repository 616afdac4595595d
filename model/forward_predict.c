/* SPDX-License-Identifier: MIT */
#include "model/forward_internal.h"

#include <errno.h>

int forward_predict(struct forward *f, uint32_t layer, uint32_t n, const uint16_t **ret_ids, struct err *err)
{
    const struct device_ops *ops = f->device->ops;
    const struct dense_layer *dense = layer < f->hp->n_layers ? &f->dense.layers[layer] : NULL;
    const float *x = f->b.x + (size_t)f->row * f->hp->n_embd;
    struct predict *p = &f->predict;
    int r;

    if (dense == NULL || dense->router.data == NULL)
        return err_set(err, -EINVAL, "layer %u has no router", layer);
    if (n == 0 || n > f->options.predict_rows)
        return err_set(err, -EINVAL, "look-ahead for %u tokens, but it was opened for 1 to %u", n,
                       f->options.predict_rows);
    const struct linear router = { dense->router, NULL, p->router };

    if ((r = ops->rms_norm(f->device, x, dense->ffn_norm, f->hp->rms_eps, n, f->hp->n_embd, p->h)) < 0 ||
        (r = ops->acts_set(f->device, p->acts, p->h, n, f->hp->n_embd)) < 0 ||
        (r = ops->linear(f->device, p->acts, &router, 1)) < 0 ||
        (r = ops->route(f->device, &f->hp->route, p->router, n, p->ids, p->weights)) < 0)
        return forward_device_error(f, r, err);
    *ret_ids = p->ids;
    return 0;
}
