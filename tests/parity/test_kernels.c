/* SPDX-License-Identifier: MIT
 *
 * Every kernel of every level: products against the C level, bit for bit; the C level against double precision.
 */
#include "compute/cpu/kernels.h"
#include "compute/half.h"
#include "parity/parity.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROWS = 17, MAX_ACTS = 29, MANY_ACTS = 133 };

/* In the build with EMULATED the kernels of levels that this CPU may lack are made of other instructions, over the
 * level below: AVX2, and AVX-512 for AMX. */
#if defined(EMULATED)
#define NEEDED(level) (level == CPU_AMX ? CPU_AVX512 : level > CPU_AVX2 ? CPU_AVX2 : level)
#else
#define NEEDED(level) level
#endif

/* Kernels of a level, or the end of the test where the machine lacks it. */
static struct cpu_kernels kernels_of(enum cpu_level level)
{
    struct cpu_kernels k;

    if (!cpu_level_runs(NEEDED(level)))
        cr_skip_test("skipped: this CPU does not run the level '%s'", cpu_level_name(NEEDED(level)));
#if defined(EMULATED)
    cpu_kernels_get(NEEDED(level), &k);
    if (level == CPU_AVXVNNI)
        cpu_kernels_avxvnni(&k);
    if (level == CPU_AMX)
        cpu_kernels_amx(&k);
#else
    cpu_kernels_get(level, &k);
#endif
    cr_assert_eq(k.level, level);
    return k;
}

/* Column counts in units of a format's block: one, odd, even, long. For plain floats: around multiples of 16. */
#if defined(QUICK) /* on a machine that is emulated */
static const size_t block_counts[] = { 1, 7, 17 }, float_counts[] = { 1, 33, 4099 };
#else
static const size_t block_counts[] = { 1, 2, 3, 7, 8, 17, 64, 131 };
static const size_t float_counts[] = { 1, 7, 15, 16, 17, 33, 256, 4099 };
#endif
enum { N_COUNTS = sizeof(block_counts) / sizeof(*block_counts) };

static size_t columns(enum quant_type type, size_t i)
{
    size_t len = quant_info(type)->block_len;

    return len == 1 ? float_counts[i] : len * block_counts[i];
}

/* Rows of weights and prepared activations of one shape. */
struct fixture {
    enum quant_type type;
    enum act_flavour flavour;
    size_t n, row_bytes, n_rows, n_acts;
    void *weights, *tile; /* behind the weights lies nothing that may be read */
    float *x[MAX_ACTS];
    void *acts[MAX_ACTS];
};

static void fixture_init_small(struct fixture *f, const struct cpu_kernels *k, enum quant_type type, size_t n,
                               size_t n_rows, size_t n_acts)
{
    struct random r = { n + type };
    void *weights = random_weights(&r, type, n * n_rows);

    *f = (struct fixture){ .type = type, .flavour = act_flavour_of(type), .n = n, .n_rows = n_rows, .n_acts = n_acts };
    f->row_bytes = quant_row_bytes(type, n);
    f->weights = edge_copy(weights, n_rows * f->row_bytes);
    guard_free(weights);
    f->tile = guard_alloc(tile_bytes(f->flavour, n));
    for (size_t t = 0; t < n_acts; t++) {
        f->x[t] = guard_alloc(n * sizeof(float));
        random_floats(&r, f->x[t], n);
        f->acts[t] = guard_alloc(act_row_bytes(f->flavour, n));
        if (f->flavour == ACT_SMALL)
            k->act_small(f->x[t], n, 0, n, f->acts[t]);
        else if (f->flavour == ACT_SUPER)
            k->act_super(f->x[t], n, 0, f->acts[t]);
        else
            memcpy(f->acts[t], f->x[t], n * sizeof(float));
    }
}

static void fixture_init(struct fixture *f, const struct cpu_kernels *k, enum quant_type type, size_t n)
{
    fixture_init_small(f, k, type, n, MAX_ROWS, MAX_ACTS);
}

static void fixture_fini(struct fixture *f)
{
    edge_free(f->weights, f->n_rows * f->row_bytes);
    guard_free(f->tile);
    for (size_t t = 0; t < f->n_acts; t++) {
        guard_free(f->x[t]);
        guard_free(f->acts[t]);
    }
}

