/* SPDX-License-Identifier: MIT */
#include "model/stops.h"

#include "base/mem.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

/* Each stop is followed by the automaton of Knuth, Morris and Pratt: `state` bytes of it end the text so far, and
 * fail[i] is the state to fall back to from i. The longest state of all is what must be held back. */
struct stop {
    unsigned char text[STOPS_MAX_BYTES];
    uint16_t fail[STOPS_MAX_BYTES];
    size_t len, state;
};

struct stops {
    size_t n;
    int which;
    size_t n_held;
    char held[STOPS_MAX_BYTES];
    struct stop stop[];
};

static void build_automaton(struct stop *s)
{
    size_t k = 0;

    s->fail[0] = 0;
    for (size_t i = 1; i < s->len; i++) {
        while (k > 0 && s->text[i] != s->text[k])
            k = s->fail[k - 1];
        if (s->text[i] == s->text[k])
            k++;
        s->fail[i] = (uint16_t)k;
    }
}

int stops_open(const struct stop_text *texts, size_t n, struct stops **ret_stops, struct err *err)
{
    struct stops *stops;

    if (n > STOPS_MAX)
        return err_set(err, -EINVAL, "'stop' holds %zu texts; the limit is %d", n, STOPS_MAX);
    for (size_t i = 0; i < n; i++)
        if (texts[i].len == 0 || texts[i].len > STOPS_MAX_BYTES)
            return err_set(err, -EINVAL, "'stop' text %zu is %zu bytes long; it must be 1 to %d", i + 1, texts[i].len,
                           STOPS_MAX_BYTES);
    stops = mem_zalloc(sizeof(*stops) + n * sizeof(stops->stop[0]));
    if (stops == NULL)
        return err_set(err, -ENOMEM, "no memory for stop texts");
    stops->n = n;
    stops->which = -1;
    for (size_t i = 0; i < n; i++) {
        stops->stop[i].len = texts[i].len;
        memcpy(stops->stop[i].text, texts[i].p, texts[i].len);
        build_automaton(&stops->stop[i]);
    }
    *ret_stops = stops;
    return 0;
}

void stops_close(struct stops *stops)
{
    mem_free(stops);
}

size_t stops_max(const struct stops *stops, size_t len)
{
    return stops->n_held + len;
}

static size_t advance(struct stop *s, unsigned char byte)
{
    while (s->state > 0 && s->text[s->state] != byte)
        s->state = s->fail[s->state - 1];
    if (s->text[s->state] == byte)
        s->state++;
    return s->state;
}

/* Take one byte into every automaton. Returns the bytes that may still become a stop, or that are one. */
static size_t take_byte(struct stops *stops, unsigned char byte)
{
    size_t longest = 0, hit_len = 0;

    for (size_t i = 0; i < stops->n; i++) {
        struct stop *s = &stops->stop[i];
        size_t state = advance(s, byte);

        if (state == s->len && state > hit_len) {
            hit_len = state;
            stops->which = (int)i;
        }
        if (state > longest)
            longest = state;
    }
    return hit_len > 0 ? hit_len : longest;
}

size_t stops_put(struct stops *stops, const char *text, size_t len, char *out)
{
    size_t n_out = 0;

    for (size_t i = 0; i < len && stops->which < 0; i++) {
        size_t keep = take_byte(stops, (unsigned char)text[i]);
        size_t go = stops->n_held + 1 - keep; /* of the held ones and this byte, the first `go` */
        size_t go_held = go < stops->n_held ? go : stops->n_held;

        memcpy(out + n_out, stops->held, go_held);
        n_out += go_held;
        stops->n_held -= go_held;
        memmove(stops->held, stops->held + go_held, stops->n_held);
        if (go > go_held)
            out[n_out++] = text[i];
        else
            stops->held[stops->n_held++] = text[i];
    }
    if (stops->which >= 0)
        stops->n_held = 0;
    return n_out;
}

size_t stops_finish(struct stops *stops, char *out)
{
    size_t n = stops->n_held;

    memcpy(out, stops->held, n);
    stops->n_held = 0;
    return n;
}

bool stops_any(const struct stops *stops)
{
    return stops->n > 0;
}

bool stops_hit(const struct stops *stops)
{
    return stops->which >= 0;
}

int stops_which(const struct stops *stops)
{
    return stops->which;
}
