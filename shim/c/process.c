/* fork, exec, exit. A vfork child shares our memory, so nothing is done on its behalf: its exec finds that it is not
 * the process that the Rust side knows. */
#include "call.h"
#include <fcntl.h>
#include <paths.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>

/* What follows a fork, in whichever way it was made. */
static long forked(long child, unsigned prepared)
{
    int error = errno;
    if (child == 0) {
        axio_forget_early_sleepers();
        axio_handlers->fork_child(prepared);
    } else
        axio_handlers->fork_parent((int)child, prepared);
    errno = error;
    return child;
}

/* The same in a process that has no sockets of ours yet. */
static long forked_without_books(long child)
{
    if (child == 0)
        axio_forget_early_sleepers();
    return child;
}

AXIO_HIDDEN int axio_memory_was_shared;

/* What a child may call before it has any other work: a child must not be the first to look a name up, since the loader's
 * lock may be held for ever by a thread that the child does not have. */
AXIO_HIDDEN void axio_look_names_up_before_fork(void)
{
    static const char *const names[] = {
        "_exit", "_Exit", "accept", "accept4", "chroot", "close", "close_range", "closefrom", "connect", "dup", "dup2", "dup3",
        "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_wait", "execve", "execveat", "execv", "execvp", "execvpe", "fcntl",
        "fcntl64", "fexecve", "fork", "_Fork", "getsockopt", "initgroups", "ioctl", "listen", "open", "open64", "openat",
        "openat64", "pipe", "pipe2", "poll", "ppoll", "prctl", "pselect", "read", "readv", "recv", "recvfrom", "recvmsg",
        "select", "send", "sendmsg", "sendto", "setegid", "seteuid", "setgid", "setgroups", "setns", "setregid", "setresgid",
        "setresuid", "setreuid", "setsockopt", "setuid", "shutdown", "socket", "socketpair", "syscall", "unshare", "vfork",
        "write", "writev"};
    axio_keep_definitions(names, sizeof names / sizeof *names);
}

AXIO_HIDDEN pid_t axio_fork(void)
{
    axio_look_names_up_before_fork();
    if (!axio_descriptors)
        return (pid_t)forked_without_books(REAL(fork)());
    unsigned prepared = axio_handlers->fork_prepare();
    return (pid_t)forked(REAL(fork)(), prepared);
}

extern pid_t _Fork(void);
AXIO_HIDDEN pid_t axio__Fork(void)
{
    axio_look_names_up_before_fork();
    if (!axio_descriptors)
        return (pid_t)forked_without_books(REAL(_Fork)());
    unsigned prepared = axio_handlers->fork_prepare();
    return (pid_t)forked(REAL(_Fork)(), prepared);
}

/* syscall() of clone or fork, when the child gets a copy of the memory. */
AXIO_HIDDEN long axio_fork_by_number(long number, long a, long b, long c, long d, long e)
{
    axio_look_names_up_before_fork();
    if (!axio_descriptors)
        return forked_without_books(REAL(syscall)(number, a, b, c, d, e));
    unsigned prepared = axio_handlers->fork_prepare();
    return forked(REAL(syscall)(number, a, b, c, d, e), prepared);
}

extern void axio__exit(int);
extern int axio_dup2(int, int);

/* The C library's own forks where no hook sees it, so a process that manages sockets does here what glibc's does; one
 * that does not yet calls glibc's. */
AXIO_HIDDEN int axio_daemon(int keep_folder, int keep_streams)
{
    if (!axio_descriptors)
        return REAL(daemon)(keep_folder, keep_streams);
    pid_t child = axio_fork();
    if (child < 0)
        return -1;
    if (child > 0)
        axio__exit(0);
    if (setsid() < 0)
        return -1;
    if (!keep_folder && chdir("/") < 0) { /* glibc does not look either */ }
    if (keep_streams)
        return 0;
    int null = REAL(open)(_PATH_DEVNULL, O_RDWR, 0);
    struct stat found;
    if (null < 0 || fstat(null, &found) < 0) {
        if (null >= 0)
            REAL(close)(null);
        return -1;
    }
    if (!S_ISCHR(found.st_mode) || found.st_rdev != makedev(1, 3)) {
        REAL(close)(null);
        errno = ENODEV;
        return -1;
    }
    for (int stream = 0; stream <= 2; stream++)
        axio_dup2(null, stream);
    if (null > 2)
        REAL(close)(null);
    return 0;
}

static void before_exec(void)
{
    if (axio_descriptors)
        axio_handlers->before_exec();
}

/* exec returns only when it has failed. */
static int failed_exec(int result)
{
    if (axio_descriptors) {
        int error = errno;
        axio_handlers->after_failed_exec();
        errno = error;
    }
    return result;
}

/* vfork returns twice into its caller's frame, so the hook is a jump: prepare, then go on in the real one. */
AXIO_HIDDEN void *axio_prepare_vfork(void)
{
    axio_memory_was_shared = 1;
    if (axio_descriptors) {
        int error = errno;
        axio_handlers->before_spawn();
        errno = error;
    }
    return (void *)REAL(vfork);
}

