/* Two ends of a TCP connection in processes of their own, under the library, which do what they are told one step at a
 * time; the one who tells them is not under the library and may play the attacker meanwhile.
 *
 * An end is this program run anew, behind whatever was done to its process: another user, namespaces, a seccomp filter,
 * limits. What it sends is a function of the direction and the position; what it receives must be that. */
#ifndef ENDS_H
#define ENDS_H
#define _GNU_SOURCE
#include "axio.h"
#include "axio_layout.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CONTROL 3
#define PATIENCE_MS 30000
/* Longer than any order waits for what it is about. */
#define ORDER_MOST_MS 150000
#define SCENARIO_MOST_S 300
#define MAYBE_UNUSED __attribute__((unused))

/* How a program ends that found something wrong; 0 otherwise. */
#define WRONG 3

static const char *doing = "starting";

static void must(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "%s: %s (%s)\n", doing, what, strerror(errno));
        exit(WRONG);
    }
}

enum order {
    LISTEN,     /* answers the port */
    CONNECT,    /* to a port; answers its own */
    ACCEPT,     /* takes the connection that waits */
    SEND,       /* so many bytes, blocking */
    RECEIVE,    /* exactly so many bytes, blocking, and compares them */
    STATUS,     /* what the library says of the socket */
    COOKIE,     /* SO_COOKIE */
    FILL,       /* opens descriptors until there is none, then closes so many */
    FREE,       /* closes them again */
    LIMIT,      /* a resource and its soft limit */
    NO_MEMORY,  /* no more address space than there is, and so many KiB */
    OPEN_COUNT, /* sockets this process holds */
    CLOSE,      /* the connection */
    SWAP,       /* this connection is put aside, the one that was there comes back */
    OTHER,      /* what the program has added */
    END,        /* exit, with a report */
};

struct told {
    enum order order;
    long number, more;
};

struct answer {
    long result;
    int error;
    struct axio_status status;
};

/* ---- the end */

static unsigned char byte_at(int direction, uint64_t position)
{
    return (unsigned char)(position * 31 + (position >> 8) * 7 + (unsigned)direction * 101);
}

/* What a program has its ends do beyond the orders above: `number` and `more` are its own; errno says why not. */
static long (*other_order)(int connection, long number, long more);

