/* SPDX-License-Identifier: MIT
 *
 * expert_file.h: files of random experts and the layout that says where they lie, for tests of the cache.
 *
 * Each part of each layer stacks its experts at an offset that is a multiple of 32 and, unless asked otherwise, of
 * nothing more, as in a GGUF. Parts are put into the files in turn. The last part of each file ends with it, mostly
 * within a block. Everything follows from the seed.
 */
#ifndef EXPERTD_TESTS_SUPPORT_EXPERT_FILE_H
#define EXPERTD_TESTS_SUPPORT_EXPERT_FILE_H

#include "model/experts.h"
#include "model/layout.h"

#include <stdbool.h>

struct expert_file_shape {
    uint32_t n_layers, n_experts, n_used;
    uint32_t n_files;     /* 0: one */
    uint32_t rows;        /* of 256 weights each, of gate and up (layer 0); 0: 8 */
    uint32_t grow;        /* percent that each further layer is larger */
    uint32_t first_layer; /* model index of the first layer with experts */
    bool packed;          /* one expert per layer, its parts touching */
    bool fused;           /* each expert's up right behind its gate */
    bool strewn;          /* each part of each expert anywhere, in the files in turn */
    uint64_t seed;
    const char *dir;     /* NULL: a directory on a real disk, for O_DIRECT */
    const char *odd_dir; /* of the files with an odd number; NULL: dir */
};

struct expert_file {
    struct expert_layout layout;
    struct expert_layer_layout *layers;
    struct layout_file *files;
    struct expert_place *places; /* of a strewn one: [n_layers, EXPERT_PARTS, n_experts] */
    char **bytes; /* [n_files] what each file holds */
};

void expert_file_init(struct expert_file *file, const struct expert_file_shape *shape);
void expert_file_fini(struct expert_file *file);

/* The bytes of one matrix, as they must arrive. */
const void *expert_file_part(const struct expert_file *file, uint32_t layer_index, uint32_t expert, int part);
/* Whether a view is exactly this expert: bytes, sizes, names; and lies as in the file, or on a multiple of 64. */
bool expert_file_matches(const struct expert_file *file, uint32_t layer_index, uint32_t expert,
                         const struct expert_view *view);

#endif
