/* epoll sets: what the program registers, and waiting for it. */
#include "early_sleepers.h"

/* glibc has it since 2.35; it is looked up by name. */
extern int epoll_pwait2(int, struct epoll_event *, int, const struct timespec *, const sigset_t *);

uint32_t axio_watched_by[AXIO_WATCHED_LIMIT];
struct axio_watched_as axio_watched_as[AXIO_WATCHED_LIMIT];
uint64_t axio_forks;
uint32_t axio_exposed_sets;
uint32_t axio_early_sleepers[AXIO_WATCHED_LIMIT];
uint32_t axio_early_sleepers_end;
uint32_t axio_set_ids[AXIO_WATCHED_LIMIT];
uint32_t axio_set_ids_end;

/* An ordinary descriptor entered or left a set. It may become a managed socket by a later connect(). */
static inline void note_watched(int set, int operation, int descriptor, uint32_t noted)
{
    uint32_t *word = &axio_watched_by[descriptor];
    uint32_t before = __atomic_load_n(word, __ATOMIC_RELAXED), now = (uint32_t)set + 1;
    if (operation == EPOLL_CTL_ADD && before != now) {
        __atomic_store_n(word, before == 0 ? now : AXIO_WATCHED_BY_MANY, __ATOMIC_RELAXED);
        /* What was noted of the number before was somebody else's. */
        if (!noted)
            __atomic_store_n(&axio_watched_as[descriptor].state, AXIO_WATCHED_UNKNOWN, __ATOMIC_RELAXED);
    } else if (operation == EPOLL_CTL_DEL && before == now)
        __atomic_store_n(word, 0, __ATOMIC_RELAXED);
}

/* The same of a socket that will probably be connected: its registration is noted, too, if nobody else changes it
 * meanwhile. */
static AXIO_APART int watch_unconnected(int set, int operation, int descriptor, struct epoll_event *event)
{
    struct axio_watched_as *as = &axio_watched_as[descriptor];
    if (operation == EPOLL_CTL_ADD && __atomic_load_n(&axio_watched_by[descriptor], __ATOMIC_RELAXED) == 0)
        __atomic_store_n(&as->state, AXIO_WATCHED_UNKNOWN, __ATOMIC_RELAXED);
    uint32_t before = __atomic_load_n(&as->state, __ATOMIC_RELAXED);
    int alone = !(before & (AXIO_WATCHED_CHANGING | AXIO_WATCHED_CONFUSED)) &&
                __atomic_compare_exchange_n(&as->state, &before, before | AXIO_WATCHED_CHANGING, 0, __ATOMIC_ACQUIRE,
                                            __ATOMIC_RELAXED);
    if (!alone)
        __atomic_fetch_or(&as->state, AXIO_WATCHED_CONFUSED, __ATOMIC_RELAXED);
    int result = REAL(epoll_ctl)(set, operation, descriptor, event);
    if (result == 0)
        note_watched(set, operation, descriptor, 1);
    if (!alone)
        return result;
    if (result == 0 && operation != EPOLL_CTL_DEL) {
        as->events = event->events;
        as->data = event->data.u64;
        as->forks = axio_forks;
        __atomic_fetch_or(&as->state, AXIO_WATCHED_KNOWN, __ATOMIC_RELAXED);
    }
    /* Partner: the acquire of who reads the words. */
    __atomic_fetch_and(&as->state, ~AXIO_WATCHED_CHANGING, __ATOMIC_RELEASE);
    return result;
}

