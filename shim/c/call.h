/* What the trampolines and the Rust side share. A trampoline is the only frame on the stack while a thread sleeps in a
 * cancellable call: Rust has returned before the sleep and is called again behind it, so that a cancellation never
 * unwinds through a Rust frame. The Rust side decides, the trampoline obeys. Mirrored in src/boundary.rs. */
#ifndef AXIO_CALL_H
#define AXIO_CALL_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define AXIO_HIDDEN __attribute__((visibility("hidden")))

/* Not inlined: keeps a frame, and registers saved for it, out of the way of calls that are left alone. */
#define AXIO_APART __attribute__((noinline))

/* What to do next. */
enum axio_action {
    AXIO_DONE = 0,      /* return call.result; call.error is errno unless 0 */
    AXIO_REAL = 1,      /* the program's own call, nothing behind it */
    AXIO_COUNTED = 2,   /* the program's own call, then handlers->after_counted */
    AXIO_PEEK = 3,      /* sleep in a peeking receive, then handlers->after_sleep */
    AXIO_POLL = 4,      /* sleep in ppoll, then handlers->after_sleep */
    AXIO_REST_SEND = 5, /* send(rest), then handlers->after_counted */
    AXIO_REST_RECEIVE = 6, /* recv(rest), then handlers->after_counted */
    AXIO_YIELD = 7,     /* give others time, then handlers->after_sleep */
};

/* In place of errno: nothing was moved because the pipe has nothing, or no room. No errno of the kernel's is as high. */
#define AXIO_PIPE_WAITS 4096

/* A flag of a send or receive, above every flag the kernel knows: the program's call has moved bytes before this part of
 * it, so that every signal handler ends it, SA_RESTART or not. Mirrored in src/calls/transfer/flags.rs. */
#define AXIO_GOES_ON 0x00400000

/* One call of the program. The first part is read here, the rest belongs to the Rust side. */
struct axio_call {
    long result;
    int error;
    int descriptor;
    int events;
    int has_timeout;
    struct timespec timeout;
    void *rest_base;
    size_t rest_bytes;
    int rest_flags;
    int masked;
    uint64_t program_mask; /* of signals 1 to 64, while others are held back */
    struct iovec single;
    unsigned long rust[64];
};
_Static_assert(sizeof(struct axio_call) == 8 + 4 * 4 + 16 + 8 + 8 + 4 + 4 + 8 + 16 + 512, "as in src/boundary.rs");
_Static_assert(__builtin_offsetof(struct axio_call, program_mask) == 64, "as in src/boundary.rs");
_Static_assert(__builtin_offsetof(struct axio_call, rust) == 88, "as in src/boundary.rs");

