/* Calls to be counted by instructions.sh: instructions, not times, so that a busy machine does not matter.
 *
 *   instructions COUNT CALL...
 *
 * does each call COUNT times in a function of its own, measured_CALL, whose instructions callgrind sums up; what is set
 * up before does not count. Both ends of every connection are in this one thread, so nothing ever waits. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define MESSAGE_BYTES 64
#define CONNECTIONS 64
#define MANY_CONNECTIONS 256
#define PORTION 50

static void must(int holds, const char *what)
{
    if (!holds) {
        perror(what);
        exit(1);
    }
}

static int listener;
static struct sockaddr_in here;

static void make_listener(void)
{
    listener = socket(AF_INET, SOCK_STREAM, 0);
    here = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof here;
    must(bind(listener, (struct sockaddr *)&here, length) == 0, "bind");
    must(listen(listener, 128) == 0, "listen");
    must(getsockname(listener, (struct sockaddr *)&here, &length) == 0, "getsockname");
}

static void make_pair(int *client, int *server)
{
    *client = socket(AF_INET, SOCK_STREAM, 0);
    must(*client >= 0, "socket");
    must(connect(*client, (struct sockaddr *)&here, sizeof here) == 0, "connect");
    *server = accept(listener, NULL, NULL);
    must(*server >= 0, "accept");
}

static char message[MESSAGE_BYTES];
static char target[MESSAGE_BYTES];

static void move(int from, int to)
{
    must(send(from, message, MESSAGE_BYTES, MSG_NOSIGNAL) == MESSAGE_BYTES, "send");
    must(recv(to, target, MESSAGE_BYTES, 0) == MESSAGE_BYTES, "recv");
}

/* Requests and answers until the ring carries both ways; without the library they change nothing. */
static void warm(int client, int server)
{
    for (int turn = 0; turn < 40; turn++) {
        move(client, server);
        move(server, client);
    }
}

/* Defines the function that is counted. */
#define MEASURED(name, ...) __attribute__((noinline, noclone)) static void measured_##name(long count, ##__VA_ARGS__)

MEASURED(connect_close)
{
    for (long done = 0; done < count; done++) {
        int client, server;
        make_pair(&client, &server);
        move(client, server);
        move(server, client);
        close(client);
        close(server);
    }
}

static int client[MANY_CONNECTIONS], server[MANY_CONNECTIONS];
static int set;
static struct epoll_event events[CONNECTIONS];

MEASURED(send)
{
    for (long done = 0; done < count; done++)
        must(send(client[0], message, MESSAGE_BYTES, MSG_NOSIGNAL) == MESSAGE_BYTES, "send");
}

MEASURED(recv)
{
    for (long done = 0; done < count; done++)
        must(recv(server[0], target, MESSAGE_BYTES, 0) == MESSAGE_BYTES, "recv");
}

/* A request and its answer at both ends: two sends, two receives. */
MEASURED(turn)
{
    for (long done = 0; done < count; done++) {
        move(client[0], server[0]);
        move(server[0], client[0]);
    }
}

MEASURED(recv_nothing)
{
    for (long done = 0; done < count; done++)
        must(recv(server[0], target, MESSAGE_BYTES, MSG_DONTWAIT) < 0 && errno == EAGAIN, "empty");
}

/* What a server does for one request: send, epoll_wait, recv. */
MEASURED(watched, int index)
{
    for (long done = 0; done < count; done++) {
        must(send(client[index], message, MESSAGE_BYTES, MSG_NOSIGNAL) == MESSAGE_BYTES, "send");
        must(epoll_wait(set, events, CONNECTIONS, 1000) == 1, "epoll_wait");
        must(events[0].data.u32 == (unsigned)index, "another");
        must(recv(server[index], target, MESSAGE_BYTES, 0) == MESSAGE_BYTES, "recv");
    }
}

MEASURED(epoll_wait_nothing)
{
    for (long done = 0; done < count; done++)
        must(epoll_wait(set, events, CONNECTIONS, 0) == 0, "epoll_wait");
}

/* One wait that finds one connection. */
MEASURED(epoll_wait_one_of_64)
{
    for (long done = 0; done < count; done++)
        must(epoll_wait(set, events, CONNECTIONS, 1000) == 1, "epoll_wait");
}

/* The same among four times as many: it must not cost more. */
MEASURED(epoll_wait_one_of_256)
{
    for (long done = 0; done < count; done++)
        must(epoll_wait(set, events, CONNECTIONS, 1000) == 1, "epoll_wait");
}

