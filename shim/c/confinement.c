/* The process changes who it is or what it may do: channels are given up before (TRUST.md "Memory, credentials,
 * storms"; POSIX.md row 36). And the raw door: syscall(2) re-dispatches what has a hook. */
#include "call.h"
#include <fcntl.h>
#include <grp.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/fsuid.h>
#include <sys/select.h>
#include <sys/syscall.h>

/* Kinds for handlers->before_confinement. */
enum { CREDENTIALS = 1, FILTER = 2 };

static inline void confine(int kind)
{
    if (axio_handlers) {
        int error = errno;
        axio_handlers->before_confinement(kind);
        errno = error;
    }
}

/* Asking with no filter at all is how libraries find out what the kernel offers; that confines nobody. */
static inline void confine_by_filter(int is_strict, const void *filter)
{
    if (is_strict || filter)
        confine(FILTER);
}

#define CREDENTIAL_CALL(name, hidden, parameters, arguments) \
    AXIO_HIDDEN int hidden parameters                        \
    {                                                        \
        confine(CREDENTIALS);                                \
        return REAL(name) arguments;                         \
    }
CREDENTIAL_CALL(setuid, axio_setuid, (uid_t user), (user))
CREDENTIAL_CALL(setgid, axio_setgid, (gid_t group), (group))
CREDENTIAL_CALL(seteuid, axio_seteuid, (uid_t user), (user))
CREDENTIAL_CALL(setegid, axio_setegid, (gid_t group), (group))
CREDENTIAL_CALL(setreuid, axio_setreuid, (uid_t real, uid_t effective), (real, effective))
CREDENTIAL_CALL(setregid, axio_setregid, (gid_t real, gid_t effective), (real, effective))
CREDENTIAL_CALL(setresuid, axio_setresuid, (uid_t real, uid_t effective, uid_t saved), (real, effective, saved))
CREDENTIAL_CALL(setresgid, axio_setresgid, (gid_t real, gid_t effective, gid_t saved), (real, effective, saved))
CREDENTIAL_CALL(setfsuid, axio_setfsuid, (uid_t user), (user))
CREDENTIAL_CALL(setfsgid, axio_setfsgid, (gid_t group), (group))
CREDENTIAL_CALL(setgroups, axio_setgroups, (size_t count, const gid_t *groups), (count, groups))
CREDENTIAL_CALL(initgroups, axio_initgroups, (const char *user, gid_t group), (user, group))
CREDENTIAL_CALL(chroot, axio_chroot, (const char *path), (path))
CREDENTIAL_CALL(unshare, axio_unshare, (int flags), (flags))
CREDENTIAL_CALL(setns, axio_setns, (int descriptor, int type), (descriptor, type))

/* The kernel's structures, which the C library has no header for. */
extern int capset(void *header, const void *data);
CREDENTIAL_CALL(capset, axio_capset, (void *header, const void *data), (header, data))

AXIO_HIDDEN int axio_prctl(int option, ...)
{
    va_list arguments;
    va_start(arguments, option);
    unsigned long a = va_arg(arguments, unsigned long), b = va_arg(arguments, unsigned long),
                  c = va_arg(arguments, unsigned long), d = va_arg(arguments, unsigned long);
    va_end(arguments);
    if (option == PR_SET_SECCOMP)
        confine_by_filter(a == SECCOMP_MODE_STRICT, (const void *)b);
    else if (option == PR_SET_NO_NEW_PRIVS)
        confine(CREDENTIALS);
    return REAL(prctl)(option, a, b, c, d);
}

extern ssize_t axio_read(int, void *, size_t), axio_write(int, const void *, size_t),
    axio_readv(int, const struct iovec *, int), axio_writev(int, const struct iovec *, int),
    axio_preadv2(int, const struct iovec *, int, off_t, int), axio_pwritev2(int, const struct iovec *, int, off_t, int),
    axio_sendto(int, const void *, size_t, int, const struct sockaddr *, socklen_t),
    axio_recvfrom(int, void *, size_t, int, struct sockaddr *, socklen_t *),
    axio_sendmsg(int, const struct msghdr *, int), axio_recvmsg(int, struct msghdr *, int),
    axio_sendfile(int, int, off_t *, size_t),
    axio_splice(int, off64_t *, int, off64_t *, size_t, unsigned);