/* The Rust side, put in place at start-up, if both sides were compiled with the same text of this header. */
struct axio_handlers {
    /* `word`: what the descriptor table says of the number, the same before and behind the call. */
    ssize_t (*send_quickly)(uint64_t word, int descriptor, const void *, size_t bytes, int flags);
    ssize_t (*receive_quickly)(uint64_t word, int descriptor, void *, size_t bytes, int flags);
    int (*enter_plain_send)(uint64_t word, int flags);
    int (*enter_plain_receive)(uint64_t word, int flags);
    int (*enter_plain_receive_of_many)(uint64_t word, int descriptor, int flags);
    void (*after_plain_send)(uint64_t word, int descriptor, ssize_t outcome);
    ssize_t (*after_plain_receive)(uint64_t word, int descriptor, int flags, size_t asked, ssize_t outcome);
    void (*abandon_plain_send)(void *word);
    void (*abandon_plain_receive)(void *word);
    ssize_t (*send_file_quickly)(int descriptor, int file, off_t position, size_t bytes);
    int (*begin_send)(struct axio_call *, int descriptor, const struct iovec *, size_t count, int flags);
    int (*begin_receive)(struct axio_call *, int descriptor, const struct iovec *, size_t count, int flags);
    int (*after_counted)(struct axio_call *, long result, int error);
    int (*after_sleep)(struct axio_call *, long result, int error);
    void (*abandon)(void *call);
    void (*after_connect)(int descriptor, const struct sockaddr *, socklen_t, int result, int error);
    void (*after_accept)(int listener, int descriptor);
    int (*before_shutdown)(uint64_t word, int descriptor, int how);
    void (*after_shutdown)(uint64_t word, int descriptor);
    void (*before_dissolving)(int descriptor);
    void (*before_close)(int descriptor);
    void (*number_returned)(int descriptor);
    void (*duplicated)(int from, int to);
    int (*set_option)(int descriptor, int level, int name, const void *value, socklen_t length, int *result);
    int (*get_option)(int descriptor, int level, int name, void *value, socklen_t *length, int *result);
    int (*own_name)(int descriptor, void *name, socklen_t *length);
    int (*request)(int descriptor, unsigned long request, void *argument, int *result);
    void (*control)(int descriptor, int command, unsigned long argument);
    void (*waiting_changes)(int descriptor);
    int (*enter_kernel_send)(struct axio_call *, int descriptor, size_t bytes);
    int (*begin_send_from_pipe)(struct axio_call *, int descriptor, int pipe, size_t bytes, int pipe_is_written);
    int (*begin_receive_to_pipe)(struct axio_call *, int descriptor, int pipe, size_t bytes);
    void (*before_close_range)(unsigned first, unsigned last);
    void (*hand_over)(int descriptor, int to);
    void (*before_confinement)(int kind);
    void (*io_uring_appears)(void);
    void (*before_listen)(int descriptor);
    unsigned (*fork_prepare)(int has_other_ids);
    void (*fork_parent)(int child, unsigned prepared);
    void (*fork_child)(unsigned prepared);
    void (*before_exec)(void);
    void (*after_failed_exec)(void);
    void (*before_spawn)(void);
    void (*at_exit)(void);
    int (*control_set)(int set, int operation, int descriptor, const void *event, int *error);
    int (*begin_wait)(void *wait);
    int (*after_wait)(void *wait, int result, int error);
    int (*again_wait)(void *wait);
    void (*abandon_wait)(void *wait);
    int (*adopt_wait)(void *wait);
    int (*begin_poll)(void *poll);
    int (*after_poll)(void *poll, int result, int error);
    int (*again_poll)(void *poll);
    void (*abandon_poll)(void *poll);
    void (*refresh_sets)(void);
};

extern AXIO_HIDDEN const struct axio_handlers *axio_handlers; /* null until the Rust side is ready */
extern AXIO_HIDDEN uint64_t *axio_descriptors;                /* null until a matching socket exists */
extern AXIO_HIDDEN int axio_descriptors_highest;              /* the highest number that ever meant something; -1 none */
extern AXIO_HIDDEN int axio_cancel_seen;                      /* the program has called pthread_cancel */
#define AXIO_DESCRIPTORS_LIMIT (1u << 20)

/* The word of a descriptor, 0 while there is no table. */
static inline uint64_t axio_word(int descriptor)
{
    uint64_t *table = __atomic_load_n(&axio_descriptors, __ATOMIC_ACQUIRE);
    return __builtin_expect(table != 0, 0) && (unsigned)descriptor < AXIO_DESCRIPTORS_LIMIT
               ? __atomic_load_n(&table[descriptor], __ATOMIC_RELAXED)
               : 0;
}

/* The lower half names what a descriptor means to the Rust side. */
static inline int axio_means(uint64_t word) { return (uint32_t)word != 0; }
/* True for a descriptor the Rust side manages: two loads, no call. */
static inline int axio_is_managed(int descriptor) { return axio_means(axio_word(descriptor)); }

/* True for a descriptor the Rust side knows anything of: managed, or facts about it are kept in the upper half. */
static inline int axio_is_known(int descriptor) { return axio_word(descriptor) != 0; }

/* Set before the first child that shares this memory appears (vfork), and for ever: from then on who calls is asked of
 * the kernel. */
extern AXIO_HIDDEN int axio_memory_was_shared;
/* A socket that was made as a TCP stream and is not connected yet; mirrored in src/fd_table.rs. */
#define AXIO_FACT_TCP_STREAM (1ull << 34)

/* Which epoll set an ordinary descriptor was added to, plus one. Also tells of epoll sets inside others. */
#define AXIO_WATCHED_LIMIT (1u << 16)
#define AXIO_WATCHED_BY_MANY UINT32_MAX
extern AXIO_HIDDEN uint32_t axio_watched_by[AXIO_WATCHED_LIMIT];