static void watch(int connections)
{
    set = epoll_create1(0);
    for (int index = 0; index < connections; index++) {
        make_pair(&client[index], &server[index]);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (unsigned)index};
        must(epoll_ctl(set, EPOLL_CTL_ADD, server[index], &event) == 0, "epoll_ctl");
        warm(client[index], server[index]);
    }
    for (int index = 0; index < 2 * connections; index++) {
        int one = index % connections;
        must(send(client[one], message, MESSAGE_BYTES, 0) == MESSAGE_BYTES, "send");
        must(epoll_wait(set, events, CONNECTIONS, 1000) >= 1, "epoll_wait");
        must(recv(server[one], target, MESSAGE_BYTES, 0) == MESSAGE_BYTES, "recv");
    }
    must(epoll_wait(set, events, CONNECTIONS, 0) == 0, "nothing is left");
}

static void ring(long count)
{
    make_pair(&client[0], &server[0]);
    warm(client[0], server[0]);
    /* In portions that the smallest ring holds. */
    for (long done = 0; done < count; done += PORTION) {
        measured_send(PORTION);
        measured_recv(PORTION);
    }
    measured_turn(count);
    measured_recv_nothing(count);
}

/* A wait that finds something on a ring looks at the kernel's set, too, if it has not for 50 us (READINESS.md): behind
 * this one it does, however fast or slow the machine is. */
static void wait_until_the_kernel_is_due(void) { usleep(60); }

/* Each time another one of the connections has a request. */
static void watch_each(long count)
{
    for (long done = 0; done < count; done++) {
        wait_until_the_kernel_is_due();
        measured_watched(1, (int)(done % CONNECTIONS));
    }
}

/* Each time another connection has something. */
static void wait_for_one(long count, int connections, void (*measured)(long))
{
    for (long done = 0; done < count; done++) {
        int one = (int)(done * 7 % connections);
        must(send(client[one], message, MESSAGE_BYTES, MSG_NOSIGNAL) == MESSAGE_BYTES, "send");
        wait_until_the_kernel_is_due();
        measured(1);
        must(events[0].data.u32 == (unsigned)one, "another");
        must(recv(server[one], target, MESSAGE_BYTES, 0) == MESSAGE_BYTES, "recv");
    }
}

static void epoll(long count)
{
    watch(CONNECTIONS);
    watch_each(count);
    measured_epoll_wait_nothing(count);
    wait_for_one(count, CONNECTIONS, measured_epoll_wait_one_of_64);
    for (int index = 0; index < CONNECTIONS; index++) {
        close(client[index]);
        close(server[index]);
    }
    close(set);
    watch(MANY_CONNECTIONS);
    wait_for_one(count, MANY_CONNECTIONS, measured_epoll_wait_one_of_256);
}

/* ---- hooks on descriptors that are none of the library's */

static int pair[2], zero, plain_set;

