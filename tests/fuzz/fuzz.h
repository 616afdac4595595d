/* SPDX-License-Identifier: MIT
 *
 * fuzz.h: fuzz targets. Each is one function that libFuzzer calls with any bytes; a crash, a leak or a failed
 * FUZZ_CHECK is a finding. Without libFuzzer, replay.c calls it with every file of a corpus, as `make check` does.
 *
 * To fuzz: configure --enable-fuzzers CC=clang --enable-sanitizers=address,undefined,fuzzer-no-link, then
 *
 *     make tests/fuzz/libfuzzer_gguf && cp -r .../tests/fuzz/corpus-gguf new &&
 *     tests/fuzz/libfuzzer_gguf -dict=.../tests/fuzz/gguf.dict new
 *
 * and keep what it found, made small: libfuzzer_gguf -merge=1 .../tests/fuzz/corpus-gguf new
 */
#ifndef EXPERTD_TESTS_FUZZ_H
#define EXPERTD_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(condition)                                                            \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
            abort();                                                                     \
        }                                                                                \
    } while (0)

/* Path of a file in memory that holds these bytes; the same one at each call. */
const char *fuzz_file(const uint8_t *data, size_t size);

#endif
