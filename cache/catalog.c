/* SPDX-License-Identifier: MIT */
#include "cache/catalog.h"

#include "base/clock.h"
#include "base/mem.h"
#include "cache/catalog_seal.h"

#include <errno.h>
#include <lmdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Heat is halved when this many uses per expert have been counted, on average. */
#define HEAT_HALF_LIFE 64
#define MAP_BYTES_DEFAULT (64UL << 20)
#define LOCK_WAIT_MS 500
#define SUMS_DUE_NS 5000000000ULL
#define HEAT_DUE_NS 60000000000ULL

/* Raised when keys or values change their meaning; a file of another version is rebuilt. */
#define SCHEMA 2
static const char schema_key[] = "schema";

/* Keys: identity, kind, index big-endian (so that a model's records lie in order). */
enum { KIND_CURVE = 'c', KIND_EXPERT = 'e', KIND_HEAT = 'h' };
#define KEY_BYTES (16 + 1 + 4)

/* Value of KIND_EXPERT, index = key of the expert. The extents guard against a layout that is made otherwise one day.
 */
struct expert_record {
    struct catalog_sum sum;
    struct {
        uint64_t file, offset, bytes;
    } part[EXPERT_PARTS];
};

struct catalog {
    const struct expert_layout *layout;
    char *dir; /* NULL: memory only */
    size_t map_bytes;
    uint32_t n_keys, n_new;
    struct catalog_sum *sums; /* [n_keys] */
    uint8_t *known;           /* [n_keys] */
    uint8_t *is_new;          /* [n_keys] known, and not in the file */
    uint32_t *heat;           /* [n_keys]; in the file, one value of n_experts per layer */
    uint64_t heat_uses;       /* since the last halving */
    bool heat_is_new;
    struct drive_curve curve;
    bool curve_is_new;
    uint64_t flushed_ns;
    char note[600];
};

/* ---- in memory ---- */

bool catalog_sum(const struct catalog *catalog, uint32_t key, struct catalog_sum *ret_sum)
{
    if (!catalog->known[key])
        return false;
    *ret_sum = catalog->sums[key];
    return true;
}

static void mark_new(struct catalog *c, uint32_t key)
{
    c->n_new += !c->is_new[key];
    c->is_new[key] = true;
}

void catalog_put(struct catalog *catalog, uint32_t key, const struct catalog_sum *sum)
{
    catalog->sums[key] = *sum;
    catalog->known[key] = true;
    mark_new(catalog, key);
}

const uint32_t *catalog_heat(const struct catalog *catalog)
{
    return catalog->heat;
}

void catalog_heat_add(struct catalog *catalog, uint32_t key)
{
    catalog->heat[key]++;
    catalog->heat_is_new = true;
    if (++catalog->heat_uses < (uint64_t)catalog->n_keys * HEAT_HALF_LIFE)
        return;
    for (uint32_t i = 0; i < catalog->n_keys; i++)
        catalog->heat[i] /= 2;
    catalog->heat_uses = 0;
}

const struct drive_curve *catalog_curve(const struct catalog *catalog)
{
    return &catalog->curve;
}

void catalog_curve_put(struct catalog *catalog, const struct drive_curve *curve)
{
    catalog->curve = *curve;
    catalog->curve_is_new = true;
}

const char *catalog_note(const struct catalog *catalog)
{
    return catalog->note[0] != '\0' ? catalog->note : NULL;
}

static void note(struct catalog *c, const char *what, const struct err *why)
{
    snprintf(c->note, sizeof(c->note), "%s: %s", what, err_text(why));
}

/* ---- in the file ---- */

/* LMDB's own codes lie apart from errno's; they become one sentence. */
static int mdb_err(struct err *err, int rc, const char *what)
{
    if (rc > 0)
        return err_sys(err, rc, "catalog: %s", what);
    return err_set(err, rc == MDB_MAP_FULL ? ERR_BUDGET : ERR_FORMAT, "catalog: %s: %s", what, mdb_strerror(rc));
}