static struct answer act(const struct told *told)
{
    static int listener = -1, connection = -1, connects, other = -1, other_connects;
    static uint64_t sent, received, other_sent, other_received;
    static int fillers[4096], filled;
    static unsigned char bytes[1 << 16];
    struct answer answer = {.result = 0};
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    errno = 0;
    switch (told->order) {
    case LISTEN:
        listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, 16) != 0 ||
            getsockname(listener, (struct sockaddr *)&address, &length) != 0)
            answer.result = -1;
        else
            answer.result = ntohs(address.sin_port);
        break;
    case CONNECT:
        address.sin_port = htons((uint16_t)told->number);
        connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        connects = 1;
        sent = received = 0;
        if (connection < 0 || connect(connection, (struct sockaddr *)&address, length) != 0 ||
            getsockname(connection, (struct sockaddr *)&address, &length) != 0)
            answer.result = -1;
        else
            answer.result = ntohs(address.sin_port);
        break;
    case ACCEPT:
        connection = accept4(listener, 0, 0, SOCK_CLOEXEC);
        connects = 0;
        sent = received = 0;
        answer.result = connection < 0 ? -1 : 0;
        break;
    case SEND:
        for (long left = told->number; left > 0;) {
            size_t part = left < (long)sizeof bytes ? (size_t)left : sizeof bytes;
            for (size_t at = 0; at < part; at++)
                bytes[at] = byte_at(connects, sent + at);
            ssize_t count = send(connection, bytes, part, MSG_NOSIGNAL);
            if (count <= 0) {
                answer.result = -1;
                break;
            }
            sent += (uint64_t)count;
            left -= count;
            answer.result += count;
        }
        break;
    case RECEIVE:
        for (long left = told->number; left > 0;) {
            ssize_t count = recv(connection, bytes, left < (long)sizeof bytes ? (size_t)left : sizeof bytes, 0);
            if (count <= 0) {
                answer.result = -1;
                break;
            }
            for (ssize_t at = 0; at < count; at++)
                if (bytes[at] != byte_at(!connects, received + (uint64_t)at))
                    answer.result = -2;
            if (answer.result < 0)
                break;
            received += (uint64_t)count;
            left -= count;
            answer.result += count;
        }
        break;
    case STATUS:
        answer.result = ioctl(connection, AXIO_SIOCSTATUS, &answer.status);
        break;
    case COOKIE: {
        uint64_t cookie = 0;
        length = sizeof cookie;
        answer.result = getsockopt(connection, SOL_SOCKET, 57 /* SO_COOKIE */, &cookie, &length);
        if (answer.result == 0)
            answer.result = (long)cookie;
        break;
    }
    case FILL:
        while (filled < 4096 && (fillers[filled] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
            filled++;
        answer.result = filled;
        for (long count = told->number; count > 0 && filled > 0; count--)
            close(fillers[--filled]);
        break;
    case FREE:
        while (filled > 0)
            close(fillers[--filled]);
        break;
    case LIMIT: {
        struct rlimit limit;
        answer.result = getrlimit((int)told->number, &limit);
        limit.rlim_cur = (rlim_t)told->more < limit.rlim_max ? (rlim_t)told->more : limit.rlim_max;
        if (answer.result == 0)
            answer.result = setrlimit((int)told->number, &limit);
        break;
    }
    case NO_MEMORY: {
        long pages = 0;
        int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
        char text[64] = {0};
        if (file >= 0 && read(file, text, sizeof text - 1) > 0)
            pages = atol(text);
        close(file);
        struct rlimit limit = {(rlim_t)(pages * sysconf(_SC_PAGESIZE) + told->number * 1024), RLIM_INFINITY};
        answer.result = pages > 0 ? setrlimit(RLIMIT_AS, &limit) : -1;
        break;
    }
    case OPEN_COUNT:
        for (int number = 0; number < 5000; number++) {
            int type;
            length = sizeof type;
            answer.result += getsockopt(number, SOL_SOCKET, SO_TYPE, &type, &length) == 0;
        }
        break;
    case CLOSE:
        answer.result = close(connection);
        connection = -1;
        break;
    case SWAP: {
        int number = connection, role = connects;
        uint64_t out = sent, in = received;
        connection = other, connects = other_connects, sent = other_sent, received = other_received;
        other = number, other_connects = role, other_sent = out, other_received = in;
        break;
    }
    case OTHER:
        answer.result = other_order(connection, told->number, told->more);
        break;
    case END:
        break;
    }
    answer.error = answer.result < 0 ? errno : 0;
    return answer;
}

/* What the program does when it was run anew as an end. */
static int be_an_end(void)
{
    struct told told;
    while (read(CONTROL, &told, sizeof told) == sizeof told) {
        struct answer answer = act(&told);
        if (write(CONTROL, &answer, sizeof answer) != sizeof answer || told.order == END)
            break;
    }
    return 0;
}

/* ---- the one who tells them */

enum { OWN_USER = 1, OWN_PROCESSES_AND_MOUNTS = 2 };

/* What is done to an end's process before it begins. */
struct setting {
    int user;          /* 0: as it is */
    int namespaces;
    long forbidden;    /* a system call that seccomp refuses, 0: none */
    long only;         /* with this first argument only, -1: with any */
    int refusal;       /* the errno */
    const char *mode;  /* AXIO_UPGRADE; 0: eager */
    const char *more;  /* one more setting, NAME=VALUE */
    const char *also;  /* and another */
    int without_library;
};

struct end {
    int control;
    pid_t process;
};

static char *own_path;

/* seccomp(2): a filter that lives on across exec, as a container's does. */
static void forbid(const struct setting *setting)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)setting->forbidden, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)setting->only, 0, setting->only < 0 ? 0 : 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)setting->refusal),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof program / sizeof *program, program};
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no new privileges");
    must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0, "a seccomp filter");
}

