/* SPDX-License-Identifier: MIT
 *
 * replay DIR: every file of a corpus through the target that is linked in, one TAP line each.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <string.h>

static void replay(const char *dir, const char *name, int number)
{
    char path[1024];
    size_t size, cap = 1 << 20;
    uint8_t *data = malloc(cap), *exact;
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "rb");
    FUZZ_CHECK(f && data);
    size = fread(data, 1, cap, f);
    fclose(f);
    /* A block of just this size, so that reading behind it shows. */
    exact = realloc(data, size ? size : 1);
    FUZZ_CHECK(exact);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    printf("ok %d - %s\n", number, name);
    fflush(stdout);
}

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

int main(int argc, char **argv)
{
    struct dirent **entries;
    int n = argc == 2 ? scandir(argv[1], &entries, visible, alphasort) : -1;

    if (n <= 0) {
        fprintf(stderr, "usage: %s DIR, a directory of inputs\n", argv[0]);
        return 2;
    }
    printf("1..%d\n", n);
    for (int i = 0; i < n; i++) {
        replay(argv[1], entries[i]->d_name, i + 1);
        free(entries[i]);
    }
    free(entries);
    return 0;
}