static void record_fill(const struct catalog *c, uint32_t key, struct expert_record *ret_record)
{
    uint32_t expert = key % c->layout->n_experts;

    ret_record->sum = c->sums[key];
    for (int p = 0; p < EXPERT_PARTS; p++) {
        const struct expert_part_layout *part = &c->layout->layers[key / c->layout->n_experts].part[p];
        struct expert_place place = expert_part_place(part, expert);

        ret_record->part[p].file = place.file;
        ret_record->part[p].offset = place.offset;
        ret_record->part[p].bytes = part->part_bytes;
    }
}

static MDB_val key_fill(const struct catalog *c, int kind, uint32_t index, uint8_t storage[KEY_BYTES])
{
    memcpy(storage, c->layout->identity, 16);
    storage[16] = (uint8_t)kind;
    for (int i = 0; i < 4; i++)
        storage[17 + i] = (uint8_t)(index >> (24 - 8 * i));
    return (MDB_val){ .mv_size = KEY_BYTES, .mv_data = storage };
}

static void record_load(struct catalog *c, int kind, uint32_t index, const MDB_val *value)
{
    struct expert_record stored, expected;

    if (kind == KIND_HEAT && index < c->layout->n_layers && value->mv_size == c->layout->n_experts * sizeof(*c->heat))
        memcpy(c->heat + (size_t)index * c->layout->n_experts, value->mv_data, value->mv_size);
    if (kind == KIND_CURVE && index == 0 && value->mv_size == sizeof(c->curve))
        memcpy(&c->curve, value->mv_data, sizeof(c->curve));
    if (kind != KIND_EXPERT || index >= c->n_keys || value->mv_size != sizeof(stored))
        return;
    memcpy(&stored, value->mv_data, sizeof(stored));
    record_fill(c, index, &expected);
    if (memcmp(stored.part, expected.part, sizeof(stored.part)) != 0)
        return;
    c->sums[index] = stored.sum;
    c->known[index] = true;
}

static int schema_check(MDB_txn *txn, MDB_dbi dbi, struct err *err)
{
    MDB_val key = { .mv_size = sizeof(schema_key), .mv_data = (void *)schema_key }, value;
    uint32_t version = 0;
    int rc = mdb_get(txn, dbi, &key, &value);

    if (rc != 0 && rc != MDB_NOTFOUND)
        return mdb_err(err, rc, "reading its version");
    if (rc == 0 && value.mv_size == sizeof(version))
        memcpy(&version, value.mv_data, sizeof(version));
    return version == SCHEMA ? 0 : err_set(err, ERR_FORMAT, "it is of version %u, not %u", version, SCHEMA);
}

static int records_load(struct catalog *c, MDB_txn *txn, MDB_dbi dbi, struct err *err)
{
    uint8_t storage[KEY_BYTES];
    MDB_val key = key_fill(c, 0, 0, storage), value;
    MDB_cursor *cursor;
    int rc = schema_check(txn, dbi, err);

    if (rc < 0)
        return rc;
    rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc != 0)
        return mdb_err(err, rc, "reading");
    for (rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE); rc == 0;
         rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        const uint8_t *k = key.mv_data;

        if (key.mv_size != KEY_BYTES || memcmp(k, c->layout->identity, 16) != 0)
            break;
        record_load(c, k[16], (uint32_t)k[17] << 24 | (uint32_t)k[18] << 16 | (uint32_t)k[19] << 8 | k[20], &value);
    }
    mdb_cursor_close(cursor);
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : mdb_err(err, rc, "reading");
}

static int value_put(MDB_txn *txn, MDB_dbi dbi, MDB_val key, const void *data, size_t bytes, struct err *err)
{
    MDB_val value = { .mv_size = bytes, .mv_data = (void *)data };
    int rc = mdb_put(txn, dbi, &key, &value, 0);

    return rc == 0 ? 0 : mdb_err(err, rc, "writing");
}

