/* SPDX-License-Identifier: MIT
 *
 * cpu_internal.h: what the files of the CPU device share. See compute/cpu_device.h for the device itself.
 *
 * Work is cut into units that threads take from a counter. A unit's result does not depend on who takes it, so the
 * order may vary and no bit with it.
 */
#ifndef EXPERTD_COMPUTE_CPU_INTERNAL_H
#define EXPERTD_COMPUTE_CPU_INTERNAL_H

#include "compute/cpu/kernels.h"
#include "compute/pool.h"

#include <stdatomic.h>

/* Rows of activations prepared in each flavour; ACT_F32 rows are the caller's. */
struct act_rows {
    const char *base;
    size_t stride; /* bytes */
};

enum { GATHER_ROWS = 128 /* of an expert, that a thread brings side by side: some 330 KB at 2,048 columns */ };

struct acts {
    uint32_t max_rows, max_cols;
    uint32_t n_rows, n_cols;
    const float *x; /* borrowed */
    bool ready[ACT_FLAVOURS];
    char *prepared[ACT_FLAVOURS]; /* owned; NULL for ACT_F32 */
    char *unpacked;               /* owned; [n_threads] of unpacked_bytes: a tile of max_cols */
    size_t unpacked_bytes;
    char *gathered; /* owned; [n_threads] of gathered_bytes: so many rows of ACT_SUPER, perhaps none */
    uint32_t gathered_rows;
    size_t gathered_bytes;
    size_t bytes; /* of the whole object */
};

/* A part of an expert call that fits into the hidden scratch. */
struct expert_part {
    const struct expert_call *call;
    uint32_t row0, n_rows;         /* of the call */
    uint32_t hidden0;              /* its first row in the scratch */
    uint32_t ff_unit0, down_unit0; /* its first units of work */
    uint32_t unit_rows;            /* weight rows in each */
};

enum { CPU_PHASES = 3, CPU_SHARED_PHASES = 2 };

/* Units first .. end - 1 that are still to be done of a thread's share, in one number, so that both change at once. */
struct unit_share {
    _Atomic uint64_t units;
} __attribute__((aligned(64)));

struct cpu_device {
    struct device device;
    struct cpu_device_options options;
    struct cpu_kernels kernels;
    struct pool *pool;
    struct parallel threads; /* for others */
    char name[32];
    uint64_t meanwhile_ns; /* when it was called last */
    _Atomic uint32_t next_unit[CPU_PHASES] __attribute__((aligned(64)));

    /* Scratch of `experts`: hidden rows as f32 and prepared, a tile of max_ff per thread. */
    float *hidden;     /* [max_expert_rows, max_ff] */
    char *hidden_acts; /* [max_expert_rows] of hidden_stride bytes */
    size_t hidden_stride;
    char *unpacked; /* [n_threads] of unpacked_bytes */
    size_t unpacked_bytes;
    struct expert_part *parts; /* [max_expert_rows] */
    struct unit_share *shares; /* [CPU_SHARED_PHASES, n_threads] */
    void *arena;               /* all of the above */
    size_t arena_bytes;
};

/* `device` is its first member. */
static inline struct cpu_device *cpu_device_of(struct device *device)
{
    return (struct cpu_device *)device;
}

/* Run fn on all threads with fresh unit counters, one per phase between barriers. Each thread's first unit is its own
 * number, so that it can be fetched ahead; then they take what comes. */
static inline void cpu_run(struct cpu_device *cpu, void (*fn)(void *arg, uint32_t thread), void *arg)
{
    for (int phase = 0; phase < CPU_PHASES; phase++)
        atomic_store_explicit(&cpu->next_unit[phase], pool_threads(cpu->pool), memory_order_relaxed);
    pool_run(cpu->pool, fn, arg);
}

/* The unit after a thread's first. */
static inline uint32_t cpu_take_unit(struct cpu_device *cpu, int phase)
{
    return atomic_fetch_add_explicit(&cpu->next_unit[phase], 1, memory_order_relaxed);
}

/* Weights are read in long streams: each thread has a share of units that follow one another, takes them from the
 * front, and, when it has none left, takes the second half of what another has. */
void cpu_share(struct cpu_device *cpu, int phase, uint32_t n_units);
bool cpu_share_take(struct cpu_device *cpu, int phase, uint32_t thread, uint32_t *ret_unit);
/* The first unit of a thread's share of n_units. */
uint32_t cpu_share_first(const struct cpu_device *cpu, uint32_t n_units, uint32_t thread);

