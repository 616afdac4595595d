/* SPDX-License-Identifier: MIT */
#include "emu/fibre.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
enum { STACK_BYTES = 256 << 10 };
#else
enum { STACK_BYTES = 64 << 10 };
#endif

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

enum { GUARD_WORDS = 8 };
static const uint64_t guard = 0x5ca1ab1e0ddba11u;

struct fibre {
    char *stack;
    void (*fn)(void *arg);
    void *arg;
    bool ended;
#if defined(__x86_64__)
    void *sp;
#else
    ucontext_t context;
#endif
#if defined(__SANITIZE_ADDRESS__)
    void *fake_stack;
#endif
};

struct fibres {
    uint32_t n;
    struct fibre each[];
};

/* Who has the turn, and who gave it. */
static struct fibre *current;
#if defined(__SANITIZE_ADDRESS__)
static const void *home_stack;
static size_t home_bytes;
static void *home_fake;
#endif

/* AddressSanitizer is told that stacks change. */
static void arrive_home(void)
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(home_fake, NULL, NULL);
#endif
}

static void arrive_in_fibre(struct fibre *fibre, bool first)
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(first ? NULL : fibre->fake_stack, &home_stack, &home_bytes);
#endif
}

#if defined(__x86_64__)
static void *home_sp;

/* Save the registers that a call keeps, and the stack; take the other's. */
void fibre_swap(void **save, void *to);
__asm__(".text\n"
        ".globl fibre_swap\n"
        ".type fibre_swap, @function\n"
        "fibre_swap:\n"
        "    push %rbp\n"
        "    push %rbx\n"
        "    push %r12\n"
        "    push %r13\n"
        "    push %r14\n"
        "    push %r15\n"
        "    mov %rsp, (%rdi)\n"
        "    mov %rsi, %rsp\n"
        "    pop %r15\n"
        "    pop %r14\n"
        "    pop %r13\n"
        "    pop %r12\n"
        "    pop %rbx\n"
        "    pop %rbp\n"
        "    ret\n"
        ".size fibre_swap, . - fibre_swap\n");
#else
static ucontext_t home_context;
#endif

static void fibre_main(void)
{
    struct fibre *fibre = current;

    arrive_in_fibre(fibre, true);
    fibre->fn(fibre->arg);
    fibre->ended = true;
    fibre_yield();
}

void fibre_start(struct fibre *fibre, void (*fn)(void *arg), void *arg)
{
    fibre->fn = fn;
    fibre->arg = arg;
    fibre->ended = false;
    for (int i = 0; i < GUARD_WORDS; i++)
        ((uint64_t *)fibre->stack)[i] = guard;
#if defined(__SANITIZE_ADDRESS__)
    fibre->fake_stack = NULL;
#endif
#if defined(__x86_64__)
    void **top = (void **)(fibre->stack + STACK_BYTES);

    *--top = NULL; /* so that the stack is aligned where fibre_main begins */
    *--top = (void *)fibre_main;
    top -= 6;
    memset(top, 0, 6 * sizeof(*top));
    fibre->sp = top;
#else
    getcontext(&fibre->context);
    fibre->context.uc_stack.ss_sp = fibre->stack;
    fibre->context.uc_stack.ss_size = STACK_BYTES;
    fibre->context.uc_link = NULL;
    makecontext(&fibre->context, fibre_main, 0);
#endif
}

void fibre_run(struct fibre *fibre)
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&home_fake, fibre->stack, STACK_BYTES);
#endif
    current = fibre;
#if defined(__x86_64__)
    fibre_swap(&home_sp, fibre->sp);
#else
    swapcontext(&home_context, &fibre->context);
#endif
    current = NULL;
    arrive_home();
}

void fibre_yield(void)
{
    struct fibre *fibre = current;

#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(fibre->ended ? NULL : &fibre->fake_stack, home_stack, home_bytes);
#endif
#if defined(__x86_64__)
    fibre_swap(&fibre->sp, home_sp);
#else
    swapcontext(&fibre->context, &home_context);
#endif
    arrive_in_fibre(fibre, false);
}

bool fibre_ended(const struct fibre *fibre)
{
    return fibre->ended;
}

bool fibre_overflowed(const struct fibre *fibre)
{
    for (int i = 0; i < GUARD_WORDS; i++)
        if (((const uint64_t *)fibre->stack)[i] != guard)
            return true;
    return false;
}

struct fibres *fibres_open(uint32_t n)
{
    struct fibres *fibres = calloc(1, sizeof(*fibres) + n * sizeof(fibres->each[0]));
    char *stacks;

    if (fibres == NULL)
        return NULL;
    stacks = mmap(NULL, (size_t)n * STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stacks == MAP_FAILED) {
        free(fibres);
        return NULL;
    }
    fibres->n = n;
    for (uint32_t i = 0; i < n; i++)
        fibres->each[i].stack = stacks + (size_t)i * STACK_BYTES;
    return fibres;
}

struct fibre *fibres_at(struct fibres *fibres, uint32_t i)
{
    return &fibres->each[i];
}
