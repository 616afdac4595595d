/* SPDX-License-Identifier: MIT */
#include "model/hparams.h"
#include "model/keys.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

enum scaling { SCALING_NONE, SCALING_LINEAR, SCALING_YARN };

struct rope_keys {
    enum scaling type;
    float base;
    float factor;      /* by which the context was stretched */
    float attn_factor; /* on cos and sin, whatever the type */
    float ext_factor;  /* YaRN: how much of the fast pairs' frequencies is kept; 1 in practice */
    float beta_fast, beta_slow;
    float log_multiplier; /* YaRN: mscale_all_dim; 0: absent */
    uint32_t n_ctx_orig;
};

static int read_type(const struct key_reader *k, enum scaling *ret_type)
{
    static const struct {
        const char *name;
        enum scaling type;
    } names[] = { { "none", SCALING_NONE }, { "linear", SCALING_LINEAR }, { "yarn", SCALING_YARN } };
    struct gguf_str s;
    int rc = key_str_or(k, "rope.scaling.type", "linear", &s);

    if (rc)
        return rc;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (s.len == strlen(names[i].name) && !memcmp(s.p, names[i].name, s.len)) {
            *ret_type = names[i].type;
            return 0;
        }
    return key_refuse(k, "rope.scaling.type", "not supported; none, linear and yarn are");
}

/* A factor that must be a positive number; 0 in a file means that it is not set. */
static int read_positive(const struct key_reader *k, const char *name, float absent, float *ret_v)
{
    int rc = key_f32_or(k, name, absent, ret_v);

    if (rc)
        return rc;
    if (*ret_v == 0)
        *ret_v = absent;
    if (!isfinite(*ret_v) || *ret_v < 0)
        return key_bad(k, name, "%g is not a positive number", (double)*ret_v);
    return 0;
}

static int read_yarn(const struct key_reader *k, struct rope_keys *keys)
{
    int rc = read_positive(k, "rope.scaling.yarn_beta_fast", 32, &keys->beta_fast);

    if (rc == 0)
        rc = read_positive(k, "rope.scaling.yarn_beta_slow", 1, &keys->beta_slow);
    if (rc == 0)
        rc = key_f32_or(k, "rope.scaling.yarn_ext_factor", -1, &keys->ext_factor);
    if (rc == 0 && !(keys->ext_factor <= 1))
        rc = key_bad(k, "rope.scaling.yarn_ext_factor", "%g is not between 0 and 1", (double)keys->ext_factor);
    if (rc == 0 && keys->ext_factor < 0) /* not set */
        keys->ext_factor = 1;
    if (rc == 0)
        rc = key_f32_or(k, "rope.scaling.yarn_log_multiplier", 0, &keys->log_multiplier);
    if (rc == 0 && !(keys->log_multiplier >= 0 && isfinite(keys->log_multiplier)))
        rc =
            key_bad(k, "rope.scaling.yarn_log_multiplier", "%g is not a positive number", (double)keys->log_multiplier);
    return rc;
}

static int read_keys(const struct key_reader *k, uint32_t n_ctx, struct rope_keys *keys)
{
    float old_factor;
    int rc = read_type(k, &keys->type);

    if (rc == 0)
        rc = read_positive(k, "rope.freq_base", 10000, &keys->base);
    if (rc == 0 && keys->base <= 1)
        rc = key_bad(k, "rope.freq_base", "%g is not above 1", (double)keys->base);
    if (rc == 0)
        rc = read_positive(k, "rope.scale_linear", 1, &old_factor);
    if (rc == 0)
        rc = read_positive(k, "rope.scaling.factor", old_factor, &keys->factor);
    if (rc == 0)
        rc = read_positive(k, "rope.scaling.attn_factor", 1, &keys->attn_factor);
    if (rc == 0)
        rc = key_u32_or(k, "rope.scaling.original_context_length", n_ctx, &keys->n_ctx_orig);
    if (rc == 0)
        rc = read_yarn(k, keys);
    if (rc == 0 && keys->type == SCALING_NONE)
        keys->factor = 1;
    if (rc == 0 && keys->n_ctx_orig == 0)
        keys->n_ctx_orig = n_ctx;
    return rc;
}