/* clone(2) as the C library offers it: a jump, too, as its arguments are for the real one alone. */
AXIO_HIDDEN void *axio_prepare_clone(int flags)
{
    if (flags & CLONE_VM && !(flags & CLONE_THREAD))
        axio_memory_was_shared = 1;
    return (void *)REAL(clone);
}

#include <spawn.h>
/* The child moves it to where a program expects it, which also clears close-on-exec. */
AXIO_HIDDEN int axio_posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *actions, int from, int to)
{
    if (axio_is_managed(from)) {
        int error = errno;
        axio_handlers->hand_over(from, 2);
        errno = error;
    }
    return REAL(posix_spawn_file_actions_adddup2)(actions, from, to);
}

AXIO_HIDDEN int axio_posix_spawn(pid_t *child, const char *path, const posix_spawn_file_actions_t *actions,
                                 const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    if (axio_descriptors)
        axio_handlers->before_spawn();
    return REAL(posix_spawn)(child, path, actions, attributes, argv, envp);
}

AXIO_HIDDEN int axio_posix_spawnp(pid_t *child, const char *file, const posix_spawn_file_actions_t *actions,
                                  const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    if (axio_descriptors)
        axio_handlers->before_spawn();
    return REAL(posix_spawnp)(child, file, actions, attributes, argv, envp);
}

#include <stdio.h>
AXIO_HIDDEN int axio_system(const char *command)
{
    if (axio_descriptors)
        axio_handlers->before_spawn();
    return REAL(system)(command);
}

AXIO_HIDDEN FILE *axio_popen(const char *command, const char *mode)
{
    if (axio_descriptors)
        axio_handlers->before_spawn();
    return REAL(popen)(command, mode);
}

AXIO_HIDDEN int axio_execve(const char *path, char *const argv[], char *const envp[])
{
    before_exec();
    return failed_exec(REAL(execve)(path, argv, envp));
}

AXIO_HIDDEN int axio_execv(const char *path, char *const argv[])
{
    before_exec();
    return failed_exec(REAL(execv)(path, argv));
}

AXIO_HIDDEN int axio_execvp(const char *file, char *const argv[])
{
    before_exec();
    return failed_exec(REAL(execvp)(file, argv));
}

AXIO_HIDDEN int axio_execvpe(const char *file, char *const argv[], char *const envp[])
{
    before_exec();
    return failed_exec(REAL(execvpe)(file, argv, envp));
}

/* The forms with a list: its words become an array on the stack, as glibc does it. `environment` follows the null of
 * execle. */
enum { LIST_WORDS_MAX = 1 << 17 };
#define LIST_CALL(name, hidden, execute, has_environment)                                                \
    AXIO_HIDDEN int hidden(const char *path, const char *first, ...)                                     \
    {                                                                                                    \
        va_list words;                                                                                   \
        size_t count = 1;                                                                                \
        va_start(words, first);                                                                          \
        while (va_arg(words, const char *))                                                              \
            if (++count >= LIST_WORDS_MAX) {                                                             \
                va_end(words);                                                                           \
                errno = E2BIG;                                                                           \
                return -1;                                                                               \
            }                                                                                            \
        va_end(words);                                                                                   \
        char *array[count + 1];                                                                          \
        array[0] = (char *)first;                                                                        \
        va_start(words, first);                                                                          \
        for (size_t index = 1; index <= count; index++)                                                  \
            array[index] = va_arg(words, char *);                                                        \
        char *const *environment = has_environment ? va_arg(words, char *const *) : environ;             \
        va_end(words);                                                                                   \
        before_exec();                                                                                   \
        (void)environment;                                                                               \
        return failed_exec(execute);                                                                     \
    }
LIST_CALL(execl, axio_execl, REAL(execve)(path, array, environment), 0)
LIST_CALL(execle, axio_execle, REAL(execve)(path, array, environment), 1)
LIST_CALL(execlp, axio_execlp, REAL(execvpe)(path, array, environment), 0)

AXIO_HIDDEN int axio_execveat(int folder, const char *path, char *const argv[], char *const envp[], int flags)
{
    before_exec();
    return failed_exec(REAL(execveat)(folder, path, argv, envp, flags));
}

AXIO_HIDDEN int axio_fexecve(int descriptor, char *const argv[], char *const envp[])
{
    before_exec();
    return failed_exec(REAL(fexecve)(descriptor, argv, envp));
}

AXIO_HIDDEN void axio__exit(int status)
{
    if (axio_handlers)
        axio_handlers->at_exit();
    REAL(_exit)(status);
    __builtin_unreachable();
}

AXIO_HIDDEN void axio__Exit(int status)
{
    if (axio_handlers)
        axio_handlers->at_exit();
    REAL(_Exit)(status);
    __builtin_unreachable();
}

AXIO_HIDDEN void axio_quick_exit(int status)
{
    if (axio_handlers)
        axio_handlers->at_exit();
    REAL(quick_exit)(status);
    __builtin_unreachable();
}

static __attribute__((destructor)) void at_exit(void)
{
    if (axio_handlers && axio_descriptors)
        axio_handlers->at_exit();
}
