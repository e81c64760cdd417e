/* A far side in another process, which does what it is told, and says when it is done. Each connection has exchanged
 * enough, before a program here goes on with it, that a ring carries both directions if rings are there. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS 64
#define WARM_UP 12

static int listener = -1;
static struct sockaddr_in address;
static int far_control = -1;
static int connections;
static char scratch[1 << 16];

static void must(int holds, const char *what)
{
    if (!holds) {
        printf("\nimpossible: %s (%s)\n", what, strerror(errno));
        fflush(stdout);
        exit(3);
    }
}

#define MAYBE_UNUSED __attribute__((unused))

MAYBE_UNUSED static void nap_ms(int ms)
{
    struct timespec left = {ms / 1000, ms % 1000 * 1000000L};
    while (nanosleep(&left, &left) < 0 && errno == EINTR) {
    }
}

MAYBE_UNUSED static long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void exactly(int descriptor, int count)
{
    for (int got = 0; got < count;) {
        ssize_t part = recv(descriptor, scratch, (size_t)(count - got), 0);
        must(part > 0, "a warm connection");
        got += (int)part;
    }
}

/* What the far side can be told: one letter, a connection, a number. */
enum order { OPEN = 'o', SEND = 's', TAKE = 't', DRAIN = 'd', SHUT = 'w', CLOSE = 'c', RESET = 'r' };
struct message {
    int order, connection, number;
};

