/* poll and select. Sets with a managed socket are slept on as a copy, in which the line of a ring stands for it. */
#include "descriptor_sets.h"
#include <sys/mman.h>
#include <sys/select.h>

/* Entries that find room on the stack. */
#define ON_STACK 64u
/* More than a process can have open is the kernel's to refuse. */
#define ENTRIES_MAX (1u << 20)

/* Memory for one call; from the stack of the caller if it is little. */
struct scratch {
    void *mapped;
    size_t bytes;
};

static void *take(struct scratch *scratch, size_t bytes)
{
    void *mapped = REAL(mmap)(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED)
        return 0;
    scratch->mapped = mapped;
    scratch->bytes = bytes;
    return mapped;
}

static void give_back(void *argument)
{
    struct scratch *scratch = argument;
    if (scratch->mapped)
        REAL(munmap)(scratch->mapped, scratch->bytes);
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
            pthread_cleanup_push(axio_handlers->abandon_poll, poll);
            result = REAL(ppoll)(poll->copy, poll->count, poll->sleep_has_timeout ? &poll->sleep : 0,
                                 masked && !mask ? &before : mask);
            error = errno;
            pthread_cleanup_pop(0);
            next = axio_handlers->after_poll(poll, result, result < 0 ? error : 0);
        } else if (next == AXIO_WAIT_AGAIN) {
            /* As for epoll sets: from here on a signal runs only inside the next sleep. */
            if (!masked) {
                sigset_t all;
                sigfillset(&all);
                pthread_sigmask(SIG_SETMASK, &all, &before);
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
    if (!__atomic_load_n(&axio_descriptors, __ATOMIC_ACQUIRE) || count > ENTRIES_MAX || !is_plausible(entries))
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

static void fill_entries(struct pollfd *entries, int limit, const fd_set *reads, const fd_set *writes,
                         const fd_set *urgent)
{
    for (int descriptor = 0; descriptor < limit; descriptor++) {
        int events = (has_bit(reads, descriptor) ? READS : 0) | (has_bit(writes, descriptor) ? WRITES : 0) |
                     (has_bit(urgent, descriptor) ? POLLPRI : 0);
        if (events)
            *entries++ = (struct pollfd){descriptor, (short)events, 0};
    }
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
        const struct pollfd *entry = &entries[index];
        if (entry->events & POLLIN && entry->revents & (READS | POLLHUP | POLLERR)) {
            set_bit(reads, entry->fd);
            bits++;
        }
        if (entry->events & POLLOUT && entry->revents & (WRITES | POLLERR)) {
            set_bit(writes, entry->fd);
            bits++;
        }
        if (entry->events & POLLPRI && entry->revents & POLLPRI) {
            set_bit(urgent, entry->fd);
            bits++;
        }
    }
    return bits;
}

/* select with a managed socket in it, or NOT_OURS. */
static int select_managed(unsigned count, int limit, fd_set *reads, fd_set *writes, fd_set *urgent,
                          const struct timespec *timeout, const sigset_t *mask)
{
    struct pollfd few[ON_STACK];
    struct pollfd *entries = few;
    struct scratch scratch = {0};
    if (count > ON_STACK) {
        entries = take(&scratch, count * sizeof(struct pollfd));
        if (!entries) {
            errno = ENOMEM;
            return -1;
        }
    }
    fill_entries(entries, limit, reads, writes, urgent);
    int result;
    pthread_cleanup_push(give_back, &scratch);
    result = poll_managed(entries, count, timeout, mask);
    pthread_cleanup_pop(0);
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

/* Number of descriptors named if one of them is managed, else 0. */
static unsigned managed_count(int limit, const fd_set *reads, const fd_set *writes, const fd_set *urgent)
{
    if (limit <= 0 || (unsigned)limit > ENTRIES_MAX)
        return 0;
    if ((reads && !is_plausible(reads)) || (writes && !is_plausible(writes)) || (urgent && !is_plausible(urgent)))
        return 0;
    int managed = shows_named(limit, reads);
    if (!__atomic_load_n(&axio_descriptors, __ATOMIC_ACQUIRE))
        return 0;
    unsigned count = count_named(limit, reads, writes, urgent, &managed);
    return managed ? count : 0;
}

AXIO_HIDDEN int axio_select(int limit, fd_set *reads, fd_set *writes, fd_set *urgent, struct timeval *timeout)
{
    unsigned count = managed_count(limit, reads, writes, urgent);
    if (!count || (timeout && (!is_plausible(timeout) || timeout->tv_sec < 0 || timeout->tv_usec < 0))) {
        axio_look_through();
        return REAL(select)(limit, reads, writes, urgent, timeout);
    }
    if (!timeout) {
        int result = select_managed(count, limit, reads, writes, urgent, 0, 0);
        return result == NOT_OURS ? REAL(select)(limit, reads, writes, urgent, 0) : result;
    }
    const long second = 1000000000;
    struct timespec time = {timeout->tv_sec + timeout->tv_usec / 1000000, timeout->tv_usec % 1000000 * 1000};
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    int result = select_managed(count, limit, reads, writes, urgent, &time, 0);
    if (result == NOT_OURS)
        return REAL(select)(limit, reads, writes, urgent, timeout);
    /* The time left, as Linux tells it, whatever the result. */
    int error = errno;
    clock_gettime(CLOCK_MONOTONIC, &end);
    long nanoseconds = time.tv_nsec - (end.tv_nsec - start.tv_nsec);
    long seconds = time.tv_sec - (end.tv_sec - start.tv_sec);
    for (; nanoseconds < 0; nanoseconds += second)
        seconds--;
    for (; nanoseconds >= second; nanoseconds -= second)
        seconds++;
    timeout->tv_sec = seconds < 0 ? 0 : seconds;
    timeout->tv_usec = seconds < 0 ? 0 : nanoseconds / 1000;
    errno = error;
    return result;
}

AXIO_HIDDEN int axio_pselect(int limit, fd_set *reads, fd_set *writes, fd_set *urgent, const struct timespec *timeout,
                             const sigset_t *mask)
{
    unsigned count = managed_count(limit, reads, writes, urgent);
    if (!count || (timeout && (!is_plausible(timeout) || !is_time(timeout)))) {
        axio_look_through();
        return REAL(pselect)(limit, reads, writes, urgent, timeout, mask);
    }
    int result = select_managed(count, limit, reads, writes, urgent, timeout, mask);
    return result == NOT_OURS ? REAL(pselect)(limit, reads, writes, urgent, timeout, mask) : result;
}
