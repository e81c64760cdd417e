/* Calls that move several messages, or bytes between descriptors: made of the plain ones for a managed socket. */
#include "call.h"
#include "plain_call.h"
#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>

static int is_pipe(int descriptor)
{
    struct stat status;
    return fstat(descriptor, &status) == 0 && S_ISFIFO(status.st_mode);
}

#define CHUNK_BYTES 16384

extern ssize_t axio_recvmsg(int, struct msghdr *, int);
extern ssize_t axio_sendmsg(int, const struct msghdr *, int);
extern ssize_t axio_send(int, const void *, size_t, int);
extern void axio_hand_over_rights(const struct msghdr *), axio_fresh_rights(const struct msghdr *);

static size_t message_bytes(const struct msghdr *message)
{
    size_t bytes = 0;
    for (size_t index = 0; index < message->msg_iovlen; index++)
        bytes += message->msg_iov[index].iov_len;
    return bytes;
}

/* The whole of it is one call of the kernel's, of a thread that was counted in: connections without a channel. */
static AXIO_APART int recvmmsg_by_kernel(uint64_t word, int descriptor, struct mmsghdr *messages, unsigned count,
                                         int flags, struct timespec *timeout)
{
    int received;
    AXIO_INSIDE_BEGIN(axio_handlers->abandon_plain_receive, (void *)(uintptr_t)word)
    received = REAL(recvmmsg)(descriptor, messages, count, flags, timeout);
    AXIO_INSIDE_END;
    ssize_t outcome = received < 0 ? -(ssize_t)errno : 0;
    for (int index = 0; index < received; index++)
        outcome += messages[index].msg_len;
    size_t asked = received > 0 && outcome == 0 ? message_bytes(&messages[0].msg_hdr) : 0;
    outcome = axio_handlers->after_plain_receive(word, descriptor, flags, asked, outcome);
    if (outcome < 0) {
        errno = (int)-outcome;
        return -1;
    }
    if (received >= 0 || count == 0)
        return received < 0 ? 0 : received;
    /* What the kernel took for a reset is an end in order, by a binding that came meanwhile: one message of nothing. */
    axio_fill_header(&messages[0].msg_hdr, flags);
    messages[0].msg_len = 0;
    return 1;
}

/* As the kernel does it (net/socket.c do_recvmmsg): the time-out is looked at between messages only, and what is left of it
 * is told; an error behind the first message is told to the next call. */