extern int axio_close(int), axio_dup(int), axio_dup2(int, int), axio_dup3(int, int, int), axio_fcntl(int, int, unsigned long),
    axio_ioctl(int, unsigned long, void *), axio_socket(int, int, int),
    axio_connect(int, const struct sockaddr *, socklen_t), axio_accept(int, struct sockaddr *, socklen_t *),
    axio_accept4(int, struct sockaddr *, socklen_t *, int), axio_shutdown(int, int),
    axio_setsockopt(int, int, int, const void *, socklen_t), axio_getsockopt(int, int, int, void *, socklen_t *), axio_getsockname(int, void *, socklen_t *),
    axio_close_range(unsigned, unsigned, int), axio_recvmmsg(int, struct mmsghdr *, unsigned, int, struct timespec *),
    axio_sendmmsg(int, struct mmsghdr *, unsigned, int), axio_execve(const char *, char *const[], char *const[]),
    axio_execveat(int, const char *, char *const[], char *const[], int);
extern long axio_fork_by_number(uint64_t, long, long, long, long, long, long);

extern int axio_poll(struct pollfd *, nfds_t, int), axio_select(int, fd_set *, fd_set *, fd_set *, struct timeval *),
    axio_ppoll(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *),
    axio_pselect(int, fd_set *, fd_set *, fd_set *, const struct timespec *, const sigset_t *), axio_epoll_create(int),
    axio_epoll_create1(int), axio_epoll_ctl(int, int, int, struct epoll_event *),
    axio_epoll_wait(int, struct epoll_event *, int, int),
    axio_epoll_pwait(int, struct epoll_event *, int, int, const sigset_t *),
    axio_epoll_pwait2(int, struct epoll_event *, int, const struct timespec *, const sigset_t *);

#define P(type, word) ((type)(word))

/* What a system call's argument points to, copied by the kernel: a wrong address is the kernel's to judge, it must not fault
 * here. False: that cannot be read or written. Where the call itself is refused (a sandbox, a kernel without it) the memory
 * is touched as any other pointer's of the program. Only in processes with a table: without one, or behind a filter, no
 * call is made that the program did not make. */
static int copy_by_kernel(long call, void *ours, const void *theirs, size_t bytes)
{
    struct iovec here = {ours, bytes}, there = {(void *)(uintptr_t)theirs, bytes};
    int error = errno;
    long copied = REAL(syscall)(call, (long)getpid(), &here, 1L, &there, 1L, 0L);
    int refused = copied < 0 && errno != EFAULT;
    errno = error;
    if (!refused || (uintptr_t)theirs < 4096)
        return copied == (long)bytes;
    if (call == SYS_process_vm_readv)
        __builtin_memcpy(ours, theirs, bytes);
    else
        __builtin_memcpy((void *)(uintptr_t)theirs, ours, bytes);
    return 1;
}
static int copy_in(void *ours, const void *theirs, size_t bytes)
{
    return copy_by_kernel(SYS_process_vm_readv, ours, theirs, bytes);
}

/* The kernel's signal mask, 64 bits, where the C library's functions take one: they hand it on, and nobody on the way looks
 * into it. False: the kernel has to judge it. */
static int take_mask(const sigset_t **mask, const void *kernel_mask, size_t bytes)
{
    uint64_t looked_at;
    *mask = kernel_mask;
    return !kernel_mask || (bytes == 8 && (!axio_descriptors || copy_in(&looked_at, kernel_mask, 8)));
}

/* A time-out that the system call writes back, which the C library's functions hide: the time left. */
struct limit {
    void *theirs;
    struct timespec left, start;
};
/* False: the kernel has to judge it. */
static int take_limit(struct limit *limit, void *theirs)
{
    limit->theirs = theirs;
    if (theirs) {
        if (!copy_in(&limit->left, theirs, sizeof limit->left) || limit->left.tv_sec < 0 ||
            (unsigned long)limit->left.tv_nsec >= 1000000000)
            return 0;
        clock_gettime(CLOCK_MONOTONIC, &limit->start);
    }
    return 1;
}
/* As the kernel does, which does not mind when the place cannot be written. */
static long give_limit_back(struct limit *limit, long result)
{
    if (!limit->theirs)
        return result;
    struct timespec left = axio_time_left(&limit->left, &limit->start);
    copy_by_kernel(SYS_process_vm_writev, &left, limit->theirs, sizeof left);
    return result;
}

