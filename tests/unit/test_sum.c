/* SPDX-License-Identifier: MIT
 *
 * The checksum of an expert: as its definition says, the same on any number of threads, another for any other bytes.
 */
#include "cache/sum.h"
#include "compute/cpu_device.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define MOST ((size_t)300001)

static unsigned char *bytes; /* [EXPERT_PARTS, MOST] */

static void bytes_init(void)
{
    bytes = malloc(EXPERT_PARTS * MOST);
    for (size_t i = 0; i < EXPERT_PARTS * MOST; i++)
        bytes[i] = (unsigned char)(i * 2654435761u >> 13);
}

static void bytes_fini(void)
{
    free(bytes);
}

static struct expert_bytes expert_of(size_t gate, size_t up, size_t down)
{
    return (struct expert_bytes){ .data = { bytes, bytes + MOST, bytes + 2 * MOST }, .bytes = { gate, up, down } };
}

/* By the words of cache/sum.h, one byte range after the other. */
static struct catalog_sum sum_by_definition(const struct expert_bytes *expert)
{
    XXH128_canonical_t pieces[EXPERT_PARTS * SUM_PIECES], all;
    struct catalog_sum sum;

    for (int p = 0; p < EXPERT_PARTS; p++) {
        uint64_t left = expert->bytes[p], each = (expert->bytes[p] / SUM_PIECES / 64 + 1) * 64;
        const char *data = expert->data[p];

        for (int i = 0; i < SUM_PIECES; i++) {
            uint64_t n = left < each ? left : each;

            XXH128_canonicalFromHash(&pieces[p * SUM_PIECES + i], XXH3_128bits(data, n));
            data += n;
            left -= n;
        }
        cr_assert_eq(left, 0, "the pieces cover the part");
    }
    XXH128_canonicalFromHash(&all, XXH3_128bits(pieces, sizeof(pieces)));
    memcpy(sum.bytes, all.digest, sizeof(sum.bytes));
    return sum;
}

static bool same(const struct catalog_sum *a, const struct catalog_sum *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static struct device *device_with(uint32_t n_threads)
{
    struct cpu_device_options options = { .n_threads = n_threads, .max_rows = 1, .max_ff = 64, .max_expert_rows = 1 };
    struct device *device;

    cr_assert_eq(cpu_device_open(&options, &device, NULL), 0);
    return device;
}

Test(sum, is_what_its_definition_says_on_any_number_of_threads, .init = bytes_init, .fini = bytes_fini)
{
    static const size_t sizes[] = { 0, 1, 63, 64, 511, 512, 513, 4096, 100000, 262144, 300001 };
    size_t n_sizes = sizeof(sizes) / sizeof(sizes[0]);

    for (uint32_t n_threads = 1; n_threads <= 3; n_threads++) {
        struct device *device = device_with(n_threads);

        for (size_t i = 0; i < n_sizes; i++) {
            struct expert_bytes expert = expert_of(sizes[i], sizes[(i + 3) % n_sizes], sizes[(i + 7) % n_sizes]);
            struct catalog_sum sum, alone, defined = sum_by_definition(&expert);

            sum_expert(&expert, cpu_device_threads(device), &sum);
            sum_expert(&expert, NULL, &alone);
            cr_assert(same(&sum, &defined), "%zu bytes on %u threads", sizes[i], n_threads);
            cr_assert(same(&alone, &defined), "%zu bytes", sizes[i]);
        }
        device->ops->close(device);
    }
}

Test(sum, changes_with_any_byte_and_any_border, .init = bytes_init, .fini = bytes_fini)
{
    struct expert_bytes expert = expert_of(5000, 5000, 3000), longer = expert_of(5001, 4999, 3000);
    struct catalog_sum before, after;

    sum_expert(&expert, NULL, &before);
    for (int p = 0; p < EXPERT_PARTS; p++)
        for (size_t i = 0; i < expert.bytes[p]; i += 61) {
            bytes[(size_t)p * MOST + i] ^= 0x10;
            sum_expert(&expert, NULL, &after);
            cr_assert_not(same(&before, &after), "part %d, byte %zu", p, i);
            bytes[(size_t)p * MOST + i] ^= 0x10;
        }
    sum_expert(&longer, NULL, &after);
    cr_assert_not(same(&before, &after));
}
