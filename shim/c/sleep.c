/* Sleeping on behalf of a call, and the names behind us. */
#include "call.h"
#include <dlfcn.h>
#include <sched.h>
#include <string.h>

AXIO_HIDDEN const struct axio_handlers *axio_handlers;
/* What the Rust side compares with its own at start (src/startup.rs). */
AXIO_HIDDEN const uint64_t axio_headers_fingerprint = AXIO_HEADERS_FINGERPRINT;
AXIO_HIDDEN const uint64_t axio_handlers_bytes = sizeof(struct axio_handlers);
AXIO_HIDDEN uint64_t *axio_descriptors;
AXIO_HIDDEN int axio_cancel_seen;

/* Kernel id of the thread, kept by the Rust side. At a fixed distance from the thread pointer: two instructions. */
static _Thread_local uint32_t thread __attribute__((tls_model("initial-exec")));
AXIO_HIDDEN uint32_t *axio_thread(void) { return &thread; }

static long no_such_function(void)
{
    errno = ENOSYS;
    return -1;
}

/* Definitions that were looked up early; the names are constants. `kept_count` is published last. */
enum { KEPT_LIMIT = 96 };
static struct {
    const char *name;
    void *found;
} kept[KEPT_LIMIT];
static size_t kept_count;

static void *look_up(const char *name)
{
    int before = errno;
    void *found = dlsym(RTLD_NEXT, name);
    errno = before;
    return found ? found : (void *)no_such_function;
}

void *axio_next_definition(const char *name)
{
    size_t count = __atomic_load_n(&kept_count, __ATOMIC_ACQUIRE);
    for (size_t index = 0; index < count; index++)
        if (!strcmp(kept[index].name, name))
            return kept[index].found;
    return look_up(name);
}

void axio_keep_definitions(const char *const *names, size_t count)
{
    static int begun;
    if (__atomic_load_n(&begun, __ATOMIC_RELAXED) || __atomic_exchange_n(&begun, 1, __ATOMIC_RELAXED))
        return;
    if (count > KEPT_LIMIT)
        count = KEPT_LIMIT;
    for (size_t index = 0; index < count; index++) {
        kept[index].name = names[index];
        kept[index].found = look_up(names[index]);
    }
    __atomic_store_n(&kept_count, count, __ATOMIC_RELEASE);
}

/* A bounded nap with every signal held back, so that a handler never runs unseen inside it; what became of the signals
 * is decided by the Rust side while they are still held back (POSIX.md R6). */
static int masked_poll(struct axio_call *call)
{
    sigset_t all, before;
    struct pollfd entry = {call->descriptor, (short)call->events, 0};
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result, error;
    pthread_cleanup_push(axio_handlers->abandon, call);
    result = REAL(ppoll)(&entry, 1, call->has_timeout ? &call->timeout : 0, 0);
    error = errno;
    pthread_cleanup_pop(0);
    __builtin_memcpy(&call->rest_base, &before, sizeof call->rest_base); /* the first 64 signals of the mask */
    int next = axio_handlers->after_sleep(call, result, result < 0 ? error : 0);
    pthread_sigmask(SIG_SETMASK, &before, 0);
    return next;
}

int axio_sleep(struct axio_call *call, int action)
{
    long result;
    int error;
    int next;
    switch (action) {
    case AXIO_PEEK: {
        char byte;
        pthread_cleanup_push(axio_handlers->abandon, call);
        result = REAL(recv)(call->descriptor, &byte, 1, MSG_PEEK);
        error = errno;
        pthread_cleanup_pop(0);
        return axio_handlers->after_sleep(call, result, result < 0 ? error : 0);
    }
    case AXIO_POLL:
        if (call->masked) {
            next = masked_poll(call);
            pthread_cleanup_push(axio_handlers->abandon, call);
            pthread_testcancel();
            pthread_cleanup_pop(0);
            return next;
        }
        {
            struct pollfd entry = {call->descriptor, (short)call->events, 0};
            pthread_cleanup_push(axio_handlers->abandon, call);
            result = REAL(ppoll)(&entry, 1, call->has_timeout ? &call->timeout : 0, 0);
            error = errno;
            pthread_cleanup_pop(0);
            return axio_handlers->after_sleep(call, result, result < 0 ? error : 0);
        }
    case AXIO_REST_SEND:
        pthread_cleanup_push(axio_handlers->abandon, call);
        result = REAL(send)(call->descriptor, call->rest_base, call->rest_bytes, call->rest_flags);
        error = errno;
        pthread_cleanup_pop(0);
        return axio_handlers->after_counted(call, result, result < 0 ? error : 0);
    case AXIO_REST_RECEIVE:
        pthread_cleanup_push(axio_handlers->abandon, call);
        result = REAL(recv)(call->descriptor, call->rest_base, call->rest_bytes, call->rest_flags);
        error = errno;
        pthread_cleanup_pop(0);
        return axio_handlers->after_counted(call, result, result < 0 ? error : 0);
    default:
        sched_yield();
        return axio_handlers->after_sleep(call, 0, 0);
    }
}
