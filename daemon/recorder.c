/* SPDX-License-Identifier: MIT */
#include "daemon/recorder.h"

#include "base/mem.h"
#include "cache/outlook.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "# route_trace"
#define RING_WORDS (1u << 20)
#define TEXT_BYTES (64u << 10)
#define LINE_BYTES 256u /* the longest line */
#define MARGINS_PER_LINE 16u
#define HEAD_WORDS 6

struct recorder {
    char *path;
    int fd; /* -1: recording has stopped */
    uint32_t n_experts, n_used;
    float *margin, *best;  /* [n_experts] of the row in hand; [n_used + 1] scratch for it */
    uint16_t *hundredths; /* [n_experts] of its margins */
    uint16_t *ring;
    _Atomic uint64_t put, taken; /* words so far */
    _Atomic uint64_t lost;       /* rows */
    uint64_t lost_said;
    char *text;
    size_t n_text;
};

uint64_t recorder_bytes(void)
{
    return sizeof(struct recorder) + RING_WORDS * sizeof(uint16_t) + UINT16_MAX * 10 + TEXT_BYTES + 4096;
}

/* ---- the engine's side ---- */

void recorder_put(struct recorder *r, uint32_t turn, enum recorder_phase phase, uint32_t step, uint32_t layer_index,
                  const uint16_t *ids, size_t n)
{
    const uint16_t head[HEAD_WORDS] = { (uint16_t)turn,         (uint16_t)(turn >> 16),  (uint16_t)step,
                                        (uint16_t)(step >> 16), (uint16_t)layer_index,
                                        (uint16_t)((unsigned)phase << 14 | (unsigned)n) };
    uint64_t put = atomic_load_explicit(&r->put, memory_order_relaxed);
    uint64_t room = RING_WORDS - (put - atomic_load_explicit(&r->taken, memory_order_acquire));

    if (room < HEAD_WORDS + n || n >= 1u << 14) {
        atomic_fetch_add_explicit(&r->lost, 1, memory_order_relaxed);
        return;
    }
    for (size_t i = 0; i < HEAD_WORDS + n; i++)
        r->ring[(put + i) % RING_WORDS] = i < HEAD_WORDS ? head[i] : ids[i - HEAD_WORDS];
    atomic_store_explicit(&r->put, put + HEAD_WORDS + n, memory_order_release);
}

void recorder_put_margins(struct recorder *r, uint32_t turn, uint32_t step, uint32_t layer_index, const float *logits)
{
    if (r->n_used >= r->n_experts || !outlook_margins(logits, r->n_experts, r->n_used, r->best, r->margin))
        return;
    for (uint32_t e = 0; e < r->n_experts; e++)
        r->hundredths[e] = (uint16_t)(int16_t)roundf(r->margin[e] * 100);
    recorder_put(r, turn, RECORD_MARGINS, step, layer_index, r->hundredths, r->n_experts);
}

/* ---- the loop's ---- */

static int stop(struct recorder *r, int errnum, struct err *err)
{
    close(r->fd);
    r->fd = -1;
    return err_sys(err, errnum, "routing is no longer recorded: '%s'", r->path);
}