AXIO_HIDDEN long axio_syscall(long number, ...)
{
    va_list arguments;
    va_start(arguments, number);
    long a = va_arg(arguments, long), b = va_arg(arguments, long), c = va_arg(arguments, long),
         d = va_arg(arguments, long), e = va_arg(arguments, long), f = va_arg(arguments, long);
    va_end(arguments);
    const sigset_t *mask;
    struct limit limit;
    if (axio_handlers) {
        switch (number) {
        case SYS_read: return axio_read((int)a, P(void *, b), (size_t)c);
        case SYS_write: return axio_write((int)a, P(void *, b), (size_t)c);
        case SYS_readv: return axio_readv((int)a, P(void *, b), (int)c);
        case SYS_writev: return axio_writev((int)a, P(void *, b), (int)c);
        case SYS_preadv2:
            if (d != -1)
                break;
            return axio_preadv2((int)a, P(void *, b), (int)c, -1, (int)f);
        case SYS_pwritev2:
            if (d != -1)
                break;
            return axio_pwritev2((int)a, P(void *, b), (int)c, -1, (int)f);
        case SYS_sendto: return axio_sendto((int)a, P(void *, b), (size_t)c, (int)d, P(void *, e), (socklen_t)f);
        case SYS_recvfrom: return axio_recvfrom((int)a, P(void *, b), (size_t)c, (int)d, P(void *, e), P(void *, f));
        case SYS_sendmsg: return axio_sendmsg((int)a, P(void *, b), (int)c);
        case SYS_recvmsg: return axio_recvmsg((int)a, P(void *, b), (int)c);
        case SYS_recvmmsg: return axio_recvmmsg((int)a, P(void *, b), (unsigned)c, (int)d, P(void *, e));
        case SYS_sendmmsg: return axio_sendmmsg((int)a, P(void *, b), (unsigned)c, (int)d);
        case SYS_sendfile: return axio_sendfile((int)a, (int)b, P(off_t *, c), (size_t)d);
        case SYS_splice: return axio_splice((int)a, P(off64_t *, b), (int)c, P(off64_t *, d), (size_t)e, (unsigned)f);
        case SYS_close: return axio_close((int)a);
        case SYS_close_range: return axio_close_range((unsigned)a, (unsigned)b, (int)c);
        case SYS_dup: return axio_dup((int)a);
#ifdef SYS_dup2
        case SYS_dup2: return axio_dup2((int)a, (int)b);
#endif
        case SYS_dup3: return axio_dup3((int)a, (int)b, (int)c);
        case SYS_fcntl: return axio_fcntl((int)a, (int)b, (unsigned long)c);
        case SYS_ioctl: return axio_ioctl((int)a, (unsigned long)b, P(void *, c));
        case SYS_socket: return axio_socket((int)a, (int)b, (int)c);
        case SYS_connect: return axio_connect((int)a, P(void *, b), (socklen_t)c);
        case SYS_accept: return axio_accept((int)a, P(void *, b), P(void *, c));
        case SYS_accept4: return axio_accept4((int)a, P(void *, b), P(void *, c), (int)d);
        case SYS_shutdown: return axio_shutdown((int)a, (int)b);
        case SYS_setsockopt: return axio_setsockopt((int)a, (int)b, (int)c, P(void *, d), (socklen_t)e);
        case SYS_getsockopt: return axio_getsockopt((int)a, (int)b, (int)c, P(void *, d), P(void *, e));
        case SYS_getsockname: return axio_getsockname((int)a, P(void *, b), P(void *, c));
        case SYS_execve: return axio_execve(P(const char *, a), P(char *const *, b), P(char *const *, c));
        case SYS_execveat:
            return axio_execveat((int)a, P(const char *, b), P(char *const *, c), P(char *const *, d), (int)e);
#ifdef SYS_fork
        case SYS_fork: return axio_fork_by_number(0, number, a, b, c, d, e);
#endif
        case SYS_clone:
            if (!(a & CLONE_VM))
                return axio_fork_by_number((uint64_t)a, number, a, b, c, d, e);
            if (!(a & CLONE_THREAD))
                axio_memory_was_shared = 1;
            break;
#ifdef SYS_vfork
        case SYS_vfork: axio_memory_was_shared = 1; break;
#endif
#ifdef SYS_clone3
        case SYS_clone3: {
            uint64_t flags = 0; /* the first member of struct clone_args */
            if (!__atomic_load_n(&axio_descriptors, __ATOMIC_ACQUIRE)) {
                axio_memory_was_shared = 1; /* it may be */
                break;
            }
            if (!copy_in(&flags, P(void *, a), sizeof flags))
                break; /* EFAULT */
            if (!(flags & CLONE_VM))
                return axio_fork_by_number(flags, number, a, b, c, d, e);
            if (!(flags & CLONE_THREAD))
                axio_memory_was_shared = 1;
            break;
        }
#endif
#ifdef SYS_poll
        case SYS_poll: return axio_poll(P(struct pollfd *, a), (nfds_t)b, (int)c);
        case SYS_select: return axio_select((int)a, P(fd_set *, b), P(fd_set *, c), P(fd_set *, d), P(void *, e));
        case SYS_epoll_create: return axio_epoll_create((int)a);
        case SYS_epoll_wait: return axio_epoll_wait((int)a, P(void *, b), (int)c, (int)d);
#endif
        case SYS_ppoll:
            if (!axio_descriptors || !take_mask(&mask, P(void *, d), (size_t)e) || !take_limit(&limit, P(void *, c)))
                break;
            return give_limit_back(&limit, axio_ppoll(P(struct pollfd *, a), (nfds_t)b, c ? &limit.left : 0, mask));
        case SYS_pselect6: {
            struct {
                const void *signals;
                size_t bytes;
            } given = {0, 0};
            if (!axio_descriptors || (f && !copy_in(&given, P(void *, f), sizeof given)) ||
                !take_mask(&mask, given.signals, given.bytes) || !take_limit(&limit, P(void *, e)))
                break;
            return give_limit_back(&limit, axio_pselect((int)a, P(fd_set *, b), P(fd_set *, c), P(fd_set *, d),
                                                        e ? &limit.left : 0, mask));
        }
        case SYS_epoll_create1: return axio_epoll_create1((int)a);
        case SYS_epoll_ctl: return axio_epoll_ctl((int)a, (int)b, (int)c, P(void *, d));
        case SYS_epoll_pwait:
            if (!take_mask(&mask, P(void *, e), (size_t)f))
                break;
            return axio_epoll_pwait((int)a, P(void *, b), (int)c, (int)d, mask);
#ifdef SYS_epoll_pwait2
        case SYS_epoll_pwait2:
            if (!take_mask(&mask, P(void *, e), (size_t)f))
                break;
            return axio_epoll_pwait2((int)a, P(void *, b), (int)c, P(void *, d), mask);
#endif
        case SYS_io_uring_setup: {
            /* Event loops ask for one where there is none to be had: only what exists can be used behind us. */
            long ring = REAL(syscall)(number, a, b, c, d, e, f);
            if (ring >= 0) {
                int error = errno;
                axio_handlers->io_uring_appears();
                errno = error;
            }
            return ring;
        }
        case SYS_seccomp:
            if (a == SECCOMP_SET_MODE_STRICT || a == SECCOMP_SET_MODE_FILTER)
                confine_by_filter(a == SECCOMP_SET_MODE_STRICT, P(void *, c));
            break;
#ifdef SYS_landlock_restrict_self
        case SYS_landlock_restrict_self: confine(CREDENTIALS); break;
#endif
        case SYS_prctl:
            if (a == PR_SET_SECCOMP)
                confine_by_filter(b == SECCOMP_MODE_STRICT, P(void *, c));
            else if (a == PR_SET_NO_NEW_PRIVS)
                confine(CREDENTIALS);
            break;
        case SYS_exit_group: axio_handlers->at_exit(); break;
        case SYS_capset:
        case SYS_chroot:
        case SYS_setfsuid:
        case SYS_setfsgid:
        case SYS_setreuid:
        case SYS_setregid:
        case SYS_setuid:
        case SYS_setgid:
        case SYS_setresuid:
        case SYS_setresgid:
        case SYS_setgroups:
        case SYS_unshare:
        case SYS_setns: confine(CREDENTIALS); break;
        default: break;
        }
    }
    return REAL(syscall)(number, a, b, c, d, e, f);
}

AXIO_HIDDEN int axio_pthread_cancel(pthread_t thread)
{
    axio_cancel_seen = 1;
    return REAL(pthread_cancel)(thread);
}

AXIO_HIDDEN int axio_listen(int descriptor, int backlog)
{
    if (axio_handlers)
        axio_handlers->before_listen(descriptor);
    return REAL(listen)(descriptor, backlog);
}