/* What a number was added with, or changed to, in the set that `axio_watched_by` names. A connect() makes it a managed
 * socket, whose registration must be known; the kernel tells it only in a list of all its set's registrations. Mirrored in
 * src/readiness/trampolines.rs. */
struct axio_watched_as {
    uint32_t state; /* AXIO_WATCHED_...; anything but KNOWN: the kernel's list says */
    uint32_t events;
    uint64_t data;
    uint64_t forks; /* as many as there had been: relatives change a set unseen */
};
#define AXIO_WATCHED_UNKNOWN 0u
#define AXIO_WATCHED_KNOWN 1u
#define AXIO_WATCHED_CHANGING 2u
/* Two were at it at once: which came last is the kernel's secret. Until the number is new. */
#define AXIO_WATCHED_CONFUSED 4u
extern AXIO_HIDDEN struct axio_watched_as axio_watched_as[AXIO_WATCHED_LIMIT];
/* Forks of this process and its ancestors that were seen. */
extern AXIO_HIDDEN uint64_t axio_forks;

/* A number that the kernel has just given out is in no set. */
static inline void axio_number_is_new(int descriptor)
{
    if ((unsigned)descriptor < AXIO_WATCHED_LIMIT && __atomic_load_n(&axio_watched_by[descriptor], __ATOMIC_RELAXED))
        __atomic_store_n(&axio_watched_by[descriptor], 0, __ATOMIC_RELAXED);
}

/* Which epoll file a number means: files are counted as they are made; 0 = none that we saw made. A number that was closed
 * since, and given to something else, may keep an old count: who relies on it asks the kernel. */
extern AXIO_HIDDEN uint32_t axio_set_ids[AXIO_WATCHED_LIMIT];
/* Above the highest number that has one. */
extern AXIO_HIDDEN uint32_t axio_set_ids_end;

/* Lets a number mean the file that was counted as `id`. */
AXIO_HIDDEN void axio_give_set_id(int number, uint32_t id);

/* `to` means what `from` means. */
static inline void axio_number_is_copy(int from, int to)
{
    if ((unsigned)(from | to) >= AXIO_WATCHED_LIMIT)
        return;
    uint32_t id = __atomic_load_n(&axio_set_ids[from], __ATOMIC_RELAXED);
    if (__atomic_load_n(&axio_set_ids[to], __ATOMIC_RELAXED) != id)
        axio_give_set_id(to, id);
}

/* A thread is inside a call of the kernel's as which its record is counted. When that call is left for good in another way
 * than by its return, `abandon(record)` takes the count back: a cancellation and an exception call it as they unwind, a
 * handler's jump does in jumps.c, by the thread's list of such calls. What finds no room there is not taken back. */
struct axio_inside {
    uint64_t serial;
    void (*abandon)(void *);
    void *record;
    struct axio_inside_place *place;
    uint64_t same; /* as serial: what a frame that was left unseen has left behind is not taken for it */
};
struct axio_inside_place {
    struct axio_inside *inside;
    uint64_t serial;
};
enum { AXIO_INSIDE_PLACES = 8 };
extern AXIO_HIDDEN _Thread_local struct axio_inside_list {
    uint64_t serial;
    struct axio_inside_place places[AXIO_INSIDE_PLACES];
} axio_inside_list __attribute__((tls_model("initial-exec")));

/* A place is claimed before it is filled, so a handler in between finds it taken. */
static inline void axio_enter_inside(struct axio_inside *inside)
{
    struct axio_inside_place *place = axio_inside_list.places;
    inside->serial = inside->same = ++axio_inside_list.serial;
    for (; place != axio_inside_list.places + AXIO_INSIDE_PLACES; place++) {
        struct axio_inside *other = __atomic_load_n(&place->inside, __ATOMIC_RELAXED);
        if (other && other != inside)
            continue;
        __atomic_store_n(&place->inside, inside, __ATOMIC_RELAXED);
        inside->place = place;
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        __atomic_store_n(&place->serial, inside->serial, __ATOMIC_RELAXED);
        return;
    }
    inside->place = 0;
}

