/* Options and requests. The variadic calls take one word behind their fixed arguments, as the kernel does. */
#include "call.h"
#include <fcntl.h>
#include <stdarg.h>
#include <sys/ioctl.h>

AXIO_HIDDEN int axio_setsockopt(int descriptor, int level, int name, const void *value, socklen_t length)
{
    int result = 0;
    if (axio_is_managed(descriptor) &&
        axio_handlers->set_option(descriptor, level, name, value, length, &result))
        return result;
    return REAL(setsockopt)(descriptor, level, name, value, length);
}

AXIO_HIDDEN int axio_getsockopt(int descriptor, int level, int name, void *value, socklen_t *length)
{
    int result = 0;
    if (axio_is_managed(descriptor) &&
        axio_handlers->get_option(descriptor, level, name, value, length, &result))
        return result;
    return REAL(getsockopt)(descriptor, level, name, value, length);
}

AXIO_HIDDEN int axio_ioctl(int descriptor, unsigned long request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    int result = 0;
    int own = ((request >> 8) & 0xff) == 0xA8;
    if ((axio_is_managed(descriptor) || (own && axio_handlers)) &&
        axio_handlers->request(descriptor, request, argument, &result)) {
        if (result < 0) {
            errno = -result;
            return -1;
        }
        return result;
    }
    return REAL(ioctl)(descriptor, request, argument);
}

static int control(int (*real)(int, int, ...), int descriptor, int command, unsigned long argument)
{
    int result = 0;
    if (axio_is_managed(descriptor))
        axio_handlers->control(descriptor, command, argument, &result);
    result = real(descriptor, command, argument);
    if ((command == F_DUPFD || command == F_DUPFD_CLOEXEC) && result >= 0 && axio_descriptors)
        axio_handlers->duplicated(descriptor, result);
    return result;
}

AXIO_HIDDEN int axio_fcntl(int descriptor, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    unsigned long argument = va_arg(arguments, unsigned long);
    va_end(arguments);
    return control(REAL(fcntl), descriptor, command, argument);
}

AXIO_HIDDEN int axio_fcntl64(int descriptor, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    unsigned long argument = va_arg(arguments, unsigned long);
    va_end(arguments);
    return control(REAL(fcntl64), descriptor, command, argument);
}
