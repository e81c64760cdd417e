/* Calls on a connection without a channel: the program's own, and its count (src/calls/transfer/plain.rs). */
#ifndef AXIO_PLAIN_CALL_H
#define AXIO_PLAIN_CALL_H
#include "call.h"

/* The program's own call, of a thread that was counted in; all there is to do on a connection without a channel. */
#define SEND_BY_KERNEL(word, descriptor, real)                                          \
    do {                                                                                \
        ssize_t axio_sent;                                                              \
        AXIO_INSIDE_BEGIN(axio_handlers->abandon_plain_send, (void *)(uintptr_t)(word)) \
        axio_sent = (real);                                                             \
        AXIO_INSIDE_END;                                                                \
        if (__builtin_expect(axio_sent >= 0, 1)) {                                      \
            axio_handlers->after_plain_send(word, descriptor, axio_sent);               \
        } else {                                                                        \
            int axio_error = errno;                                                     \
            axio_handlers->after_plain_send(word, descriptor, -(ssize_t)axio_error);    \
            errno = axio_error;                                                         \
        }                                                                               \
        return axio_sent;                                                               \
    } while (0)

/* `asked`: 0 for buffers without length; looked at when nothing came. */
#define RECEIVE_BY_KERNEL(word, descriptor, flags, asked, real)                                     \
    do {                                                                                            \
        ssize_t axio_taken;                                                                         \
        AXIO_INSIDE_BEGIN(axio_handlers->abandon_plain_receive, (void *)(uintptr_t)(word))          \
        axio_taken = (real);                                                                        \
        AXIO_INSIDE_END;                                                                            \
        if (__builtin_expect(axio_taken < 0, 0))                                                    \
            axio_taken = -(ssize_t)errno;                                                           \
        axio_taken = axio_handlers->after_plain_receive(word, descriptor, flags,                    \
                                                        axio_taken == 0 ? (asked) : 1, axio_taken); \
        if (__builtin_expect(axio_taken < 0, 0)) {                                                  \
            errno = (int)-axio_taken;                                                               \
            return -1;                                                                              \
        }                                                                                           \
        return axio_taken;                                                                          \
    } while (0)

/* The same for calls that are the general call's business on a ring: of several buffers, or of a pipe. */
#define SEND_PLAINLY(descriptor, flags, real)                   \
    do {                                                        \
        uint64_t axio_meant = axio_word(descriptor);            \
        if (axio_handlers->enter_plain_send(axio_meant, flags)) \
            SEND_BY_KERNEL(axio_meant, descriptor, real);       \
    } while (0)
#define RECEIVE_PLAINLY(descriptor, flags, asked, real)                    \
    do {                                                                   \
        uint64_t axio_meant = axio_word(descriptor);                       \
        if (axio_handlers->enter_plain_receive(axio_meant, flags))         \
            RECEIVE_BY_KERNEL(axio_meant, descriptor, flags, asked, real); \
    } while (0)

/* What the kernel writes back for a connected stream without ancillary data. */
static inline void axio_fill_header(struct msghdr *message, int flags)
{
    message->msg_namelen = 0;
    message->msg_controllen = 0;
    message->msg_flags = flags & MSG_CMSG_CLOEXEC;
}

#endif
