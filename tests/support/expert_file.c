/* SPDX-License-Identifier: MIT */
#include "tests/support/expert_file.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Q8_0 rows of 256 weights: 272 bytes, a multiple of no block size. */
static void part_shape(struct expert_part_layout *part, uint32_t rows)
{
    part->type = QUANT_Q8_0;
    part->rows = rows;
    part->cols = 256;
    part->part_bytes = (uint64_t)rows * 272;
}

/* Up has no room of its own then: it lies within the gates'. */
static void up_fuse(struct expert_part_layout *up, struct expert_part_layout *gate)
{
    gate->stride = up->stride = gate->part_bytes + up->part_bytes;
    up->first = gate->first;
    up->first.offset += gate->part_bytes;
}

static uint64_t gap_behind(uint64_t end, uint64_t *seed)
{
    return ((end + 31) & ~31ULL) + 32 * (random_next(seed) % 100);
}

/* A layer's parts of all experts in an order by chance. */
static void layer_strew(struct expert_file *f, struct expert_layer_layout *layer, uint64_t *ends, uint64_t *seed)
{
    uint32_t n_experts = f->layout.n_experts, n = EXPERT_PARTS * n_experts, *order = malloc(n * sizeof(*order));
    struct expert_place *places = f->places + (layer - f->layers) * (ptrdiff_t)n;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t j = (uint32_t)(random_next(seed) % (i + 1));

        order[i] = order[j];
        order[j] = i;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t file = i % f->layout.n_files;

        ends[file] = gap_behind(ends[file], seed);
        places[order[i]] = (struct expert_place){ ends[file], file };
        ends[file] += layer->part[order[i] / n_experts].part_bytes;
    }
    for (uint32_t p = 0; p < EXPERT_PARTS; p++) {
        layer->part[p].places = places + (size_t)p * n_experts;
        layer->part[p].first = layer->part[p].places[0];
    }
    free(order);
}

static void layers_place(struct expert_file *f, const struct expert_file_shape *shape, uint64_t *ends, uint64_t *seed)
{
    uint32_t rows = shape->rows > 0 ? shape->rows : 8, turn = 0;

    for (uint32_t i = 0; i < shape->n_layers; i++) {
        struct expert_layer_layout *layer = &f->layers[i];

        layer->layer = shape->first_layer + i;
        layer->expert_bytes = 0;
        for (int p = 0; p < EXPERT_PARTS; p++) {
            struct expert_part_layout *part = &layer->part[p];
            uint32_t file = shape->packed ? 0 : turn++ % f->layout.n_files;

            part_shape(part, p == EXPERT_DOWN ? rows + 1 : rows);
            layer->expert_bytes += part->part_bytes;
            if (shape->strewn)
                continue;
            if (!shape->packed)
                ends[file] = gap_behind(ends[file], seed);
            part->first = (struct expert_place){ ends[file], file };
            part->stride = part->part_bytes;
            if (shape->fused && p == EXPERT_UP)
                up_fuse(part, &layer->part[EXPERT_GATE]);
            ends[part->first.file] += part->part_bytes * shape->n_experts;
        }
        if (shape->strewn)
            layer_strew(f, layer, ends, seed);
        rows += rows * shape->grow / 100;
    }
}

static void file_write(struct expert_file *f, uint32_t i, uint64_t bytes, const char *dir, uint64_t *seed)
{
    struct layout_file *file = &f->files[i];
    char *path = NULL;
    struct stat st;

    f->bytes[i] = malloc(bytes + 8);
    for (uint64_t at = 0; at < bytes; at += 8) {
        uint64_t v = random_next(seed);

        memcpy(f->bytes[i] + at, &v, 8);
    }
    cr_assert_geq(asprintf(&path, "%s/expertd-test-XXXXXX", dir), 0);
    file->fd = mkstemp(path);
    cr_assert_geq(file->fd, 0, "cannot make %s", path);
    cr_assert_eq(pwrite(file->fd, f->bytes[i], bytes, 0), (ssize_t)bytes);
    cr_assert_eq(fsync(file->fd), 0);
    cr_assert_eq(fstat(file->fd, &st), 0);
    file->path = path;
    file->bytes = bytes;
    file->mtime_ns = st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec;
}

void expert_file_init(struct expert_file *file, const struct expert_file_shape *shape)
{
    const char *dir = shape->dir != NULL ? shape->dir : getenv("top_builddir");
    uint64_t seed = shape->seed, ends[16] = { 0 };

    memset(file, 0, sizeof(*file));
    file->layout.n_layers = shape->n_layers;
    file->layout.n_experts = shape->n_experts;
    file->layout.n_used = shape->n_used;
    file->layout.n_files = shape->n_files > 0 ? shape->n_files : 1;
    file->layers = calloc(shape->n_layers, sizeof(*file->layers));
    file->files = calloc(file->layout.n_files, sizeof(*file->files));
    file->bytes = calloc(file->layout.n_files, sizeof(*file->bytes));
    if (shape->strewn)
        file->places = calloc((size_t)shape->n_layers * EXPERT_PARTS * shape->n_experts, sizeof(*file->places));
    file->layout.layers = file->layers;
    file->layout.files = file->files;
    memcpy(file->layout.identity, &shape->seed, sizeof(shape->seed));
    layers_place(file, shape, ends, &seed);
    for (uint32_t i = 0; i < file->layout.n_files; i++)
        file_write(file, i, ends[i], i % 2 && shape->odd_dir != NULL ? shape->odd_dir : dir != NULL ? dir : ".", &seed);
}

void expert_file_fini(struct expert_file *file)
{
    for (uint32_t i = 0; i < file->layout.n_files; i++) {
        close(file->files[i].fd);
        unlink(file->files[i].path);
        free((char *)file->files[i].path);
        free(file->bytes[i]);
    }
    free(file->bytes);
    free(file->places);
    free(file->files);
    free(file->layers);
}

const void *expert_file_part(const struct expert_file *file, uint32_t layer_index, uint32_t expert, int part)
{
    struct expert_place place = expert_part_place(&file->layers[layer_index].part[part], expert);

    return file->bytes[place.file] + place.offset;
}

bool expert_file_matches(const struct expert_file *file, uint32_t layer_index, uint32_t expert,
                         const struct expert_view *view)
{
    const struct weight *weight[EXPERT_PARTS] = { &view->gate, &view->up, &view->down };

    if (view->layer != file->layers[layer_index].layer || view->expert != expert)
        return false;
    for (int p = 0; p < EXPERT_PARTS; p++) {
        const struct expert_part_layout *part = &file->layers[layer_index].part[p];

        if (weight[p]->type != part->type || weight[p]->rows != part->rows || weight[p]->cols != part->cols ||
            ((uintptr_t)weight[p]->data % 64 != 0 &&
             (uintptr_t)weight[p]->data % 32 != expert_part_place(part, expert).offset % 32) ||
            memcmp(weight[p]->data, expert_file_part(file, layer_index, expert, p), part->part_bytes) != 0)
            return false;
    }
    return true;
}
