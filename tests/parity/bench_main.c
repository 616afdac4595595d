/* SPDX-License-Identifier: MIT
 *
 * With --bench first the kernels are measured instead of tested; the other options are bench/kernels's.
 */
#include "bench/kernels.h"

#include <criterion/criterion.h>
#include <string.h>

int main(int argc, char **argv)
{
    struct criterion_test_set *tests;
    int r = 0;

    if (argc > 1 && strcmp(argv[1], "--bench") == 0)
        return kernels_bench(argc - 1, argv + 1);
    tests = criterion_initialize();
    if (criterion_handle_args(argc, argv, true))
        r = criterion_run_all_tests(tests) ? 0 : 1;
    criterion_finalize(tests);
    return r;
}