#define PLAIN(name, statement)                      \
    MEASURED(plain_##name)                          \
    {                                               \
        for (long done = 0; done < count; done++) { \
            statement;                              \
        }                                           \
    }
static struct iovec part = {target, 1};
static struct msghdr parts = {.msg_iov = &part, .msg_iovlen = 1};
static struct epoll_event waited[4];
static int value;
static socklen_t value_bytes = sizeof value;
PLAIN(read, read(zero, target, 1))
PLAIN(write, write(zero, target, 1))
PLAIN(readv, readv(zero, &part, 1))
PLAIN(writev, writev(zero, &part, 1))
PLAIN(send, send(-1, target, 1, 0))
PLAIN(recv, recv(-1, target, 1, 0))
PLAIN(sendto, sendto(-1, target, 1, 0, NULL, 0))
PLAIN(recvfrom, recvfrom(-1, target, 1, 0, NULL, NULL))
PLAIN(sendmsg, sendmsg(-1, &parts, 0))
PLAIN(recvmsg, recvmsg(-1, &parts, 0))
PLAIN(connect, connect(-1, (struct sockaddr *)&here, sizeof here))
PLAIN(accept, accept(-1, NULL, NULL))
PLAIN(accept4, accept4(-1, NULL, NULL, 0))
PLAIN(shutdown, shutdown(-1, 2))
PLAIN(close, close(-1))
PLAIN(socket, close(socket(AF_UNIX, SOCK_STREAM, 0)))
PLAIN(dup, close(dup(zero)))
PLAIN(setsockopt, setsockopt(-1, SOL_SOCKET, SO_SNDBUF, &value, value_bytes))
PLAIN(getsockopt, getsockopt(-1, SOL_SOCKET, SO_SNDBUF, &value, &value_bytes))
PLAIN(ioctl, ioctl(zero, FIONREAD, &value))
PLAIN(fcntl, fcntl(zero, F_GETFL))
PLAIN(open, close(open("/dev/null", O_RDONLY)))
PLAIN(epoll_create1, close(epoll_create1(0)))
PLAIN(epoll_wait, epoll_wait(-1, waited, 4, 0))
PLAIN(epoll_ctl, epoll_ctl(-1, EPOLL_CTL_ADD, zero, waited))
PLAIN(eventfd, close(eventfd(0, 0)))
PLAIN(epoll_wait_set, epoll_wait(plain_set, waited, 4, 0))
PLAIN(epoll_ctl_member, epoll_ctl(plain_set, EPOLL_CTL_MOD, pair[0], waited))

static void plain(long count)
{
    /* A managed connection is open meanwhile, so that the library's table exists. */
    make_pair(&client[0], &server[0]);
    warm(client[0], server[0]);
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    zero = open("/dev/zero", O_RDWR);
    must(zero >= 0, "open");
    plain_set = epoll_create1(0);
    must(epoll_ctl(plain_set, EPOLL_CTL_ADD, pair[0], waited) == 0, "epoll_ctl");
    measured_plain_read(count);
    measured_plain_write(count);
    measured_plain_readv(count);
    measured_plain_writev(count);
    measured_plain_send(count);
    measured_plain_recv(count);
    measured_plain_sendto(count);
    measured_plain_recvfrom(count);
    measured_plain_sendmsg(count);
    measured_plain_recvmsg(count);
    measured_plain_connect(count);
    measured_plain_accept(count);
    measured_plain_accept4(count);
    measured_plain_shutdown(count);
    measured_plain_close(count);
    measured_plain_socket(count);
    measured_plain_dup(count);
    measured_plain_setsockopt(count);
    measured_plain_getsockopt(count);
    measured_plain_ioctl(count);
    measured_plain_fcntl(count);
    measured_plain_open(count);
    measured_plain_epoll_create1(count);
    measured_plain_epoll_wait(count);
    measured_plain_epoll_ctl(count);
    measured_plain_eventfd(count);
    measured_plain_epoll_wait_set(count);
    measured_plain_epoll_ctl_member(count);
}

/* ---- calls on a connection that a rule leaves to the kernel */

static struct pollfd polled[CONNECTIONS];

#define RULED(name, statement, result)                        \
    MEASURED(ruled_##name)                                    \
    {                                                         \
        for (long done = 0; done < count; done++) {           \
            must((statement) == (result), "ruled_" #name);    \
        }                                                     \
    }
RULED(send, send(client[0], message, MESSAGE_BYTES, MSG_NOSIGNAL), MESSAGE_BYTES)
RULED(recv, recv(server[0], target, MESSAGE_BYTES, 0), MESSAGE_BYTES)
RULED(write, write(client[0], message, MESSAGE_BYTES), MESSAGE_BYTES)
RULED(read, read(server[0], target, MESSAGE_BYTES), MESSAGE_BYTES)
RULED(poll, poll(polled, 1, 1000), 1)
RULED(poll_of_64, poll(polled, CONNECTIONS, 1000), 1)
RULED(epoll_wait, epoll_wait(set, events, CONNECTIONS, 1000), 1)

static int opened_client, opened_server;
RULED(connect_close,
      (make_pair(&opened_client, &opened_server), move(opened_client, opened_server), move(opened_server, opened_client),
       close(opened_client), close(opened_server)),
      0)

static void ruled(long count)
{
    for (int index = 0; index < CONNECTIONS; index++) {
        make_pair(&client[index], &server[index]);
        polled[index] = (struct pollfd){server[index], POLLIN, 0};
        warm(client[index], server[index]);
    }
    /* Programs that poll seldom have epoll sets. */
    must(send(client[0], message, MESSAGE_BYTES, MSG_NOSIGNAL) == MESSAGE_BYTES, "send");
    measured_ruled_poll(count);
    measured_ruled_poll_of_64(count);
    must(recv(server[0], target, MESSAGE_BYTES, 0) == MESSAGE_BYTES, "recv");
    set = epoll_create1(0);
    for (int index = 0; index < CONNECTIONS; index++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (unsigned)index};
        must(epoll_ctl(set, EPOLL_CTL_ADD, server[index], &event) == 0, "epoll_ctl");
    }
    for (long done = 0; done < count; done += PORTION) {
        measured_ruled_send(PORTION);
        measured_ruled_epoll_wait(PORTION);
        measured_ruled_recv(PORTION);
        measured_ruled_write(PORTION);
        measured_ruled_read(PORTION);
    }
    measured_ruled_connect_close(count);
}

int main(int count, char **arguments)
{
    must(count >= 3, "instructions COUNT CALL...");
    long times = atol(arguments[1]);
    make_listener();
    for (int index = 2; index < count; index++) {
        const char *call = arguments[index];
        if (strcmp(call, "connect_close") == 0)
            measured_connect_close(times);
        else if (strcmp(call, "ring") == 0)
            ring(times);
        else if (strcmp(call, "epoll") == 0)
            epoll(times);
        else if (strcmp(call, "plain") == 0)
            plain(times);
        else if (strcmp(call, "ruled") == 0)
            ruled(times);
        else {
            fprintf(stderr, "no call %s\n", call);
            return 1;
        }
    }
    return 0;
}