static inline void axio_leave_inside(struct axio_inside *inside)
{
    if (inside->place && inside->place->inside == inside)
        __atomic_store_n(&inside->place->inside, 0, __ATOMIC_RELAXED);
}

#define AXIO_INSIDE_BEGIN(handler, its_record)                                                \
    pthread_cleanup_push(handler, its_record);                                                \
    {                                                                                         \
        struct axio_inside axio_now __attribute__((cleanup(axio_leave_inside))) = {           \
            .abandon = (handler), .record = (its_record)};                                    \
        axio_enter_inside(&axio_now);
#define AXIO_INSIDE_END \
    }                   \
    pthread_cleanup_pop(0)

AXIO_HIDDEN void axio_forget_early_sleepers(void);
AXIO_HIDDEN int axio_sleep(struct axio_call *call, int action);

/* Drives one call to its end. `real` is the program's own call; it is evaluated in this frame. */
#define AXIO_DRIVE(call, first_action, type, real)                                     \
    do {                                                                               \
        int axio_next = (first_action);                                                \
        for (;;) {                                                                     \
            if (__builtin_expect(axio_next == AXIO_DONE, 1)) {                         \
                if (__builtin_expect((call).error != 0, 0))                            \
                    errno = (call).error;                                              \
                return (type)(call).result;                                            \
            }                                                                          \
            if (axio_next == AXIO_REAL)                                                \
                return (real);                                                         \
            if (axio_next == AXIO_COUNTED) {                                           \
                type axio_result;                                                      \
                int axio_error;                                                        \
                AXIO_INSIDE_BEGIN(axio_handlers->abandon, &(call))                     \
                axio_result = (real);                                                  \
                axio_error = errno;                                                    \
                AXIO_INSIDE_END;                                                       \
                axio_next = axio_handlers->after_counted(&(call), (long)axio_result,   \
                                                         axio_result < 0 ? axio_error : 0); \
            } else {                                                                   \
                axio_next = axio_sleep(&(call), axio_next);                            \
            }                                                                          \
        }                                                                              \
    } while (0)

/* Holds back every signal but those that an instruction raises: a runtime that mends a protected page in its handler does so
 * under our copies, too (POSIX.md R6). */
static inline void axio_hold_signals(sigset_t *before)
{
    static const int raised_by_instructions[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    sigset_t held;
    sigfillset(&held);
    for (size_t index = 0; index < sizeof raised_by_instructions / sizeof *raised_by_instructions; index++)
        sigdelset(&held, raised_by_instructions[index]);
    pthread_sigmask(SIG_SETMASK, &held, before);
}

/* What is left of `timeout` behind `start`; nothing is left of what has passed. */
static inline struct timespec axio_time_left(const struct timespec *timeout, const struct timespec *start)
{
    const long second = 1000000000;
    struct timespec now, left;
    clock_gettime(CLOCK_MONOTONIC, &now);
    left.tv_sec = timeout->tv_sec - (now.tv_sec - start->tv_sec);
    left.tv_nsec = timeout->tv_nsec - (now.tv_nsec - start->tv_nsec);
    if (left.tv_nsec < 0) {
        left.tv_nsec += second;
        left.tv_sec--;
    } else if (left.tv_nsec >= second) {
        left.tv_nsec -= second;
        left.tv_sec++;
    }
    return left.tv_sec < 0 ? (struct timespec){0, 0} : left;
}

/* A name of which the next definition behind us is called. The linker lays all of them side by side. */
struct axio_name {
    const char *name;
    void *found;
};
/* The next definition; a function that says ENOSYS if there is none. */
AXIO_HIDDEN void *axio_next_definition(struct axio_name *name);
/* Looks all names up that were not used yet, so that nobody has to who must not wait for the loader. */
AXIO_HIDDEN void axio_look_names_up(void);
#define REAL(function)                                                                              \
    ({                                                                                              \
        static struct axio_name axio_name_##function __attribute__((section("axio_names"), used)) = \
            {#function, 0};                                                                         \
        void *axio_found = __atomic_load_n(&axio_name_##function.found, __ATOMIC_RELAXED);          \
        if (__builtin_expect(axio_found == 0, 0))                                                   \
            axio_found = axio_next_definition(&axio_name_##function);                               \
        (__typeof__(&function))axio_found;                                                          \
    })

#endif
