/* SPDX-License-Identifier: MIT
 *
 * fibre.h: functions that run by turns, each on a stack of its own.
 *
 * fibre_run gives the turn to a fibre until it gives it back with fibre_yield or ends. A fibre that is started anew
 * forgets where it was. On x86-64 a turn costs a few instructions; elsewhere ucontext is used.
 *
 * Threads: all of it from one thread. Ownership: fibres_open owns the stacks.
 */
#ifndef EXPERTD_TESTS_EMU_FIBRE_H
#define EXPERTD_TESTS_EMU_FIBRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fibre;
struct fibres;

struct fibres *fibres_open(uint32_t n); /* NULL when there is no memory */
struct fibre *fibres_at(struct fibres *fibres, uint32_t i);

void fibre_start(struct fibre *fibre, void (*fn)(void *arg), void *arg);
void fibre_run(struct fibre *fibre);
void fibre_yield(void); /* in a fibre */
bool fibre_ended(const struct fibre *fibre);
bool fibre_overflowed(const struct fibre *fibre); /* the end of its stack was written */

#endif
