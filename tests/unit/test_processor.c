/* SPDX-License-Identifier: MIT
 *
 * What is said about the processor: levels asked for and not had, no vector instructions, formats without kernels.
 */
#include "daemon/processor.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char note[PROCESSOR_NOTE];

static void says(const char *text, const char *words)
{
    cr_assert_not_null(strstr(text, words), "'%s' does not say '%s'", text, words);
}

Test(processor, a_level_that_is_had_needs_no_words)
{
    cr_assert_str_eq(processor_level_note(CPU_LEVEL_BEST, CPU_AVX512, note), "");
    cr_assert_str_eq(processor_level_note(CPU_AVX2, CPU_AVX2, note), "");
    cr_assert_str_eq(processor_level_note(CPU_C, CPU_C, note), "");
}

Test(processor, a_level_that_is_lacking_is_named_with_what_it_needs)
{
    says(processor_level_note(CPU_AMX, CPU_AVX512, note), "amx was asked for");
    says(note, "AMX-INT8");
    says(note, "using avx512");
    says(processor_level_note(CPU_AVXVNNI, CPU_AVX2, note), "AVX-VNNI");
    says(processor_level_note(CPU_AVX2, CPU_C, note), "using c");
}

Test(processor, without_vector_instructions_the_c_path_is_said)
{
    says(processor_level_note(CPU_LEVEL_BEST, CPU_C, note), "plain C");
}

Test(processor, formats_are_named_once_each)
{
    uint64_t types = (uint64_t)1 << QUANT_F32 | (uint64_t)1 << QUANT_Q4_K | (uint64_t)1 << QUANT_IQ1_S;

    cr_assert_str_eq(processor_format_note(types, CPU_C, note), "");
    for (enum cpu_level level = CPU_C + 1; level < CPU_LEVELS; level++) {
        if (!cpu_level_runs(level))
            continue;
        cr_assert_str_eq(processor_format_note((uint64_t)1 << QUANT_F16, level, note), "");
        processor_format_note(types, level, note);
        for (uint32_t type = 0; type < QUANT_TYPES; type++) {
            if ((types >> type & 1) == 0)
                continue;
            if (cpu_level_is_fast(level, type)) {
                cr_assert_null(strstr(note, quant_info(type)->name), "%s", note);
                continue;
            }
            says(note, quant_info(type)->name);
            cr_assert_null(strstr(strstr(note, quant_info(type)->name) + 1, quant_info(type)->name), "%s", note);
        }
    }
}

Test(processor, threads_stay_within_the_machine)
{
    uint32_t most = processor_threads(1024);

    cr_assert_geq(most, 1);
    cr_assert_eq(processor_threads(most), most);
    cr_assert_eq(processor_threads(1), 1);
    cr_assert_leq(processor_threads(0), most);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    cr_assert_not_null(f, "%s", path);
    fputs(text, f);
    fclose(f);
}

Test(processor, huge_pages_are_counted_and_their_lack_is_explained)
{
    char root[] = "/tmp/expertd-pages-XXXXXX", command[512], path[512];
    struct machine_pages pages;

    cr_assert_not_null(mkdtemp(root));
    machine_pages(root, &pages);
    cr_assert_eq(pages.anonymous, 0);
    cr_assert_not(pages.off);
    snprintf(command, sizeof(command), "mkdir -p %s/proc/self %s/sys/kernel/mm/transparent_hugepage", root, root);
    cr_assert_eq(system(command), 0);
    snprintf(path, sizeof(path), "%s/proc/self/smaps_rollup", root);
    write_file(path, "5555-7fff ---p 00000000 00:00 0 [rollup]\nRss: 9000 kB\nAnonymous:       8192 kB\n"
                     "AnonHugePages:    4096 kB\n");
    snprintf(path, sizeof(path), "%s/sys/kernel/mm/transparent_hugepage/enabled", root);
    write_file(path, "always [madvise] never\n");
    machine_pages(root, &pages);
    cr_assert_eq(pages.anonymous, 8 << 20);
    cr_assert_eq(pages.huge, 4 << 20);
    cr_assert_not(pages.off);
    cr_assert_str_eq(processor_pages_note(&pages, note), "memory: 4.0 MiB of 8.0 MiB lie in huge pages");
    write_file(path, "always madvise [never]\n");
    machine_pages(root, &pages);
    cr_assert(pages.off);
    says(processor_pages_note(&pages, note), "transparent_hugepage/enabled");
    snprintf(command, sizeof(command), "rm -rf '%s'", root);
    cr_assert_eq(system(command), 0);
}
