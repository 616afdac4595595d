/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "daemon/scheduler.h"

#include <criterion/criterion.h>
#include <errno.h>

static struct scheduler s;
static const struct budget_shape shape = { .n_ctx = 64, .n_seqs = 2, .batch = 8, .max_batch = 10, .max_logits = 6 };

static void setup(void)
{
    cr_assert_eq(scheduler_init(&s, &shape, 4), 0);
}

static void teardown(void)
{
    scheduler_fini(&s);
}

/* A job whose prompt is first, first + 1, ... */
static struct job *job_of(int32_t first, size_t n)
{
    struct job *job = job_new();

    for (size_t i = 0; i < n; i++)
        cr_assert_eq(token_ids_add(&job->prompt, first + (int32_t)i), 0);
    return job;
}

/* What the engine does between plan and the next plan, with `token` drawn for whoever has read its prompt. */
static void run_step(int32_t token)
{
    scheduler_commit(&s, 1000);
    for (uint32_t i = 0; i < s.n_spans; i++) {
        struct sequence *seq = s.span_seqs[i];

        if (seq->n_held >= seq->job->prompt.n) {
            seq->state = SEQUENCE_WRITING;
            seq->next = token;
        }
    }
}

TestSuite(scheduler, .init = setup, .fini = teardown);

Test(scheduler, a_prompt_is_read_in_chunks_and_only_the_last_gives_logits)
{
    struct job *job = job_of(0, 20);

    cr_assert(scheduler_enqueue(&s, job));
    cr_assert_not_null(scheduler_admit(&s));
    cr_assert_null(scheduler_admit(&s));
    for (uint32_t at = 0; at < 20; at += 8) {
        uint32_t n = at == 16 ? 4 : 8;

        cr_assert_eq(scheduler_plan(&s), 1);
        cr_assert_eq(s.spans[0].pos0, at);
        cr_assert_eq(s.spans[0].n_tokens, n);
        cr_assert_eq(s.spans[0].tokens[0], (int32_t)at);
        cr_assert_eq(s.spans[0].no_logits, at != 16);
        cr_assert_eq(scheduler_span_rows(&s.spans[0]), at == 16 ? 1 : 0);
        run_step(99);
    }
    cr_assert_eq(scheduler_plan(&s), 1);
    cr_assert_eq(s.spans[0].pos0, 20);
    cr_assert_eq(s.spans[0].n_tokens, 1);
    cr_assert_eq(s.spans[0].tokens[0], 99);
    job_unref(job);
}

/* All of the prompt at once, and then token by token; what is kept for a next turn stays. */
Test(scheduler, positions_are_those_held_and_those_to_come)
{
    struct job *job = job_of(0, 20);
    struct sequence *seq;

    cr_assert_eq(scheduler_positions(&s, &s.seqs[0]), 0);
    scheduler_enqueue(&s, job);
    seq = scheduler_admit(&s);
    cr_assert_eq(scheduler_positions(&s, seq), 21);
    for (int i = 0; i < 3; i++) {
        scheduler_plan(&s);
        run_step(99);
        cr_assert_eq(scheduler_positions(&s, seq), 21);
    }
    scheduler_plan(&s);
    run_step(99);
    cr_assert_eq(scheduler_positions(&s, seq), 22);
    while (seq->n_held < 64) {
        scheduler_plan(&s);
        cr_assert_geq(scheduler_positions(&s, seq), s.spans[0].pos0 + 1);
        run_step(99);
    }
    cr_assert_eq(scheduler_positions(&s, seq), 64, "no more than there are");
    scheduler_release(&s, seq);
    cr_assert_eq(scheduler_positions(&s, seq), seq->n_held);
    job_unref(job);
}

Test(scheduler, who_writes_goes_on_while_another_reads)
{
    struct job *a = job_of(0, 4), *b = job_of(100, 30);

    scheduler_enqueue(&s, a);
    scheduler_admit(&s);
    scheduler_plan(&s);
    run_step(50);
    scheduler_enqueue(&s, b);
    scheduler_admit(&s);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(scheduler_plan(&s), 2, "both are in every step");
        cr_assert_eq(s.spans[0].n_tokens, 1);
        cr_assert_eq(s.spans[1].n_tokens, 8);
        cr_assert_leq(s.n_tokens, shape.max_batch);
        run_step(50);
    }
    job_unref(a);
    job_unref(b);
}

