/* fork, exec, exit. A vfork child shares our memory, so nothing is done on its behalf: its exec finds that it is not
 * the process that the Rust side knows. */
#include "call.h"
#include <stdarg.h>
#include <stdlib.h>

AXIO_HIDDEN pid_t axio_fork(void)
{
    if (!axio_descriptors)
        return REAL(fork)();
    axio_handlers->fork_prepare();
    pid_t child = REAL(fork)();
    int error = errno;
    if (child == 0)
        axio_handlers->fork_child();
    else
        axio_handlers->fork_parent(child);
    errno = error;
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
    if (axio_descriptors) {
        int error = errno;
        axio_handlers->before_spawn();
        errno = error;
    }
    return (void *)REAL(vfork);
}

#include <spawn.h>
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