/* Returns in the child only; this process waits for it and ends as it does. */
static void go_on_in_a_child(void)
{
    int status;
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0)
        return;
    /* What it holds of the others would keep them from an end of the stream if the one who tells them died. */
    for (int number = CONTROL; number < 1024; number++)
        close(number);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static void become(const struct setting *setting)
{
    if (setting->namespaces & OWN_PROCESSES_AND_MOUNTS) {
        must(unshare(CLONE_NEWPID | CLONE_NEWNS) == 0, "namespaces of processes and mounts");
        go_on_in_a_child();
    }
    if (setting->user) {
        must(setgroups(0, 0) == 0, "setgroups");
        must(setresgid((gid_t)setting->user, (gid_t)setting->user, (gid_t)setting->user) == 0, "setresgid");
        must(setresuid((uid_t)setting->user, (uid_t)setting->user, (uid_t)setting->user) == 0, "setresuid");
        prctl(PR_SET_DUMPABLE, 1);
    }
    if (setting->namespaces & OWN_USER) {
        char map[64];
        int length = snprintf(map, sizeof map, "0 %d 1", (int)getuid());
        must(unshare(CLONE_NEWUSER) == 0, "a user namespace");
        int file = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
        must(file >= 0 && write(file, map, (size_t)length) == length, "the map of users");
        close(file);
    }
}

static struct end start(const struct setting *setting)
{
    int ends[2];
    must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        char library[4096], mode[64], more[4096], also[4096];
        char *environment[5] = {library, mode, more, also, 0};
        doing = "becoming an end";
        snprintf(library, sizeof library, "%s=%s", setting->without_library ? "UNUSED" : "LD_PRELOAD",
                 getenv("TRIAL_LIBRARY"));
        snprintf(mode, sizeof mode, "AXIO_UPGRADE=%s", setting->mode ? setting->mode : "eager");
        snprintf(more, sizeof more, "%s", setting->more ? setting->more : "UNUSED_TOO=");
        snprintf(also, sizeof also, "%s", setting->also ? setting->also : "UNUSED_AS_WELL=");
        if (ends[1] != CONTROL)
            must(dup2(ends[1], CONTROL) == CONTROL, "dup2");
        else
            fcntl(CONTROL, F_SETFD, 0);
        become(setting);
        if (setting->forbidden)
            forbid(setting);
        char *words[] = {own_path, "end", 0};
        execve(own_path, words, environment);
        must(0, "execve");
    }
    close(ends[1]);
    return (struct end){ends[0], child};
}

MAYBE_UNUSED static long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* When the last connection was made. */
static long connected_ms;

/* So much of the limit of a handshake has passed since then that one may have ended for want of time, and nothing else:
 * on a machine that was busy with other things. Without that a few exchanges take some milliseconds. */
MAYBE_UNUSED static int is_late(void) { return now_ms() - connected_ms > AXIO_HANDSHAKE_LIMIT_MS * 9 / 10; }

MAYBE_UNUSED static void tell_only(struct end end, enum order order, long number, long more)
{
    struct told told = {order, number, more};
    if (order == CONNECT)
        connected_ms = now_ms();
    must(send(end.control, &told, sizeof told, MSG_NOSIGNAL) == sizeof told, "telling an end");
}

static struct answer await(struct end end)
{
    struct answer answer;
    struct pollfd entry = {end.control, POLLIN, 0};
    must(poll(&entry, 1, ORDER_MOST_MS) == 1, "an end that hangs");
    must(recv(end.control, &answer, sizeof answer, 0) == sizeof answer, "an end that has died");
    return answer;
}

static struct answer tell(struct end end, enum order order, long number, long more)
{
    tell_only(end, order, number, more);
    return await(end);
}

/* As `tell`, and nothing may fail. */
MAYBE_UNUSED static long ask(struct end end, enum order order, long number)
{
    struct answer answer = tell(end, order, number, 0);
    errno = answer.error;
    must(answer.result >= 0, order == SEND      ? "an end that sends"
                             : order == RECEIVE ? "an end that receives"
                                                : "what an end was told");
    return answer.result;
}

MAYBE_UNUSED static struct axio_status status_of(struct end end)
{
    struct answer answer = tell(end, STATUS, 0, 0);
    must(answer.result == 0, "the status");
    return answer.status;
}

/* The kernel must carry all of it, for this reason. */
MAYBE_UNUSED static void must_be_in_kernel(struct end end, const char *who, enum axio_reason reason)
{
    struct axio_status status = status_of(end);
    if (status.path != AXIO_PATH_KERNEL || status.reason != reason || status.ring_bytes_in || status.ring_bytes_out) {
        fprintf(stderr, "%s: %s: path %u state %u reason %s ring bytes %llu %llu; wanted %s\n", doing, who, status.path,
                status.state, axio_reason_name(status.reason), (unsigned long long)status.ring_bytes_in,
                (unsigned long long)status.ring_bytes_out, axio_reason_name(reason));
        exit(WRONG);
    }
}

