/* poll and select. Sets with a managed socket are slept on as a copy, in which the line of a ring stands for it. */
#include "descriptor_sets.h"
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/syscall.h>

/* Entries that find room on the stack. */
#define ON_STACK 64u
/* More than a process can have open is the kernel's to refuse. */
#define ENTRIES_MAX (1u << 20)

/* Memory for one call that is too much for the caller's stack. Some are kept from call to call: to map one and to touch it for
 * the first time costs more than a poll does. */
struct scratch {
    void *memory;
    size_t bytes;
};
enum { KEPT_SCRATCHES = 4, KEPT_BYTES = 64 * 1024 };
static void *kept_scratches[KEPT_SCRATCHES];

static void *take(struct scratch *scratch, size_t bytes)
{
    scratch->bytes = bytes > KEPT_BYTES ? bytes : KEPT_BYTES;
    if (bytes <= KEPT_BYTES)
        for (int index = 0; index < KEPT_SCRATCHES && !scratch->memory; index++)
            /* Acquire, partner: the release in give_back. */
            scratch->memory = __atomic_exchange_n(&kept_scratches[index], 0, __ATOMIC_ACQUIRE);
    if (!scratch->memory) {
        void *mapped = REAL(mmap)(0, scratch->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        scratch->memory = mapped == MAP_FAILED ? 0 : mapped;
    }
    return scratch->memory;
}

static void give_back(void *argument)
{
    struct scratch *scratch = argument;
    if (scratch->bytes == KEPT_BYTES)
        for (int index = 0; index < KEPT_SCRATCHES && scratch->memory; index++) {
            void *empty = 0;
            if (__atomic_compare_exchange_n(&kept_scratches[index], &empty, scratch->memory, 0, __ATOMIC_RELEASE,
                                            __ATOMIC_RELAXED))
                scratch->memory = 0;
        }
    if (scratch->memory)
        REAL(munmap)(scratch->memory, scratch->bytes);
    scratch->memory = 0;
}

/* Drives a poll to its end; false: the program's own call is to be made. */
static int drive(struct axio_poll *poll, const sigset_t *mask)
{
    sigset_t before;
    int masked = 0;
    int next = axio_handlers->begin_poll(poll);
    if (next == AXIO_WAIT_REAL)
        return 0;
    for (;;) {
        if (next == AXIO_WAIT_SLEEP) {
            int result, error;
            AXIO_INSIDE_BEGIN(axio_handlers->abandon_poll, poll)
            result = REAL(ppoll)(poll->copy, poll->count, poll->sleep_has_timeout ? &poll->sleep : 0,
                                 masked && !mask ? &before : mask);
            error = errno;
            AXIO_INSIDE_END;
            next = axio_handlers->after_poll(poll, result, result < 0 ? error : 0);
        } else if (next == AXIO_WAIT_AGAIN) {
            /* As for epoll sets: from here on a signal runs only inside the next sleep. */
            if (!masked) {
                axio_hold_signals(&before);
                masked = 1;
            }
            next = axio_handlers->again_poll(poll);
        } else {
            break;
        }
    }
    if (masked)
        pthread_sigmask(SIG_SETMASK, &before, 0);
    if (poll->error)
        errno = poll->error;
    return 1;
}

static int is_plausible(const void *pointer)
{
    return (uintptr_t)pointer >= 4096 && (uintptr_t)pointer >> 47 == 0;
}

static int has_managed(const struct pollfd *entries, nfds_t count)
{
    /* A table without a socket in it is there for the listeners' sake, where a rule leaves all to the kernel. */
    if (__atomic_load_n(&axio_descriptors_highest, __ATOMIC_ACQUIRE) < 0 || count > ENTRIES_MAX || !is_plausible(entries))
        return 0;
    for (nfds_t index = 0; index < count; index++)
        if (axio_is_managed(entries[index].fd))
            return 1;
    return 0;
}

/* A call that sleeps looks at an epoll set that is none of ours. Should it become ours meanwhile, the sleeper sees it
 * through the kernel. 1: it did already. Partner: the set is ours before it is asked who looks at it. */
static AXIO_APART int becomes_visible(int set)
{
    __atomic_store_n(&axio_watched_by[set], AXIO_WATCHED_BY_MANY, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return axio_is_managed(set);
}

/* A number keeps its count when it is closed; of a socket that has it now something else is known. */
static inline int is_foreign_set(int descriptor, unsigned end)
{
    return __builtin_expect((unsigned)descriptor < end, 0) &&
           __atomic_load_n(&axio_set_ids[descriptor], __ATOMIC_RELAXED) != 0 && !axio_is_known(descriptor);
}

/* Before the program's own call sleeps; 1: one of the sets has become ours. */
static int shows_sets(const struct pollfd *entries, nfds_t count)
{
    unsigned end = __atomic_load_n(&axio_set_ids_end, __ATOMIC_ACQUIRE);
    int ours = 0;
    if (end == 0 || count > ENTRIES_MAX || !is_plausible(entries))
        return 0;
    for (nfds_t index = 0; index < count; index++)
        if (is_foreign_set(entries[index].fd, end))
            ours |= becomes_visible(entries[index].fd);
    return ours;
}

static int is_time(const struct timespec *time)
{
    return time->tv_sec >= 0 && time->tv_nsec >= 0 && time->tv_nsec < 1000000000;
}

/* What a poll comes to when the program's own call is to be made after all. */
#define NOT_OURS (-2)

/* poll with a managed socket in it, or NOT_OURS. */
static int poll_managed(struct pollfd *entries, unsigned count, const struct timespec *timeout, const sigset_t *mask)
{
    struct pollfd copy[ON_STACK];
    struct axio_member members[ON_STACK];
    struct scratch scratch = {0};
    struct axio_poll poll = {.count = count, .entries = entries, .copy = copy, .members = members};
    if (count > ON_STACK) {
        char *memory = take(&scratch, count * (sizeof(struct pollfd) + sizeof(struct axio_member)));
        if (!memory) {
            errno = ENOMEM;
            return -1;
        }
        poll.members = (struct axio_member *)(void *)memory;
        poll.copy = (struct pollfd *)(void *)(memory + count * sizeof(struct axio_member));
    }
    if (timeout) {
        poll.has_timeout = 1;
        poll.timeout = *timeout;
    }
    if (__builtin_expect(axio_cancel_seen, 0))
        pthread_testcancel();
    pthread_cleanup_push(give_back, &scratch);
    if (!drive(&poll, mask))
        poll.result = NOT_OURS;
    pthread_cleanup_pop(0);
    int error = errno;
    give_back(&scratch);
    errno = error;
    return (int)poll.result;
}

AXIO_HIDDEN int axio_poll(struct pollfd *entries, nfds_t count, int timeout)
{
    if (!has_managed(entries, count) && (timeout == 0 || !shows_sets(entries, count))) {
        axio_look_through();
        return REAL(poll)(entries, count, timeout);
    }
    struct timespec time = {timeout / 1000, timeout % 1000 * 1000000L};
    int result = poll_managed(entries, (unsigned)count, timeout < 0 ? 0 : &time, 0);
    return result == NOT_OURS ? REAL(poll)(entries, count, timeout) : result;
}

extern int __poll_chk(struct pollfd *, nfds_t, int, size_t);
AXIO_HIDDEN int axio_poll_chk(struct pollfd *entries, nfds_t count, int timeout, size_t bytes)
{
    if (bytes / sizeof *entries < count)
        return REAL(__poll_chk)(entries, count, timeout, bytes);
    return axio_poll(entries, count, timeout);
}

AXIO_HIDDEN int axio_ppoll(struct pollfd *entries, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
    if ((!has_managed(entries, count) && !shows_sets(entries, count)) ||
        (timeout && (!is_plausible(timeout) || !is_time(timeout)))) {
        axio_look_through();
        return REAL(ppoll)(entries, count, timeout, mask);
    }
    int result = poll_managed(entries, (unsigned)count, timeout, mask);
    return result == NOT_OURS ? REAL(ppoll)(entries, count, timeout, mask) : result;
}

extern int __ppoll_chk(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *, size_t);
AXIO_HIDDEN int axio_ppoll_chk(struct pollfd *entries, nfds_t count, const struct timespec *timeout,
                               const sigset_t *mask, size_t bytes)
{
    if (bytes / sizeof *entries < count)
        return REAL(__ppoll_chk)(entries, count, timeout, mask, bytes);
    return axio_ppoll(entries, count, timeout, mask);
}

/* select as the kernel understands it: words of bits, as many as `limit` needs. */
#define WORD_BITS (8 * (int)sizeof(unsigned long))
#define READS (POLLIN | POLLRDNORM | POLLRDBAND)
#define WRITES (POLLOUT | POLLWRNORM | POLLWRBAND)

static inline unsigned long word_of(const fd_set *set, int word)
{
    unsigned long value = 0;
    if (set)
        __builtin_memcpy(&value, (const char *)set + (size_t)word * sizeof value, sizeof value);
    return value;
}

static inline int has_bit(const fd_set *set, int descriptor)
{
    return (word_of(set, descriptor / WORD_BITS) >> (descriptor % WORD_BITS)) & 1;
}

/* Descriptors named in any of the sets; `managed` tells whether one of them is. */
static unsigned count_named(int limit, const fd_set *reads, const fd_set *writes, const fd_set *urgent, int *managed)
{
    unsigned count = 0;
    for (int word = 0; word * WORD_BITS < limit; word++) {
        unsigned long named = word_of(reads, word) | word_of(writes, word) | word_of(urgent, word);
        if (limit - word * WORD_BITS < WORD_BITS)
            named &= (1ul << (limit - word * WORD_BITS)) - 1;
        for (; named; named &= named - 1) {
            *managed |= axio_is_managed(word * WORD_BITS + __builtin_ctzl(named));
            count++;
        }
    }
    return count;
}

/* As many as were counted; returns how many there are. The sets are the program's, and another thread may write to them
 * meanwhile. */
static unsigned fill_entries(struct pollfd *entries, unsigned count, int limit, const fd_set *reads,
                             const fd_set *writes, const fd_set *urgent)
{
    unsigned filled = 0;
    for (int descriptor = 0; descriptor < limit && filled < count; descriptor++) {
        int events = (has_bit(reads, descriptor) ? READS : 0) | (has_bit(writes, descriptor) ? WRITES : 0) |
                     (has_bit(urgent, descriptor) ? POLLPRI : 0);
        if (events)
            entries[filled++] = (struct pollfd){descriptor, (short)events, 0};
    }
    return filled;
}

static void clear_set(fd_set *set, int limit)
{
    if (set)
        __builtin_memset(set, 0, (size_t)((limit + WORD_BITS - 1) / WORD_BITS) * sizeof(unsigned long));
}

static void set_bit(fd_set *set, int descriptor)
{
    unsigned long value = word_of(set, descriptor / WORD_BITS) | 1ul << (descriptor % WORD_BITS);
    __builtin_memcpy((char *)set + (size_t)(descriptor / WORD_BITS) * sizeof value, &value, sizeof value);
}

/* The sets in which select shows an entry, of READS, WRITES and POLLPRI (fs/select.c). */
static inline int shown_in(const struct pollfd *entry)
{
    int shown = 0;
    if (entry->events & POLLIN && entry->revents & (READS | POLLHUP | POLLERR))
        shown |= READS;
    if (entry->events & POLLOUT && entry->revents & (WRITES | POLLERR))
        shown |= WRITES;
    return shown | (entry->events & entry->revents & POLLPRI);
}

/* Whether what poll found is an answer. What it says unasked, and select does not show, is not looked at again. */
static int is_answer(struct pollfd *entries, unsigned count)
{
    for (unsigned index = 0; index < count; index++)
        if (entries[index].revents & POLLNVAL || shown_in(&entries[index]))
            return 1;
    for (unsigned index = 0; index < count; index++)
        if (entries[index].revents)
            entries[index].fd = -1;
    return 0;
}

/* Turns what poll found into sets; the number of bits, or -1 and EBADF. */
static int fill_sets(const struct pollfd *entries, unsigned count, int limit, fd_set *reads, fd_set *writes,
                     fd_set *urgent)
{
    for (unsigned index = 0; index < count; index++) {
        if (entries[index].revents & POLLNVAL) {
            errno = EBADF;
            return -1;
        }
    }
    clear_set(reads, limit);
    clear_set(writes, limit);
    clear_set(urgent, limit);
    int bits = 0;
    for (unsigned index = 0; index < count; index++) {
        int shown = shown_in(&entries[index]);
        if (shown & POLLIN) {
            set_bit(reads, entries[index].fd);
            bits++;
        }
        if (shown & POLLOUT) {
            set_bit(writes, entries[index].fd);
            bits++;
        }
        if (shown & POLLPRI) {
            set_bit(urgent, entries[index].fd);
            bits++;
        }
    }
    return bits;
}

/* select with a managed socket in it, or NOT_OURS. `left` becomes what is left of the time. */
static int select_managed(unsigned count, int limit, fd_set *reads, fd_set *writes, fd_set *urgent,
                          struct timespec *left, const sigset_t *mask)
{
    struct pollfd few[ON_STACK];
    struct pollfd *entries = few;
    struct scratch scratch = {0};
    struct timespec start, whole = {0, 0};
    if (count > ON_STACK) {
        entries = take(&scratch, count * sizeof(struct pollfd));
        if (!entries) {
            errno = ENOMEM;
            return -1;
        }
    }
    if (left) {
        whole = *left;
        clock_gettime(CLOCK_MONOTONIC, &start);
    }
    count = fill_entries(entries, count, limit, reads, writes, urgent);
    int result;
    do {
        pthread_cleanup_push(give_back, &scratch);
        result = poll_managed(entries, count, left, mask);
        pthread_cleanup_pop(0);
        int error = errno;
        if (left)
            *left = axio_time_left(&whole, &start);
        errno = error;
    } while (result > 0 && !is_answer(entries, count));
    if (result >= 0)
        result = fill_sets(entries, count, limit, reads, writes, urgent);
    int error = errno;
    give_back(&scratch);
    errno = error;
    return result;
}

/* As shows_sets. A set is ready for reading or not at all. */
static int shows_named(int limit, const fd_set *reads)
{
    unsigned end = __atomic_load_n(&axio_set_ids_end, __ATOMIC_ACQUIRE);
    int ours = 0;
    if (!reads)
        return 0;
    for (int descriptor = 0; descriptor < limit && (unsigned)descriptor < end; descriptor++)
        if (has_bit(reads, descriptor) && is_foreign_set(descriptor, end))
            ours |= becomes_visible(descriptor);
    return ours;
}

/* Whether the kernel, asked to look at `limit` descriptors, is content with a set of so many bytes in front of `edge`, where
 * nothing can be read: 1, or 0 if it needs more. No descriptor is named, so nothing is waited for; but a signal that comes
 * meanwhile ends the call with EINTR all the same (fs/select.c core_sys_select), and that says nothing of the set. Negative:
 * there is no telling. */
static int is_content(int limit, char *edge, size_t bytes)
{
    long result;
    do {
        struct timespec none = {0, 0};
        result = REAL(syscall)(SYS_pselect6, (long)limit, edge - bytes, 0L, 0L, &none, 0L);
    } while (result < 0 && errno == EINTR);
    return result == 0 ? 1 : result < 0 && errno == EFAULT ? 0 : -1;
}

/* Zeros of that size and behind them memory that cannot be read; 0 if there is none. Lasts. */
#define SET_BYTES_MAX (ENTRIES_MAX / 8)
static char *zeros_with_an_edge(void)
{
    static char *edge;
    char *found = __atomic_load_n(&edge, __ATOMIC_ACQUIRE); /* partner: the release below */
    if (found)
        return found;
    const size_t guard = 64 * 1024; /* a page, however large */
    char *mapped = REAL(mmap)(0, SET_BYTES_MAX + guard, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED)
        return 0;
    char *ours = mapped + SET_BYTES_MAX;
    if (mprotect(ours, guard, PROT_NONE) < 0 ||
        !__atomic_compare_exchange_n(&edge, &found, ours, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        REAL(munmap)(mapped, SET_BYTES_MAX + guard);
        return found;
    }
    return ours;
}

/* The kernel looks at no more than its table of descriptors has room for (fs/select.c core_sys_select), and a program that
 * names getdtablesize() as its limit need not have sets of that size. Our own descriptors that last stay below FD_SETSIZE
 * (private.rs), so a larger table is the program's doing. How large it is, only the kernel knows. 0: more than we look at, or no telling. */
static AXIO_APART int as_far_as_looked_at(int limit)
{
    int error = errno;
    char *edge = zeros_with_an_edge();
    size_t too_few = FD_SETSIZE / 8, enough = SET_BYTES_MAX;
    int content = edge ? is_content(limit, edge, too_few) : -1;
    if (content > 0)
        enough = too_few;
    else if (content == 0 && is_content(limit, edge, enough) != 1)
        content = -1;
    while (content >= 0 && enough > too_few + sizeof(long)) {
        size_t middle = (too_few + enough) / 2 / sizeof(long) * sizeof(long);
        content = is_content(limit, edge, middle);
        if (content > 0)
            enough = middle;
        else
            too_few = middle;
    }
    errno = error;
    if (content < 0)
        return 0;
    return (size_t)limit < enough * 8 ? limit : (int)(enough * 8);
}

/* Number of descriptors named if one of them is managed, else 0. Behind the limit that is left nothing was looked at. */
static unsigned managed_count(int *limit, const fd_set *reads, const fd_set *writes, const fd_set *urgent)
{
    int has_table = __atomic_load_n(&axio_descriptors, __ATOMIC_ACQUIRE) != 0;
    if (!has_table && !__atomic_load_n(&axio_set_ids_end, __ATOMIC_ACQUIRE))
        return 0;
    if ((reads && !is_plausible(reads)) || (writes && !is_plausible(writes)) || (urgent && !is_plausible(urgent)))
        return 0;
    /* Without a table nothing is asked of the kernel that the program did not ask (POSIX.md row 36). */
    if (*limit > FD_SETSIZE)
        *limit = has_table ? as_far_as_looked_at(*limit) : FD_SETSIZE;
    if (*limit <= 0)
        return 0;
    int managed = shows_named(*limit, reads);
    if (!__atomic_load_n(&axio_descriptors, __ATOMIC_ACQUIRE))
        return 0;
    unsigned count = count_named(*limit, reads, writes, urgent, &managed);
    return managed ? count : 0;
}

AXIO_HIDDEN int axio_select(int limit, fd_set *reads, fd_set *writes, fd_set *urgent, struct timeval *timeout)
{
    int seen = limit;
    unsigned count = managed_count(&seen, reads, writes, urgent);
    if (!count || (timeout && (!is_plausible(timeout) || timeout->tv_sec < 0 || timeout->tv_usec < 0))) {
        axio_look_through();
        return REAL(select)(limit, reads, writes, urgent, timeout);
    }
    if (!timeout) {
        int result = select_managed(count, seen, reads, writes, urgent, 0, 0);
        return result == NOT_OURS ? REAL(select)(limit, reads, writes, urgent, 0) : result;
    }
    struct timespec left = {timeout->tv_sec + timeout->tv_usec / 1000000, timeout->tv_usec % 1000000 * 1000};
    int result = select_managed(count, seen, reads, writes, urgent, &left, 0);
    if (result == NOT_OURS)
        return REAL(select)(limit, reads, writes, urgent, timeout);
    /* The time left, as Linux tells it, whatever the result. */
    timeout->tv_sec = left.tv_sec;
    timeout->tv_usec = left.tv_nsec / 1000;
    return result;
}

AXIO_HIDDEN int axio_pselect(int limit, fd_set *reads, fd_set *writes, fd_set *urgent, const struct timespec *timeout,
                             const sigset_t *mask)
{
    int seen = limit;
    unsigned count = managed_count(&seen, reads, writes, urgent);
    if (!count || (timeout && (!is_plausible(timeout) || !is_time(timeout)))) {
        axio_look_through();
        return REAL(pselect)(limit, reads, writes, urgent, timeout, mask);
    }
    struct timespec left = timeout ? *timeout : (struct timespec){0, 0};
    int result = select_managed(count, seen, reads, writes, urgent, timeout ? &left : 0, mask);
    return result == NOT_OURS ? REAL(pselect)(limit, reads, writes, urgent, timeout, mask) : result;
}
