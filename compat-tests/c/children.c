/* Stories that only C can tell: vfork returns twice into one frame, and siglongjmp leaves frames behind, both of which
 * Rust forbids. */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <unistd.h>

/* What a launcher does: the child shares our memory until its exec. */
int compat_vfork_execute(const char *path, const char *const *arguments, const char *const *environment, int from,
                         int to) {
    pid_t child = vfork();
    if (child == 0) {
        if (from >= 0 && dup2(from, to) < 0) _exit(126);
        execve(path, (char *const *)arguments, (char *const *)environment);
        _exit(127);
    }
    return child;
}

/* A child that closes its copy of a number and ends: the parent's number means what it meant. */
int compat_vfork_close(int fd, int other) {
    pid_t child = vfork();
    if (child == 0) {
        close(fd);
        if (other >= 0) dup2(other, fd);
        _exit(7);
    }
    return child;
}

static sigjmp_buf place;

static void jump(int signal) {
    (void)signal;
    siglongjmp(place, 1);
}

/* The oldest way to put a time-out on a call: the handler never returns to it. */
int compat_jump_out_of_recv(int fd, long interval_us) {
    struct sigaction action = {.sa_handler = jump}, before;
    sigaction(SIGALRM, &action, &before);
    int jumped = sigsetjmp(place, 1);
    struct itimerval timer = {{0, 0}, {interval_us / 1000000, interval_us % 1000000}};
    if (!jumped) {
        char byte;
        setitimer(ITIMER_REAL, &timer, NULL);
        recv(fd, &byte, 1, 0);
    }
    timer.it_value.tv_sec = timer.it_value.tv_usec = 0;
    setitimer(ITIMER_REAL, &timer, NULL);
    sigaction(SIGALRM, &before, NULL);
    return jumped;
}