static void unpack(const struct cpu_kernels *k, const struct fixture *f, size_t row0, size_t n_rows)
{
    k->unpack[f->type](f->type, (const char *)f->weights + row0 * f->row_bytes, f->row_bytes, n_rows, f->n, f->tile);
}

static void dots(const struct cpu_kernels *k, const struct fixture *f, size_t n_rows, size_t n_acts, float *y)
{
    unpack(k, f, 0, n_rows);
    k->dots[f->type](f->tile, n_rows, f->n, (const void *const *)f->acts, n_acts, y, n_rows);
}

/* The kernel for many activations, where the level has one, over what the other has filled in: to the same bits. */
static void dots_many(const struct cpu_kernels *k, const struct fixture *f, size_t n_rows, const void *const *acts,
                      size_t n_acts, float *y)
{
    size_t bytes = act_row_bytes(f->flavour, f->n);
    struct ahead ahead = { (const char *)f->tile, (const char *)f->tile + bytes };
    char *rows;

    if (k->dots_many[f->type] == NULL)
        return;
    rows = guard_alloc(n_acts * bytes);
    for (size_t t = 0; t < n_acts; t++)
        memcpy(rows + t * bytes, acts[t], bytes);
    memset(y, 0xff, n_rows * n_acts * sizeof(*y));
    k->dots_many[f->type](f->tile, n_rows, f->n, rows, bytes, n_acts, y, n_rows, &ahead);
    guard_free(rows);
}

/* The C level's products of the first rows and acts: [act][row]. */
static void reference(const struct fixture *f, size_t n_rows, size_t n_acts, float *y)
{
    struct cpu_kernels c;

    cpu_kernels_get(CPU_C, &c);
    for (size_t r = 0; r < n_rows; r++) {
        unpack(&c, f, r, 1);
        c.dots[f->type](f->tile, 1, f->n, (const void *const *)f->acts, n_acts, y + r, n_rows);
    }
}

/* A tile of n_rows times n_acts: the same bits as in the table of all, and nothing written beside them. */
static void check_tile(const struct cpu_kernels *k, const struct fixture *f, size_t n_rows, size_t n_acts,
                       const float *all)
{
    float *want = guard_alloc(n_rows * n_acts * sizeof(float)), *got = guard_alloc(n_rows * n_acts * sizeof(float));

    for (size_t t = 0; t < n_acts; t++)
        memcpy(want + t * n_rows, all + t * DOTS_ROWS, n_rows * sizeof(float));
    dots(k, f, n_rows, n_acts, got);
    same_floats(got, want, n_rows * n_acts, quant_info(f->type)->name);
    dots_many(k, f, n_rows, (const void *const *)f->acts, n_acts, got);
    same_floats(got, want, n_rows * n_acts, quant_info(f->type)->name);
    guard_free(want);
    guard_free(got);
}

/* A row of 4,099 blocks. */
static void check_long(const struct cpu_kernels *k, enum quant_type type)
{
    struct fixture f;
    float want, got;

    fixture_init_small(&f, k, type, 4099 * (size_t)quant_info(type)->block_len, 1, 1);
    reference(&f, 1, 1, &want);
    dots(k, &f, 1, 1, &got);
    same_floats(&got, &want, 1, quant_info(type)->name);
    dots_many(k, &f, 1, (const void *const *)f.acts, 1, &got);
    same_floats(&got, &want, 1, quant_info(type)->name);
    if (k->rows[type] != NULL) {
        k->rows[type](f.weights, f.row_bytes, 1, f.n, f.acts[0], &got);
        same_floats(&got, &want, 1, quant_info(type)->name);
    }
    fixture_fini(&f);
}