static int text_write(struct recorder *r, struct err *err)
{
    size_t at = 0;

    while (at < r->n_text) {
        ssize_t n = write(r->fd, r->text + at, r->n_text - at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return stop(r, n < 0 ? errno : ENOSPC, err);
        at += (size_t)n;
    }
    r->n_text = 0;
    return 0;
}

static int text_room(struct recorder *r, struct err *err)
{
    return r->n_text + LINE_BYTES > TEXT_BYTES ? text_write(r, err) : 0;
}

struct row {
    uint32_t turn, phase, step, layer, n;
    uint64_t at; /* of what it holds, in the ring */
};

static void margins_print(struct recorder *r, const struct row *row, uint32_t first)
{
    uint32_t n = row->n - first < MARGINS_PER_LINE ? row->n - first : MARGINS_PER_LINE;

    r->n_text += (size_t)snprintf(r->text + r->n_text, LINE_BYTES, "%u,%u,%u,%u,%u,%u", row->turn, row->phase,
                                  row->step, row->layer, first, n);
    for (uint32_t e = first; e < first + n; e++)
        r->n_text += (size_t)snprintf(r->text + r->n_text, LINE_BYTES, ",%d",
                                      (int16_t)r->ring[(row->at + e) % RING_WORDS]);
    r->text[r->n_text++] = '\n';
}

static void choice_print(struct recorder *r, const struct row *row, uint32_t rank)
{
    r->n_text += (size_t)snprintf(r->text + r->n_text, LINE_BYTES, "%u,%u,%u,%u,%u,%u\n", row->turn, row->phase,
                                  row->step, row->layer, rank, r->ring[(row->at + rank) % RING_WORDS]);
}

/* One row from the ring; `at` moves behind it. */
static int row_write(struct recorder *r, uint64_t *at, struct err *err)
{
    uint16_t head[HEAD_WORDS];
    struct row row;
    int rc = 0;

    for (int i = 0; i < HEAD_WORDS; i++)
        head[i] = r->ring[(*at + (unsigned)i) % RING_WORDS];
    row = (struct row){ .turn = head[0] | (uint32_t)head[1] << 16,
                        .step = head[2] | (uint32_t)head[3] << 16,
                        .layer = head[4],
                        .phase = head[5] >> 14u,
                        .n = head[5] & 0x3fff,
                        .at = *at + HEAD_WORDS };
    for (uint32_t i = 0; i < row.n && rc == 0; i += row.phase == RECORD_MARGINS ? MARGINS_PER_LINE : 1) {
        rc = text_room(r, err);
        if (rc == 0 && row.phase == RECORD_MARGINS)
            margins_print(r, &row, i);
        else if (rc == 0)
            choice_print(r, &row, i);
    }
    *at += HEAD_WORDS + row.n;
    return rc;
}

static int lost_write(struct recorder *r, struct err *err)
{
    uint64_t lost = atomic_load_explicit(&r->lost, memory_order_relaxed);
    int rc = 0;

    if (lost == r->lost_said)
        return 0;
    rc = text_room(r, err);
    if (rc == 0)
        r->n_text +=
            (size_t)snprintf(r->text + r->n_text, LINE_BYTES, "# lost %" PRIu64 " rows\n", lost - r->lost_said);
    r->lost_said = lost;
    return rc;
}

int recorder_flush(struct recorder *r, struct err *err)
{
    uint64_t put = atomic_load_explicit(&r->put, memory_order_acquire), at = atomic_load(&r->taken);
    int rc = 0;

    if (r->fd < 0) {
        atomic_store_explicit(&r->taken, put, memory_order_release);
        return 0;
    }
    while (at < put && rc == 0) {
        rc = row_write(r, &at, err);
        atomic_store_explicit(&r->taken, at, memory_order_release);
    }
    if (rc == 0)
        rc = lost_write(r, err);
    return rc == 0 && r->n_text > 0 ? text_write(r, err) : rc;
}

/* ---- opening ---- */

static int file_open(const char *path, bool *ret_empty, struct err *err)
{
    char start[sizeof(MAGIC) - 1];
    struct stat st;
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);

    if (fd < 0)
        return err_sys(err, errno, "'%s'", path);
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
        (st.st_size == 0 || (pread(fd, start, sizeof(start), 0) == (ssize_t)sizeof(start) &&
                             memcmp(start, MAGIC, sizeof(start)) == 0))) {
        *ret_empty = st.st_size == 0;
        return fd;
    }
    close(fd);
    return err_set(err, -EEXIST, "'%s' is there and is no recording: name another file", path);
}

static int parts_open(struct recorder *r, const char *path, const struct expert_layout *layout, struct err *err)
{
    bool empty = false;
    int fd = file_open(path, &empty, err);

    if (fd < 0)
        return fd;
    r->fd = fd;
    r->path = mem_strdup(path);
    r->ring = mem_calloc(RING_WORDS, sizeof(*r->ring));
    r->text = mem_alloc(TEXT_BYTES);
    r->n_experts = layout->n_experts;
    r->n_used = layout->n_used;
    r->margin = mem_calloc(layout->n_experts, sizeof(*r->margin));
    r->best = mem_calloc(layout->n_used + 1, sizeof(*r->best));
    r->hundredths = mem_calloc(layout->n_experts, sizeof(*r->hundredths));
    if (r->path == NULL || r->ring == NULL || r->text == NULL || r->hundredths == NULL ||
        r->margin == NULL || r->best == NULL)
        return err_sys(err, ENOMEM, "recording of routing");
    r->n_text = (size_t)snprintf(r->text, TEXT_BYTES, "%s%sn_layer=%u n_expert=%u n_expert_used=%u\n%s",
                                 empty ? MAGIC " v1\n" : "", "# ", layout->n_layers, layout->n_experts,
                                 layout->n_used, empty ? "turn,phase,step,layer,rank,expert\n" : "");
    return text_write(r, err);
}

int recorder_open(const char *path, const struct expert_layout *layout, struct recorder **ret_recorder, struct err *err)
{
    struct recorder *r = mem_zalloc(sizeof(*r));
    int rc;

    if (r == NULL)
        return err_sys(err, ENOMEM, "recording of routing");
    r->fd = -1;
    rc = parts_open(r, path, layout, err);
    if (rc < 0)
        recorder_close(r);
    else
        *ret_recorder = r;
    return rc;
}

void recorder_close(struct recorder *recorder)
{
    if (recorder == NULL)
        return;
    if (recorder->ring != NULL)
        recorder_flush(recorder, NULL);
    if (recorder->fd >= 0)
        close(recorder->fd);
    mem_free(recorder->hundredths);
    mem_free(recorder->best);
    mem_free(recorder->margin);
    mem_free(recorder->text);
    mem_free(recorder->ring);
    mem_free(recorder->path);
    mem_free(recorder);
}
