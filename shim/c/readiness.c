/* epoll sets: what the program registers, and waiting for it. */
#include "early_sleepers.h"

/* glibc has it since 2.35; it is looked up by name. */
extern int epoll_pwait2(int, struct epoll_event *, int, const struct timespec *, const sigset_t *);

uint32_t axio_watched_by[AXIO_WATCHED_LIMIT];
uint32_t axio_exposed_sets;
uint32_t axio_early_sleepers[AXIO_WATCHED_LIMIT];
uint32_t axio_early_sleepers_end;
uint32_t axio_set_ids[AXIO_WATCHED_LIMIT];
uint32_t axio_set_ids_end;

/* An ordinary descriptor entered or left a set. It may become a managed socket by a later connect(). */
static void note_watched(int set, int operation, int descriptor)
{
    if ((unsigned)descriptor >= AXIO_WATCHED_LIMIT)
        return;
    uint32_t *word = &axio_watched_by[descriptor];
    uint32_t before = __atomic_load_n(word, __ATOMIC_RELAXED), now = (uint32_t)set + 1;
    if (operation == EPOLL_CTL_ADD && before != now)
        __atomic_store_n(word, before == 0 ? now : AXIO_WATCHED_BY_MANY, __ATOMIC_RELAXED);
    else if (operation == EPOLL_CTL_DEL && before == now)
        __atomic_store_n(word, 0, __ATOMIC_RELAXED);
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
    int managed = axio_is_managed(descriptor);
    if (managed || axio_is_managed(set)) {
        int error = 0;
        if (axio_handlers->control_set(set, operation, descriptor, event, &error)) {
            if (error == 0)
                return 0;
            errno = error;
            return -1;
        }
    }
    int result = REAL(epoll_ctl)(set, operation, descriptor, event);
    if (result == 0 && !managed)
        note_watched(set, operation, descriptor);
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
            pthread_cleanup_push(axio_handlers->abandon_wait, wait);
            result = sleep_in_set(wait, masked && !mask ? &before : mask);
            error = errno;
            pthread_cleanup_pop(0);
            next = axio_handlers->after_wait(wait, result, result < 0 ? error : 0);
        } else if (next == AXIO_WAIT_AGAIN) {
            /* It has slept and found nothing: from here on a signal runs only inside the next sleep, where the kernel
             * tells of it (POSIX.md R6). */
            if (!masked) {
                sigset_t all;
                sigfillset(&all);
                pthread_sigmask(SIG_SETMASK, &all, &before);
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
}

/* Sleeps in a set that is none of ours, or was none when the sleep began: the program's own call, one of three. */
static AXIO_APART int sleep_early(struct axio_wait *wait, int form, int timeout, const struct timespec *exact,
                                  const sigset_t *mask)
{
    int result, error;
    if (wait->has_timeout)
        clock_gettime(CLOCK_MONOTONIC, &wait->sleep); /* where the time-out began, for adopt_wait */
    axio_look_through();
    pthread_cleanup_push(abandon_early_sleep, wait);
    if (form == 0)
        result = REAL(epoll_wait)(wait->set, wait->events, wait->maximum, timeout);
    else if (form == 1)
        result = REAL(epoll_pwait)(wait->set, wait->events, wait->maximum, timeout, mask);
    else
        result = REAL(epoll_pwait2)(wait->set, wait->events, wait->maximum, exact, mask);
    error = errno;
    pthread_cleanup_pop(0);
    if (axio_leave_set(wait->set) && axio_handlers->adopt_wait(wait)) {
        if (result >= 0 || error == EINTR)
            return drive(wait, mask, axio_handlers->after_wait(wait, result, result < 0 ? error : 0)) ? finish(wait)
                                                                                                    : NOT_OURS;
        axio_handlers->abandon_wait(wait);
    }
    errno = error;
    return result;
}

AXIO_HIDDEN int axio_epoll_wait(int set, struct epoll_event *events, int maximum, int timeout)
{
    int ours = axio_is_managed(set);
    if (ours || timeout != 0) {
        struct axio_wait wait = {.set = set, .maximum = maximum, .events = events};
        set_milliseconds(&wait, timeout);
        int result = ours || !axio_enter_set(set) ? wait_in_set(&wait, 0) : sleep_early(&wait, 0, timeout, 0, 0);
        if (result != NOT_OURS)
            return result;
    }
    axio_look_through();
    return REAL(epoll_wait)(set, events, maximum, timeout);
}

AXIO_HIDDEN int axio_epoll_pwait(int set, struct epoll_event *events, int maximum, int timeout, const sigset_t *mask)
{
    int ours = axio_is_managed(set);
    if (ours || timeout != 0) {
        struct axio_wait wait = {.set = set, .maximum = maximum, .events = events};
        set_milliseconds(&wait, timeout);
        int result =
            ours || !axio_enter_set(set) ? wait_in_set(&wait, mask) : sleep_early(&wait, 1, timeout, 0, mask);
        if (result != NOT_OURS)
            return result;
    }
    axio_look_through();
    return REAL(epoll_pwait)(set, events, maximum, timeout, mask);
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