/* More activations than kernels take together: strewn, or in rows side by side with nothing behind them. */
static void check_many(const struct cpu_kernels *k, const struct fixture *f, size_t n_acts, bool strewn,
                       const float *all)
{
    size_t bytes = act_row_bytes(f->flavour, f->n);
    char *rows = guard_alloc(n_acts * bytes);
    float *want = guard_alloc(DOTS_ROWS * n_acts * sizeof(float)),
          *got = guard_alloc(DOTS_ROWS * n_acts * sizeof(float));
    const void *acts[MANY_ACTS];

    for (size_t t = 0; t < n_acts; t++) {
        acts[t] = strewn ? f->acts[t % MAX_ACTS] : memcpy(rows + t * bytes, f->acts[t % MAX_ACTS], bytes);
        memcpy(want + t * DOTS_ROWS, all + t % MAX_ACTS * DOTS_ROWS, DOTS_ROWS * sizeof(float));
    }
    unpack(k, f, 0, DOTS_ROWS);
    k->dots[f->type](f->tile, DOTS_ROWS, f->n, acts, n_acts, got, DOTS_ROWS);
    same_floats(got, want, DOTS_ROWS * n_acts, quant_info(f->type)->name);
    dots_many(k, f, DOTS_ROWS, acts, n_acts, got);
    same_floats(got, want, DOTS_ROWS * n_acts, quant_info(f->type)->name);
    guard_free(rows);
    guard_free(want);
    guard_free(got);
}

static void check_dots(enum cpu_level level, enum quant_type type)
{
    static const size_t rows[] = { 1, 2, 3, 4, 5, 15, 16 },
                        acts[] = { 1, 2, 3, 4, 5, 7, 8, 11, 12, 13, 25, 28, MAX_ACTS },
                        many[] = { 5, 16, 17, 33, 47, 64, 65, MANY_ACTS };
    struct cpu_kernels k = kernels_of(level);

    for (size_t i = 0; i < N_COUNTS; i++) {
        struct fixture f;
        float *all = guard_alloc(DOTS_ROWS * MAX_ACTS * sizeof(float));

        fixture_init(&f, &k, type, columns(type, i));
        reference(&f, DOTS_ROWS, MAX_ACTS, all);
        for (size_t a = 0; a < sizeof(acts) / sizeof(*acts); a++)
            check_tile(&k, &f, rows[a % 7], acts[a], all);
        for (size_t r = 0; r < sizeof(rows) / sizeof(*rows); r++)
            check_tile(&k, &f, rows[r], 6, all);
        check_tile(&k, &f, DOTS_ROWS, MAX_ACTS, all);
        for (size_t m = 0; m < 2 * sizeof(many) / sizeof(*many); m++)
            check_many(&k, &f, many[m / 2], m % 2 == 0, all);
        guard_free(all);
        fixture_fini(&f);
    }
    check_long(&k, type);
}

/* The first n0 rows and the n1 behind them as two runs, times n_acts. */
static void check_runs(const struct cpu_kernels *k, const struct fixture *f, size_t n0, size_t n1, size_t n_acts)
{
    size_t n = n0 + n1;
    float *want = guard_alloc(n * n_acts * sizeof(float)), *got = guard_alloc(n * n_acts * sizeof(float));
    const char *second = (const char *)f->weights + n0 * f->row_bytes;
    struct row_runs runs = {
        .run = { { f->weights, n0, second, got }, { second, n1, NULL, got + n0 } },
        .row_bytes = f->row_bytes,
        .n = f->n,
        .n_acts = n_acts,
    };

    for (size_t t = 0; t < n_acts; t++) {
        runs.acts[t] = f->acts[t];
        runs.y_at[t] = t * n;
    }
    reference(f, n, n_acts, want);
    k->runs[f->type](&runs);
    same_floats(got, want, n * n_acts, quant_info(f->type)->name);
    guard_free(want);
    guard_free(got);
}

static void check_rows(enum cpu_level level, enum quant_type type)
{
    struct cpu_kernels k = kernels_of(level);

    cr_assert_not_null(k.rows[type], "'%s' has no kernel for packed %s", cpu_level_name(level), quant_info(type)->name);
    for (size_t i = 0; i < N_COUNTS; i++) {
        struct fixture f;

        fixture_init(&f, &k, type, columns(type, i));
        for (size_t n_rows = 1; n_rows <= MAX_ROWS; n_rows++) {
            float *want = guard_alloc(n_rows * sizeof(float)), *got = guard_alloc(n_rows * sizeof(float));

            reference(&f, n_rows, 1, want);
            k.rows[type](f.weights, f.row_bytes, n_rows, f.n, f.acts[0], got);
            same_floats(got, want, n_rows, quant_info(type)->name);
            guard_free(want);
            guard_free(got);
        }
        for (size_t n0 = 0; k.runs[type] != NULL && n0 < MAX_ROWS; n0 += 3)
            check_runs(&k, &f, n0, MAX_ROWS - 1 - n0, 1 + n0 / 3 % FEW_ACTS);
        fixture_fini(&f);
    }
}

