/* fork, exec, exit. A vfork child shares our memory, so nothing is done on its behalf: its exec finds that it is not
 * the process that the Rust side knows. */
#include "call.h"
#include <fcntl.h>
#include <paths.h>
#include <pty.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <utmp.h>

/* What follows a fork, in whichever way it was made. */
static long forked(long child, unsigned prepared)
{
    __atomic_fetch_add(&axio_forks, 1, __ATOMIC_RELAXED);
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
    __atomic_fetch_add(&axio_forks, 1, __ATOMIC_RELAXED);
    if (child == 0)
        axio_forget_early_sleepers();
    return child;
}

AXIO_HIDDEN int axio_memory_was_shared;

AXIO_HIDDEN pid_t axio_fork(void)
{
    axio_look_names_up(); /* the child must not wait for a loader's lock whose holder it does not have */
    if (!axio_descriptors)
        return (pid_t)forked_without_books(REAL(fork)());
    unsigned prepared = axio_handlers->fork_prepare(0);
    return (pid_t)forked(REAL(fork)(), prepared);
}

extern pid_t _Fork(void);
AXIO_HIDDEN pid_t axio__Fork(void)
{
    axio_look_names_up();
    if (!axio_descriptors)
        return (pid_t)forked_without_books(REAL(_Fork)());
    unsigned prepared = axio_handlers->fork_prepare(0);
    return (pid_t)forked(REAL(_Fork)(), prepared);
}

/* syscall() of clone or fork, when the child gets a copy of the memory. `flags` of clone. */
AXIO_HIDDEN long axio_fork_by_number(uint64_t flags, long number, long a, long b, long c, long d, long e)
{
    axio_look_names_up();
    if (!axio_descriptors)
        return forked_without_books(REAL(syscall)(number, a, b, c, d, e));
    unsigned prepared = axio_handlers->fork_prepare((flags & CLONE_NEWPID) != 0);
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

AXIO_HIDDEN int axio_forkpty(int *terminal, char *name, const struct termios *settings, const struct winsize *size)
{
    int own, other;
    if (!axio_descriptors)
        return REAL(forkpty)(terminal, name, settings, size);
    if (REAL(openpty)(&own, &other, name, settings, size) < 0)
        return -1;
    pid_t child = axio_fork();
    if (child == 0) {
        REAL(close)(own);
        if (REAL(login_tty)(other) < 0)
            axio__exit(1);
        return 0;
    }
    REAL(close)(other);
    if (child < 0)
        REAL(close)(own);
    else
        *terminal = own;
    return child;
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

/* clone(2) of a child that gets a copy of the memory: a fork that begins elsewhere. */
struct beginning {
    int (*function)(void *);
    void *argument;
    unsigned prepared;
    int has_books;
};

static int begin(void *argument)
{
    struct beginning beginning = *(struct beginning *)argument;
    if (beginning.has_books)
        forked(0, beginning.prepared);
    else
        forked_without_books(0);
    return beginning.function(beginning.argument);
}

static int clone_with_copy(int (*function)(void *), void *stack, int flags, void *argument, ...)
{
    va_list words;
    va_start(words, argument);
    pid_t *parent_id = va_arg(words, pid_t *);
    void *storage = va_arg(words, void *);
    pid_t *child_id = va_arg(words, pid_t *);
    va_end(words);
    axio_look_names_up();
    struct beginning beginning = {function, argument, 0, axio_descriptors != 0};
    if (!function || !stack || !beginning.has_books) /* the first two are EINVAL */
        return (int)REAL(clone)(function ? begin : 0, stack, flags, &beginning, parent_id, storage, child_id);
    beginning.prepared = axio_handlers->fork_prepare((flags & CLONE_NEWPID) != 0);
    int child = REAL(clone)(begin, stack, flags, &beginning, parent_id, storage, child_id);
    return (int)forked(child, beginning.prepared);
}

/* clone(2) as the C library offers it: a jump, too, as its arguments are for what follows alone. */
AXIO_HIDDEN void *axio_prepare_clone(int flags)
{
    if (!(flags & CLONE_VM))
        return (void *)clone_with_copy;
    if (!(flags & CLONE_THREAD))
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

static __attribute__((destructor)) void at_exit(void)
{
    if (axio_handlers && axio_descriptors)
        axio_handlers->at_exit();
}

/* quick_exit runs no destructors, but the program's handlers, which may still use its connections: what is registered
 * before any of them runs behind them all. (Handlers of exit run before the destructors.) */
static __attribute__((constructor)) void register_for_quick_exit(void) { at_quick_exit(at_exit); }
