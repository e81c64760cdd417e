/* A thread is cancelled while it is blocked in a call on a socket (POSIX.md row 26).
 *
 * The cleanup handler must run and the thread must end as cancelled, and whatever the call held must be free again:
 * the caller goes on to use the same descriptor from another thread. This is C because cancellation unwinds the frames
 * above the call, and unwinding Rust frames that way is undefined. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum call { CALL_RECV = 0, CALL_READ = 1, CALL_RECVMSG = 2, CALL_SEND = 3, CALL_POLL = 4, CALL_NONE = 5 };

struct job {
    int fd;
    int call;
    int thread;
    int cleaned;
    ssize_t returned;
};

static char block[1 << 20];

static void clean(void *argument) {
    ((struct job *)argument)->cleaned += 1;
}

static void *work(void *argument) {
    struct job *job = argument;
    char buffer[64];
    struct iovec part = {buffer, sizeof buffer};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    struct pollfd wanted = {job->fd, POLLIN, 0};
    __atomic_store_n(&job->thread, (int)gettid(), __ATOMIC_RELEASE);
    pthread_cleanup_push(clean, job);
    switch (job->call) {
    case CALL_RECV: job->returned = recv(job->fd, buffer, sizeof buffer, 0); break;
    case CALL_READ: job->returned = read(job->fd, buffer, sizeof buffer); break;
    case CALL_RECVMSG: job->returned = recvmsg(job->fd, &message, 0); break;
    case CALL_SEND:
        for (;;) {
            job->returned = send(job->fd, block, sizeof block, MSG_NOSIGNAL);
            if (job->returned < 0) break;
        }
        break;
    case CALL_POLL: job->returned = poll(&wanted, 1, -1); break;
    default: break;
    }
    pthread_cleanup_pop(0);
    return NULL;
}

static void *pending(void *argument) {
    struct job *job = argument;
    char byte;
    pthread_cleanup_push(clean, job);
    int old;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    pthread_cancel(pthread_self());
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
    /* A cancellation is pending: the call is a cancellation point even when data wait. */
    job->returned = recv(job->fd, &byte, 1, 0);
    pthread_cleanup_pop(0);
    return NULL;
}

/* Bits of the answer. */
enum { JOINED = 1, CANCELLED = 2, CLEANED_ONCE = 4, CREATED = 8 };

static void nap(long ms) {
    struct timespec rest = {ms / 1000, (ms % 1000) * 1000000L};
    while (nanosleep(&rest, &rest) < 0 && errno == EINTR) {}
}

static int run(struct job *job, void *(*body)(void *), long nap_ms, void (*until_asleep)(int), int cancel) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, body, job) != 0) return 0;
    int bits = CREATED;
    nap(nap_ms);
    if (until_asleep) {
        int number;
        while ((number = __atomic_load_n(&job->thread, __ATOMIC_ACQUIRE)) == 0) nap(1);
        until_asleep(number);
    }
    if (cancel) pthread_cancel(thread);
    struct timespec limit;
    clock_gettime(CLOCK_MONOTONIC, &limit);
    limit.tv_sec += 60;
    void *result = NULL;
    if (pthread_clockjoin_np(thread, &result, CLOCK_MONOTONIC, &limit) == 0) {
        bits |= JOINED;
        if (result == PTHREAD_CANCELED) bits |= CANCELLED;
    }
    if (job->cleaned == 1) bits |= CLEANED_ONCE;
    return bits;
}

/* Cancels a thread in `call` on `fd`, when `until_asleep` of its number has returned; without one after `nap_ms`, be it
 * asleep or not. */
int compat_cancel_blocked(int fd, int call, long nap_ms, void (*until_asleep)(int)) {
    struct job job = {.fd = fd, .call = call};
    return run(&job, work, nap_ms, until_asleep, 1);
}

/* A thread whose cancellation is pending enters recv although data wait. */
int compat_cancel_pending(int fd) {
    struct job job = {.fd = fd, .call = CALL_NONE};
    return run(&job, pending, 0, NULL, 0);
}