/* What an activation has become: the number that the product stands for. */
static double prepared(const struct fixture *f, const void *act, size_t i)
{
    const struct act_super *blocks = act;
    const float *d = (const float *)((const char *)act + small_d_offset(f->n));

    if (f->flavour == ACT_F32)
        return (double)((const float *)act)[i];
    if (f->flavour == ACT_SMALL)
        return (double)d[i / QUANT_SMALL] * ((const int8_t *)act)[i];
    return (double)blocks[i / QUANT_SUPER].d * blocks[i / QUANT_SUPER].q[i % QUANT_SUPER];
}

#define KNOWN_BITS 0xe65deb901b84d715

/* FNV-1a */
static uint64_t hash_of(uint64_t hash, const void *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ ((const unsigned char *)data)[i]) * 1099511628211u;
    return hash;
}

/* The reference itself, within 16 roundings of the sum of magnitudes. Where weights are an offset less than what is
 * multiplied, magnitudes are those of the parts. */
static void check_exact(enum quant_type type)
{
    struct cpu_kernels k = kernels_of(CPU_C);

    for (size_t i = 0; i < N_COUNTS; i++) {
        struct fixture f;
        float *w = guard_alloc(columns(type, i) * sizeof(float)), got;

        fixture_init(&f, &k, type, columns(type, i));
        reference(&f, 1, 1, &got);
        quant_decode(type, f.weights, w, f.n);
        double sum = 0, magnitude = 0, most = 0;

        for (size_t j = 0; j < f.n; j++) {
            double x = prepared(&f, f.acts[0], j);

            most = fabs((double)w[j]) > most ? fabs((double)w[j]) : most;
            sum += (double)w[j] * x;
            magnitude +=
                (type == QUANT_F32 || type == QUANT_F16 || type == QUANT_BF16 ? fabs((double)w[j]) : most) * fabs(x);
        }
        cr_assert(fabs((double)got - sum) <= 16 * (double)FLT_EPSILON * magnitude, "%s, %zu columns: %.9g for %.9g",
                  quant_info(type)->name, f.n, (double)got, sum);
        guard_free(w);
        fixture_fini(&f);
    }
}

/* Every format that has blocks, and those that have none. */
#define BLOCK_FORMATS(X, suite, level)                                                                            \
    X(suite, level, Q4_0)                                                                                         \
    X(suite, level, Q4_1)                                                                                         \
    X(suite, level, Q5_0)                                                                                         \
    X(suite, level, Q5_1)                                                                                         \
    X(suite, level, Q8_0) X(suite, level, Q2_K) X(suite, level, Q3_K) X(suite, level, Q4_K) X(suite, level, Q5_K) \
        X(suite, level, Q6_K) X(suite, level, IQ4_NL) X(suite, level, IQ4_XS) X(suite, level, MXFP4)              \
            X(suite, level, IQ2_XXS) X(suite, level, IQ2_XS) X(suite, level, IQ2_S) X(suite, level, IQ3_XXS)      \
                X(suite, level, IQ3_S) X(suite, level, IQ1_S) X(suite, level, IQ1_M)
#define FLOAT_FORMATS(X, suite, level) X(suite, level, F32) X(suite, level, F16) X(suite, level, BF16)

