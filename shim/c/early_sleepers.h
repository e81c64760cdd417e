/* Early sleepers: threads in the kernel's epoll_wait on a set that is none of ours. Another thread may add the first managed
 * socket meanwhile; from then on somebody must wake them for a ring, and what the kernel tells them is not only for the
 * program. So they are counted, by the number they wait under. */
#ifndef AXIO_EARLY_SLEEPERS_H
#define AXIO_EARLY_SLEEPERS_H
#include "readiness.h"

/* Set by the Rust side when it makes a set of ours: those counted before are its sleepers. Mirrored in
 * src/readiness/trampolines.rs. */
#define AXIO_ADOPTED 0x80000000u
extern AXIO_HIDDEN uint32_t axio_early_sleepers[AXIO_WATCHED_LIMIT];
/* Above the highest number that anybody waited under. */
extern AXIO_HIDDEN uint32_t axio_early_sleepers_end;

/* Counts the calling thread; 0: the set is ours already. */
static inline int axio_enter_set(int set)
{
    if ((unsigned)set >= AXIO_WATCHED_LIMIT)
        return 1;
    uint32_t end = __atomic_load_n(&axio_early_sleepers_end, __ATOMIC_RELAXED);
    while (__builtin_expect(end <= (unsigned)set, 0) &&
           !__atomic_compare_exchange_n(&axio_early_sleepers_end, &end, (unsigned)set + 1, 0, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED)) {
    }
    if (!(__atomic_fetch_add(&axio_early_sleepers[set], 1, __ATOMIC_ACQ_REL) & AXIO_ADOPTED))
        return 1;
    __atomic_fetch_sub(&axio_early_sleepers[set], 1, __ATOMIC_ACQ_REL);
    return 0;
}

/* The thread is awake; 1: the set has become ours meanwhile. */
static inline int axio_leave_set(int set)
{
    return (unsigned)set < AXIO_WATCHED_LIMIT &&
           __atomic_fetch_sub(&axio_early_sleepers[set], 1, __ATOMIC_ACQ_REL) & AXIO_ADOPTED;
}

/* The kernel has just given this number to a set: it is none of ours yet. */
static inline void axio_set_is_new(int set)
{
    if ((unsigned)set < AXIO_WATCHED_LIMIT && __atomic_load_n(&axio_early_sleepers[set], __ATOMIC_RELAXED))
        __atomic_fetch_and(&axio_early_sleepers[set], ~AXIO_ADOPTED, __ATOMIC_RELAXED);
}

#endif