/* Everything that is new; `all`: everything, into an emptied file. */
static int records_save(const struct catalog *c, MDB_txn *txn, MDB_dbi dbi, bool all, struct err *err)
{
    MDB_val key = { .mv_size = sizeof(schema_key), .mv_data = (void *)schema_key };
    uint8_t storage[KEY_BYTES];
    uint32_t version = SCHEMA;
    int rc = all ? mdb_drop(txn, dbi, 0) : 0;

    if (rc != 0)
        return mdb_err(err, rc, "emptying");
    rc = value_put(txn, dbi, key, &version, sizeof(version), err);
    for (uint32_t i = 0; i < c->n_keys && rc == 0; i++) {
        struct expert_record record;

        if (!c->is_new[i] && !(all && c->known[i]))
            continue;
        record_fill(c, i, &record);
        rc = value_put(txn, dbi, key_fill(c, KIND_EXPERT, i, storage), &record, sizeof(record), err);
    }
    for (uint32_t i = 0; i < c->layout->n_layers && rc == 0; i++)
        rc = value_put(txn, dbi, key_fill(c, KIND_HEAT, i, storage), c->heat + (size_t)i * c->layout->n_experts,
                       c->layout->n_experts * sizeof(*c->heat), err);
    if (rc == 0 && c->curve.measured_s > 0)
        rc = value_put(txn, dbi, key_fill(c, KIND_CURVE, 0, storage), &c->curve, sizeof(c->curve), err);
    return rc;
}

/* Do one thing with the file open: load, save what is new, or save all. */
enum action { LOAD, SAVE_NEW, SAVE_ALL };

static int txn_run(struct catalog *c, MDB_env *env, enum action action, struct err *err)
{
    MDB_txn *txn;
    MDB_dbi dbi;
    int rc = mdb_txn_begin(env, NULL, action == LOAD ? MDB_RDONLY : 0, &txn);

    if (rc != 0)
        return mdb_err(err, rc, "beginning");
    rc = mdb_dbi_open(txn, NULL, 0, &dbi);
    if (rc != 0)
        rc = mdb_err(err, rc, "opening");
    else
        rc = action == LOAD ? records_load(c, txn, dbi, err) : records_save(c, txn, dbi, action == SAVE_ALL, err);
    if (rc < 0 || action == LOAD) {
        mdb_txn_abort(txn);
        return rc;
    }
    rc = mdb_txn_commit(txn);
    return rc == 0 ? 0 : mdb_err(err, rc, "committing");
}

static int file_run(struct catalog *c, const struct seal *seal, enum action action, struct err *err)
{
    unsigned flags = MDB_NOSUBDIR | MDB_NOLOCK | (action == LOAD ? MDB_RDONLY : 0);
    MDB_env *env;
    int rc = mdb_env_create(&env);

    if (rc != 0)
        return mdb_err(err, rc, "opening");
    rc = mdb_env_set_mapsize(env, c->map_bytes);
    if (rc == 0)
        rc = mdb_env_open(env, seal->path, flags, 0600);
    rc = rc == 0 ? txn_run(c, env, action, err) : mdb_err(err, rc, "opening");
    mdb_env_close(env);
    return rc;
}

/* ---- open, flush, close ---- */

static void memory_only(struct catalog *c, const struct err *why)
{
    note(c, "checksums and heat are kept in memory only", why);
    mem_free(c->dir);
    c->dir = NULL;
}

static void load(struct catalog *c)
{
    struct err err = { 0 };
    struct seal seal;
    int rc = seal_lock(&seal, c->dir, LOCK_WAIT_MS, &err);

    if (rc == -EAGAIN) {
        note(c, "checksums and heat of earlier runs are not used", &err);
        return;
    }
    if (rc < 0) {
        memory_only(c, &err);
        return;
    }
    rc = seal_check(&seal, &err);
    if (rc == 0)
        rc = file_run(c, &seal, LOAD, &err);
    if (rc < 0 && rc != -ENOENT)
        note(c, "the catalog is made anew", &err);
    if (seal.read_only) {
        err_set(&err, -EROFS, "'%s' cannot be written", seal.path);
        memory_only(c, &err);
    } else if (rc < 0 && unlink(seal.path) != 0 && errno != ENOENT) {
        err_sys(&err, errno, "'%s' cannot be replaced", seal.path);
        memory_only(c, &err);
    }
    seal_unlock(&seal);
}

