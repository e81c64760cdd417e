/* What prints a list of arguments to a descriptor: a va_list is C's alone. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>

extern int __vdprintf_chk(int, int, const char *, va_list);

/* vdprintf(3), or what `_FORTIFY_SOURCE` makes of it. */
int compat_vdprintf(int fd, int fortified, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int printed = fortified ? __vdprintf_chk(fd, 1, format, arguments) : vdprintf(fd, format, arguments);
    va_end(arguments);
    return printed;
}
