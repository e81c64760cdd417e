/* Data in, data out. */
#include "call.h"
#include "plain_call.h"

extern AXIO_HIDDEN void axio_hand_over_rights(const struct msghdr *message);
extern AXIO_HIDDEN void axio_fresh_rights(const struct msghdr *message);

/* The record of a call needs a frame of its own; what is left alone goes without one: a look, then a jump. */
#define RECEIVE(descriptor, vector, count, flags, type, real)                                          \
    do {                                                                                               \
        struct axio_call call;                                                                         \
        if (__builtin_expect(axio_cancel_seen, 0))                                                     \
            pthread_testcancel();                                                                      \
        AXIO_DRIVE(call, axio_handlers->begin_receive(&call, descriptor, vector, count, flags), type, real); \
    } while (0)

#define SEND(descriptor, vector, count, flags, type, real)                                          \
    do {                                                                                            \
        struct axio_call call;                                                                      \
        if (__builtin_expect(axio_cancel_seen, 0))                                                  \
            pthread_testcancel();                                                                   \
        AXIO_DRIVE(call, axio_handlers->begin_send(&call, descriptor, vector, count, flags), type, real); \
    } while (0)

/* A single buffer as a vector of one; it lives in the call. */
#define ONE(buffer, bytes) (call.single = (struct iovec){(void *)(buffer), (bytes)}, &call.single)

/* The common call of one buffer needs no record: all of it goes by the ring, or all of it is the kernel's. By the ring it
 * is not a cancellation point as long as nobody has cancelled a thread. */
#define AXIO_BY_KERNEL (-2)
#define SEND_QUICKLY(word, descriptor, buffer, bytes, flags, real)                                    \
    do {                                                                                              \
        if (__builtin_expect(!axio_cancel_seen, 1)) {                                                 \
            ssize_t axio_quick = axio_handlers->send_quickly(word, descriptor, buffer, bytes, flags); \
            if (axio_quick >= 0)                                                                      \
                return axio_quick;                                                                    \
            if (axio_quick == AXIO_BY_KERNEL)                                                         \
                SEND_BY_KERNEL(word, descriptor, real);                                               \
        }                                                                                             \
    } while (0)
#define RECEIVE_QUICKLY(word, descriptor, buffer, bytes, flags, real)                                    \
    do {                                                                                                 \
        if (__builtin_expect(!axio_cancel_seen, 1)) {                                                    \
            ssize_t axio_quick = axio_handlers->receive_quickly(word, descriptor, buffer, bytes, flags); \
            if (axio_quick >= 0)                                                                         \
                return axio_quick;                                                                       \
            if (axio_quick == AXIO_BY_KERNEL)                                                            \
                RECEIVE_BY_KERNEL(word, descriptor, flags, bytes, real);                                 \
        }                                                                                                \
    } while (0)

/* Whether a vector, which the kernel has just read through without a fault, asks for anything. */
static size_t asks(const struct iovec *vector, size_t count)
{
    while (count > 0)
        if (vector[--count].iov_len != 0)
            return 1;
    return 0;
}

/* For read and readv nothing is nothing; recv of nothing waits for data. Above every flag the kernel knows. */
#define AXIO_IS_READ 0x00800000

static AXIO_APART ssize_t managed_read(uint64_t word, int descriptor, void *buffer, size_t bytes)
{
    RECEIVE_QUICKLY(word, descriptor, buffer, bytes, AXIO_IS_READ, REAL(read)(descriptor, buffer, bytes));
    RECEIVE(descriptor, ONE(buffer, bytes), 1, AXIO_IS_READ, ssize_t, REAL(read)(descriptor, buffer, bytes));
}

AXIO_HIDDEN ssize_t axio_read(int descriptor, void *buffer, size_t bytes)
{
    uint64_t word = axio_word(descriptor);
    return axio_means(word) ? managed_read(word, descriptor, buffer, bytes) : REAL(read)(descriptor, buffer, bytes);
}

