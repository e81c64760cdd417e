/* Connections come and go: connect, accept, shutdown, close, dup. */
#include "call.h"
#include <fcntl.h>
#include <netinet/in.h>

/* The attempt is over without a connection: the next connect() on the socket begins another one. */
static int is_end_of_attempt(int error)
{
    return error == ECONNREFUSED || error == ECONNABORTED || error == ECONNRESET || error == ETIMEDOUT ||
           error == EHOSTUNREACH || error == ENETUNREACH;
}

AXIO_HIDDEN int axio_connect(int descriptor, const struct sockaddr *address, socklen_t length)
{
    if (axio_is_managed(descriptor) && (uintptr_t)address >= 4096 && length >= sizeof address->sa_family &&
        address->sa_family == AF_UNSPEC)
        axio_handlers->before_dissolving(descriptor);
    int result = REAL(connect)(descriptor, address, length);
    const struct axio_handlers *handlers = axio_handlers;
    int error = errno;
    /* A handler that interrupts the call leaves the attempt under way, as O_NONBLOCK does. */
    if (handlers && (__builtin_expect(result == 0, 1) || error == EINPROGRESS || error == EINTR ||
                     (axio_is_managed(descriptor) && is_end_of_attempt(error)))) {
        handlers->after_connect(descriptor, address, length, result, result < 0 ? error : 0);
        errno = error;
    }
    return result;
}

AXIO_HIDDEN int axio_accept(int listener, struct sockaddr *address, socklen_t *length)
{
    int result = REAL(accept)(listener, address, length);
    axio_number_is_new(result);
    if (result >= 0 && axio_handlers)
        axio_handlers->after_accept(listener, result);
    return result;
}

AXIO_HIDDEN int axio_accept4(int listener, struct sockaddr *address, socklen_t *length, int flags)
{
    int result = REAL(accept4)(listener, address, length, flags);
    axio_number_is_new(result);
    if (result >= 0 && axio_handlers)
        axio_handlers->after_accept(listener, result);
    return result;
}

static AXIO_APART int managed_shutdown(uint64_t word, int descriptor, int how)
{
    int follow = axio_handlers->before_shutdown(word, descriptor, how);
    /* That may have waited for other threads' sends. Who closes the number now waits for the lock, if it was taken (follow);
     * if not, what was meant may be closed, and the number somebody else's. */
    int result = follow || axio_word(descriptor) == word ? REAL(shutdown)(descriptor, how) : 0;
    if (follow) {
        int error = errno;
        axio_handlers->after_shutdown(word, descriptor);
        errno = error;
    }
    return result;
}

AXIO_HIDDEN int axio_shutdown(int descriptor, int how)
{
    uint64_t word = axio_word(descriptor);
    return axio_means(word) ? managed_shutdown(word, descriptor, how) : REAL(shutdown)(descriptor, how);
}

AXIO_HIDDEN int axio_close(int descriptor)
{
    if (axio_is_known(descriptor))
        axio_handlers->before_close(descriptor);
    return REAL(close)(descriptor);
}

AXIO_HIDDEN int axio_socket(int domain, int type, int protocol)
{
    int result = REAL(socket)(domain, type, protocol);
    axio_number_is_new(result);
    if (axio_is_known(result))
        axio_handlers->number_returned(result);
    uint64_t *table = __atomic_load_n(&axio_descriptors, __ATOMIC_ACQUIRE);
    if (table && (unsigned)result < AXIO_DESCRIPTORS_LIMIT && (domain == AF_INET || domain == AF_INET6) &&
        (type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) == SOCK_STREAM && (protocol == 0 || protocol == IPPROTO_TCP) &&
        !axio_memory_was_shared)
        __atomic_store_n(&table[result], AXIO_FACT_TCP_STREAM, __ATOMIC_RELAXED); /* spares connect() a question */
    return result;
}

AXIO_HIDDEN int axio_dup(int descriptor)
{
    int result = REAL(dup)(descriptor);
    axio_number_is_copy(descriptor, result);
    if (result >= 0 && (axio_is_known(descriptor) || axio_is_known(result)))
        axio_handlers->duplicated(descriptor, result);
    return result;
}

AXIO_HIDDEN int axio_dup2(int from, int to)
{
    /* What would fail leaves `to` alone. */
    if (from != to && axio_is_known(to) && REAL(fcntl)(from, F_GETFD) >= 0)
        axio_handlers->before_close(to);
    int result = REAL(dup2)(from, to);
    axio_number_is_copy(from, result);
    if (result >= 0 && from != to && (axio_is_known(from) || axio_is_known(to)))
        axio_handlers->duplicated(from, result);
    return result;
}

AXIO_HIDDEN int axio_dup3(int from, int to, int flags)
{
    /* What would fail leaves `to` alone. */
    if (from != to && !(flags & ~O_CLOEXEC) && axio_is_known(to) && REAL(fcntl)(from, F_GETFD) >= 0)
        axio_handlers->before_close(to);
    int result = REAL(dup3)(from, to, flags);
    axio_number_is_copy(from, result);
    if (result >= 0 && (axio_is_known(from) || axio_is_known(to)))
        axio_handlers->duplicated(from, result);
    return result;
}