static void far_side(int control)
{
    int sockets[CONNECTIONS];
    struct message told;
    while (read(control, &told, sizeof told) == sizeof told) {
        int *one = &sockets[told.connection];
        switch (told.order) {
        case OPEN:
            *one = socket(AF_INET, SOCK_STREAM, 0);
            must(connect(*one, (struct sockaddr *)&address, sizeof address) == 0, "connect");
            setsockopt(*one, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
            for (int round = 0; round < WARM_UP; round++) {
                must(send(*one, "request", 7, 0) == 7, "warm up");
                exactly(*one, 5);
            }
            break;
        case SEND:
            for (int sent = 0; sent < told.number;) {
                size_t rest = (size_t)(told.number - sent);
                ssize_t part = send(*one, scratch, rest < sizeof scratch ? rest : sizeof scratch, MSG_NOSIGNAL);
                if (part <= 0)
                    break;
                sent += (int)part;
            }
            break;
        case TAKE:
            exactly(*one, told.number);
            break;
        case DRAIN: /* until nothing has come for 50 ms */
            for (struct pollfd entry = {*one, POLLIN, 0}; poll(&entry, 1, 50) == 1;)
                if (recv(*one, scratch, sizeof scratch, MSG_DONTWAIT) == 0)
                    break;
            break;
        case SHUT:
            shutdown(*one, SHUT_WR);
            break;
        case CLOSE:
            close(*one);
            break;
        case RESET:
            setsockopt(*one, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
            close(*one);
            break;
        }
        must(write(control, "", 1) == 1, "an answer");
    }
    _exit(0);
}

/* Starts the far side; ends with this process. */
static void begin(void)
{
    int ends[2];
    socklen_t length = sizeof address;
    setvbuf(stdout, 0, _IOLBF, 0);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    must(bind(listener, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    must(listen(listener, CONNECTIONS) == 0, "listen");
    must(getsockname(listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        close(ends[0]);
        close(listener);
        far_side(ends[1]);
    }
    close(ends[1]);
    far_control = ends[0];
}

static void tell_only(enum order order, int connection, int number)
{
    struct message message = {order, connection, number};
    must(write(far_control, &message, sizeof message) == sizeof message, "an order");
}

static void await_answer(void)
{
    char answer;
    must(read(far_control, &answer, 1) == 1, "the far side's answer");
}

static void tell(enum order order, int connection, int number)
{
    tell_only(order, connection, number);
    await_answer();
}

/* A warm connection, non-blocking; its number for `tell` is `connections - 1`. */
static int connection(void)
{
    tell_only(OPEN, connections++, 0);
    int accepted = accept(listener, 0, 0);
    must(accepted >= 0, "accept");
    setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    for (int round = 0; round < WARM_UP; round++) {
        exactly(accepted, 7);
        must(send(accepted, "reply", 5, 0) == 5, "warm up");
    }
    await_answer();
    fcntl(accepted, F_SETFL, fcntl(accepted, F_GETFL) | O_NONBLOCK);
    return accepted;
}

/* Later, from another thread: `number` bytes on a connection. */
struct later {
    enum order order;
    int connection, number, after_ms;
};
MAYBE_UNUSED static void *do_later(void *argument)
{
    struct later *later = argument;
    nap_ms(later->after_ms);
    tell(later->order, later->connection, later->number);
    return 0;
}

/* What the far side has done is on its way for a while, and longer on a busy machine: waits until so many bytes have come. */
MAYBE_UNUSED static void arrive(int descriptor, int count)
{
    int come = 0;
    nap_ms(5);
    for (long began = now_ms(); come < count && now_ms() - began < 10000; come < count ? nap_ms(1) : (void)0)
        must(ioctl(descriptor, FIONREAD, &come) == 0, "FIONREAD");
    must(come >= count, "bytes that never come");
}

/* The same for an end: POLLRDHUP, or 0 for one of both directions and a reset. */
MAYBE_UNUSED static void end_arrives(int descriptor, short events)
{
    struct pollfd entry = {descriptor, events, 0};
    nap_ms(10);
    must(poll(&entry, 1, 10000) == 1, "an end that never comes");
}

MAYBE_UNUSED static int take(int descriptor, int count)
{
    int got = 0;
    while (got < count) {
        ssize_t part = recv(descriptor, scratch, (size_t)(count - got), 0);
        if (part <= 0)
            break;
        got += (int)part;
    }
    return got;
}

MAYBE_UNUSED static const char *bits(unsigned events)
{
    static const struct {
        unsigned bit;
        const char *name;
    } names[] = {{EPOLLIN, "IN"},   {EPOLLPRI, "PRI"}, {EPOLLOUT, "OUT"}, {EPOLLRDHUP, "RDHUP"},
                 {EPOLLHUP, "HUP"}, {EPOLLERR, "ERR"}, {POLLNVAL, "NVAL"}};
    static char texts[8][64];
    static int next;
    char *text = texts[next = (next + 1) & 7];
    *text = 0;
    for (size_t index = 0; index < sizeof names / sizeof *names; index++)
        if (events & names[index].bit) {
            if (*text)
                strcat(text, "|");
            strcat(text, names[index].name);
        }
    return *text ? text : "-";
}

MAYBE_UNUSED static void add(int set, int descriptor, unsigned events, uint64_t data)
{
    struct epoll_event event = {.events = events, .data.u64 = data};
    must(epoll_ctl(set, EPOLL_CTL_ADD, descriptor, &event) == 0, "EPOLL_CTL_ADD");
}

MAYBE_UNUSED static void mod(int set, int descriptor, unsigned events, uint64_t data)
{
    struct epoll_event event = {.events = events, .data.u64 = data};
    must(epoll_ctl(set, EPOLL_CTL_MOD, descriptor, &event) == 0, "EPOLL_CTL_MOD");
}

/* What a wait said. */
static struct epoll_event events[16];
MAYBE_UNUSED static void say(int count)
{
    printf(" %d", count);
    for (int index = 0; index < count; index++)
        printf("(%s %lu)", bits(events[index].events), (unsigned long)events[index].data.u64);
}

/* One wait, and what it said. */
MAYBE_UNUSED static int show(int set, int maximum, int timeout_ms)
{
    int count = epoll_wait(set, events, maximum, timeout_ms);
    say(count);
    return count;
}