extern ssize_t __read_chk(int, void *, size_t, size_t);
AXIO_HIDDEN ssize_t axio_read_chk(int descriptor, void *buffer, size_t bytes, size_t size)
{
    if (bytes > size || !axio_is_managed(descriptor))
        return REAL(__read_chk)(descriptor, buffer, bytes, size);
    return axio_read(descriptor, buffer, bytes);
}

static AXIO_APART ssize_t managed_readv(int descriptor, const struct iovec *vector, int count)
{
    RECEIVE_PLAINLY(descriptor, AXIO_IS_READ, asks(vector, (size_t)count), REAL(readv)(descriptor, vector, count));
    RECEIVE(descriptor, vector, (size_t)(ssize_t)count, AXIO_IS_READ, ssize_t, REAL(readv)(descriptor, vector, count));
}

AXIO_HIDDEN ssize_t axio_readv(int descriptor, const struct iovec *vector, int count)
{
    return axio_is_managed(descriptor) ? managed_readv(descriptor, vector, count) : REAL(readv)(descriptor, vector, count);
}

static AXIO_APART ssize_t managed_recv(uint64_t word, int descriptor, void *buffer, size_t bytes, int flags)
{
    RECEIVE_QUICKLY(word, descriptor, buffer, bytes, flags, REAL(recv)(descriptor, buffer, bytes, flags));
    RECEIVE(descriptor, ONE(buffer, bytes), 1, flags, ssize_t, REAL(recv)(descriptor, buffer, bytes, flags));
}

AXIO_HIDDEN ssize_t axio_recv(int descriptor, void *buffer, size_t bytes, int flags)
{
    uint64_t word = axio_word(descriptor);
    return axio_means(word) ? managed_recv(word, descriptor, buffer, bytes, flags) : REAL(recv)(descriptor, buffer, bytes, flags);
}

extern ssize_t __recv_chk(int, void *, size_t, size_t, int);
AXIO_HIDDEN ssize_t axio_recv_chk(int descriptor, void *buffer, size_t bytes, size_t size, int flags)
{
    if (bytes > size || !axio_is_managed(descriptor))
        return REAL(__recv_chk)(descriptor, buffer, bytes, size, flags);
    return axio_recv(descriptor, buffer, bytes, flags);
}

/* `by_kernel` tells whether the kernel filled in what belongs to the result. */
static AXIO_APART ssize_t receive_from(int descriptor, void *buffer, size_t bytes, int flags, struct sockaddr *address,
                            socklen_t *length, int *by_kernel)
{
    RECEIVE_PLAINLY(descriptor, flags, bytes,
                    (*by_kernel = 1, REAL(recvfrom)(descriptor, buffer, bytes, flags, address, length)));
    RECEIVE(descriptor, ONE(buffer, bytes), 1, flags, ssize_t,
            (*by_kernel = 1, REAL(recvfrom)(descriptor, buffer, bytes, flags, address, length)));
}

AXIO_HIDDEN ssize_t axio_recvfrom(int descriptor, void *buffer, size_t bytes, int flags, struct sockaddr *address,
                                  socklen_t *length)
{
    if (!axio_is_managed(descriptor))
        return REAL(recvfrom)(descriptor, buffer, bytes, flags, address, length);
    int by_kernel = 0;
    ssize_t result = receive_from(descriptor, buffer, bytes, flags, address, length, &by_kernel);
    if (result >= 0 && !by_kernel && address && length)
        *length = 0; /* a connected stream names nobody */
    return result;
}

extern ssize_t __recvfrom_chk(int, void *, size_t, size_t, int, struct sockaddr *, socklen_t *);
AXIO_HIDDEN ssize_t axio_recvfrom_chk(int descriptor, void *buffer, size_t bytes, size_t size, int flags,
                                      struct sockaddr *address, socklen_t *length)
{
    if (bytes > size || !axio_is_managed(descriptor))
        return REAL(__recvfrom_chk)(descriptor, buffer, bytes, size, flags, address, length);
    return axio_recvfrom(descriptor, buffer, bytes, flags, address, length);
}

