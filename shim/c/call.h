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
    struct iovec single;
    unsigned long rust[64];
};

/* The Rust side, put in place at start-up, if both sides were compiled with the same text of this header. */
struct axio_handlers {
    ssize_t (*send_quickly)(int descriptor, const void *, size_t bytes, int flags);
    ssize_t (*receive_quickly)(int descriptor, void *, size_t bytes, int flags);
    ssize_t (*send_file_quickly)(int descriptor, int file, off_t position, size_t bytes);
    int (*begin_send)(struct axio_call *, int descriptor, const struct iovec *, size_t count, int flags);
    int (*begin_receive)(struct axio_call *, int descriptor, const struct iovec *, size_t count, int flags);
    int (*after_counted)(struct axio_call *, long result, int error);
    int (*after_sleep)(struct axio_call *, long result, int error);
    void (*abandon)(void *call);
    int (*after_connect)(int descriptor, const struct sockaddr *, socklen_t, int result, int error);
    void (*after_accept)(int listener, int descriptor);
    int (*before_shutdown)(int descriptor, int how);
    void (*after_shutdown)(int descriptor, int how, int result);
    void (*before_close)(int descriptor);
    void (*number_returned)(int descriptor);
    void (*duplicated)(int from, int to);
    int (*set_option)(int descriptor, int level, int name, const void *value, socklen_t length, int *result);
    int (*get_option)(int descriptor, int level, int name, void *value, socklen_t *length, int *result);
    int (*own_name)(int descriptor, void *name, socklen_t *length);
    int (*request)(int descriptor, unsigned long request, void *argument, int *result);
    int (*control)(int descriptor, int command, unsigned long argument, int *result);
    int (*enter_kernel_send)(struct axio_call *, int descriptor);
    int (*enter_kernel_receive)(struct axio_call *, int descriptor);
    size_t (*room)(int descriptor);
    void (*before_close_range)(unsigned first, unsigned last);
    void (*hand_over)(int descriptor, int to);
    void (*before_confinement)(int kind);
    void (*io_uring_appears)(void);
    void (*before_listen)(int descriptor);
    unsigned (*fork_prepare)(void);
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

/* True for a descriptor the Rust side manages: two loads, no call. The lower half names what it means. */
static inline int axio_is_managed(int descriptor) { return (uint32_t)axio_word(descriptor) != 0; }

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
                pthread_cleanup_push(axio_handlers->abandon, &(call));                 \
                axio_result = (real);                                                  \
                axio_error = errno;                                                    \
                pthread_cleanup_pop(0);                                                \
                axio_next = axio_handlers->after_counted(&(call), (long)axio_result,   \
                                                         axio_result < 0 ? axio_error : 0); \
            } else {                                                                   \
                axio_next = axio_sleep(&(call), axio_next);                            \
            }                                                                          \
        }                                                                              \
    } while (0)

/* The next definition of a name behind us; a function that says ENOSYS if there is none. */
AXIO_HIDDEN void *axio_next_definition(const char *name);
/* Looks `count` names up, once in the life of the process, so that nobody has to who must not wait for the loader. */
AXIO_HIDDEN void axio_keep_definitions(const char *const *names, size_t count);
#define AXIO_REAL_POINTER(name)                                                            \
    ({                                                                                     \
        static __typeof__(&name) axio_pointer_##name;                                      \
        __typeof__(&name) axio_found = __atomic_load_n(&axio_pointer_##name, __ATOMIC_RELAXED); \
        if (__builtin_expect(axio_found == 0, 0)) {                                        \
            axio_found = (__typeof__(&name))axio_next_definition(#name);                   \
            __atomic_store_n(&axio_pointer_##name, axio_found, __ATOMIC_RELAXED);          \
        }                                                                                  \
        axio_found;                                                                        \
    })
#define REAL(name) AXIO_REAL_POINTER(name)

#endif
