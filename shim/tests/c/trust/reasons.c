/* What a program does with its own connection that a ring cannot follow: the connection goes back to the kernel for good,
 * its end says why, and every byte is carried on, or none where they cannot be put in order.
 *
 *   reasons [SCENARIO]     without an argument: all of them */
#include "ends.h"
#include <sys/epoll.h>

enum { C, S, C_UNREAD, S_UNREAD };

/* Processes that can hold one connection together, by the library's books. */
#define HOLDERS 16

enum other {
    MOVE,      /* onto standard input */
    WRAP,      /* a copy of it in stdio */
    FORK,      /* so many children, which hold it and do nothing */
    SHARE_SET, /* it is in an epoll set that a child uses, too */
    CONFINE,   /* the process sets its credentials */
    RELEASE,   /* it asks for the kernel path */
};

/* In a child that holds what its parent holds, and must not outlive it. */
static void become_child(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    close(CONTROL);
}

static long fork_holders(long count)
{
    pid_t parent = getpid();
    for (; count > 0; count--) {
        pid_t child = fork();
        if (child == 0) {
            become_child(parent);
            for (;;)
                pause();
        }
        if (child < 0)
            return -1;
    }
    return 0;
}

static long share_set(int connection)
{
    pid_t parent = getpid();
    int set = epoll_create1(EPOLL_CLOEXEC), status;
    struct epoll_event event = {EPOLLIN, {.fd = connection}};
    if (set < 0 || epoll_ctl(set, EPOLL_CTL_ADD, connection, &event) != 0)
        return -1;
    pid_t child = fork();
    if (child == 0) {
        become_child(parent);
        _exit(epoll_wait(set, &event, 1, 0) != 0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        return -1;
    return epoll_wait(set, &event, 1, 0);
}

static long do_other(int connection, long what, long more)
{
    struct axio_acceleration release = {0, 0};
    switch (what) {
    case MOVE: return dup2(connection, 0);
    case WRAP: return fdopen(dup(connection), "r+") ? 0 : -1;
    case FORK: return fork_holders(more);
    case SHARE_SET: return share_set(connection);
    case CONFINE: return setgid(getgid());
    case RELEASE: return ioctl(connection, AXIO_SIOCACCEL, &release);
    }
    return -1;
}

static uint64_t ring_bytes(const struct axio_status *status) { return status->ring_bytes_in + status->ring_bytes_out; }
static uint64_t kernel_bytes(const struct axio_status *status) { return status->kernel_bytes_in + status->kernel_bytes_out; }

static const struct scenario {
    const char *name;
    int who;
    long what, more;
    enum axio_reason reason, reason_of_other;
} scenarios[] = {
    {"C moves it onto standard input", C, MOVE, 0, AXIO_REASON_STANDARD_STREAM, AXIO_REASON_PEER_ASKED},
    {"S moves it onto standard input", S, MOVE, 0, AXIO_REASON_STANDARD_STREAM, AXIO_REASON_PEER_ASKED},
    {"C wraps a copy in stdio", C, WRAP, 0, AXIO_REASON_STANDARD_STREAM, AXIO_REASON_PEER_LEFT},
    {"S wraps a copy in stdio", S, WRAP, 0, AXIO_REASON_STANDARD_STREAM, AXIO_REASON_PEER_LEFT},
    {"one process more holds C's end than can", C, FORK, HOLDERS, AXIO_REASON_SHARED, AXIO_REASON_PEER_LEFT},
    {"one process more holds S's end than can", S, FORK, HOLDERS, AXIO_REASON_SHARED, AXIO_REASON_PEER_LEFT},
    {"C's epoll set is used by a child, too", C, SHARE_SET, 0, AXIO_REASON_EPOLL_SHARED, AXIO_REASON_PEER_ASKED},
    {"S's epoll set is used by a child, too", S, SHARE_SET, 0, AXIO_REASON_EPOLL_SHARED, AXIO_REASON_PEER_ASKED},
    {"C sets its credentials", C, CONFINE, 0, AXIO_REASON_CONFINED, AXIO_REASON_PEER_LEFT},
    {"S sets its credentials", S, CONFINE, 0, AXIO_REASON_CONFINED, AXIO_REASON_PEER_LEFT},
    {"C cannot leave in order", C_UNREAD, 0, 0, 0, 0},
    {"S cannot leave in order", S_UNREAD, 0, 0, 0, 0},
};

/* An end hands its descriptor on while unread bytes lie in its ring, and newer ones behind them in the kernel: nobody can
 * put them in order. */
static void leave_behind(int who)
{
    struct setting setting = {.mode = "eager"};
    struct end ends[] = {[C] = start(&setting), [S] = start(&setting)}, end = ends[who], other = ends[who == C ? S : C];
    join(ends[C], ends[S]);
    must_come_on_ring(ends[C], ends[S], 600);
    ask(other, SEND, 100);
    ask(other, OTHER, RELEASE);
    ask(other, SEND, 100);
    ask(end, OTHER, WRAP);
    must(status_of(end).reason == AXIO_REASON_LEFT_BEHIND, axio_reason_name(status_of(end).reason));
    must(status_of(end).path == AXIO_PATH_KERNEL, "the kernel's path");
    struct answer told = tell(other, RECEIVE, 1, 0);
    must(told.result == -1 && told.error == ECONNRESET, "the other end is told by a reset");
    finish(ends[C]);
    finish(ends[S]);
}

static void play(const void *scenario)
{
    const struct scenario *one = scenario;
    if (one->who >= C_UNREAD)
        return leave_behind(one->who - C_UNREAD);
    struct setting setting = {.mode = "eager"};
    struct end ends[] = {[C] = start(&setting), [S] = start(&setting)}, end = ends[one->who];
    join(ends[C], ends[S]);
    must_come_on_ring(ends[C], ends[S], 600);
    struct answer done = tell(end, OTHER, one->what, one->more);
    errno = done.error;
    must(done.result >= 0, "what the end does with it");
    /* What the other end sends follows when it hears of it. */
    for (int round = 0; round < 4; round++)
        exchange(ends[C], ends[S], 64);
    struct axio_status before = status_of(end);
    for (int round = 0; round < 20; round++)
        exchange(ends[C], ends[S], 64);
    exchange(ends[C], ends[S], 60000);
    struct axio_status behind = status_of(end);
    must(behind.reason == one->reason, axio_reason_name(behind.reason));
    must(behind.path == AXIO_PATH_KERNEL, "back in the kernel");
    must(ring_bytes(&before) != 0 && ring_bytes(&behind) == ring_bytes(&before), "nothing more by ring");
    must(kernel_bytes(&behind) - kernel_bytes(&before) == 2 * (20 * 64 + 60000), "all of it by the kernel");
    struct axio_status other = status_of(ends[one->who == C ? S : C]);
    must(other.path == AXIO_PATH_KERNEL && other.state == AXIO_STATE_RETREATED, "the other end's path");
    must(other.reason == one->reason_of_other, axio_reason_name(other.reason));
    finish(ends[C]);
    finish(ends[S]);
}

int main(int count, char **words)
{
    if (count > 1 && strcmp(words[1], "end") == 0)
        return other_order = do_other, be_an_end();
    return play_each(count, words, scenarios, sizeof scenarios / sizeof *scenarios, sizeof *scenarios, play);
}
