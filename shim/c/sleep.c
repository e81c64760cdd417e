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
AXIO_HIDDEN int axio_descriptors_highest = -1;
AXIO_HIDDEN int axio_cancel_seen;

/* Kernel id of the thread, kept by the Rust side. At a fixed distance from the thread pointer: two instructions. */
static _Thread_local uint32_t thread __attribute__((tls_model("initial-exec")));
AXIO_HIDDEN uint32_t *axio_thread(void) { return &thread; }

static long no_such_function(void)
{
    errno = ENOSYS;
    return -1;
}

/* Where the linker puts what REAL() names (call.h). */
extern struct axio_name __start_axio_names[] AXIO_HIDDEN, __stop_axio_names[] AXIO_HIDDEN;

void *axio_next_definition(struct axio_name *name)
{
    int before = errno;
    void *found = dlsym(RTLD_NEXT, name->name);
    errno = before;
    if (!found)
        found = (void *)no_such_function;
    __atomic_store_n(&name->found, found, __ATOMIC_RELAXED);
    return found;
}

void axio_look_names_up(void)
{
    /* Who comes while another is at it does the same work beside it. */
    static int done;
    if (__atomic_load_n(&done, __ATOMIC_RELAXED))
        return;
    for (struct axio_name *name = __start_axio_names; name < __stop_axio_names; name++)
        if (!__atomic_load_n(&name->found, __ATOMIC_RELAXED))
            axio_next_definition(name);
    __atomic_store_n(&done, 1, __ATOMIC_RELAXED);
}

/* A bounded nap with every signal held back, so that a handler never runs unseen inside it; what became of the signals
 * is decided by the Rust side while they are still held back (POSIX.md R6). */
static int masked_poll(struct axio_call *call)
{
    sigset_t before;
    struct pollfd entry = {call->descriptor, (short)call->events, 0};
    axio_hold_signals(&before);
    int result, error;
    pthread_cleanup_push(axio_handlers->abandon, call);
    result = REAL(ppoll)(&entry, 1, call->has_timeout ? &call->timeout : 0, 0);
    error = errno;
    pthread_cleanup_pop(0);
    __builtin_memcpy(&call->program_mask, &before, sizeof call->program_mask);
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
        AXIO_INSIDE_BEGIN(axio_handlers->abandon, call)
        result = REAL(recv)(call->descriptor, &byte, 1, MSG_PEEK);
        error = errno;
        AXIO_INSIDE_END;
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
            AXIO_INSIDE_BEGIN(axio_handlers->abandon, call)
            result = REAL(ppoll)(&entry, 1, call->has_timeout ? &call->timeout : 0, 0);
            error = errno;
            AXIO_INSIDE_END;
            return axio_handlers->after_sleep(call, result, result < 0 ? error : 0);
        }
    case AXIO_REST_SEND:
        AXIO_INSIDE_BEGIN(axio_handlers->abandon, call)
        result = REAL(send)(call->descriptor, call->rest_base, call->rest_bytes, call->rest_flags);
        error = errno;
        AXIO_INSIDE_END;
        return axio_handlers->after_counted(call, result, result < 0 ? error : 0);
    case AXIO_REST_RECEIVE:
        AXIO_INSIDE_BEGIN(axio_handlers->abandon, call)
        result = REAL(recv)(call->descriptor, call->rest_base, call->rest_bytes, call->rest_flags);
        error = errno;
        AXIO_INSIDE_END;
        return axio_handlers->after_counted(call, result, result < 0 ? error : 0);
    default:
        sched_yield();
        return axio_handlers->after_sleep(call, 0, 0);
    }
}
