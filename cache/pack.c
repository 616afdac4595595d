/* SPDX-License-Identifier: MIT */
#include "cache/pack.h"

#include "base/arith.h"
#include "base/mem.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define VERSION 2
#define BLOCK EXTENT_MAX_BLOCK
#define PART_ALIGN EXTENT_BUFFERED_BLOCK
#define FIXED_BYTES 64
#define LAYER_BYTES 64
#define SUM_BYTES sizeof(struct catalog_sum)

static const char magic[8] = "expertpk";

enum { AT_VERSION = 8, AT_WHOLE = 12, AT_IDENTITY = 16, AT_LAYERS = 32, AT_EXPERTS = 36, AT_HEADER = 40, AT_FILE = 48 };

static void put32(uint8_t *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof(v));
}

static void put64(uint8_t *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof(v));
}

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return le32toh(v);
}

/* ---- what follows from the layout ---- */

static uint32_t n_keys(const struct pack *pack)
{
    return pack->layout->n_layers * pack->layout->n_experts;
}

/* One layer behind `end`, which moves on. False on overflow. */
static bool layer_place(const struct expert_layout *layout, uint32_t i, struct pack_layer *layer, uint64_t *end)
{
    uint64_t at = 0, bytes;

    layer->at = *end;
    for (int p = 0; p < EXPERT_PARTS; p++) {
        layer->part_at[p] = at;
        if (!u64_add(at, layout->layers[i].part[p].part_bytes, &at) || !u64_align_up(at, PART_ALIGN, &at))
            return false;
    }
    if (!u64_align_up(at, BLOCK, &at))
        return false;
    layer->record_bytes = at;
    return u64_mul(at, layout->n_experts, &bytes) && u64_add(*end, bytes, end) && *end <= INT64_MAX;
}

static bool places_find(struct pack *pack)
{
    const struct expert_layout *layout = pack->layout;

    pack->sums_at = FIXED_BYTES + (uint64_t)layout->n_layers * LAYER_BYTES;
    if (!u64_align_up(pack->sums_at + n_keys(pack) * SUM_BYTES + SUM_BYTES, BLOCK, &pack->header_bytes))
        return false;
    pack->file_bytes = pack->header_bytes;
    for (uint32_t i = 0; i < layout->n_layers; i++)
        if (!layer_place(layout, i, &pack->layers[i], &pack->file_bytes))
            return false;
    return true;
}

int pack_plan(const char *path, const struct expert_layout *layout, struct pack **ret_pack, struct err *err)
{
    struct pack *pack = mem_zalloc(sizeof(*pack));

    if (pack == NULL)
        return err_sys(err, ENOMEM, "pack '%.250s'", path);
    pack->layout = layout;
    pack->fd = -1;
    pack->path = mem_strdup(path);
    pack->layers = mem_calloc(layout->n_layers, sizeof(*pack->layers));
    pack->sums = mem_calloc(n_keys(pack), sizeof(*pack->sums));
    if (pack->path == NULL || pack->layers == NULL || pack->sums == NULL) {
        pack_close(pack);
        return err_sys(err, ENOMEM, "pack '%.250s'", path);
    }
    if (!places_find(pack)) {
        pack_close(pack);
        return err_set(err, ERR_UNSUPPORTED, "pack '%.250s': it would be larger than a file can be", path);
    }
    *ret_pack = pack;
    return 0;
}

void pack_close(struct pack *pack)
{
    if (pack == NULL)
        return;
    if (pack->fd >= 0)
        close(pack->fd);
    mem_free(pack->sums);
    mem_free(pack->layers);
    mem_free(pack->path);
    mem_free(pack);
}

void pack_extent(const struct pack *pack, uint32_t key, uint32_t file, struct extent *ret_extent)
{
    const struct pack_layer *layer = &pack->layers[key / pack->layout->n_experts];

    ret_extent->n_ranges = 1;
    ret_extent->range[0] =
        (struct extent_range){ .file = file,
                               .offset = layer->at + key % pack->layout->n_experts * layer->record_bytes,
                               .bytes = layer->record_bytes,
                               .wanted = layer->record_bytes };
    for (int p = 0; p < EXPERT_PARTS; p++)
        ret_extent->part_at[p] = layer->part_at[p];
}

/* ---- the header ---- */

static void layer_put(const struct pack *pack, uint32_t i, uint8_t *p)
{
    const struct expert_layer_layout *layer = &pack->layout->layers[i];

    put32(p, layer->layer);
    put64(p + 16, pack->layers[i].at);
    put64(p + 24, pack->layers[i].record_bytes);
    for (int part = 0; part < EXPERT_PARTS; part++) {
        put32(p + 4 + 4 * part, (uint32_t)layer->part[part].type);
        put64(p + 32 + 8 * part, layer->part[part].part_bytes);
    }
}