static void saved(struct catalog *c)
{
    memset(c->is_new, 0, c->n_keys * sizeof(*c->is_new));
    c->n_new = 0;
    c->heat_is_new = c->curve_is_new = false;
}

/* A file that is gone, damaged or has grown to its limit is replaced by what this model knows. A full disk leaves it.
 */
static int save(struct catalog *c, const struct seal *seal, struct err *err)
{
    int rc = seal_check(seal, err), sealed;
    bool sound = rc == 0;

    if (!sound && unlink(seal->path) != 0 && errno != ENOENT)
        return err_sys(err, errno, "'%s' cannot be replaced", seal->path);
    rc = file_run(c, seal, sound ? SAVE_NEW : SAVE_ALL, err);
    if (rc == ERR_BUDGET || rc == ERR_FORMAT)
        rc = unlink(seal->path) == 0 ? file_run(c, seal, SAVE_ALL, err) : rc;
    sealed = seal_write(seal, rc == 0 ? err : NULL);
    return rc < 0 ? rc : sealed;
}

static int flush(struct catalog *c, int wait_ms, struct err *err)
{
    struct seal seal;
    int rc;

    if (c->dir == NULL || (c->n_new == 0 && !c->heat_is_new && !c->curve_is_new))
        return 0;
    rc = seal_lock(&seal, c->dir, wait_ms, err);
    if (rc < 0)
        return rc;
    c->flushed_ns = clock_ns();
    rc = seal.read_only ? err_sys(err, EROFS, "'%s'", seal.path) : save(c, &seal, err);
    seal_unlock(&seal);
    if (rc == 0)
        saved(c);
    return rc;
}

int catalog_flush(struct catalog *catalog, struct err *err)
{
    struct err why = { 0 };
    int rc = flush(catalog, 0, &why);

    if (rc < 0 && rc != -EAGAIN)
        note(catalog, "checksums and heat could not be kept", &why);
    if (rc < 0 && err != NULL)
        *err = why;
    return rc;
}

bool catalog_flush_due(const struct catalog *catalog, uint64_t now_ns)
{
    uint64_t since_ns = now_ns - catalog->flushed_ns;

    return catalog->dir != NULL && (((catalog->n_new > 0 || catalog->curve_is_new) && since_ns > SUMS_DUE_NS) ||
                                    (catalog->heat_is_new && since_ns > HEAT_DUE_NS));
}

int catalog_open(const struct expert_layout *layout, const struct catalog_options *options,
                 struct catalog **ret_catalog, struct err *err)
{
    struct catalog *c = mem_zalloc(sizeof(*c));

    if (c == NULL)
        return err_sys(err, ENOMEM, "catalog");
    c->layout = layout;
    c->map_bytes = options->map_bytes > 0 ? options->map_bytes : MAP_BYTES_DEFAULT;
    c->n_keys = layout->n_layers * layout->n_experts;
    c->sums = mem_calloc(c->n_keys, sizeof(*c->sums));
    c->known = mem_calloc(c->n_keys, sizeof(*c->known));
    c->is_new = mem_calloc(c->n_keys, sizeof(*c->is_new));
    c->heat = mem_calloc(c->n_keys, sizeof(*c->heat));
    c->dir = options->dir != NULL ? mem_strdup(options->dir) : NULL;
    if (c->sums == NULL || c->known == NULL || c->is_new == NULL || c->heat == NULL ||
        (options->dir != NULL && c->dir == NULL)) {
        catalog_close(c);
        return err_sys(err, ENOMEM, "catalog");
    }
    if (c->dir != NULL)
        load(c);
    c->flushed_ns = clock_ns();
    *ret_catalog = c;
    return 0;
}

void catalog_close(struct catalog *catalog)
{
    if (catalog == NULL)
        return;
    flush(catalog, LOCK_WAIT_MS, NULL);
    mem_free(catalog->dir);
    mem_free(catalog->heat);
    mem_free(catalog->is_new);
    mem_free(catalog->known);
    mem_free(catalog->sums);
    mem_free(catalog);
}
