/* Options and requests. The variadic calls take one word behind their fixed arguments, as the kernel does; it lies where
 * a fixed argument would, on every ABI of Linux that we are built for. */
#include "call.h"
#include <fcntl.h>
#include <sys/ioctl.h>

static int is_about_waiting(int level, int name)
{
    return level == SOL_SOCKET && (name == SO_RCVTIMEO_OLD || name == SO_RCVTIMEO_NEW || name == SO_SNDTIMEO_OLD
                                   || name == SO_SNDTIMEO_NEW);
}

static AXIO_APART int managed_setsockopt(int descriptor, int level, int name, const void *value, socklen_t length)
{
    int result = 0;
    if (axio_handlers->set_option(descriptor, level, name, value, length, &result))
        return result;
    if (!is_about_waiting(level, name))
        return REAL(setsockopt)(descriptor, level, name, value, length);
    axio_handlers->waiting_changes(descriptor);
    result = REAL(setsockopt)(descriptor, level, name, value, length);
    axio_handlers->waiting_changes(descriptor);
    return result;
}

AXIO_HIDDEN int axio_setsockopt(int descriptor, int level, int name, const void *value, socklen_t length)
{
    return axio_is_managed(descriptor) ? managed_setsockopt(descriptor, level, name, value, length)
                                       : REAL(setsockopt)(descriptor, level, name, value, length);
}

static AXIO_APART int managed_getsockopt(int descriptor, int level, int name, void *value, socklen_t *length)
{
    int result = 0;
    if (axio_handlers->get_option(descriptor, level, name, value, length, &result))
        return result;
    return REAL(getsockopt)(descriptor, level, name, value, length);
}

AXIO_HIDDEN int axio_getsockopt(int descriptor, int level, int name, void *value, socklen_t *length)
{
    return axio_is_managed(descriptor) ? managed_getsockopt(descriptor, level, name, value, length)
                                       : REAL(getsockopt)(descriptor, level, name, value, length);
}

AXIO_HIDDEN int axio_getsockname(int descriptor, struct sockaddr *name, socklen_t *length)
{
    if (axio_is_managed(descriptor) && axio_handlers->own_name(descriptor, name, length))
        return 0;
    return REAL(getsockname)(descriptor, name, length);
}

static AXIO_APART int managed_ioctl(int descriptor, unsigned long request, void *argument)
{
    int result = 0;
    if (!axio_handlers->request(descriptor, request, argument, &result)) {
        if (request != FIONBIO)
            return REAL(ioctl)(descriptor, request, argument);
        axio_handlers->waiting_changes(descriptor);
        result = REAL(ioctl)(descriptor, request, argument);
        axio_handlers->waiting_changes(descriptor);
        return result;
    }
    if (result < 0) {
        errno = -result;
        return -1;
    }
    return result;
}

AXIO_HIDDEN int axio_ioctl(int descriptor, unsigned long request, void *argument)
{
    int own = ((request >> 8) & 0xff) == 0xA8;
    return axio_is_managed(descriptor) || (own && axio_handlers) ? managed_ioctl(descriptor, request, argument)
                                                                 : REAL(ioctl)(descriptor, request, argument);
}

/* The C library's own asks the kernel where no hook sees it. */
AXIO_HIDDEN int axio_sockatmark(int descriptor)
{
    int is_at_mark;
    if (axio_ioctl(descriptor, SIOCATMARK, &is_at_mark) < 0)
        return -1;
    return is_at_mark;
}

static AXIO_APART int control(int (*real)(int, int, ...), int descriptor, int command, unsigned long argument)
{
    int is_managed = axio_is_managed(descriptor), changes_waiting = is_managed && command == F_SETFL;
    if (is_managed)
        axio_handlers->control(descriptor, command, argument);
    if (changes_waiting)
        axio_handlers->waiting_changes(descriptor);
    int result = real(descriptor, command, argument);
    if (changes_waiting)
        axio_handlers->waiting_changes(descriptor);
    if ((command == F_DUPFD || command == F_DUPFD_CLOEXEC) && result >= 0) {
        axio_number_is_copy(descriptor, result);
        if (axio_is_known(descriptor) || axio_is_known(result))
            axio_handlers->duplicated(descriptor, result);
    }
    return result;
}

static inline int concerns_us(int descriptor, int command)
{
    return axio_is_managed(descriptor) || command == F_DUPFD || command == F_DUPFD_CLOEXEC;
}

AXIO_HIDDEN int axio_fcntl(int descriptor, int command, unsigned long argument)
{
    return concerns_us(descriptor, command) ? control(REAL(fcntl), descriptor, command, argument)
                                            : REAL(fcntl)(descriptor, command, argument);
}

AXIO_HIDDEN int axio_fcntl64(int descriptor, int command, unsigned long argument)
{
    return concerns_us(descriptor, command) ? control(REAL(fcntl64), descriptor, command, argument)
                                            : REAL(fcntl64)(descriptor, command, argument);
}
