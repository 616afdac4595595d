/* SPDX-License-Identifier: MIT */
#include "cache/outlook.h"
#include "daemon/engine_impl.h"
#include "daemon/recorder.h"

/* Rows are the batch's tokens, span after span. The last layer serves only those from the first whose logits are asked
 * for. */
static uint32_t first_row(const struct scheduler *s, uint32_t n)
{
    uint32_t row = 0;

    if (n == s->n_tokens)
        return 0;
    for (uint32_t i = 0; i < s->n_spans; row += s->spans[i++].n_tokens)
        if (!s->spans[i].no_logits)
            return s->spans[i].all_logits ? row : row + s->spans[i].n_tokens - 1;
    return row;
}

/* Whose a row of the batch is; the row moves to where it is in the span. */
static uint32_t span_of(const struct scheduler *s, uint32_t *row)
{
    uint32_t i = 0;

    while (i < s->n_spans && *row >= s->spans[i].n_tokens)
        *row -= s->spans[i++].n_tokens;
    return i;
}

static void record_row(struct engine *e, uint32_t row, uint32_t layer_index, enum recorder_phase phase,
                       const float *logits, const uint16_t *ids, size_t n)
{
    const struct scheduler *s = &e->scheduler;
    uint32_t i = span_of(s, &row), turn, step;

    if (i == s->n_spans)
        return;
    turn = (uint32_t)s->span_seqs[i]->job->id;
    step = s->spans[i].pos0 + row;
    if (phase == RECORD_ANSWER && s->span_seqs[i]->state != SEQUENCE_WRITING)
        phase = RECORD_PROMPT;
    if (logits)
        recorder_put_margins(e->service->recorder, turn, step, layer_index, logits);
    recorder_put(e->service->recorder, turn, phase, step, layer_index, ids, n);
}

/* Of a prompt's margins those that the policies look at. */
void engine_record_route(struct engine *e, uint32_t layer, const float *logits, const uint16_t *ids, uint32_t n)
{
    const struct expert_layout *layout = model_layout(e->service->model);
    int index = expert_layout_find(layout, layer);
    uint32_t first = first_row(&e->scheduler, n);

    for (uint32_t i = 0; i < n && index >= 0; i++)
        record_row(e, first + i, (uint32_t)index, RECORD_ANSWER,
                   logits && n - i <= OUTLOOK_ROWS ? logits + (size_t)i * layout->n_experts : NULL,
                   ids + (size_t)i * layout->n_used, layout->n_used);
}

/* Guesses for several tokens are one list: only those for a single one can be told whose they are. */
void engine_record_guess(struct engine *e)
{
    const uint16_t *ids;
    uint32_t layer, n = lookahead_guesses(e->lookahead, &layer, &ids);
    int index = n > 0 ? expert_layout_find(model_layout(e->service->model), layer) : -1;

    if (index >= 0 && e->scheduler.n_tokens == 1)
        record_row(e, 0, (uint32_t)index, RECORD_GUESS, NULL, ids, n);
}