/* No user mapping lies in page 0 or in the kernel's half; more parts than this are refused by the kernel's own rule. */
#define IS_PLAUSIBLE(message) ((uintptr_t)(message) >= 4096 && (uintptr_t)(message) >> 47 == 0)
#define PARTS_MAX 1024

static AXIO_APART ssize_t receive_message(int descriptor, struct msghdr *message, int flags, int *by_kernel)
{
    RECEIVE_PLAINLY(descriptor, flags, asks(message->msg_iov, message->msg_iovlen),
                    (*by_kernel = 1, REAL(recvmsg)(descriptor, message, flags & ~AXIO_GOES_ON)));
    RECEIVE(descriptor, message->msg_iov, message->msg_iovlen, flags, ssize_t,
            (*by_kernel = 1, REAL(recvmsg)(descriptor, message, flags & ~AXIO_GOES_ON)));
}

AXIO_HIDDEN ssize_t axio_recvmsg(int descriptor, struct msghdr *message, int flags)
{
    if (!axio_is_managed(descriptor) || !IS_PLAUSIBLE(message) || message->msg_iovlen > PARTS_MAX) {
        ssize_t result = REAL(recvmsg)(descriptor, message, flags & ~AXIO_GOES_ON);
        if (result >= 0 && axio_descriptors && message->msg_controllen)
            axio_fresh_rights(message);
        return result;
    }
    int by_kernel = 0;
    ssize_t result = receive_message(descriptor, message, flags, &by_kernel);
    if (result >= 0 && !by_kernel)
        axio_fill_header(message, flags);
    return result;
}

static AXIO_APART ssize_t managed_write(uint64_t word, int descriptor, const void *buffer, size_t bytes)
{
    SEND_QUICKLY(word, descriptor, buffer, bytes, 0, REAL(write)(descriptor, buffer, bytes));
    SEND(descriptor, ONE(buffer, bytes), 1, 0, ssize_t, REAL(write)(descriptor, buffer, bytes));
}

AXIO_HIDDEN ssize_t axio_write(int descriptor, const void *buffer, size_t bytes)
{
    uint64_t word = axio_word(descriptor);
    return axio_means(word) ? managed_write(word, descriptor, buffer, bytes) : REAL(write)(descriptor, buffer, bytes);
}

static AXIO_APART ssize_t managed_writev(int descriptor, const struct iovec *vector, int count)
{
    SEND_PLAINLY(descriptor, 0, REAL(writev)(descriptor, vector, count));
    SEND(descriptor, vector, (size_t)(ssize_t)count, 0, ssize_t, REAL(writev)(descriptor, vector, count));
}

AXIO_HIDDEN ssize_t axio_writev(int descriptor, const struct iovec *vector, int count)
{
    return axio_is_managed(descriptor) ? managed_writev(descriptor, vector, count) : REAL(writev)(descriptor, vector, count);
}

static AXIO_APART ssize_t managed_send(uint64_t word, int descriptor, const void *buffer, size_t bytes, int flags)
{
    SEND_QUICKLY(word, descriptor, buffer, bytes, flags,
                 REAL(send)(descriptor, buffer, bytes, flags & ~AXIO_GOES_ON));
    SEND(descriptor, ONE(buffer, bytes), 1, flags, ssize_t,
         REAL(send)(descriptor, buffer, bytes, flags & ~AXIO_GOES_ON));
}

AXIO_HIDDEN ssize_t axio_send(int descriptor, const void *buffer, size_t bytes, int flags)
{
    uint64_t word = axio_word(descriptor);
    return axio_means(word) ? managed_send(word, descriptor, buffer, bytes, flags)
                            : REAL(send)(descriptor, buffer, bytes, flags & ~AXIO_GOES_ON);
}

