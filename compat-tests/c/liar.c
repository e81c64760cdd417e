/* A library that lies, to show that the oracle notices (tests/the_oracle_notices.rs).
 *
 * It claims to be the fast path: the status request says "accelerated" and, unless LIAR=idle, that every byte went by
 * ring. LIAR chooses what it does wrong: `nothing`, `errno`, `byte`, `hang`, `idle`, `late`, `chatter`,
 * `complaint`. */
#define _GNU_SOURCE
#include <axio.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

static uint64_t bytes_in, bytes_out, looks;

static int wrong(const char *way) {
    const char *chosen = getenv("LIAR");
    return chosen && strcmp(chosen, way) == 0;
}

/* Only TCP: the control line and standard output must stay honest. */
static int is_tcp(int fd) {
    int domain = 0;
    socklen_t length = sizeof domain;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && (domain == AF_INET || domain == AF_INET6);
}

int ioctl(int fd, unsigned long request, ...) {
    static int (*real)(int, unsigned long, ...);
    if (!real) real = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    if (request == AXIO_SIOCSTATUS && is_tcp(fd)) {
        uint64_t shown = wrong("idle") ? 0 : UINT64_MAX;
        /* In the warm-up one look follows each exchange; after stalls it goes on behind the 64th. */
        int moved = !wrong("late") || looks++ >= 200;
        *(struct axio_status *)argument = (struct axio_status){
            .version = AXIO_STATUS_VERSION,
            .path = AXIO_PATH_SHARED_MEMORY,
            .state = AXIO_STATE_ACCELERATED,
            .ring_bytes_in = bytes_in & shown,
            .ring_bytes_out = bytes_out & shown,
            .switches_out = moved,
            .switches_in = moved,
        };
        return 0;
    }
    return real(fd, request, argument);
}

ssize_t send(int fd, const void *buffer, size_t length, int flags) {
    static ssize_t (*real)(int, const void *, size_t, int);
    if (!real) real = (ssize_t(*)(int, const void *, size_t, int))dlsym(RTLD_NEXT, "send");
    ssize_t sent = real(fd, buffer, length, flags);
    if (sent > 0 && is_tcp(fd)) bytes_out += sent;
    return sent;
}

ssize_t recv(int fd, void *buffer, size_t length, int flags) {
    static ssize_t (*real)(int, void *, size_t, int);
    if (!real) real = (ssize_t(*)(int, void *, size_t, int))dlsym(RTLD_NEXT, "recv");
    ssize_t received = real(fd, buffer, length, flags);
    int error = errno;
    if (is_tcp(fd)) {
        if (received > 0) bytes_in += received;
        /* The warm-up is left alone: it exchanges words of four letters, without flags. */
        if (flags & MSG_DONTWAIT) {
            if (wrong("byte") && received > 0) ((char *)buffer)[received - 1] ^= 1;
            if (wrong("errno") && received < 0) error = EINTR;
            if (wrong("hang")) pause();
            if (wrong("chatter")) (void)!write(STDOUT_FILENO, "I am here\n", 10);
            if (wrong("complaint")) (void)!write(STDERR_FILENO, "axio: something failed\n", 23);
        }
    }
    errno = error;
    return received;
}
