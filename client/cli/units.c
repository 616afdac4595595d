/* SPDX-License-Identifier: MIT */
#include "client/cli/units.h"

#include "client/expert.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static char *unknown(char *buffer)
{
    buffer[0] = '-';
    buffer[1] = '\0';
    return buffer;
}

char *units_count(char *buffer, int64_t count)
{
    if (count == EXPERT_UNSET)
        return unknown(buffer);
    snprintf(buffer, UNITS_TEXT, "%" PRId64, count);
    return buffer;
}

char *units_bytes(char *buffer, double bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    size_t unit = 0;

    if (!isfinite(bytes) || fabs(bytes) > 1e20)
        return unknown(buffer);
    while (fabs(bytes) >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        bytes /= 1024;
        unit++;
    }
    snprintf(buffer, UNITS_TEXT, "%.*f %s", unit == 0 || fabs(bytes) >= 100 ? 0 : 1, bytes, units[unit]);
    return buffer;
}

char *units_byte_count(char *buffer, int64_t bytes)
{
    return units_bytes(buffer, bytes == EXPERT_UNSET ? NAN : (double)bytes);
}

char *units_percent(char *buffer, double share)
{
    if (!isfinite(share))
        return unknown(buffer);
    snprintf(buffer, UNITS_TEXT, "%.1f %%", share * 100);
    return buffer;
}

char *units_rate(char *buffer, double per_second)
{
    if (!isfinite(per_second))
        return unknown(buffer);
    snprintf(buffer, UNITS_TEXT, "%.*f", fabs(per_second) >= 100 ? 0 : 2, per_second);
    return buffer;
}

char *units_seconds(char *buffer, double seconds)
{
    if (!isfinite(seconds) || fabs(seconds) > 1e12)
        return unknown(buffer);
    if (seconds < 60)
        snprintf(buffer, UNITS_TEXT, "%.2f s", seconds);
    else if (seconds < 3600)
        snprintf(buffer, UNITS_TEXT, "%.0f min %.0f s", floor(seconds / 60), floor(fmod(seconds, 60)));
    else
        snprintf(buffer, UNITS_TEXT, "%.0f h %.0f min", floor(seconds / 3600), floor(fmod(seconds, 3600) / 60));
    return buffer;
}