static AXIO_APART ssize_t managed_sendto(int descriptor, const void *buffer, size_t bytes, int flags, const struct sockaddr *address, socklen_t length)
{
    SEND_PLAINLY(descriptor, flags, REAL(sendto)(descriptor, buffer, bytes, flags, address, length));
    SEND(descriptor, ONE(buffer, bytes), 1, flags, ssize_t,
         REAL(sendto)(descriptor, buffer, bytes, flags, address, length));
}

AXIO_HIDDEN ssize_t axio_sendto(int descriptor, const void *buffer, size_t bytes, int flags, const struct sockaddr *address, socklen_t length)
{
    return axio_is_managed(descriptor) ? managed_sendto(descriptor, buffer, bytes, flags, address, length) : REAL(sendto)(descriptor, buffer, bytes, flags, address, length);
}

/* Marks a message with ancillary data for the Rust side: above every MSG_ flag of the kernel's. */
#define AXIO_HAS_CONTROL 0x80000000u

static AXIO_APART ssize_t managed_sendmsg(int descriptor, const struct msghdr *message, int flags)
{
    int marked = flags | (message->msg_controllen ? (int)AXIO_HAS_CONTROL : 0);
    SEND_PLAINLY(descriptor, marked, REAL(sendmsg)(descriptor, message, flags & ~AXIO_GOES_ON));
    SEND(descriptor, message->msg_iov, message->msg_iovlen, marked, ssize_t,
         REAL(sendmsg)(descriptor, message, flags & ~AXIO_GOES_ON));
}

AXIO_HIDDEN ssize_t axio_sendmsg(int descriptor, const struct msghdr *message, int flags)
{
    if (axio_is_managed(descriptor) && IS_PLAUSIBLE(message) && message->msg_iovlen <= PARTS_MAX)
        return managed_sendmsg(descriptor, message, flags);
    if (axio_descriptors && IS_PLAUSIBLE(message) && message->msg_controllen)
        axio_hand_over_rights(message);
    return REAL(sendmsg)(descriptor, message, flags & ~AXIO_GOES_ON);
}

/* Other flags are refused by the kernel for sockets, whatever is there to read. */
#define KNOWN_RWF (RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT)

static AXIO_APART ssize_t managed_preadv2(int descriptor, const struct iovec *vector, int count, off_t offset, int flags)
{
    int receive_flags = AXIO_IS_READ | (flags & RWF_NOWAIT ? MSG_DONTWAIT : 0);
    RECEIVE(descriptor, vector, (size_t)(ssize_t)count, receive_flags, ssize_t,
            REAL(preadv2)(descriptor, vector, count, offset, flags));
}

AXIO_HIDDEN ssize_t axio_preadv2(int descriptor, const struct iovec *vector, int count, off_t offset, int flags)
{
    if (axio_is_managed(descriptor) && offset == -1 && !(flags & ~KNOWN_RWF))
        return managed_preadv2(descriptor, vector, count, offset, flags);
    return REAL(preadv2)(descriptor, vector, count, offset, flags);
}

static AXIO_APART ssize_t managed_pwritev2(int descriptor, const struct iovec *vector, int count, off_t offset, int flags)
{
    int send_flags = flags & RWF_NOWAIT ? MSG_DONTWAIT : 0;
    SEND(descriptor, vector, (size_t)(ssize_t)count, send_flags, ssize_t,
         REAL(pwritev2)(descriptor, vector, count, offset, flags));
}

AXIO_HIDDEN ssize_t axio_pwritev2(int descriptor, const struct iovec *vector, int count, off_t offset, int flags)
{
    if (axio_is_managed(descriptor) && offset == -1 && !(flags & ~KNOWN_RWF))
        return managed_pwritev2(descriptor, vector, count, offset, flags);
    return REAL(pwritev2)(descriptor, vector, count, offset, flags);
}