#define EXACT_TEST(suite, level, type) \
    Test(suite, exact_##type)          \
    {                                  \
        check_exact(QUANT_##type);     \
    }
#define DOTS_TEST(suite, level, type)    \
    Test(suite, dots_##type)             \
    {                                    \
        check_dots(level, QUANT_##type); \
    }
/* Formats that are multiplied without being unpacked first. */
#define ROWS_TEST(suite, level, type)    \
    Test(suite, rows_##type)             \
    {                                    \
        check_rows(level, QUANT_##type); \
    }

/* Activations: the reference rounds to the nearest of 255 steps; levels agree in every byte. */
static void check_acts(enum cpu_level level)
{
    struct cpu_kernels k = kernels_of(level), c;
    struct random r = { 7 };
    enum { N = 1024 };
    float *x = guard_alloc(N * sizeof(float));

    cpu_kernels_get(CPU_C, &c);
    for (int scale = -30; scale <= 30; scale += 5) {
        for (enum act_flavour flavour = ACT_SMALL; flavour <= ACT_SUPER; flavour++) {
            struct fixture f = { .flavour = flavour, .n = N };
            size_t bytes = act_row_bytes(flavour, N), block = flavour == ACT_SMALL ? QUANT_SMALL : QUANT_SUPER;
            char *want = guard_alloc(bytes), *got = guard_alloc(bytes);

            for (size_t i = 0; i < N; i++)
                x[i] = ldexpf(random_float(&r), scale) * (i / block % 3 == 2 ? 0 : 1);
            memset(want, 0, bytes);
            memset(got, 0, bytes);
            if (flavour == ACT_SMALL) {
                c.act_small(x, N, 0, N, want);
                for (size_t col = 0; col < N; col += 256)
                    k.act_small(x + col, 256, col, N, got);
            } else {
                c.act_super(x, N, 0, want);
                for (size_t col = 0; col < N; col += 512)
                    k.act_super(x + col, 512, col, got);
            }
            cr_assert_arr_eq(got, want, bytes, "level %s, flavour %d, scale %d", cpu_level_name(level), flavour, scale);
            for (size_t i = 0; i < N; i++)
                cr_assert(fabs(prepared(&f, got, i) - (double)x[i]) <= ldexp(0.501 / 127, scale));
            guard_free(want);
            guard_free(got);
        }
    }
    guard_free(x);
}

/* A NaN or infinity must not vanish in the rounding to eight bits. */
static void check_act_poison(enum cpu_level level)
{
    struct cpu_kernels k = kernels_of(level);
    const float poisons[] = { NAN, INFINITY, -INFINITY };

    for (size_t p = 0; p < 3; p++) {
        float x[QUANT_SUPER] = { [3] = 1, [200] = poisons[p] };
        struct act_super super;

        k.act_super(x, QUANT_SUPER, 0, &super);
        cr_assert(isnan(super.d));
    }
}

/* An error of the vector functions, in units of the last place of the true value. */
static double ulps(float got, double want)
{
    double unit = want == 0 ? (double)FLT_MIN * (double)FLT_EPSILON : ldexp(1, (int)fmax(ilogb(want), -126) - 23);

    return fabs((double)got - want) / unit;
}

static void check_silu(enum cpu_level level)
{
    struct cpu_kernels k = kernels_of(level), c;
    enum { N = 2003 };
    float *gate = guard_alloc(N * sizeof(float)), *up = guard_alloc(N * sizeof(float));
    float *got = guard_alloc(N * sizeof(float)), *want = guard_alloc(N * sizeof(float));
    struct random r = { 3 };

    cpu_kernels_get(CPU_C, &c);
    for (size_t i = 0; i < N; i++) {
        gate[i] = ((float)i - 1000) / 12;
        up[i] = random_float(&r);
    }
    for (size_t n = N; n > 0; n = n > 40 ? n / 2 : n - 1) {
        c.silu_mul(gate, up, n, want);
        k.silu_mul(gate, up, n, got);
        same_floats(got, want, n, "silu_mul");
    }
    c.silu_mul(gate, up, N, want);
    for (size_t i = 0; i < N; i++) {
        double x = (double)gate[i];

        if (x > -80) /* below, the result is subnormal or nearly */
            cr_assert_lt(ulps(want[i], x / (1 + exp(-x)) * (double)up[i]), 4, "silu of %g", x);
    }
    k.silu_mul(gate, up, N, gate); /* in place */
    same_floats(gate, want, N, "silu_mul in place");
    guard_free(gate);
    guard_free(up);
    guard_free(got);
    guard_free(want);
}

static void check_rms_norm(enum cpu_level level)
{
    struct cpu_kernels k = kernels_of(level), c;
    struct random r = { 5 };

    cpu_kernels_get(CPU_C, &c);
    for (size_t i = 0; i < N_COUNTS; i++) {
        size_t n = float_counts[i], bytes = n * sizeof(float);
        float *x = guard_alloc(bytes), *w = guard_alloc(bytes), *got = guard_alloc(bytes), *want = guard_alloc(bytes);
        double sum = 0;

        random_floats(&r, x, n);
        random_floats(&r, w, n);
        c.rms_norm(x, w, 1e-6f, n, want);
        k.rms_norm(x, w, 1e-6f, n, got);
        same_floats(got, want, n, "rms_norm");
        for (size_t j = 0; j < n; j++)
            sum += (double)x[j] * (double)x[j];
        for (size_t j = 0; j < n; j++)
            cr_assert_lt(ulps(want[j], (double)x[j] / sqrt(sum / (double)n + (double)1e-6f) * (double)w[j]), 3);
        k.rms_norm(x, w, 1e-6f, n, x);
        same_floats(x, want, n, "rms_norm in place");
        guard_free(x);
        guard_free(w);
        guard_free(got);
        guard_free(want);
    }
}

static void check_small_ones(enum cpu_level level)
{
    struct cpu_kernels k = kernels_of(level), c;
    struct random r = { 6 };

    cpu_kernels_get(CPU_C, &c);
    for (size_t i = 0; i < N_COUNTS; i++) {
        size_t n = float_counts[i], bytes = n * sizeof(float);
        float *x = guard_alloc(bytes), *got = guard_alloc(bytes), *want = guard_alloc(bytes);
        uint16_t *got_half = guard_alloc(n * 2), *want_half = guard_alloc(n * 2);

        for (size_t j = 0; j < n; j++)
            x[j] = ldexpf(random_float(&r), (int)(random_u32(&r) % 36) - 20);
        random_floats(&r, got, n);
        memcpy(want, got, bytes);
        k.add_scaled(x, 0.3f, n, got);
        for (size_t j = 0; j < n; j++)
            want[j] += x[j] * 0.3f;
        same_floats(got, want, n, "add_scaled");
        k.to_f16(x, n, got_half);
        c.to_f16(x, n, want_half);
        cr_assert_arr_eq(got_half, want_half, n * 2);
        guard_free(x);
        guard_free(got);
        guard_free(want);
        guard_free(got_half);
        guard_free(want_half);
    }
}

/* A row of Q8_0 is off by half of its block's scale at most, which is no greater than it must be; what cannot be kept
 * is NaN; behind the last number are zeros. */
static void check_q8_0_block(const float *x, size_t n, const uint8_t *block)
{
    double d = (double)half_to_float(half_load(block)), most = 0;

    for (size_t i = 0; i < n; i++)
        most = fabs((double)x[i]) > most || isnan(x[i]) ? fabs((double)x[i]) : most;
    if (!(most < 127 * 65520.0)) {
        for (size_t i = 0; i < 32; i++)
            cr_assert(isnan(d * (int8_t)block[2 + i]));
        return;
    }
    cr_assert_leq(d, most / 127 * (1 + 0x1p-11) + 0x1p-24);
    for (size_t i = 0; i < 32; i++) {
        int8_t q = (int8_t)block[2 + i];

        cr_assert_leq(fabs((i < n ? (double)x[i] : 0) - d * q), d / 2 * (1 + 0x1p-14));
        cr_assert(i < n || q == 0);
    }
}

static void check_to_q8_0(enum cpu_level level)
{
    static const float odd[] = { NAN, INFINITY, -INFINITY, 9e6f, -8.2e6f, 1e-3f, 7.5e-6f, 1e-9f, 1e-42f, -0.0f };
    struct cpu_kernels k = kernels_of(level), c;
    struct random r = { 7 };

    cpu_kernels_get(CPU_C, &c);
    for (size_t i = 0; i < N_COUNTS * sizeof(odd) / sizeof(*odd); i++) {
        size_t n = float_counts[i % N_COUNTS], bytes = kv_row_bytes(KV_Q8_0, (uint32_t)n);
        float *x = guard_alloc(n * sizeof(float)), special = odd[i / N_COUNTS];
        uint8_t *got = guard_alloc(bytes), *want = guard_alloc(bytes);

        for (size_t j = 0; j < n; j++) /* some blocks are of the odd number's size, some of any */
            x[j] = fabsf(special) < 1 && j / 32 % 2 == 0 ? random_float(&r) * special : random_float(&r) * 20;
        x[random_u32(&r) % n] = special;
        k.to_q8_0(x, n, got);
        c.to_q8_0(x, n, want);
        cr_assert_arr_eq(got, want, bytes);
        for (size_t j = 0; j < n; j += 32)
            check_q8_0_block(x + j, n - j < 32 ? n - j : 32, want + j / 32 * 34);
        guard_free(x);
        guard_free(got);
        guard_free(want);
    }
}

#define FLOAT_TESTS(suite, level)      \
    Test(suite, acts)                  \
    {                                  \
        check_acts(level);             \
    }                                  \
    Test(suite, acts_keep_poison)      \
    {                                  \
        check_act_poison(level);       \
    }                                  \
    Test(suite, silu_mul)              \
    {                                  \
        check_silu(level);             \
    }                                  \
    Test(suite, rms_norm)              \
    {                                  \
        check_rms_norm(level);         \
    }                                  \
    Test(suite, add_scaled_and_to_f16) \
    {                                  \
        check_small_ones(level);       \
    }                                  \
    Test(suite, to_q8_0)               \
    {                                  \
        check_to_q8_0(level);          \
    }

#define LEVEL_TESTS(suite, level)          \
    FLOAT_FORMATS(DOTS_TEST, suite, level) \
    FLOAT_FORMATS(ROWS_TEST, suite, level) \
    BLOCK_FORMATS(DOTS_TEST, suite, level) \
    BLOCK_FORMATS(ROWS_TEST, suite, level) \
    FLOAT_TESTS(suite, level)

/* What the C level gives is the same on every architecture and with every compiler. The number changes with the
 * definition in kernels.h only. */
Test(kernels_c, known_bits)
{
    const enum quant_type types[] = { QUANT_F16,  QUANT_Q4_0, QUANT_Q5_1,   QUANT_MXFP4, QUANT_Q3_K,
                                      QUANT_Q4_K, QUANT_Q6_K, QUANT_IQ4_XS, QUANT_IQ3_S, QUANT_IQ1_M };
    enum { ROWS = 3, ACTS = 2, N = 700 };
    struct cpu_kernels k = kernels_of(CPU_C);
    struct random r = { 11 };
    uint64_t hash = 14695981039346656037u;
    float x[N], y[N];

    for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
        struct fixture f;

        fixture_init_small(&f, &k, types[i], 17 * quant_info(types[i])->block_len, ROWS, ACTS);
        reference(&f, ROWS, ACTS, y);
        hash = hash_of(hash, y, ROWS * ACTS * sizeof(float));
        fixture_fini(&f);
    }
    random_floats(&r, x, N);
    k.silu_mul(x, x, N, y);
    hash = hash_of(hash, y, sizeof(y));
    k.rms_norm(x, x, 1e-6f, N, y);
    hash = hash_of(hash, y, sizeof(y));
    cr_assert_eq(hash, KNOWN_BITS, "they are %#llx now", (unsigned long long)hash);
}

FLOAT_FORMATS(EXACT_TEST, kernels_c, CPU_C)
BLOCK_FORMATS(EXACT_TEST, kernels_c, CPU_C)
#if defined(EMULATED)
LEVEL_TESTS(kernels_avxvnni, CPU_AVXVNNI)
BLOCK_FORMATS(DOTS_TEST, kernels_amx, CPU_AMX)
#else
FLOAT_FORMATS(DOTS_TEST, kernels_c, CPU_C)
BLOCK_FORMATS(DOTS_TEST, kernels_c, CPU_C)
FLOAT_FORMATS(ROWS_TEST, kernels_c, CPU_C)
FLOAT_TESTS(kernels_c, CPU_C)
#if defined(__x86_64__)
LEVEL_TESTS(kernels_avx2, CPU_AVX2)
LEVEL_TESTS(kernels_avxvnni, CPU_AVXVNNI)
LEVEL_TESTS(kernels_avx512, CPU_AVX512)
LEVEL_TESTS(kernels_amx, CPU_AMX)
#elif defined(__aarch64__)
LEVEL_TESTS(kernels_neon, CPU_NEON)
LEVEL_TESTS(kernels_dotprod, CPU_DOTPROD)
LEVEL_TESTS(kernels_i8mm, CPU_I8MM)
#endif
#endif