Test(scheduler, slow_prompts_are_cut_shorter_while_somebody_writes)
{
    struct job *a = job_of(0, 8), *b = job_of(100, 30);

    s.shape.batch = 16;
    scheduler_enqueue(&s, a);
    scheduler_admit(&s);
    scheduler_plan(&s);
    scheduler_commit(&s, 8 * 40000000ull); /* 40 ms a token: ten fit in a step that others wait for */
    s.seqs[0].state = SEQUENCE_WRITING;
    scheduler_enqueue(&s, b);
    scheduler_admit(&s);
    cr_assert_eq(scheduler_plan(&s), 2);
    cr_assert_eq(s.spans[1].n_tokens, 10);
    s.seqs[0].state = SEQUENCE_FREE;
    cr_assert_eq(scheduler_plan(&s), 1);
    cr_assert_eq(s.spans[0].n_tokens, 16, "alone it takes whole chunks");
    job_unref(a);
    job_unref(b);
}

Test(scheduler, the_oldest_prompt_is_read_first)
{
    struct job *a = job_of(0, 30), *b = job_of(100, 5);

    scheduler_enqueue(&s, a);
    scheduler_enqueue(&s, b);
    cr_assert_eq(scheduler_admit(&s)->job, a);
    cr_assert_eq(scheduler_admit(&s)->job, b);
    cr_assert_eq(scheduler_plan(&s), 1, "one prompt at a time");
    cr_assert_eq(s.span_seqs[0]->job, a);
    atomic_store(&a->paused, true);
    cr_assert_eq(scheduler_plan(&s), 1);
    cr_assert_eq(s.span_seqs[0]->job, b, "a paused one is passed over");
    atomic_store(&b->paused, true);
    cr_assert_eq(scheduler_plan(&s), 0);
    job_unref(a);
    job_unref(b);
}

Test(scheduler, scoring_gives_all_logits_and_keeps_to_their_limit)
{
    struct job *job = job_of(0, 20);

    job->echo = true;
    job->n_logprobs = 1;
    scheduler_enqueue(&s, job);
    scheduler_admit(&s);
    cr_assert_eq(scheduler_plan(&s), 1);
    cr_assert(s.spans[0].all_logits);
    cr_assert_eq(s.spans[0].n_tokens, 6);
    cr_assert_eq(scheduler_span_rows(&s.spans[0]), 6);
    job_unref(job);
}

Test(scheduler, what_is_held_is_used_again_up_to_the_last_token)
{
    struct job *a = job_of(0, 8), *b = job_of(0, 8), *c = job_of(0, 6), *d = job_of(3, 6);
    struct sequence *seq;

    scheduler_enqueue(&s, a);
    seq = scheduler_admit(&s);
    scheduler_plan(&s);
    run_step(1);
    scheduler_release(&s, seq);
    scheduler_enqueue(&s, b);
    cr_assert_eq(scheduler_admit(&s), seq, "the sequence that holds it, not the unused one");
    cr_assert_eq(seq->n_reused, 7, "the last token is evaluated again: its logits are needed");
    scheduler_plan(&s);
    cr_assert_eq(s.spans[0].pos0, 7);
    cr_assert_eq(s.spans[0].n_tokens, 1);
    run_step(1);
    scheduler_release(&s, seq);
    scheduler_enqueue(&s, c);
    cr_assert_eq(scheduler_admit(&s)->n_reused, 5);
    scheduler_release(&s, seq);
    c->echo = true;
    c->n_logprobs = 0;
    scheduler_enqueue(&s, c);
    cr_assert_eq(scheduler_admit(&s)->n_reused, 0, "scoring needs every logit");
    scheduler_enqueue(&s, d);
    cr_assert_eq(scheduler_admit(&s)->n_reused, 0);
    job_unref(a);
    job_unref(b);
    job_unref(c);
    job_unref(d);
}

Test(scheduler, the_queue_is_bounded_and_anyone_may_leave_it)
{
    struct job *jobs[5];

    for (int i = 0; i < 5; i++) {
        jobs[i] = job_of(i, 3);
        cr_assert_eq(scheduler_enqueue(&s, jobs[i]), i < 4);
    }
    cr_assert_eq(scheduler_withdraw(&s, 1), jobs[1]);
    cr_assert(scheduler_enqueue(&s, jobs[4]), "and there is room again, past the ring's end");
    cr_assert_eq(scheduler_withdraw(&s, 0), jobs[0]);
    cr_assert_eq(scheduler_withdraw(&s, 2), jobs[4]);
    cr_assert_eq(scheduler_withdraw(&s, 0), jobs[2]);
    cr_assert_eq(scheduler_withdraw(&s, 0), jobs[3]);
    cr_assert_eq(s.n_waiting, 0);
    for (int i = 0; i < 5; i++)
        job_unref(jobs[i]);
}

Test(scheduler, no_memory_is_an_error_at_every_allocation)
{
    struct scheduler t;

    for (long n = 0; n < 5; n++) {
        mem_fail_after(n);
        cr_assert_eq(scheduler_init(&t, &shape, 4), -ENOMEM);
        mem_fail_after(-1);
    }
}
