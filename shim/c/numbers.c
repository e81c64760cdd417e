/* Descriptor numbers change their meaning: ranges are closed, new files take a number, descriptors leave the process.
 * glibc closes some numbers by itself, where no hook sees it; whatever returns a number that is still managed proves
 * that this has happened. */
#include "call.h"
#include <aio.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static inline int fresh(int descriptor)
{
    if (axio_is_known(descriptor)) {
        int error = errno;
        axio_handlers->number_returned(descriptor);
        errno = error;
    }
    return descriptor;
}

/* CLOSE_RANGE_UNSHARE of linux/close_range.h. */
#define CLOSE_RANGE_FROM_A_COPY 2u

AXIO_HIDDEN int axio_close_range(unsigned first, unsigned last, int flags)
{
    /* Other flags are EINVAL or set close-on-exec only. */
    if (axio_descriptors && !((unsigned)flags & ~CLOSE_RANGE_FROM_A_COPY) && first <= last)
        axio_handlers->before_close_range(first, last);
    return REAL(close_range)(first, last, flags);
}

AXIO_HIDDEN void axio_closefrom(int first)
{
    if (axio_descriptors)
        axio_handlers->before_close_range(first < 0 ? 0u : (unsigned)first, ~0u);
    REAL(closefrom)(first);
}

/* The last argument of a variadic call lies where a fixed one would, on every ABI of Linux that we are built for. */
#define OPENED(name, hidden)                                                          \
    AXIO_HIDDEN int hidden(const char *path, int flags, unsigned mode)                \
    {                                                                                 \
        return fresh(REAL(name)(path, flags, mode));                                  \
    }
OPENED(open, axio_open)
OPENED(open64, axio_open64)

#define OPENED_AT(name, hidden)                                                       \
    AXIO_HIDDEN int hidden(int folder, const char *path, int flags, unsigned mode)    \
    {                                                                                 \
        return fresh(REAL(name)(folder, path, flags, mode));                          \
    }
OPENED_AT(openat, axio_openat)
OPENED_AT(openat64, axio_openat64)

AXIO_HIDDEN int axio_creat(const char *path, mode_t mode) { return fresh(REAL(creat)(path, mode)); }
AXIO_HIDDEN int axio_eventfd(unsigned value, int flags) { return fresh(REAL(eventfd)(value, flags)); }
AXIO_HIDDEN int axio_timerfd_create(int clock, int flags) { return fresh(REAL(timerfd_create)(clock, flags)); }
AXIO_HIDDEN int axio_signalfd(int descriptor, const sigset_t *mask, int flags)
{
    return fresh(REAL(signalfd)(descriptor, mask, flags));
}
AXIO_HIDDEN int axio_memfd_create(const char *name, unsigned flags) { return fresh(REAL(memfd_create)(name, flags)); }

static int fresh_pair(int result, int pair[2])
{
    if (result == 0) {
        fresh(pair[0]);
        fresh(pair[1]);
    }
    return result;
}
AXIO_HIDDEN int axio_pipe(int ends[2]) { return fresh_pair(REAL(pipe)(ends), ends); }
AXIO_HIDDEN int axio_pipe2(int ends[2], int flags) { return fresh_pair(REAL(pipe2)(ends, flags), ends); }
AXIO_HIDDEN int axio_socketpair(int domain, int type, int protocol, int ends[2])
{
    return fresh_pair(REAL(socketpair)(domain, type, protocol, ends), ends);
}

/* stdio reads and writes inside the C library, where no hook sees it. */
AXIO_HIDDEN FILE *axio_fdopen(int descriptor, const char *mode)
{
    if (axio_is_managed(descriptor)) {
        int error = errno;
        axio_handlers->hand_over(descriptor, 1);
        errno = error;
    }
    return REAL(fdopen)(descriptor, mode);
}

extern ssize_t axio_write(int, const void *, size_t);
extern int __vsnprintf_chk(char *, size_t, int, size_t, const char *, va_list);
extern int __vdprintf_chk(int, int, const char *, va_list);

static int print_into(char *text, size_t room, int checked, int flag, const char *format, va_list arguments)
{
    return checked ? __vsnprintf_chk(text, room, flag, room, format, arguments)
                   : vsnprintf(text, room, format, arguments);
}

