/* SPDX-License-Identifier: MIT */
#include "tests/support/pack_check.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *pack_check_path(const struct expert_file *file)
{
    static char path[600];

    snprintf(path, sizeof(path), "%s" PACK_SUFFIX, file->files[0].path);
    return path;
}

void pack_check_write(const struct expert_file *file)
{
    struct pack_write_options options = { .path = pack_check_path(file) };
    struct pack_written written;
    struct err err = { 0 };

    cr_assert_eq(pack_write(&file->layout, &options, &written, &err), 0, "%s", err_text(&err));
}

struct pack *pack_check_make(const struct expert_file *file)
{
    struct pack *pack;
    struct err err = { 0 };

    pack_check_write(file);
    cr_assert_eq(pack_open(pack_check_path(file), &file->layout, &pack, &err), 0, "%s", err_text(&err));
    return pack;
}

static bool is_zero(const char *p, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (p[i] != 0)
            return false;
    return true;
}

/* Gate, up and down where they belong, zeros between and behind. */
static void record_check(const struct expert_file *file, const struct pack *pack, uint32_t layer, uint32_t expert)
{
    uint64_t bytes = pack->layers[layer].record_bytes, end = 0;
    char *record = malloc(bytes);
    struct extent extent;

    pack_extent(pack, layer * file->layout.n_experts + expert, 3, &extent);
    cr_assert(extent.n_ranges == 1 && extent.range[0].file == 3 && extent.range[0].at == 0);
    cr_assert(extent.range[0].bytes == bytes && extent.range[0].wanted == bytes && extent.range[0].offset % 4096 == 0);
    cr_assert_eq(pread(pack->fd, record, bytes, (off_t)extent.range[0].offset), (ssize_t)bytes);
    for (int p = 0; p < EXPERT_PARTS; p++) {
        uint64_t at = extent.part_at[p], part_bytes = file->layers[layer].part[p].part_bytes;

        cr_assert(at % 64 == 0 && at >= end && at < end + 64 && at + part_bytes <= bytes);
        cr_assert(is_zero(record + end, at - end));
        cr_assert_eq(memcmp(record + at, expert_file_part(file, layer, expert, p), part_bytes), 0,
                     "expert %u of layer %u, part %d", expert, layer, p);
        end = at + part_bytes;
    }
    cr_assert(is_zero(record + end, bytes - end));
    free(record);
}

void pack_check_whole(const struct expert_file *file)
{
    struct pack *pack;
    struct err err = { 0 };

    cr_assert_eq(pack_open(pack_check_path(file), &file->layout, &pack, &err), 0, "%s", err_text(&err));
    for (uint32_t layer = 0; layer < file->layout.n_layers; layer++)
        for (uint32_t expert = 0; expert < file->layout.n_experts; expert++)
            record_check(file, pack, layer, expert);
    pack_close(pack);
}

bool pack_check_exists(const struct expert_file *file, const char *suffix)
{
    char path[620];

    snprintf(path, sizeof(path), "%s%s", pack_check_path(file), suffix);
    return access(path, F_OK) == 0;
}

void pack_check_remove(const struct expert_file *file)
{
    char part[620];

    snprintf(part, sizeof(part), "%s" PACK_PART_SUFFIX, pack_check_path(file));
    unlink(part);
    unlink(pack_check_path(file));
}
