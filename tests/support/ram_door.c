/* SPDX-License-Identifier: MIT */
#include "tests/support/ram_door.h"

#include "base/mem.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

struct ram_door {
    struct expert_door door;
    struct expert_layout layout; /* its layers are copied below */
    struct expert_layer_layout *layers;
    struct ram_door_options options;
    struct ram_door_counts counts;
    char *weights;
    struct device *device; /* whose memory that is; NULL: the host's */
    uint64_t bytes;
    uint64_t random;
    size_t pinned;
    /* What was weighed last. */
    uint32_t weighed_layer, weighed_rows;
    uint16_t favourite; /* of the last row */
    /* The open request. */
    const struct expert_layer_layout *layer;
    uint64_t layer_offset; /* of the layer's experts in weights */
    uint16_t ids[UINT16_MAX];
    size_t order[UINT16_MAX];
    size_t n, n_out;
};

static struct ram_door *ram_of(struct expert_door *door)
{
    return (struct ram_door *)door;
}

/* splitmix64 */
static uint64_t random_next(struct ram_door *ram)
{
    uint64_t z = ram->random += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void door_weigh(struct expert_door *door, uint32_t layer, const float *logits, uint32_t n)
{
    struct ram_door *ram = ram_of(door);
    const float *row = logits + (size_t)(n - 1) * ram->layout.n_experts;

    ram->weighed_layer = layer;
    ram->weighed_rows = n;
    ram->favourite = 0;
    for (uint16_t e = 1; e < ram->layout.n_experts; e++)
        if (row[e] > row[ram->favourite])
            ram->favourite = e;
    ram->counts.weighed++;
}

/* A layer is weighed before it is asked for, and who is best there is one of a token's experts. */
static bool is_weighed(const struct ram_door *ram, uint32_t layer, const uint16_t *ids, size_t n)
{
    bool named = ram->weighed_rows > 1 || n < ram->layout.n_used;

    for (size_t i = 0; i < n && !named; i++)
        named = ids[i] == ram->favourite;
    return ram->weighed_layer == layer && named;
}

static int door_request(struct expert_door *door, uint32_t layer, const uint16_t *ids, size_t n, struct err *err)
{
    struct ram_door *ram = ram_of(door);
    int at = expert_layout_find(&ram->layout, layer);

    if (ram->options.fail_request_at > 0 && --ram->options.fail_request_at == 0)
        return err_set(err, -EIO, "injected failure of a request");
    if (at < 0 || n == 0 || n > door->max_request || ram->n_out != ram->n) {
        ram->counts.misuse++;
        return err_set(err, -EINVAL, "a request that the protocol forbids");
    }
    ram->counts.misuse += ram->counts.weighed > 0 && !is_weighed(ram, layer, ids, n);
    ram->layer = &ram->layers[at];
    ram->layer_offset = 0;
    for (int i = 0; i < at; i++)
        ram->layer_offset += ram->layers[i].expert_bytes * ram->layout.n_experts;
    ram->n = n;
    ram->n_out = 0;
    ram->counts.requests++;
    for (size_t i = 0; i < n; i++) {
        ram->ids[i] = ids[i];
        ram->order[i] = i;
        ram->counts.misuse += ids[i] >= ram->layout.n_experts;
        for (size_t j = 0; j < i; j++)
            ram->counts.misuse += ids[j] == ids[i];
    }
    for (size_t i = n; ram->options.shuffle_seed != 0 && i > 1; i--) {
        size_t j = random_next(ram) % i, swapped = ram->order[i - 1];

        ram->order[i - 1] = ram->order[j];
        ram->order[j] = swapped;
    }
    return 0;
}

static struct weight part_weight(const struct ram_door *ram, enum expert_part part, uint16_t expert)
{
    const struct expert_part_layout *l = &ram->layer->part[part];
    const char *data = ram->weights + ram->layer_offset + ram->layer->expert_bytes * expert;

    for (int before = 0; before < (int)part; before++)
        data += ram->layer->part[before].part_bytes;
    return (struct weight){ .data = data, .type = l->type, .rows = l->rows, .cols = l->cols };
}

static int door_next(struct expert_door *door, size_t *ret_index, struct expert_view *ret_view, struct err *err)
{
    struct ram_door *ram = ram_of(door);
    size_t index;

    if (ram->n_out == ram->n)
        return 0;
    if (ram->options.fail_next_at > 0 && --ram->options.fail_next_at == 0)
        return err_set(err, -EIO, "injected failure of a read");
    index = ram->order[ram->n_out++];
    *ret_index = index;
    *ret_view = (struct expert_view){ .gate = part_weight(ram, EXPERT_GATE, ram->ids[index]),
                                      .up = part_weight(ram, EXPERT_UP, ram->ids[index]),
                                      .down = part_weight(ram, EXPERT_DOWN, ram->ids[index]),
                                      .layer = ram->layer->layer,
                                      .expert = ram->ids[index],
                                      .pin = ram };
    ram->counts.handed_out++;
    ram->pinned++;
    if (ram->pinned > ram->counts.most_pinned)
        ram->counts.most_pinned = ram->pinned;
    return 1;
}

static int door_try_next(struct expert_door *door, size_t *ret_index, struct expert_view *ret_view, struct err *err)
{
    struct ram_door *ram = ram_of(door);

    if (ram->n_out < ram->n && ram->options.shuffle_seed != 0 && random_next(ram) % 2 == 0)
        return -EAGAIN;
    return door_next(door, ret_index, ret_view, err);
}

static void door_release(struct expert_door *door, const struct expert_view *view)
{
    struct ram_door *ram = ram_of(door);

    ram->counts.misuse += view->pin != ram || ram->pinned == 0;
    ram->counts.released++;
    ram->pinned--;
}

static void door_abandon(struct expert_door *door)
{
    struct ram_door *ram = ram_of(door);

    ram->counts.abandoned++;
    ram->pinned = 0;
    ram->n = ram->n_out = 0;
}

static const struct expert_door_ops ram_ops = {
    .weigh = door_weigh,
    .request = door_request,
    .next = door_next,
    .try_next = door_try_next,
    .release = door_release,
    .abandon = door_abandon,
};

static int read_all(int fd, char *dst, uint64_t bytes, uint64_t offset, struct err *err)
{
    while (bytes > 0) {
        ssize_t n = pread(fd, dst, bytes, (off_t)offset);

        if (n <= 0)
            return err_sys(err, n < 0 ? errno : EIO, "cannot read an expert");
        dst += n;
        offset += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return 0;
}

static int read_layer(const struct expert_layout *layout, const struct expert_layer_layout *layer, char *dst,
                      struct err *err)
{
    for (uint32_t e = 0; e < layout->n_experts; e++)
        for (int i = 0; i < EXPERT_PARTS; i++) {
            const struct expert_part_layout *part = &layer->part[i];
            struct expert_place at = expert_part_place(part, e);
            int r = read_all(layout->files[at.file].fd, dst, part->part_bytes, at.offset, err);

            if (r < 0)
                return r;
            dst += part->part_bytes;
        }
    return 0;
}

static int read_layers(struct ram_door *ram, const struct expert_layout *layout, struct err *err)
{
    uint64_t at = 0;

    ram->layers = mem_calloc(layout->n_layers, sizeof(*ram->layers));
    if (ram->layers == NULL)
        return err_set(err, -ENOMEM, "no memory");
    memcpy(ram->layers, layout->layers, layout->n_layers * sizeof(*ram->layers));
    ram->layout.layers = ram->layers;
    for (uint32_t i = 0; i < layout->n_layers; i++)
        ram->bytes += layout->layers[i].expert_bytes * layout->n_experts;
    if (mem_map(ram->bytes, MEM_HUGE, (void **)&ram->weights, NULL) < 0)
        return err_set(err, -ENOMEM, "no memory for the experts");
    for (uint32_t i = 0; i < layout->n_layers; i++) {
        int r = read_layer(layout, &layout->layers[i], ram->weights + at, err);

        if (r < 0)
            return r;
        at += layout->layers[i].expert_bytes * layout->n_experts;
    }
    return 0;
}

/* Move the experts over to the device. */
static int give_to_device(struct ram_door *ram, struct device *device, struct err *err)
{
    void *there;
    int r = device->ops->alloc(device, ram->bytes, &there);

    if (r == 0)
        r = device->ops->upload(device, there, ram->weights, ram->bytes);
    if (r < 0)
        return err_set(err, r, "%s", err_text(&device->err));
    mem_unmap(ram->weights, ram->bytes);
    ram->weights = there;
    ram->device = device;
    return 0;
}

int ram_door_open(const struct model *model, const struct ram_door_options *options, struct ram_door **ret_door,
                  struct err *err)
{
    struct ram_door *ram = mem_zalloc(sizeof(*ram));
    int r;

    if (ram == NULL)
        return err_set(err, -ENOMEM, "no memory");
    ram->layout = *model_layout(model);
    ram->door.ops = &ram_ops;
    ram_door_set(ram, options);
    r = read_layers(ram, model_layout(model), err);
    if (r == 0 && options->device != NULL)
        r = give_to_device(ram, options->device, err);
    if (r < 0) {
        ram_door_close(ram);
        return r;
    }
    *ret_door = ram;
    return 0;
}

void ram_door_close(struct ram_door *ram)
{
    if (ram == NULL)
        return;
    if (ram->device != NULL)
        ram->device->ops->free(ram->device, ram->weights, ram->bytes);
    else
        mem_unmap(ram->weights, ram->bytes);
    mem_free(ram->layers);
    mem_free(ram);
}

struct expert_door *ram_door_door(struct ram_door *ram)
{
    return &ram->door;
}

struct ram_door_counts ram_door_counts(const struct ram_door *ram)
{
    return ram->counts;
}

void ram_door_set(struct ram_door *ram, const struct ram_door_options *options)
{
    ram->options = *options;
    ram->random = options->shuffle_seed;
    ram->door.max_request = options->max_request > 0 ? options->max_request : ram->layout.n_experts;
}

size_t ram_door_pinned(const struct ram_door *ram)
{
    return ram->pinned;
}