/* Everything before the checksums: [sums_at], zeroed. */
static void front_put(const struct pack *pack, bool whole, uint8_t *p)
{
    memcpy(p, magic, sizeof(magic));
    put32(p + AT_VERSION, VERSION);
    put32(p + AT_WHOLE, whole);
    memcpy(p + AT_IDENTITY, pack->layout->identity, sizeof(pack->layout->identity));
    put32(p + AT_LAYERS, pack->layout->n_layers);
    put32(p + AT_EXPERTS, pack->layout->n_experts);
    put64(p + AT_HEADER, pack->header_bytes);
    put64(p + AT_FILE, pack->file_bytes);
    for (uint32_t i = 0; i < pack->layout->n_layers; i++)
        layer_put(pack, i, p + FIXED_BYTES + i * LAYER_BYTES);
}

static void header_sum(const struct pack *pack, const uint8_t *header, uint8_t ret_sum[SUM_BYTES])
{
    XXH128_canonical_t canonical;

    XXH128_canonicalFromHash(&canonical, XXH3_128bits(header, pack->header_bytes - SUM_BYTES));
    memcpy(ret_sum, canonical.digest, SUM_BYTES);
}

void pack_header(const struct pack *pack, bool whole, uint8_t *ret_header)
{
    memset(ret_header, 0, pack->header_bytes);
    front_put(pack, whole, ret_header);
    memcpy(ret_header + pack->sums_at, pack->sums, n_keys(pack) * SUM_BYTES);
    header_sum(pack, ret_header, ret_header + pack->header_bytes - SUM_BYTES);
}

static void sums_take(struct pack *pack, const uint8_t *header)
{
    memcpy(pack->sums, header + pack->sums_at, n_keys(pack) * SUM_BYTES);
}

bool pack_resume(struct pack *pack, const uint8_t *header)
{
    uint8_t *front = mem_zalloc(pack->sums_at);
    bool same;

    if (front == NULL)
        return false;
    front_put(pack, get32(header + AT_WHOLE) == 1, front);
    same = memcmp(front, header, pack->sums_at) == 0;
    mem_free(front);
    if (same)
        sums_take(pack, header);
    return same;
}

/* ---- opening ---- */

#define REMEDY "make it anew with 'expert pack --force', or delete it"

static int damaged(const struct pack *pack, const char *what, struct err *err)
{
    return err_set(err, ERR_FORMAT, "pack '%.250s': %s; " REMEDY, pack->path, what);
}

/* What can be said from the first bytes: is it a pack, of a version known here, finished, of this model? */
static int fixed_check(const struct pack *pack, const uint8_t *p, struct err *err)
{
    if (memcmp(p, magic, sizeof(magic)) != 0)
        return damaged(pack, "this is no pack of expertd", err);
    if (get32(p + AT_VERSION) != VERSION)
        return err_set(err, ERR_UNSUPPORTED, "pack '%.250s': of version %u, and this expertd knows version %u; " REMEDY,
                       pack->path, get32(p + AT_VERSION), VERSION);
    if (get32(p + AT_WHOLE) != 1)
        return damaged(pack, "its writing was not finished", err);
    if (memcmp(p + AT_IDENTITY, pack->layout->identity, sizeof(pack->layout->identity)) != 0)
        return err_set(
            err, ERR_CHANGED,
            "pack '%.250s': it belongs to another model, or to this one before its file was changed; " REMEDY,
            pack->path);
    return 0;
}

/* The whole header, once: what is checked is what is used. */
static int header_check(struct pack *pack, uint64_t file_bytes, uint8_t *header, struct err *err)
{
    uint8_t sum[SUM_BYTES];
    ssize_t n = pread(pack->fd, header, pack->header_bytes, 0);
    int rc;

    if (n < 0)
        return err_sys(err, errno, "pack '%.250s'", pack->path);
    if (n < FIXED_BYTES)
        return damaged(pack, "this is no pack of expertd, or it is cut short", err);
    rc = fixed_check(pack, header, err);
    if (rc < 0)
        return rc;
    if ((uint64_t)n < pack->header_bytes || file_bytes != pack->file_bytes)
        return err_set(err, ERR_FORMAT, "pack '%.250s': it has %" PRIu64 " bytes and should have %" PRIu64 "; " REMEDY,
                       pack->path, file_bytes, pack->file_bytes);
    header_sum(pack, header, sum);
    if (memcmp(sum, header + pack->header_bytes - SUM_BYTES, SUM_BYTES) != 0 || !pack_resume(pack, header))
        return damaged(pack, "its header is damaged", err);
    return 0;
}

static int file_check(struct pack *pack, struct err *err)
{
    struct stat st;
    uint8_t *header;
    int rc;

    pack->fd = open(pack->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (pack->fd < 0 || fstat(pack->fd, &st) != 0)
        return err_sys(err, errno, "pack '%.250s'", pack->path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_FORMAT, "pack '%.250s': not a regular file", pack->path);
    header = mem_alloc(pack->header_bytes);
    if (header == NULL)
        return err_sys(err, ENOMEM, "pack '%.250s'", pack->path);
    rc = header_check(pack, (uint64_t)st.st_size, header, err);
    mem_free(header);
    return rc;
}

int pack_open(const char *path, const struct expert_layout *layout, struct pack **ret_pack, struct err *err)
{
    struct pack *pack;
    int rc = pack_plan(path, layout, &pack, err);

    if (rc < 0)
        return rc;
    rc = file_check(pack, err);
    if (rc < 0) {
        pack_close(pack);
        return rc;
    }
    *ret_pack = pack;
    return 0;
}
