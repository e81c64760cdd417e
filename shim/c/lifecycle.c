/* Connections come and go: connect, accept, shutdown, close, dup. */
#include "call.h"
#include <fcntl.h>

AXIO_HIDDEN int axio_connect(int descriptor, const struct sockaddr *address, socklen_t length)
{
    if (axio_is_managed(descriptor) && (uintptr_t)address >= 4096 && length >= sizeof address->sa_family &&
        address->sa_family == AF_UNSPEC)
        axio_handlers->before_close(descriptor); /* dissolves the connection */
    int result = REAL(connect)(descriptor, address, length);
    const struct axio_handlers *handlers = axio_handlers;
    if (handlers) {
        int error = errno;
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

AXIO_HIDDEN int axio_shutdown(int descriptor, int how)
{
    if (!axio_is_managed(descriptor))
        return REAL(shutdown)(descriptor, how);
    int follow = axio_handlers->before_shutdown(descriptor, how);
    int result = REAL(shutdown)(descriptor, how);
    if (follow) {
        int error = errno;
        axio_handlers->after_shutdown(descriptor, follow, result);
        errno = error;
    }
    return result;
}

AXIO_HIDDEN int axio_close(int descriptor)
{
    if (axio_is_managed(descriptor))
        axio_handlers->before_close(descriptor);
    return REAL(close)(descriptor);
}

AXIO_HIDDEN int axio_socket(int domain, int type, int protocol)
{
    int result = REAL(socket)(domain, type, protocol);
    axio_number_is_new(result);
    if (axio_is_managed(result))
        axio_handlers->number_returned(result);
    return result;
}

AXIO_HIDDEN int axio_dup(int descriptor)
{
    int result = REAL(dup)(descriptor);
    if (result >= 0 && axio_descriptors)
        axio_handlers->duplicated(descriptor, result);
    return result;
}

AXIO_HIDDEN int axio_dup2(int from, int to)
{
    /* What would fail leaves `to` alone. */
    if (from != to && axio_is_managed(to) && REAL(fcntl)(from, F_GETFD) >= 0)
        axio_handlers->before_close(to);
    int result = REAL(dup2)(from, to);
    if (result >= 0 && from != to && axio_descriptors)
        axio_handlers->duplicated(from, result);
    return result;
}

AXIO_HIDDEN int axio_dup3(int from, int to, int flags)
{
    /* What would fail leaves `to` alone. */
    if (from != to && axio_is_managed(to) && REAL(fcntl)(from, F_GETFD) >= 0)
        axio_handlers->before_close(to);
    int result = REAL(dup3)(from, to, flags);
    if (result >= 0 && axio_descriptors)
        axio_handlers->duplicated(from, result);
    return result;
}