AXIO_HIDDEN int axio_recvmmsg(int descriptor, struct mmsghdr *messages, unsigned count, int flags,
                              struct timespec *timeout)
{
    uint64_t word = axio_word(descriptor);
    if (!axio_means(word) || (uintptr_t)messages < 4096) {
        int received = REAL(recvmmsg)(descriptor, messages, count, flags, timeout);
        if (axio_descriptors)
            for (int index = 0; index < received; index++)
                if (messages[index].msg_hdr.msg_controllen)
                    axio_fresh_rights(&messages[index].msg_hdr);
        return received;
    }
    if (axio_handlers->enter_plain_receive_of_many(word, descriptor, flags))
        return recvmmsg_by_kernel(word, descriptor, messages, count, flags, timeout);
    struct timespec start, whole = {0, 0};
    if (timeout) {
        if (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= 1000000000) {
            errno = EINVAL;
            return -1;
        }
        whole = *timeout;
        clock_gettime(CLOCK_MONOTONIC, &start);
    }
    unsigned done = 0;
    while (done < count) {
        int part_flags = (flags & ~MSG_WAITFORONE) | (done ? AXIO_GOES_ON : 0);
        ssize_t result = axio_recvmsg(descriptor, &messages[done].msg_hdr, part_flags);
        if (result < 0)
            return done ? (int)done : -1;
        messages[done++].msg_len = (unsigned)result;
        if (flags & MSG_WAITFORONE)
            flags |= MSG_DONTWAIT;
        if (timeout) {
            *timeout = axio_time_left(&whole, &start);
            if (timeout->tv_sec == 0 && timeout->tv_nsec == 0)
                break;
        }
    }
    return (int)done;
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
        ssize_t result = axio_sendmsg(descriptor, &messages[done].msg_hdr, flags | (done ? AXIO_GOES_ON : 0));
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

/* The kernel's own call while the kernel carries, counted like any other: enter_kernel_send has said so. */
static ssize_t sendfile_by_kernel(struct axio_call *call, int out, int in, off_t *offset, size_t bytes)
{
    ssize_t result;
    int error;
    AXIO_INSIDE_BEGIN(axio_handlers->abandon, call)
    result = REAL(sendfile)(out, in, offset, bytes);
    error = errno;
    AXIO_INSIDE_END;
    axio_handlers->after_counted(call, (long)result, result < 0 ? error : 0);
    errno = error;
    return result;
}

AXIO_HIDDEN ssize_t axio_sendfile(int out, int in, off_t *offset, size_t bytes)
{
    if (!axio_is_managed(out))
        return REAL(sendfile)(out, in, offset, bytes);
    struct axio_call call;
    if (axio_handlers->enter_kernel_send(&call, out, bytes))
        return sendfile_by_kernel(&call, out, in, offset, bytes);
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
        if (done && axio_handlers->enter_kernel_send(&call, out, bytes - done)) {
            /* The kernel carries now, and the rest is all its own. */
            result = sendfile_by_kernel(&call, out, in, &position, bytes - done);
            done += result > 0 ? (size_t)result : 0;
            break;
        }
        /* No room, or a file that is not in memory: piece by piece, and as long as it takes. */
        size_t part = bytes - done < sizeof buffer ? bytes - done : sizeof buffer;
        ssize_t taken = REAL(pread)(in, buffer, part, position);
        if (taken <= 0) {
            result = taken;
            break;
        }
        result = axio_send(out, buffer, (size_t)taken, done ? AXIO_GOES_ON : 0);
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

/* A page that can be neither read nor written. A call of the kernel that comes so far as to touch it has waited as the real
 * one would, signals and all, and ends with EFAULT, having moved nothing. */
static void *nowhere(void)
{
    static void *kept;
    void *page = __atomic_load_n(&kept, __ATOMIC_RELAXED);
    if (page)
        return page;
    page = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return 0;
    void *other = 0;
    if (__atomic_compare_exchange_n(&kept, &other, page, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        return page;
    munmap(page, 4096);
    return other;
}

/* Sleeps until the pipe has bytes, then 1; 0 when there will be none; -1 and errno. */
static ssize_t wait_for_bytes(int pipe)
{
    void *target = nowhere();
    ssize_t result = target ? REAL(read)(pipe, target, 1) : -1;
    return result < 0 && errno == EFAULT ? 1 : result;
}

/* Sleeps until the pipe has room, then 0; -1 and errno. */
static int wait_for_room(int pipe, int nonblocking)
{
    struct iovec byte = {nowhere(), 1};
    if (!byte.iov_base)
        return -1;
    ssize_t result = vmsplice(pipe, &byte, 1, nonblocking ? SPLICE_F_NONBLOCK : 0);
    return result >= 0 || errno == EFAULT ? 0 : -1;
}

/* The moves: as far as it goes without waiting for the pipe, waiting for the socket like any send and receive. */

static AXIO_APART ssize_t move_from_pipe(int pipe, int socket, size_t bytes, unsigned flags, int pipe_is_written)
{
    struct axio_call call;
    if (__builtin_expect(axio_cancel_seen, 0))
        pthread_testcancel();
    AXIO_DRIVE(call, axio_handlers->begin_send_from_pipe(&call, socket, pipe, bytes, pipe_is_written), ssize_t,
               REAL(splice)(pipe, 0, socket, 0, bytes, flags));
}

static AXIO_APART ssize_t move_to_pipe(int socket, int pipe, size_t bytes, unsigned flags)
{
    struct axio_call call;
    if (__builtin_expect(axio_cancel_seen, 0))
        pthread_testcancel();
    AXIO_DRIVE(call, axio_handlers->begin_receive_to_pipe(&call, socket, pipe, bytes), ssize_t,
               REAL(splice)(socket, 0, pipe, 0, bytes, flags));
}

/* Connections without a channel: the kernel judges the arguments, too. */
static AXIO_APART ssize_t splice_from_plain(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t bytes,
                                            unsigned flags, uint64_t word)
{
    RECEIVE_BY_KERNEL(word, in, 0, bytes, REAL(splice)(in, in_offset, out, out_offset, bytes, flags));
}

static AXIO_APART ssize_t splice_to_plain(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t bytes,
                                          unsigned flags, uint64_t word)
{
    SEND_BY_KERNEL(word, out, REAL(splice)(in, in_offset, out, out_offset, bytes, flags));
}

/* SPLICE_F_NONBLOCK and the pipe's O_NONBLOCK are about the pipe; the socket waits as its own O_NONBLOCK says. */
static AXIO_APART ssize_t splice_managed(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t bytes,
                                         unsigned flags)
{
    if (bytes == 0)
        return 0;
    uint64_t word = axio_word(in);
    int from_socket = axio_means(word);
    if (from_socket && axio_handlers->enter_plain_receive(word, 0))
        return splice_from_plain(in, in_offset, out, out_offset, bytes, flags, word);
    if (!from_socket && axio_handlers->enter_plain_send(word = axio_word(out), 0))
        return splice_to_plain(in, in_offset, out, out_offset, bytes, flags, word);
    int pipe = from_socket ? out : in;
    int mode = REAL(fcntl)(pipe, F_GETFL);
    if (mode < 0)
        return -1;
    if ((mode & O_ACCMODE) == (from_socket ? O_RDONLY : O_WRONLY)) {
        errno = EBADF;
        return -1;
    }
    unsigned known = SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT;
    if ((flags & ~known) || bytes > SSIZE_MAX || !is_pipe(pipe)) {
        errno = EINVAL;
        return -1;
    }
    if (in_offset || out_offset) {
        errno = (from_socket ? out_offset : in_offset) ? ESPIPE : EINVAL;
        return -1;
    }
    int nonblocking = (flags & SPLICE_F_NONBLOCK) || (mode & O_NONBLOCK);
    for (;;) {
        ssize_t moved = from_socket ? move_to_pipe(in, pipe, bytes, flags)
                                    : move_from_pipe(pipe, out, bytes, flags, (mode & O_ACCMODE) != O_RDONLY);
        if (moved >= 0 || errno != AXIO_PIPE_WAITS)
            return moved;
        if (from_socket) {
            if (wait_for_room(pipe, nonblocking) < 0)
                return -1;
        } else if (nonblocking) {
            errno = EAGAIN;
            return -1;
        } else {
            ssize_t seen = wait_for_bytes(pipe);
            if (seen <= 0)
                return seen;
        }
    }
}

AXIO_HIDDEN ssize_t axio_splice(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t bytes, unsigned flags)
{
    if (axio_is_managed(in) || axio_is_managed(out))
        return splice_managed(in, in_offset, out, out_offset, bytes, flags);
    return REAL(splice)(in, in_offset, out, out_offset, bytes, flags);
}
