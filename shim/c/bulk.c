/* Calls that move several messages, or bytes between descriptors: made of the plain ones while a ring carries. */
#include "call.h"
#include <fcntl.h>
#include <sys/sendfile.h>
#include <time.h>

#include <sys/stat.h>

static int is_pipe(int descriptor)
{
    struct stat status;
    return fstat(descriptor, &status) == 0 && S_ISFIFO(status.st_mode);
}

#define CHUNK_BYTES 16384
/* As much as a pipe takes in one piece (PIPE_BUF): a pipe that is ready takes it without blocking. */
#define PIPE_CHUNK_BYTES 4096

extern ssize_t axio_recvmsg(int, struct msghdr *, int);
extern ssize_t axio_sendmsg(int, const struct msghdr *, int);
extern ssize_t axio_send(int, const void *, size_t, int);
extern ssize_t axio_recv(int, void *, size_t, int);
extern void axio_hand_over_rights(const struct msghdr *), axio_fresh_rights(const struct msghdr *);

static int has_passed(const struct timespec *end)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec > end->tv_sec || (now.tv_sec == end->tv_sec && now.tv_nsec >= end->tv_nsec);
}

/* As the kernel does it (net/socket.c do_recvmmsg): the time-out is looked at between messages only. */
AXIO_HIDDEN int axio_recvmmsg(int descriptor, struct mmsghdr *messages, unsigned count, int flags,
                              struct timespec *timeout)
{
    if (!axio_is_managed(descriptor) || (uintptr_t)messages < 4096) {
        int received = REAL(recvmmsg)(descriptor, messages, count, flags, timeout);
        if (axio_descriptors)
            for (int index = 0; index < received; index++)
                if (messages[index].msg_hdr.msg_controllen)
                    axio_fresh_rights(&messages[index].msg_hdr);
        return received;
    }
    struct timespec end = {0, 0};
    if (timeout) {
        if (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= 1000000000) {
            errno = EINVAL;
            return -1;
        }
        clock_gettime(CLOCK_MONOTONIC, &end);
        end.tv_sec += timeout->tv_sec;
        end.tv_nsec += timeout->tv_nsec;
        if (end.tv_nsec >= 1000000000) {
            end.tv_sec++;
            end.tv_nsec -= 1000000000;
        }
    }
    unsigned done = 0;
    while (done < count) {
        ssize_t result = axio_recvmsg(descriptor, &messages[done].msg_hdr, flags & ~MSG_WAITFORONE);
        if (result < 0)
            return done ? (int)done : -1;
        messages[done++].msg_len = (unsigned)result;
        if (flags & MSG_WAITFORONE)
            flags |= MSG_DONTWAIT;
        if (timeout && has_passed(&end))
            break;
    }
    return (int)done;
}

static size_t message_bytes(const struct msghdr *message)
{
    size_t bytes = 0;
    for (size_t index = 0; index < message->msg_iovlen; index++)
        bytes += message->msg_iov[index].iov_len;
    return bytes;
}

AXIO_HIDDEN int axio_sendmmsg(int descriptor, struct mmsghdr *messages, unsigned count, int flags)
{
    if (!axio_is_managed(descriptor) || (uintptr_t)messages < 4096) {
        if (axio_descriptors && (uintptr_t)messages >= 4096)
            for (unsigned index = 0; index < count && index < 1024; index++)
                if (messages[index].msg_hdr.msg_controllen)
                    axio_hand_over_rights(&messages[index].msg_hdr);
        return REAL(sendmmsg)(descriptor, messages, count, flags);
    }
    unsigned done = 0;
    if (count > 1024)
        count = 1024;
    while (done < count) {
        ssize_t result = axio_sendmsg(descriptor, &messages[done].msg_hdr, flags);
        if (result < 0)
            return done ? (int)done : -1;
        size_t whole = message_bytes(&messages[done].msg_hdr);
        messages[done++].msg_len = (unsigned)result;
        /* As the kernel does it (net/socket.c __sys_sendmmsg): behind a message that was sent in part the stream goes on
         * with its rest, not with the next message. */
        if ((size_t)result < whole)
            break;
    }
    return (int)done;
}

/* A kernel call on the socket while the kernel carries, counted like any other. */
#define WHILE_KERNEL(enters, type, real)                                                        \
    do {                                                                                        \
        struct axio_call call;                                                                  \
        if (axio_handlers->enters) {                                                            \
            type axio_result;                                                                   \
            int axio_error;                                                                     \
            pthread_cleanup_push(axio_handlers->abandon, &call);                                \
            axio_result = (real);                                                               \
            axio_error = errno;                                                                 \
            pthread_cleanup_pop(0);                                                             \
            axio_handlers->after_counted(&call, (long)axio_result, axio_result < 0 ? axio_error : 0); \
            errno = axio_error;                                                                 \
            return axio_result;                                                                 \
        }                                                                                       \
    } while (0)

