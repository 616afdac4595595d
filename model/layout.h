/* SPDX-License-Identifier: MIT
 *
 * layout.h: where each expert's weights lie on disk.
 *
 * An expert is three matrices (gate, up, down), each contiguous bytes in one of the model's files. Files have them in
 * several forms (model/arch.h); here they are all one, a place for each part of each expert, and everybody who wants to
 * know it asks expert_part_place. The layout is made once from the checked GGUF tables (model/model.h lends it) and is
 * all that the cache knows about a model. Offsets are in bytes from the start of the file and need no alignment.
 * Immutable after it is made; thread-safe.
 */
#ifndef EXPERTD_MODEL_LAYOUT_H
#define EXPERTD_MODEL_LAYOUT_H

#include "compute/quant.h"

#include <stdint.h>

enum expert_part { EXPERT_GATE, EXPERT_UP, EXPERT_DOWN, EXPERT_PARTS };

struct expert_place {
    uint64_t offset;
    uint32_t file; /* index into expert_layout.files */
};

/* One of the three matrices, for all experts of one layer. */
struct expert_part_layout {
    enum quant_type type;
    uint32_t rows, cols;       /* of one expert's matrix */
    uint64_t part_bytes;       /* of one expert */
    struct expert_place first; /* expert 0's */
    uint64_t stride;           /* from one expert to the next, at least part_bytes; unless */
    const struct expert_place *places; /* [n_experts], not NULL, says for each where it is */
};

struct expert_layer_layout {
    uint32_t layer;       /* the model's layer index */
    struct expert_part_layout part[EXPERT_PARTS];
    uint64_t expert_bytes; /* sum of the three part_bytes */
};

struct layout_file {
    const char *path;
    int fd;          /* open for reading, buffered; the cache opens its own for O_DIRECT. Lent. */
    uint64_t bytes;
    int64_t mtime_ns; /* when it was opened: a later difference means it changed under us */
};

struct expert_layout {
    uint32_t n_layers;  /* with experts, in model order */
    uint32_t n_experts; /* in each such layer */
    uint32_t n_used;    /* per token and layer */
    uint32_t n_files;
    const struct expert_layer_layout *layers; /* [n_layers] */
    const struct layout_file *files;          /* [n_files] */
    uint8_t identity[16]; /* XXH3-128 of the files' headers, with sizes and mtimes: the key in the catalog */
};

/* Where an expert's matrix begins; expert < n_experts. */
struct expert_place expert_part_place(const struct expert_part_layout *part, uint32_t expert);

/* Index into layers for a model layer, or -1 when the layer has no experts. */
int expert_layout_find(const struct expert_layout *layout, uint32_t layer);

#endif
