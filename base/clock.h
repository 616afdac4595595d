/* SPDX-License-Identifier: MIT
 *
 * clock.h: monotonic time in nanoseconds. Not wall time: never show it to a user as a date.
 */
#ifndef EXPERTD_BASE_CLOCK_H
#define EXPERTD_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

#endif