AXIO_HIDDEN ssize_t axio_sendfile(int out, int in, off_t *offset, size_t bytes)
{
    if (!axio_is_managed(out))
        return REAL(sendfile)(out, in, offset, bytes);
    WHILE_KERNEL(enter_kernel_send(&call, out), ssize_t, REAL(sendfile)(out, in, offset, bytes));
    off_t position = offset ? *offset : lseek(in, 0, SEEK_CUR);
    if (position < 0) {
        if (offset || errno == ESPIPE)
            errno = EINVAL; /* only files can be sent */
        return -1;
    }
    char buffer[CHUNK_BYTES];
    size_t done = 0;
    ssize_t result = 0;
    while (done < bytes) {
        result = axio_handlers->send_file_quickly(out, in, position, bytes - done);
        if (result > 0) {
            position += result;
            done += (size_t)result;
            continue;
        }
        /* No room, another carrier, or a file that is not in memory: piece by piece, and as long as it takes. */
        size_t part = bytes - done < sizeof buffer ? bytes - done : sizeof buffer;
        ssize_t taken = REAL(pread)(in, buffer, part, position);
        if (taken <= 0) {
            result = taken;
            break;
        }
        result = axio_send(out, buffer, (size_t)taken, 0);
        if (result < 0)
            break;
        position += result;
        done += (size_t)result;
        if (result < taken)
            break;
    }
    if (offset)
        *offset = position;
    else
        lseek(in, position, SEEK_SET);
    return done || result >= 0 ? (ssize_t)done : -1;
}

static ssize_t splice_to_pipe(int socket, int pipe, size_t bytes, unsigned flags)
{
    char buffer[PIPE_CHUNK_BYTES];
    size_t part = bytes < sizeof buffer ? bytes : sizeof buffer;
    for (;;) {
        /* SPLICE_F_NONBLOCK is about the pipe; the socket waits as its own O_NONBLOCK says. */
        ssize_t seen = axio_recv(socket, buffer, part, MSG_PEEK);
        if (seen <= 0)
            return seen;
        struct pollfd entry = {pipe, POLLOUT, 0};
        int nonblocking = (flags & SPLICE_F_NONBLOCK) || (REAL(fcntl)(pipe, F_GETFL) & O_NONBLOCK);
        int ready = REAL(poll)(&entry, 1, nonblocking ? 0 : -1);
        if (ready < 0)
            return -1;
        if (ready == 0) {
            errno = EAGAIN;
            return -1;
        }
        ssize_t written = REAL(write)(pipe, buffer, (size_t)seen);
        if (written <= 0)
            return written;
        /* What is in the pipe is taken from the stream. */
        ssize_t taken = 0;
        while (taken < written) {
            ssize_t result = axio_recv(socket, buffer, (size_t)(written - taken), 0);
            if (result <= 0)
                break;
            taken += result;
        }
        return written;
    }
}

static ssize_t splice_from_pipe(int pipe, int socket, size_t bytes, unsigned flags)
{
    char buffer[CHUNK_BYTES];
    size_t part = bytes < sizeof buffer ? bytes : sizeof buffer;
    int nonblocking = REAL(fcntl)(socket, F_GETFL) & O_NONBLOCK;
    if (nonblocking) {
        /* Nothing may be taken from the pipe that the socket does not take. */
        size_t room = axio_handlers->room(socket);
        if (room == 0) {
            errno = EAGAIN;
            return -1;
        }
        if (room == SIZE_MAX && axio_send(socket, buffer, 0, 0) < 0)
            return -1; /* an end: sending nothing says which */
        if (part > room)
            part = room;
    }
    struct pollfd entry = {pipe, POLLIN, 0};
    if ((flags & SPLICE_F_NONBLOCK) && REAL(poll)(&entry, 1, 0) == 0) {
        errno = EAGAIN;
        return -1;
    }
    ssize_t taken = REAL(read)(pipe, buffer, part);
    if (taken <= 0)
        return taken;
    ssize_t sent = 0;
    while (sent < taken) {
        ssize_t result = axio_send(socket, buffer + sent, (size_t)(taken - sent), flags & SPLICE_F_MORE ? MSG_MORE : 0);
        if (result < 0) {
            if (errno != EAGAIN && errno != EINTR)
                return sent ? sent : -1;
            struct timespec nap = {0, 100000};
            nanosleep(&nap, 0);
            continue;
        }
        sent += result;
    }
    return sent;
}

AXIO_HIDDEN ssize_t axio_splice(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t bytes, unsigned flags)
{
    if (axio_is_managed(in)) {
        WHILE_KERNEL(enter_kernel_receive(&call, in), ssize_t,
                     REAL(splice)(in, in_offset, out, out_offset, bytes, flags));
        if (in_offset || !is_pipe(out)) {
            errno = EINVAL;
            return -1;
        }
        return bytes ? splice_to_pipe(in, out, bytes, flags) : 0;
    }
    if (axio_is_managed(out)) {
        WHILE_KERNEL(enter_kernel_send(&call, out), ssize_t, REAL(splice)(in, in_offset, out, out_offset, bytes, flags));
        if (out_offset || !is_pipe(in)) {
            errno = EINVAL;
            return -1;
        }
        return bytes ? splice_from_pipe(in, out, bytes, flags) : 0;
    }
    return REAL(splice)(in, in_offset, out, out_offset, bytes, flags);
}