/* C connects to S. The ports are those of the connecting and the accepting side. */
struct ports {
    int connecting, accepting;
};
MAYBE_UNUSED static struct ports join(struct end c, struct end s)
{
    struct ports ports;
    ports.accepting = (int)ask(s, LISTEN, 0);
    ports.connecting = (int)ask(c, CONNECT, ports.accepting);
    ask(s, ACCEPT, 0);
    return ports;
}

/* From one end to the other, which reads meanwhile. */
MAYBE_UNUSED static void carry(struct end from, struct end to, long bytes)
{
    tell_only(from, SEND, bytes, 0);
    ask(to, RECEIVE, bytes);
    must(await(from).result == bytes, "an end that sends");
}

/* A request and a response. */
MAYBE_UNUSED static void exchange(struct end c, struct end s, long bytes)
{
    carry(c, s, bytes);
    carry(s, c, bytes);
}

static int is_on_ring(const struct axio_status *status)
{
    return status->path == AXIO_PATH_SHARED_MEMORY && status->ring_bytes_in && status->ring_bytes_out;
}

static void must_be_on_ring(struct end end, const char *who)
{
    struct axio_status status = status_of(end);
    if (!is_on_ring(&status)) {
        fprintf(stderr, "%s: %s: path %u state %u reason %s ring bytes %llu %llu\n", doing, who, status.path, status.state,
                axio_reason_name(status.reason), (unsigned long long)status.ring_bytes_in,
                (unsigned long long)status.ring_bytes_out);
        exit(WRONG);
    }
}

/* Both ends use rings in both directions, by the library's own count, after so many exchanges at most. */
MAYBE_UNUSED static void must_come_on_ring(struct end c, struct end s, int exchanges)
{
    for (; exchanges > 0; exchanges--) {
        struct axio_status of_c = status_of(c), of_s = status_of(s);
        if (is_on_ring(&of_c) && is_on_ring(&of_s))
            return;
        exchange(c, s, 100);
    }
    must_be_on_ring(c, "C");
    must_be_on_ring(s, "S");
}

/* C's sending direction has been taken back to the kernel; it comes on its ring again, and no reason is left. */
MAYBE_UNUSED static void must_come_back_on_ring(struct end c, struct end s)
{
    int rounds = 0;
    while (status_of(c).path != AXIO_PATH_SHARED_MEMORY && rounds++ < 5000)
        exchange(c, s, 64);
    must(status_of(c).path == AXIO_PATH_SHARED_MEMORY && status_of(c).reason == AXIO_REASON_NONE, "on its ring again");
}

/* Ends an end, which must end well. */
MAYBE_UNUSED static void finish(struct end end)
{
    int status;
    ask(end, END, 0);
    must(waitpid(end.process, &status, 0) == end.process, "waitpid");
    if (status != 0) {
        fprintf(stderr, "%s: an end has ended with %x\n", doing, status);
        exit(WRONG);
    }
    close(end.control);
}

/* One end that hangs must not keep the others, nor the test. */
static void begin(char **words)
{
    own_path = words[0];
    must(getenv("TRIAL_LIBRARY") != 0, "TRIAL_LIBRARY");
    signal(SIGPIPE, SIG_IGN);
    alarm(SCENARIO_MOST_S);
}

/* Plays each of so many scenarios, or the one that is named, and says how many that were. Whatever a scenario is, its
 * name comes first. */
MAYBE_UNUSED static int play_each(int count, char **words, const void *scenarios, size_t number, size_t bytes_each,
                                  void (*play)(const void *scenario))
{
    begin(words);
    int played = 0;
    for (size_t index = 0; index < number; index++) {
        const void *scenario = (const char *)scenarios + index * bytes_each;
        doing = *(const char *const *)scenario;
        if (count > 1 && strcmp(words[1], doing) != 0)
            continue;
        alarm(SCENARIO_MOST_S);
        play(scenario);
        played++;
    }
    printf("%d scenarios\n", played);
    return 0;
}

#endif
