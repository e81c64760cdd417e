/* One wait on an epoll set, as the trampoline and the Rust side share it. Mirrored in src/readiness/wait/record.rs. */
#ifndef AXIO_READINESS_H
#define AXIO_READINESS_H
#include "call.h"
#include <sys/epoll.h>

/* What to do next. */
enum axio_wait_action {
    AXIO_WAIT_DONE = 0,  /* return wait.result; wait.error is errno unless 0 */
    AXIO_WAIT_REAL = 1,  /* the program's own call, nothing behind it */
    AXIO_WAIT_SLEEP = 2, /* sleep as wait.sleep says, then handlers->after_wait */
    AXIO_WAIT_AGAIN = 3, /* hold signals back, then handlers->again_wait */
};

struct axio_wait {
    int result;
    int error;
    int set;
    int maximum;
    struct epoll_event *events;
    struct timespec timeout;
    int has_timeout;
    int sleep_has_timeout;
    struct timespec sleep;
    unsigned long rust[8];
};
_Static_assert(sizeof(struct axio_wait) == 16 + 8 + 16 + 8 + 16 + 64, "as in src/readiness/wait/record.rs");
_Static_assert(__builtin_offsetof(struct axio_wait, rust) == 64, "as in src/readiness/wait/record.rs");

/* Sets with managed members that other waiters see through the kernel: members of other sets, polled ones. */
extern AXIO_HIDDEN uint32_t axio_exposed_sets;

/* Before a look of the kernel's own at descriptors of which one may be such a set, or have one in it. */
static inline void axio_look_through(void)
{
    if (__builtin_expect(__atomic_load_n(&axio_exposed_sets, __ATOMIC_RELAXED) != 0, 0))
        axio_handlers->refresh_sets();
}

#endif