/* Between two units: what the caller wants done meanwhile (struct device), if it is time again. */
void cpu_meanwhile(struct cpu_device *cpu, uint32_t thread);

/* Call fn(arg, row) for each row. `row_work` is its size in elements: little work stays on the caller's thread. */
void cpu_each_row(struct cpu_device *cpu, uint32_t n_rows, size_t row_work, void (*fn)(void *arg, size_t row),
                  void *arg);

/* A product of rows of a weight with some prepared rows. */
struct product {
    const struct weight *w;
    struct act_rows acts;
    const uint32_t *src; /* rows of acts; NULL: 0 .. n_tokens-1 */
    uint32_t n_tokens;
    float *y; /* element 0 of output row 0 is weight row `row0` */
    size_t y_stride;
    const uint32_t *dst; /* rows of y; NULL: 0 .. n_tokens-1 */
    const float *bias;   /* by weight row; may be NULL */
};

/* Rows of a weight that are read one after the other. */
struct row_stream {
    const struct weight *w;
    uint32_t row0, n_rows;
    const void *next; /* what is read after them; may be NULL */
    float *y;         /* as in struct product */
};

/* So few tokens are multiplied straight from the packed rows. */
static inline bool product_is_few(const struct cpu_kernels *k, uint32_t n_tokens)
{
    return n_tokens <= k->few_acts;
}

/* Weight rows that a thread takes at a time, of all the rows that so many tokens are multiplied with; a multiple of two
 * tiles. */
uint32_t product_unit_rows(const struct cpu_device *cpu, uint64_t rows, uint32_t n_tokens);
/* A few tokens: unit i of a matrix is two streams, half of the matrix apart, so that both go on in unit i + 1. */
void product_halves(const struct weight *w, uint32_t unit_rows, uint32_t i, struct row_stream ret_streams[2]);
/* Let streams be followed by others. */
void product_chain(struct row_stream streams[2], const struct row_stream next[2]);
/* Two streams of the same format times a few tokens; p says what of. */
void product_streams(const struct cpu_kernels *k, const struct product *p, const struct row_stream streams[2],
                     void *tile);
/* Rows row0 .. row0 + n_rows - 1 of the weight times all tokens; `tile` has room for one. */
void product_rows(const struct cpu_kernels *k, const struct product *p, uint32_t row0, uint32_t n_rows, void *tile);

/* acts.c */
int cpu_acts_open(struct device *device, uint32_t max_rows, uint32_t max_cols, struct acts **ret_acts);
void cpu_acts_close(struct device *device, struct acts *acts);
size_t cpu_acts_bytes(struct device *device, uint32_t max_rows, uint32_t max_cols);
int cpu_acts_set(struct device *device, struct acts *acts, const float *x, uint32_t n_rows, uint32_t n_cols);
/* Prepare the rows for a format if that has not been done since the last set. */
struct act_rows cpu_acts_ready(struct cpu_device *cpu, struct acts *acts, enum quant_type type);
/* A tile of up to max_cols columns, of whatever format. */
size_t cpu_unpacked_bytes(uint32_t max_cols);
void cpu_act_prepare(const struct cpu_kernels *k, enum act_flavour flavour, const float *x, size_t n, void *row);

/* product.c, experts.c, attention.c, simple.c: operations of struct device_ops */
int cpu_linear(struct device *device, struct acts *acts, const struct linear *lin, uint32_t n_lin);
int cpu_experts(struct device *device, struct acts *acts, const struct expert_call *calls, uint32_t n_calls, float *y);
int cpu_attention(struct device *device, const struct attention *a);
int cpu_kv_store(struct device *device, const struct kv_view *kv, enum kv_type type, uint32_t pos0, uint32_t n,
                 uint32_t n_kv_heads, uint32_t head_dim, const float *k, const float *v);
int cpu_embed(struct device *device, const struct weight *table, const int32_t *ids, uint32_t n, float *y);
int cpu_rms_norm(struct device *device, const float *x, const float *w, float eps, uint32_t n_rows, uint32_t n_cols,
                 float *y);
int cpu_rope(struct device *device, const struct rope *rope, float *x, const uint32_t *pos, uint32_t n_tokens,
             uint32_t n_heads, uint32_t head_dim);
int cpu_route(struct device *device, const struct route *route, const float *logits, uint32_t n, uint16_t *ret_ids,
              float *ret_weights);
int cpu_combine(struct device *device, float *x, const float *y, const float *weights, uint32_t n, uint32_t n_used,
                uint32_t n_embd);
int cpu_add(struct device *device, float *x, const float *y, const float *gate, uint32_t n, uint32_t n_cols);

#endif
