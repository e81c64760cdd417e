/* A signal handler that jumps out of a call (siglongjmp): what the frames below were counted as is taken back before they
 * are gone. The C library runs no cleanup handlers then.
 *
 * Where a jump leads says which frames it leaves behind: those between here and there, and, from a signal stack of its
 * own, those of the interrupted stack up to there. A frame that the thread comes back to all the same (a program that
 * switches between stacks of its own by jumps, out of a handler) was taken for left: while it sleeps nobody rings for it, and
 * behind a call of the kernel's it counts itself out once more, which may be another thread's count. README.md says so. */
#include "call.h"
#include <setjmp.h>

AXIO_HIDDEN _Thread_local struct axio_inside_list axio_inside_list;

extern void __longjmp_chk(struct __jmp_buf_tag *, int) __attribute__((noreturn));

#ifdef __x86_64__
/* The stack pointer of a jmp_buf, which the C library keeps rotated and mixed with a word of the thread's. */
static uintptr_t kept_stack(const struct __jmp_buf_tag *place)
{
    enum { STACK_POINTER = 6 };
    uintptr_t kept = (uintptr_t)place->__jmpbuf[STACK_POINTER];
    __asm__("rorq $17, %0\n\txorq %%fs:0x30, %0" : "+r"(kept) : : "cc");
    return kept;
}
#else
static uintptr_t kept_stack(const struct __jmp_buf_tag *place)
{
    (void)place;
    return 0;
}
#endif

/* 0: a C library that keeps it in another way. */
static uintptr_t target_of(const struct __jmp_buf_tag *place)
{
    jmp_buf own;
    if (_setjmp(own))
        return 0;
    uintptr_t here = (uintptr_t)&own, kept = kept_stack(own);
    const uintptr_t near = 4096;
    return kept - here < near || here - kept < near ? kept_stack(place) : 0;
}

/* A signal stack that the thread is on. */
struct apart {
    uintptr_t low;
    size_t bytes;
};

static inline int is_on(const struct apart *stack, uintptr_t address) { return address - stack->low < stack->bytes; }

static int is_left(uintptr_t frame, uintptr_t here, uintptr_t target, const struct apart *apart)
{
    if (apart->bytes && !is_on(apart, target))
        return is_on(apart, frame) ? here <= frame : frame < target;
    return here <= frame && frame < target;
}

static AXIO_APART void leave_insides(const struct __jmp_buf_tag *place)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0), target = target_of(place);
    struct apart apart = {0, 0};
    stack_t stack;
    int error = errno;
    if (sigaltstack(0, &stack) == 0 && stack.ss_flags & SS_ONSTACK)
        apart = (struct apart){(uintptr_t)stack.ss_sp, stack.ss_size};
    for (int index = 0; target && index < AXIO_INSIDE_PLACES; index++) {
        struct axio_inside_place *noted = &axio_inside_list.places[index];
        struct axio_inside *inside = noted->inside;
        if (!inside || !is_left((uintptr_t)inside, here, target, &apart))
            continue;
        __atomic_store_n(&noted->inside, 0, __ATOMIC_RELAXED);
        if (inside->serial == noted->serial && inside->same == noted->serial)
            inside->abandon(inside->record);
    }
    errno = error;
}

/* Before a jump to `place`. */
static inline void before_jump(const struct __jmp_buf_tag *place)
{
    for (int index = 0; index < AXIO_INSIDE_PLACES; index++) {
        if (__builtin_expect(__atomic_load_n(&axio_inside_list.places[index].inside, __ATOMIC_RELAXED) != 0, 0)) {
            leave_insides(place);
            return;
        }
    }
}

AXIO_HIDDEN __attribute__((noreturn)) void axio_longjmp(struct __jmp_buf_tag *place, int value)
{
    before_jump(place);
    REAL(longjmp)(place, value);
    __builtin_unreachable();
}

AXIO_HIDDEN __attribute__((noreturn)) void axio__longjmp(struct __jmp_buf_tag *place, int value)
{
    before_jump(place);
    REAL(_longjmp)(place, value);
    __builtin_unreachable();
}

AXIO_HIDDEN __attribute__((noreturn)) void axio_siglongjmp(struct __jmp_buf_tag *place, int value)
{
    before_jump(place);
    REAL(siglongjmp)(place, value);
    __builtin_unreachable();
}

AXIO_HIDDEN __attribute__((noreturn)) void axio_longjmp_chk(struct __jmp_buf_tag *place, int value)
{
    before_jump(place);
    REAL(__longjmp_chk)(place, value);
    __builtin_unreachable();
}