AXIO_HIDDEN void axio_give_set_id(int number, uint32_t id)
{
    uint32_t end = __atomic_load_n(&axio_set_ids_end, __ATOMIC_RELAXED);
    __atomic_store_n(&axio_set_ids[number], id, __ATOMIC_RELAXED);
    while (end <= (unsigned)number && !__atomic_compare_exchange_n(&axio_set_ids_end, &end, (unsigned)number + 1, 0,
                                                                  __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
    }
}

/* The kernel has just made an epoll file, and given it this number. */
static inline void set_is_new(int number)
{
    static uint32_t made;
    if ((unsigned)number >= AXIO_WATCHED_LIMIT)
        return;
    axio_number_is_new(number);
    axio_set_is_new(number);
    /* Odd, so never 0. */
    axio_give_set_id(number, __atomic_fetch_add(&made, 2, __ATOMIC_RELAXED) | 1);
}

AXIO_HIDDEN int axio_epoll_create(int size)
{
    int result = REAL(epoll_create)(size);
    set_is_new(result);
    if (axio_is_known(result))
        axio_handlers->number_returned(result);
    return result;
}

AXIO_HIDDEN int axio_epoll_create1(int flags)
{
    int result = REAL(epoll_create1)(flags);
    set_is_new(result);
    if (axio_is_known(result))
        axio_handlers->number_returned(result);
    return result;
}

AXIO_HIDDEN int axio_epoll_ctl(int set, int operation, int descriptor, struct epoll_event *event)
{
    uint64_t word = axio_word(descriptor);
    int managed = (uint32_t)word != 0;
    if (managed || axio_is_managed(set)) {
        int error = 0;
        if (axio_handlers->control_set(set, operation, descriptor, event, &error)) {
            if (error == 0)
                return 0;
            errno = error;
            return -1;
        }
    }
    if (managed || (unsigned)descriptor >= AXIO_WATCHED_LIMIT)
        return REAL(epoll_ctl)(set, operation, descriptor, event);
    if (word & AXIO_FACT_TCP_STREAM)
        return watch_unconnected(set, operation, descriptor, event);
    int result = REAL(epoll_ctl)(set, operation, descriptor, event);
    if (result == 0)
        note_watched(set, operation, descriptor, 0);
    return result;
}

/* Without a mask the plain call: a sandbox knows the calls that the program makes. */
static int in_milliseconds(const struct axio_wait *wait, int timeout, const sigset_t *mask)
{
    if (!mask)
        return REAL(epoll_wait)(wait->set, wait->events, wait->maximum, timeout);
    return REAL(epoll_pwait)(wait->set, wait->events, wait->maximum, timeout, mask);
}

/* The kernel's own wait, with a time-out in nanoseconds where milliseconds are too coarse. */
static int sleep_in_set(const struct axio_wait *wait, const sigset_t *mask)
{
    static int no_nanoseconds;
    if (!wait->sleep_has_timeout)
        return in_milliseconds(wait, -1, mask);
    const long milli = 1000000;
    int is_whole = wait->sleep.tv_nsec % milli == 0;
    if ((!is_whole || wait->sleep.tv_sec > 2000000) && !__atomic_load_n(&no_nanoseconds, __ATOMIC_RELAXED)) {
        int result = REAL(epoll_pwait2)(wait->set, wait->events, wait->maximum, &wait->sleep, mask);
        /* Kernels before 5.11 do not have it; a sandbox may forbid what it does not know. */
        if (result >= 0 || (errno != ENOSYS && errno != EPERM))
            return result;
        __atomic_store_n(&no_nanoseconds, 1, __ATOMIC_RELAXED);
    }
    int timeout = wait->sleep.tv_sec > 2000000
                      ? 2000000000
                      : (int)(wait->sleep.tv_sec * 1000 + (wait->sleep.tv_nsec + milli - 1) / milli);
    return in_milliseconds(wait, timeout, mask);
}

/* Drives a wait to its end; false: the program's own call is to be made. */
static int drive(struct axio_wait *wait, const sigset_t *mask, int next)
{
    sigset_t before;
    int masked = 0;
    for (;;) {
        if (__builtin_expect(next == AXIO_WAIT_SLEEP, 1)) {
            int result, error;
            AXIO_INSIDE_BEGIN(axio_handlers->abandon_wait, wait)
            result = sleep_in_set(wait, masked && !mask ? &before : mask);
            error = errno;
            AXIO_INSIDE_END;
            next = axio_handlers->after_wait(wait, result, result < 0 ? error : 0);
        } else if (next == AXIO_WAIT_AGAIN) {
            /* It has slept and found nothing: from here on a signal runs only inside the next sleep, where the kernel
             * tells of it (POSIX.md R6). */
            if (!masked) {
                axio_hold_signals(&before);
                masked = 1;
            }
            next = axio_handlers->again_wait(wait);
        } else {
            if (masked)
                pthread_sigmask(SIG_SETMASK, &before, 0);
            return next == AXIO_WAIT_DONE;
        }
    }
}

static void set_milliseconds(struct axio_wait *wait, int timeout)
{
    wait->has_timeout = timeout >= 0;
    wait->timeout.tv_sec = timeout / 1000;
    wait->timeout.tv_nsec = timeout % 1000 * 1000000L;
}

static int finish(const struct axio_wait *wait)
{
    if (wait->error)
        errno = wait->error;
    return wait->result;
}

/* What a wait comes to when the program's own call is to be made. */
#define NOT_OURS (-2)

/* In a set of ours. */
static int wait_in_set(struct axio_wait *wait, const sigset_t *mask)
{
    if (__builtin_expect(axio_cancel_seen, 0))
        pthread_testcancel();
    return drive(wait, mask, axio_handlers->begin_wait(wait)) ? finish(wait) : NOT_OURS;
}

static void abandon_early_sleep(void *argument)
{
    struct axio_wait *wait = argument;
    if (axio_leave_set(wait->set) && axio_handlers->adopt_wait(wait))
        axio_handlers->abandon_wait(wait);
    wait->set = -1; /* left once */
}

/* Sleeps in a set that is none of ours, or was none when the sleep began: the program's own call, one of three. */
static AXIO_APART int sleep_early(struct axio_wait *wait, int form, int timeout, const struct timespec *exact,
                                  const sigset_t *mask)
{
    int result, error;
    if (wait->has_timeout)
        clock_gettime(CLOCK_MONOTONIC, &wait->sleep); /* where the time-out began, for adopt_wait */
    axio_look_through();
    AXIO_INSIDE_BEGIN(abandon_early_sleep, wait)
    if (form == 0)
        result = REAL(epoll_wait)(wait->set, wait->events, wait->maximum, timeout);
    else if (form == 1)
        result = REAL(epoll_pwait)(wait->set, wait->events, wait->maximum, timeout, mask);
    else
        result = REAL(epoll_pwait2)(wait->set, wait->events, wait->maximum, exact, mask);
    error = errno;
    AXIO_INSIDE_END;
    if (axio_leave_set(wait->set) && axio_handlers->adopt_wait(wait)) {
        if (result >= 0 || error == EINTR)
            return drive(wait, mask, axio_handlers->after_wait(wait, result, result < 0 ? error : 0)) ? finish(wait)
                                                                                                    : NOT_OURS;
        axio_handlers->abandon_wait(wait);
    }
    errno = error;
    return result;
}

/* The kernel has refused what would have made the set ours, while a wait in it began: it sleeps as in any other set, or in
 * ours, if the next registration was taken meanwhile. */
static AXIO_APART int sleep_after_all(struct axio_wait *wait, int form, int timeout, const struct timespec *exact,
                                      const sigset_t *mask)
{
    for (int tries = 0; tries < 3; tries++) {
        int result = axio_is_managed(wait->set) || !axio_enter_set(wait->set)
                         ? wait_in_set(wait, mask)
                         : sleep_early(wait, form, timeout, exact, mask);
        if (result != NOT_OURS)
            return result;
    }
    return NOT_OURS;
}

static AXIO_APART int adopt_look(int set, struct epoll_event *events, int maximum, int result)
{
    struct axio_wait wait = {.set = set, .maximum = maximum, .events = events, .has_timeout = 1};
    if (!axio_handlers->adopt_wait(&wait))
        return result;
    return drive(&wait, 0, axio_handlers->after_wait(&wait, result, 0)) ? finish(&wait) : result;
}

/* A look, without sleep, at a set that was none of ours when it began: if it is by now, what was found is not only for the
 * program, and may be older than what other threads have been told since. */
static inline int looked(int set, struct epoll_event *events, int maximum, int result)
{
    return __builtin_expect(result > 0 && axio_is_managed(set), 0) ? adopt_look(set, events, maximum, result) : result;
}

AXIO_HIDDEN int axio_epoll_wait(int set, struct epoll_event *events, int maximum, int timeout)
{
    int ours = axio_is_managed(set);
    if (ours || timeout != 0) {
        struct axio_wait wait = {.set = set, .maximum = maximum, .events = events};
        set_milliseconds(&wait, timeout);
        int result = ours || !axio_enter_set(set) ? wait_in_set(&wait, 0) : sleep_early(&wait, 0, timeout, 0, 0);
        if (__builtin_expect(result == NOT_OURS && timeout != 0, 0))
            result = sleep_after_all(&wait, 0, timeout, 0, 0);
        if (result != NOT_OURS)
            return result;
    }
    axio_look_through();
    int result = REAL(epoll_wait)(set, events, maximum, timeout);
    return ours || timeout != 0 ? result : looked(set, events, maximum, result);
}

AXIO_HIDDEN int axio_epoll_pwait(int set, struct epoll_event *events, int maximum, int timeout, const sigset_t *mask)
{
    int ours = axio_is_managed(set);
    if (ours || timeout != 0) {
        struct axio_wait wait = {.set = set, .maximum = maximum, .events = events};
        set_milliseconds(&wait, timeout);
        int result =
            ours || !axio_enter_set(set) ? wait_in_set(&wait, mask) : sleep_early(&wait, 1, timeout, 0, mask);
        if (__builtin_expect(result == NOT_OURS && timeout != 0, 0))
            result = sleep_after_all(&wait, 1, timeout, 0, mask);
        if (result != NOT_OURS)
            return result;
    }
    axio_look_through();
    int result = REAL(epoll_pwait)(set, events, maximum, timeout, mask);
    return ours || timeout != 0 ? result : looked(set, events, maximum, result);
}

AXIO_HIDDEN int axio_epoll_pwait2(int set, struct epoll_event *events, int maximum, const struct timespec *timeout,
                                  const sigset_t *mask)
{
    int ours = axio_is_managed(set);
    if (timeout == 0 || (uintptr_t)timeout >= 4096) {
        struct axio_wait wait = {.set = set, .maximum = maximum, .events = events, .has_timeout = timeout != 0};
        if (timeout)
            wait.timeout = *timeout;
        int sleeps = timeout == 0 || timeout->tv_sec != 0 || timeout->tv_nsec != 0;
        int result = NOT_OURS;
        if (ours || (sleeps && !axio_enter_set(set)))
            result = wait_in_set(&wait, mask);
        else if (sleeps)
            result = sleep_early(&wait, 2, 0, timeout, mask);
        else {
            axio_look_through();
            return looked(set, events, maximum, REAL(epoll_pwait2)(set, events, maximum, timeout, mask));
        }
        if (__builtin_expect(result == NOT_OURS && sleeps, 0))
            result = sleep_after_all(&wait, 2, 0, timeout, mask);
        if (result != NOT_OURS)
            return result;
    }
    axio_look_through();
    return REAL(epoll_pwait2)(set, events, maximum, timeout, mask);
}

/* In a fork child the threads that slept are not there. */
AXIO_HIDDEN void axio_forget_early_sleepers(void)
{
    for (uint32_t set = 0; set < axio_early_sleepers_end; set++)
        axio_early_sleepers[set] &= AXIO_ADOPTED;
}
