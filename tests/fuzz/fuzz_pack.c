/* SPDX-License-Identifier: MIT
 *
 * Any bytes as a pack of one small model. The first byte chooses what is put right first, so that the input gets past
 * the checks that random bytes never pass: 1 the identity, 2 the checksum, 4 the size of the file, 8 everything but
 * what the input changes (its bytes are then XORed onto a sound header).
 *
 * What must hold: it is refused with a reason, or every record of it lies within the file and on a block.
 */
#include "cache/pack.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <xxhash.h>

enum { FIX_IDENTITY = 1, FIX_SUM = 2, FIX_SIZE = 4, CHANGE_SOUND = 8 };

static const struct expert_layer_layout layers[] = {
    { .layer = 1,
      .part = { { .type = QUANT_Q8_0, .part_bytes = 272 }, { .part_bytes = 272 }, { .part_bytes = 5000 } } },
    { .layer = 2, .part = { { .part_bytes = 1 }, { .part_bytes = 4096 }, { .part_bytes = 64 } } },
};
static const struct expert_layout layout = {
    .n_layers = 2, .n_experts = 3, .n_used = 2, .n_files = 1, .layers = layers, .identity = { 1, 2, 3 }
};

static void check_records(const struct pack *pack)
{
    uint64_t end = pack->header_bytes;

    for (uint32_t key = 0; key < 6; key++) {
        struct extent extent;

        pack_extent(pack, key, 1, &extent);
        FUZZ_CHECK(extent.n_ranges == 1 && extent.range[0].offset == end && end % 4096 == 0);
        end += extent.range[0].bytes;
        for (int p = 0; p < EXPERT_PARTS; p++)
            FUZZ_CHECK(extent.part_at[p] + layers[key / 3].part[p].part_bytes <= extent.range[0].bytes);
    }
    FUZZ_CHECK(end == pack->file_bytes);
}

static void put_right(const struct pack *plan, unsigned how, uint8_t *bytes)
{
    XXH128_canonical_t canonical;

    if (how & FIX_IDENTITY)
        memcpy(bytes + 16, layout.identity, sizeof(layout.identity));
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes, plan->header_bytes - 16));
    if (how & FIX_SUM)
        memcpy(bytes + plan->header_bytes - 16, canonical.digest, 16);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pack *plan; /* made once, kept to the end */
    struct pack *pack;
    struct err err = { 0 };
    size_t n = size > 0 ? size - 1 : 0;
    uint8_t *bytes;
    int rc;

    if (plan == NULL)
        FUZZ_CHECK(pack_plan("plan", &layout, &plan, NULL) == 0);
    if (size == 0 || size > 3 * plan->file_bytes)
        return 0;
    bytes = calloc(1, 3 * plan->file_bytes);
    FUZZ_CHECK(bytes);
    if (data[0] & CHANGE_SOUND)
        pack_header(plan, true, bytes);
    for (size_t i = 0; i < n; i++)
        bytes[i] ^= data[1 + i];
    put_right(plan, data[0], bytes);
    rc = pack_open(fuzz_file(bytes, data[0] & FIX_SIZE ? plan->file_bytes : n), &layout, &pack, &err);
    FUZZ_CHECK(rc == 0 || (rc < 0 && err.code == rc && err.text[0]));
    if (rc == 0) {
        FUZZ_CHECK(memcmp(pack->sums, bytes + pack->sums_at, 6 * sizeof(*pack->sums)) == 0);
        check_records(pack);
        pack_close(pack);
    }
    free(bytes);
    return 0;
}