/* Formatted here and written like anything else: the C library would write by itself, past the ring. */
static int print_to_managed(int descriptor, int checked, int flag, const char *format, va_list arguments)
{
    char line[1024];
    char *text = line;
    size_t room = sizeof line;
    va_list again;
    va_copy(again, arguments);
    int length = print_into(line, room, checked, flag, format, arguments);
    if (length >= (int)sizeof line) {
        room = (size_t)length + 1;
        text = mmap(0, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (text == MAP_FAILED) {
            va_end(again);
            return -1;
        }
        length = print_into(text, room, checked, flag, format, again);
    }
    va_end(again);
    int result = length;
    for (int written = 0; written < length;) {
        ssize_t part = axio_write(descriptor, text + written, (size_t)(length - written));
        if (part < 0) {
            result = -1;
            break;
        }
        written += (int)part;
    }
    if (text != line) {
        int error = errno;
        munmap(text, room);
        errno = error;
    }
    return result;
}

AXIO_HIDDEN int axio_vdprintf(int descriptor, const char *format, va_list arguments)
{
    if (axio_is_managed(descriptor))
        return print_to_managed(descriptor, 0, 0, format, arguments);
    return REAL(vdprintf)(descriptor, format, arguments);
}

AXIO_HIDDEN int axio_dprintf(int descriptor, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int result = axio_vdprintf(descriptor, format, arguments);
    va_end(arguments);
    return result;
}

AXIO_HIDDEN int axio_vdprintf_chk(int descriptor, int flag, const char *format, va_list arguments)
{
    if (axio_is_managed(descriptor))
        return print_to_managed(descriptor, 1, flag, format, arguments);
    return REAL(__vdprintf_chk)(descriptor, flag, format, arguments);
}

AXIO_HIDDEN int axio_dprintf_chk(int descriptor, int flag, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int result = axio_vdprintf_chk(descriptor, flag, format, arguments);
    va_end(arguments);
    return result;
}

/* The C library's asynchronous transfers are made by threads of its own, where no hook sees them. */
static void leave_to_library(int descriptor)
{
    if (axio_is_managed(descriptor)) {
        int error = errno;
        axio_handlers->hand_over(descriptor, 3);
        errno = error;
    }
}
#define ASYNCHRONOUS(name, hidden, block)             \
    AXIO_HIDDEN int hidden(struct block *transfer)    \
    {                                                 \
        leave_to_library(transfer->aio_fildes);       \
        return REAL(name)(transfer);                  \
    }
ASYNCHRONOUS(aio_read, axio_aio_read, aiocb)
ASYNCHRONOUS(aio_write, axio_aio_write, aiocb)
ASYNCHRONOUS(aio_read64, axio_aio_read64, aiocb64)
ASYNCHRONOUS(aio_write64, axio_aio_write64, aiocb64)
#define ASYNCHRONOUS_LIST(name, hidden, block)                                                           \
    AXIO_HIDDEN int hidden(int mode, struct block *const list[restrict], int count, struct sigevent *restrict event) \
    {                                                                                                    \
        for (int index = 0; index < count; index++)                                                      \
            if (list[index])                                                                             \
                leave_to_library(list[index]->aio_fildes);                                               \
        return REAL(name)(mode, list, count, event);                                                     \
    }
ASYNCHRONOUS_LIST(lio_listio, axio_lio_listio, aiocb)
ASYNCHRONOUS_LIST(lio_listio64, axio_lio_listio64, aiocb64)

/* Each descriptor that a message carries. A length that cannot be is the kernel's to refuse. */
static void for_each_right(const struct msghdr *message, void (*each)(int))
{
    const char *end = (const char *)message->msg_control + message->msg_controllen;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
         header = CMSG_NXTHDR((struct msghdr *)message, header)) {
        if (header->cmsg_len < CMSG_LEN(0) || header->cmsg_len > (size_t)(end - (const char *)header))
            return;
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t index = 0; index < count; index++) {
            int descriptor;
            __builtin_memcpy(&descriptor, CMSG_DATA(header) + index * sizeof descriptor, sizeof descriptor);
            each(descriptor);
        }
    }
}

static void hand_over_to_process(int descriptor)
{
    if (axio_is_managed(descriptor))
        axio_handlers->hand_over(descriptor, 2);
}

static void fresh_number(int descriptor)
{
    axio_number_is_new(descriptor);
    fresh(descriptor);
}

/* Descriptors that travel in a message: who receives them need not know us. */
AXIO_HIDDEN void axio_hand_over_rights(const struct msghdr *message) { for_each_right(message, hand_over_to_process); }

/* Descriptors that arrive in a message may have numbers that were closed behind us. */
AXIO_HIDDEN void axio_fresh_rights(const struct msghdr *message) { for_each_right(message, fresh_number); }