/* The pair that turns `turns` times within the original context, as a real number. */
static double yarn_pair(const struct rope_keys *keys, uint32_t n_rot, double turns)
{
    return n_rot * log(keys->n_ctx_orig / (turns * 2 * M_PI)) / (2 * log((double)keys->base));
}

/* 1 for pairs that keep their frequency, 0 for those that are stretched. */
static double yarn_keep(const struct rope_keys *keys, uint32_t n_rot, uint32_t pair)
{
    double low = fmax(0, floor(yarn_pair(keys, n_rot, (double)keys->beta_fast)));
    double high = fmin(n_rot - 1.0, ceil(yarn_pair(keys, n_rot, (double)keys->beta_slow)));
    double ramp = (pair - low) / fmax(0.001, high - low);

    return (1 - fmin(1, fmax(0, ramp))) * (double)keys->ext_factor;
}

static double yarn_mscale(double factor, double multiplier)
{
    return factor <= 1 ? 1 : 1 + 0.1 * multiplier * log(factor);
}

/* With a log multiplier (mscale_all_dim), what YaRN itself adds is taken back and the ratio of both put in its place.
 */
static float magnitude(const struct rope_keys *keys)
{
    double m = (double)keys->attn_factor;

    if (keys->type == SCALING_YARN && keys->ext_factor > 0) {
        m *= yarn_mscale((double)keys->factor, 1);
        if (keys->log_multiplier > 0)
            m /= yarn_mscale((double)keys->factor, (double)keys->log_multiplier);
    }
    return (float)m;
}

/* Per-dimension factors of the frequencies, into inv_freq; all 1 where the file has none. */
static int read_factors(const struct gguf *gguf, uint32_t n, float *factors, struct err *err)
{
    const struct gguf_tensor *t = gguf_tensor_find(gguf, "rope_freqs.weight");
    int rc;

    for (uint32_t i = 0; i < n; i++)
        factors[i] = 1;
    if (!t)
        return 0;
    if (t->type != QUANT_F32 || t->dims[0] != n || t->bytes != n * sizeof(float))
        return err_set(err, ERR_FORMAT, "tensor '%s': must be %" PRIu32 " weights of F32", t->name, n);
    rc = gguf_read(gguf, t, 0, factors, n * sizeof(float), err);
    for (uint32_t i = 0; rc == 0 && i < n; i++)
        if (!isfinite(factors[i]) || factors[i] <= 0)
            rc = err_set(err, ERR_FORMAT, "tensor '%s': weight %" PRIu32 " is %g, not a positive number", t->name, i,
                         (double)factors[i]);
    return rc;
}

int hparams_rope_size(const struct gguf *gguf, const struct arch *arch, struct hparams *hp, struct err *err)
{
    const struct key_reader k = { gguf, arch, err };
    uint32_t n;
    int rc = key_u32_or(&k, "rope.dimension_count", hp->head_dim, &n);

    if (rc)
        return rc;
    if (n == 0 || n % 2 || n > hp->head_dim)
        return key_bad(&k, "rope.dimension_count", "%" PRIu32 " is not an even number up to the head's %" PRIu32, n,
                       hp->head_dim);
    hp->rope.n_rot = n;
    hp->rope.layout = arch->rope_layout;
    return 0;
}

int hparams_rope(const struct gguf *gguf, const struct arch *arch, struct hparams *hp, float *inv_freq, struct err *err)
{
    const struct key_reader k = { gguf, arch, err };
    uint32_t n_rot = hp->rope.n_rot, n_ctx;
    struct rope_keys keys;
    int rc = key_u32(&k, "context_length", 1, INT32_MAX, &n_ctx);

    if (rc == 0)
        rc = read_keys(&k, n_ctx, &keys);
    if (rc == 0)
        rc = read_factors(gguf, n_rot / 2, inv_freq, err);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < n_rot / 2; i++) {
        double f = pow((double)keys.base, -2.0 * i / n_rot) / (double)inv_freq[i];
        double keep = keys.type == SCALING_YARN ? yarn_keep(&keys, n_rot, i) : 0;

        inv_freq[i] = (float)(f / (double)keys.factor * (1 - keep) + f * keep);
        if (!isfinite(inv_freq[i]))
            return key_bad(&k, "rope.scaling.factor", "%g makes frequencies overflow", (double)keys.factor);
    }
    hp->rope.magnitude = magnitude(&keys);
    hp->rope.inv_freq = inv_freq;
    return 0;
}
