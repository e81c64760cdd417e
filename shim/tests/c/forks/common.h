/* Connections to a process that echoes, for programs that fork while they have some in epoll sets. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Bytes of a message, and exchanges after which a ring carries both ways. */
#define MESSAGE 32
#define EXCHANGES 200

static inline void must(int holds, const char *what)
{
    if (!holds) {
        printf("impossible: %s (%s)\n", what, strerror(errno));
        fflush(stdout);
        _exit(3);
    }
}

static inline void get(int descriptor, char *bytes)
{
    for (ssize_t done = 0, part; done < MESSAGE; done += part)
        must((part = recv(descriptor, bytes + done, (size_t)(MESSAGE - done), 0)) > 0, "recv");
}

/* The other end of all connections: echoes. */
static inline void echo(int listener, int connections)
{
    static int descriptors[64];
    int set = epoll_create1(0);
    for (int index = 0; index < connections; index++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = index};
        must((descriptors[index] = accept(listener, 0, 0)) >= 0, "accept");
        must(!epoll_ctl(set, EPOLL_CTL_ADD, descriptors[index], &event), "add");
    }
    for (int ended = 0; ended < connections;) {
        struct epoll_event event;
        char bytes[MESSAGE];
        if (epoll_wait(set, &event, 1, -1) < 1)
            continue;
        int descriptor = descriptors[event.data.fd];
        ssize_t count = recv(descriptor, bytes, sizeof bytes, MSG_DONTWAIT);
        if (count > 0)
            must(send(descriptor, bytes, (size_t)count, MSG_NOSIGNAL) == count, "echo");
        else if (count == 0 || errno != EAGAIN) {
            ended++;
            close(descriptor);
        }
    }
    exit(0);
}

static inline void listen_at(int *listener, struct sockaddr_in *address, int connections)
{
    socklen_t length = sizeof *address;
    *listener = socket(AF_INET, SOCK_STREAM, 0);
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    must(!bind(*listener, (struct sockaddr *)address, length) && !listen(*listener, connections)
             && !getsockname(*listener, (struct sockaddr *)address, &length), "listen");
}

/* A process that echoes so many connections. */
static inline pid_t peer_at(struct sockaddr_in *address, int connections)
{
    int listener;
    listen_at(&listener, address, connections);
    pid_t peer = fork();
    if (peer == 0)
        echo(listener, connections);
    close(listener);
    return peer;
}

static inline int connect_to(const struct sockaddr_in *address)
{
    int descriptor = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    must(!connect(descriptor, (const struct sockaddr *)address, sizeof *address), "connect");
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return descriptor;
}

static inline pid_t connect_all(int *descriptors, int connections)
{
    struct sockaddr_in address;
    pid_t peer = peer_at(&address, connections);
    for (int index = 0; index < connections; index++)
        descriptors[index] = connect_to(&address);
    return peer;
}

static inline void exchange(int descriptor, int times)
{
    char sent[MESSAGE], got[MESSAGE];
    for (int time = 0; time < times; time++) {
        memset(sent, time, sizeof sent);
        must(send(descriptor, sent, sizeof sent, MSG_NOSIGNAL) == MESSAGE, "send");
        get(descriptor, got);
        must(!memcmp(sent, got, sizeof got), "the echo is what was sent");
    }
}

/* The same, waiting in a set. */
static inline void exchange_in(int set, int descriptor, int times)
{
    char sent[MESSAGE], got[MESSAGE];
    struct epoll_event event;
    for (int time = 0; time < times; time++) {
        memset(sent, time, sizeof sent);
        must(send(descriptor, sent, sizeof sent, MSG_NOSIGNAL) == MESSAGE, "send");
        must(epoll_wait(set, &event, 1, 20000) == 1 && event.data.fd == descriptor, "the set reports it");
        get(descriptor, got);
        must(!memcmp(sent, got, sizeof got), "the echo is what was sent");
    }
}

static inline int set_of(int descriptor, unsigned flags)
{
    struct epoll_event event = {.events = EPOLLIN | flags, .data.fd = descriptor};
    int set = epoll_create1(EPOLL_CLOEXEC);
    must(set >= 0 && !epoll_ctl(set, EPOLL_CTL_ADD, descriptor, &event), "a set");
    return set;
}

/* One of the ways in which a program is played. */
struct mode {
    const char *name;
    void (*run)(void);
};

static inline int play(const struct mode *modes, size_t number, int count, char **words)
{
    signal(SIGPIPE, SIG_IGN);
    alarm(600);
    for (size_t index = 0; count == 2 && index < number; index++)
        if (!strcmp(words[1], modes[index].name)) {
            modes[index].run();
            return 0;
        }
    return 2;
}
