/* Two threads wait in one set of one-shot registrations, as the workers of a thread pool do. Whoever is told of a connection
 * serves it alone, until it is armed again; at the end of its stream the data of its events mean nothing any more. On the
 * kernel an event is one thread's, so none may come for what is being served or has ended, also if a thread returns from
 * its sleep with something older. "new-data": each arming gives the connection other data, and those before mean nothing.
 * An edge-triggered event counter in the same set tells of everything that is written into it.
 *
 *   told_once  CONNECTIONS  same-data|new-data */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLIENTS 4
#define EXCHANGES 12
#define WATCHED (EPOLLIN | EPOLLRDHUP | EPOLLONESHOT)

#define COUNTER UINT32_MAX

static int set, left, counter, renames;
static uint32_t names, told, written;
/* Per name, never used again: 0 nothing, 1 armed, 2 being served, 3 ended. */
static volatile int *states;
static struct sockaddr_in address;

static void must(int holds, const char *what)
{
    if (!holds) {
        perror(what);
        _exit(3);
    }
}

static void arm(int operation, int descriptor, uint32_t name)
{
    struct epoll_event event = {.events = WATCHED | (name & 1 ? EPOLLET : 0)};
    event.data.u64 = (uint64_t)name << 32 | (uint32_t)descriptor;
    __atomic_store_n(&states[name], 1, __ATOMIC_SEQ_CST);
    must(epoll_ctl(set, operation, descriptor, &event) == 0, "epoll_ctl");
}

static void serve(int descriptor, uint32_t name)
{
    char bytes[64];
    if (name == COUNTER) {
        __atomic_store_n(&told, __atomic_load_n(&written, __ATOMIC_SEQ_CST), __ATOMIC_SEQ_CST);
        return;
    }
    int was = __atomic_exchange_n(&states[name], 2, __ATOMIC_SEQ_CST);
    if (was != 1) {
        printf("connection %u was reported while it %s\n", name, was == 2 ? "was being served" : "had ended");
        fflush(stdout);
        _exit(1);
    }
    ssize_t count = recv(descriptor, bytes, sizeof bytes, 0);
    if (count > 0) {
        must(send(descriptor, bytes, (size_t)count, MSG_NOSIGNAL) == count, "send");
        if (renames) {
            __atomic_store_n(&states[name], 3, __ATOMIC_SEQ_CST);
            name = __atomic_fetch_add(&names, 1, __ATOMIC_SEQ_CST);
        }
        return arm(EPOLL_CTL_MOD, descriptor, name);
    }
    __atomic_store_n(&states[name], 3, __ATOMIC_SEQ_CST);
    shutdown(descriptor, SHUT_RDWR);
    close(descriptor);
    __atomic_sub_fetch(&left, 1, __ATOMIC_SEQ_CST);
}

/* Half of the threads sleep, the others look again and again. */
static void *worker(void *sleeps)
{
    while (__atomic_load_n(&left, __ATOMIC_SEQ_CST) > 0) {
        struct epoll_event events[4];
        int count = epoll_wait(set, events, sleeps ? 4 : 1, sleeps ? 50 : 0);
        for (int index = 0; index < count; index++)
            serve((int)(uint32_t)events[index].data.u64, (uint32_t)(events[index].data.u64 >> 32));
        if (count == 0 && !sleeps)
            usleep(20);
    }
    return 0;
}

/* One more, and somebody must be told of it. */
static void count_up(void)
{
    uint32_t now = __atomic_add_fetch(&written, 1, __ATOMIC_SEQ_CST);
    must(write(counter, &(uint64_t){1}, 8) == 8, "write");
    for (int naps = 0; __atomic_load_n(&told, __ATOMIC_SEQ_CST) != now; naps++) {
        if (naps == 200000) {
            printf("nobody was told of what was counted\n");
            fflush(stdout);
            _exit(1);
        }
        usleep(50);
    }
}

static void ask(int connections)
{
    char bytes[8];
    for (int index = 0; index < connections; index++) {
        int descriptor = socket(AF_INET, SOCK_STREAM, 0);
        must(connect(descriptor, (struct sockaddr *)&address, sizeof address) == 0, "connect");
        setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        for (int exchange = 0; exchange < EXCHANGES; exchange++) {
            must(send(descriptor, "question", 8, 0) == 8, "send");
            must(recv(descriptor, bytes, 8, MSG_WAITALL) == 8, "recv");
        }
        close(descriptor);
    }
    _exit(0);
}

int main(int count, char **arguments)
{
    must(count == 3, "two arguments");
    renames = strcmp(arguments[2], "new-data") == 0;
    int connections = atoi(arguments[1]), good = 0;
    pthread_t threads[4];
    socklen_t length = sizeof address;
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    must(bind(listener, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    must(listen(listener, 64) == 0, "listen");
    must(getsockname(listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
    for (int client = 0; client < CLIENTS; client++)
        if (fork() == 0) {
            close(listener);
            ask(connections);
        }
    left = CLIENTS * connections;
    states = calloc((size_t)left * (renames ? EXCHANGES + 1 : 1), sizeof *states);
    set = epoll_create1(EPOLL_CLOEXEC);
    counter = eventfd(0, EFD_CLOEXEC);
    must(set >= 0 && counter >= 0 && states != 0, "epoll_create1");
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = (uint64_t)COUNTER << 32};
    must(epoll_ctl(set, EPOLL_CTL_ADD, counter, &event) == 0, "epoll_ctl");
    for (size_t index = 0; index < 4; index++)
        must(pthread_create(&threads[index], 0, worker, (void *)(index & 1)) == 0, "pthread_create");
    for (int index = 0, all = CLIENTS * connections; index < all; index++) {
        int descriptor = accept4(listener, 0, 0, SOCK_CLOEXEC);
        must(descriptor >= 0, "accept");
        if (index % 16 == 15)
            count_up();
        arm(EPOLL_CTL_ADD, descriptor, __atomic_fetch_add(&names, 1, __ATOMIC_SEQ_CST));
    }
    for (int index = 0; index < 4; index++)
        pthread_join(threads[index], 0);
    for (int client = 0, status; client < CLIENTS; client++)
        good += wait(&status) > 0 && status == 0;
    printf("%d clients content\n", good);
    return good != CLIENTS;
}
