/* Stories that only C can tell: vfork returns twice into one frame, and siglongjmp leaves frames behind, both of which
 * Rust forbids. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <pty.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
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

extern pid_t __vfork(void) __attribute__((returns_twice));

/* A child that closes its copy of a number and ends: the parent's number means what it meant. `second`: by the name that
 * the C library exports beside the usual one, as below. */
int compat_vfork_close(int fd, int other, int second) {
    pid_t child = second ? __vfork() : vfork();
    if (child == 0) {
        close(fd);
        if (other >= 0) dup2(other, fd);
        _exit(7);
    }
    return child;
}

static jmp_buf fork_place;

static int go_on_there(void *argument) {
    (void)argument;
    longjmp(fork_place, 1);
}

extern int __clone(int (*)(void *), void *, int, void *, ...);

/* clone(2) as the C library offers it, of a child with a copy of the memory, which goes on where the parent does. */
int compat_clone(int second) {
    static char stack[64 * 1024] __attribute__((aligned(16)));
    if (setjmp(fork_place)) return 0;
    return (second ? __clone : clone)(go_on_there, stack + sizeof stack, SIGCHLD, 0);
}

/* clone3(2) without CLONE_VM. */
int compat_clone3(void) {
    struct clone_args arguments = {.exit_signal = SIGCHLD};
    return (int)syscall(SYS_clone3, &arguments, sizeof arguments);
}

/* A child with a terminal, whose end the parent keeps open. */
int compat_forkpty(void) {
    int terminal;
    return forkpty(&terminal, 0, 0, 0);
}

static sigjmp_buf place;

extern void __longjmp_chk(struct __jmp_buf_tag *, int) __attribute__((noreturn));

/* As enum JumpedBy of src/calls/children.rs. */
enum { SIGLONGJMP, LONGJMP, OLD_LONGJMP, FORTIFIED_LONGJMP };

static int jumps_by;

static void jump(int signal) {
    (void)signal;
    switch (jumps_by) {
    case LONGJMP: longjmp(place, 1);
    case OLD_LONGJMP: _longjmp(place, 1);
    case FORTIFIED_LONGJMP: __longjmp_chk(place, 1);
    default: siglongjmp(place, 1);
    }
}

/* As enum Call of src/calls/children.rs. */
enum { RECV, POLL, SELECT, EPOLL_WAIT, SEND, SPLICE };

/* Into which nobody can write without a signal. */
static int unread_pipe = -1;

static void sleep_in(int call, int fd) {
    static char block[65536];
    struct pollfd entry = {fd, POLLIN, 0};
    struct epoll_event event;
    fd_set reads;
    switch (call) {
    case RECV: recv(fd, block, 1, 0); break;
    case POLL: poll(&entry, 1, -1); break;
    case SELECT:
        FD_ZERO(&reads);
        FD_SET(fd, &reads);
        select(fd + 1, &reads, NULL, NULL, NULL);
        break;
    case EPOLL_WAIT: epoll_wait(fd, &event, 1, -1); break;
    case SPLICE: splice(fd, NULL, unread_pipe, NULL, 1, 0); break;
    default:
        while (send(fd, block, sizeof block, MSG_NOSIGNAL) > 0) {
        }
    }
}

/* The oldest way to put a time-out on a call: the handler never returns to it. The signal is sent by another thread.
 * `apart`: the handler runs on a stack of its own. */
int compat_jump_out(int call, int fd, int apart, int by) {
    jumps_by = by;
    static char signal_stack[65536];
    stack_t stack = {.ss_sp = signal_stack, .ss_size = sizeof signal_stack}, none = {.ss_flags = SS_DISABLE};
    struct sigaction action = {.sa_handler = jump, .sa_flags = apart ? SA_ONSTACK : 0}, before, before_pipe;
    int ends[2] = {-1, -1};
    if (call == SPLICE && pipe(ends) == 0) {
        close(ends[0]);
        unread_pipe = ends[1];
    }
    if (apart) sigaltstack(&stack, NULL);
    sigaction(SIGALRM, &action, &before);
    sigaction(SIGPIPE, &action, &before_pipe);
    int jumped = sigsetjmp(place, 1);
    if (!jumped) sleep_in(call, fd);
    sigaction(SIGALRM, &before, NULL);
    sigaction(SIGPIPE, &before_pipe, NULL);
    if (call == SPLICE) close(unread_pipe);
    if (apart) sigaltstack(&none, NULL);
    return jumped;
}
