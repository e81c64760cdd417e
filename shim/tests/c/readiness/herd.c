/* Many threads wait in one set for connections of several processes, each with room for one event; one of them naps
 * now and then. A producer publishes on a few connections at once, while one bell may be all that is rung, and then
 * waits for every echo: a wake-up that was lost, or not passed on, shows as a wait without end.
 *
 *   herd level|edge|one-shot  THREADS PRODUCERS CONNECTIONS ROUNDS */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 512
#define MESSAGE 8
#define PATIENCE_MS 20000

static int set;
static unsigned flags;
static volatile int ended;
static pthread_mutex_t taken[1024];
static struct sockaddr_in address;

static void must(int holds, const char *what)
{
    if (!holds) {
        printf("impossible: %s (%s)\n", what, strerror(errno));
        fflush(stdout);
        _exit(3);
    }
}

static unsigned next_random(unsigned *state)
{
    *state = *state * 1103515245u + 12345u;
    return *state >> 16;
}

/* Everything that is there goes back; others may be at the same connection. */
static void echo(int descriptor)
{
    char bytes[4096];
    ssize_t count;
    pthread_mutex_lock(&taken[descriptor]);
    while ((count = recv(descriptor, bytes, sizeof bytes, 0)) > 0) {
        for (ssize_t sent = 0; sent < count;) {
            ssize_t part = send(descriptor, bytes + sent, (size_t)(count - sent), MSG_NOSIGNAL);
            if (part < 0 && errno != EAGAIN)
                break;
            sent += part > 0 ? part : 0;
        }
    }
    if (count == 0)
        epoll_ctl(set, EPOLL_CTL_DEL, descriptor, 0);
    pthread_mutex_unlock(&taken[descriptor]);
}

static void *waiter(void *argument)
{
    unsigned random = (unsigned)(uintptr_t)argument;
    while (!ended) {
        struct epoll_event event;
        if (epoll_wait(set, &event, 1, 100) != 1)
            continue;
        echo(event.data.fd);
        if (flags & EPOLLONESHOT) {
            event.events = EPOLLIN | flags;
            epoll_ctl(set, EPOLL_CTL_MOD, event.data.fd, &event);
        }
        if (argument == 0 && next_random(&random) % 3000 == 0)
            nanosleep(&(struct timespec){0, 400000000}, 0);
    }
    return 0;
}

static void receive_exactly(int descriptor, int count)
{
    char bytes[64];
    for (int got = 0; got < count;) {
        struct pollfd entry = {descriptor, POLLIN, 0};
        must(poll(&entry, 1, PATIENCE_MS) == 1, "an echo is late");
        ssize_t part = recv(descriptor, bytes, (size_t)(count - got), 0);
        must(part > 0, "an echo");
        got += (int)part;
    }
}

static void produce(unsigned random, int connections, int rounds)
{
    int sockets[CONNECTIONS_MAX];
    for (int index = 0; index < connections; index++) {
        sockets[index] = socket(AF_INET, SOCK_STREAM, 0);
        must(connect(sockets[index], (struct sockaddr *)&address, sizeof address) == 0, "connect");
        setsockopt(sockets[index], IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        for (int warm = 0; warm < 12; warm++) {
            must(send(sockets[index], "warm up!", MESSAGE, 0) == MESSAGE, "send");
            receive_exactly(sockets[index], MESSAGE);
        }
    }
    for (int round = 0; round < rounds; round++) {
        int used[8], count = 1 + (int)(next_random(&random) % 8);
        for (int index = 0; index < count; index++) {
            used[index] = sockets[next_random(&random) % (unsigned)connections];
            must(send(used[index], "message!", MESSAGE, 0) == MESSAGE, "send");
        }
        for (int index = 0; index < count; index++)
            receive_exactly(used[index], MESSAGE);
    }
    _exit(0);
}

int main(int count, char **arguments)
{
    must(count == 6, "five arguments");
    flags = !strcmp(arguments[1], "edge") ? EPOLLET : !strcmp(arguments[1], "one-shot") ? EPOLLONESHOT : 0;
    int threads = atoi(arguments[2]), producers = atoi(arguments[3]), connections = atoi(arguments[4]);
    int rounds = atoi(arguments[5]), good = 0;
    pthread_t ids[16];
    socklen_t length = sizeof address;
    must(threads <= 16 && connections <= CONNECTIONS_MAX, "small numbers");
    for (size_t index = 0; index < sizeof taken / sizeof *taken; index++)
        pthread_mutex_init(&taken[index], 0);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    must(bind(listener, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    must(listen(listener, 512) == 0, "listen");
    must(getsockname(listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
    for (int index = 0; index < producers; index++)
        if (fork() == 0) {
            close(listener);
            produce((unsigned)index * 7919u + 1, connections, rounds);
        }
    set = epoll_create1(EPOLL_CLOEXEC);
    for (int index = 0; index < threads; index++)
        must(pthread_create(&ids[index], 0, waiter, (void *)(uintptr_t)index) == 0, "a thread");
    for (int index = 0; index < producers * connections; index++) {
        struct epoll_event event = {.events = EPOLLIN | flags};
        event.data.fd = accept(listener, 0, 0);
        must(event.data.fd >= 0 && event.data.fd < 1024, "accept");
        setsockopt(event.data.fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        fcntl(event.data.fd, F_SETFL, O_NONBLOCK);
        must(epoll_ctl(set, EPOLL_CTL_ADD, event.data.fd, &event) == 0, "EPOLL_CTL_ADD");
    }
    for (int index = 0; index < producers; index++) {
        int status;
        must(wait(&status) > 0, "wait");
        good += status == 0;
    }
    ended = 1;
    for (int index = 0; index < threads; index++)
        pthread_join(ids[index], 0);
    printf("%d of %d producers got every echo\n", good, producers);
    return 0;
}
