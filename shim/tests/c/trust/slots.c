/* More connections than slots: a server with an epoll set echoes every byte plus one; its client has many connections, of
 * which a few are busy at a time, and others a moment later. Quiet ones must give their slots to busy ones, and no byte
 * may be lost, doubled or changed on the way.
 *
 *   slots SEED CONNECTIONS BUSY MILLISECONDS blocking|polling
 *
 * Prints one line "sets N exchanges N evicted N ring_percent N": connections that were quiet, said that they had given their
 * slot up, and went on in the kernel; the share of rings in the last third of each set of busy ones. */
#define _GNU_SOURCE
#include "axio.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 1000
#define SET_MS 600
#define MESSAGE_MAX 6000

static void must(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "%d: %s (%s)\n", getpid(), what, strerror(errno));
        exit(3);
    }
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static unsigned char byte_at(int connection, uint64_t position)
{
    return (unsigned char)((position * 0x9E3779B97F4A7C15ull + (uint64_t)connection * 77) >> 56 ^ position);
}

static void serve(int listener, int connections)
{
    static unsigned char bytes[1 << 16];
    int set = epoll_create1(0);
    for (int index = 0; index < connections; index++) {
        struct epoll_event event = {EPOLLIN, {.fd = accept4(listener, 0, 0, SOCK_NONBLOCK)}};
        must(event.data.fd >= 0, "accept");
        must(epoll_ctl(set, EPOLL_CTL_ADD, event.data.fd, &event) == 0, "EPOLL_CTL_ADD");
    }
    for (int live = connections; live > 0;) {
        struct epoll_event events[64];
        int count = epoll_wait(set, events, 64, -1);
        for (int index = 0; index < count; index++) {
            int one = events[index].data.fd;
            ssize_t got = read(one, bytes, sizeof bytes);
            if (got == 0) {
                close(one);
                live--;
                continue;
            }
            if (got < 0) {
                must(errno == EAGAIN, "the server's read");
                continue;
            }
            for (ssize_t at = 0; at < got; at++)
                bytes[at]++;
            for (ssize_t sent = 0; sent < got;) {
                ssize_t part = send(one, bytes + sent, (size_t)(got - sent), MSG_NOSIGNAL);
                must(part > 0 || errno == EAGAIN, "the server's send");
                if (part > 0)
                    sent += part;
                else
                    usleep(20);
            }
        }
    }
}

static int sockets[CONNECTIONS_MAX];
static uint64_t positions[CONNECTIONS_MAX];

static void exchange(int which, uint64_t *random, int is_blocking)
{
    static unsigned char out[MESSAGE_MAX], in[MESSAGE_MAX];
    size_t count = 1 + next_random(random) % (next_random(random) % 8 ? 2000 : MESSAGE_MAX);
    for (size_t at = 0; at < count; at++)
        out[at] = byte_at(which, positions[which] + at);
    /* Sometimes in two pieces. */
    size_t first = next_random(random) % 3 ? count : count / 2;
    must(first == 0 || send(sockets[which], out, first, MSG_NOSIGNAL) == (ssize_t)first, "send");
    must(first == count || send(sockets[which], out + first, count - first, MSG_NOSIGNAL) == (ssize_t)(count - first), "send");
    for (size_t got = 0; got < count;) {
        ssize_t part = recv(sockets[which], in + got, count - got, is_blocking ? 0 : MSG_DONTWAIT);
        if (part < 0 && errno == EAGAIN && !is_blocking) {
            usleep(5);
            continue;
        }
        must(part > 0, "recv");
        got += (size_t)part;
    }
    for (size_t at = 0; at < count; at++)
        must(in[at] == (unsigned char)(out[at] + 1), "a wrong byte");
    positions[which] += count;
}

static struct axio_status status_of(int which)
{
    struct axio_status status;
    must(ioctl(sockets[which], AXIO_SIOCSTATUS, &status) == 0, "the status");
    return status;
}

static void count_bytes(const int *busy, int count, uint64_t *ring, uint64_t *kernel)
{
    *ring = *kernel = 0;
    for (int index = 0; index < count; index++) {
        struct axio_status status = status_of(busy[index]);
        *ring += status.ring_bytes_in + status.ring_bytes_out;
        *kernel += status.kernel_bytes_in + status.kernel_bytes_out;
    }
}

/* A connection that has given its slot up says so, and goes on in the kernel; soon it may have another one. */
static int is_evicted(int which, uint64_t *random, int is_blocking)
{
    struct axio_status before = status_of(which);
    if (before.reason != AXIO_REASON_SLOT_EVICTED)
        return 0;
    must(before.path == AXIO_PATH_KERNEL, "the kernel's path");
    exchange(which, random, is_blocking);
    must(status_of(which).kernel_bytes_out > before.kernel_bytes_out, "the kernel carries what it sends next");
    return 1;
}

int main(int count, char **words)
{
    must(count == 6, "arguments");
    uint64_t random = (uint64_t)atol(words[1]) * 0x9e3779b97f4a7c15ull + 1;
    int connections = atoi(words[2]), busy_count = atoi(words[3]), is_blocking = words[5][0] == 'b';
    long last_ms = now_ms() + atol(words[4]);
    must(connections <= CONNECTIONS_MAX && busy_count <= connections, "too many");
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    /* The server's process is made before any socket, so that the two are no relatives. */
    int tells[2], status;
    must(pipe(tells) == 0, "pipe");
    alarm(600);
    pid_t server = fork();
    must(server >= 0, "fork");
    if (server == 0) {
        alarm(600);
        int listener = socket(AF_INET, SOCK_STREAM, 0);
        must(bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, 1000) == 0 &&
                 getsockname(listener, (struct sockaddr *)&address, &length) == 0,
             "a listener");
        must(write(tells[1], &address, sizeof address) == sizeof address, "the address");
        serve(listener, connections);
        return 0;
    }
    must(read(tells[0], &address, sizeof address) == sizeof address, "the address");
    for (int index = 0; index < connections; index++) {
        sockets[index] = socket(AF_INET, SOCK_STREAM, 0);
        must(connect(sockets[index], (struct sockaddr *)&address, sizeof address) == 0, "connect");
        setsockopt(sockets[index], IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    }
    uint64_t exchanges = 0, sets = 0, evicted = 0, ring_all = 0, all = 0;
    while (now_ms() < last_ms) {
        int busy[CONNECTIONS_MAX], looked = 0;
        uint64_t ring_before = 0, kernel_before = 0, ring, kernel;
        int first = (int)(next_random(&random) % (unsigned)connections);
        for (int index = 0; index < busy_count; index++)
            busy[index] = (first + index) % connections;
        for (long began_ms = now_ms(); now_ms() - began_ms < SET_MS;) {
            for (int index = 0; index < busy_count; index++, exchanges++)
                exchange(busy[index], &random, is_blocking);
            if (!looked && now_ms() - began_ms >= SET_MS * 2 / 3) {
                looked = 1;
                count_bytes(busy, busy_count, &ring_before, &kernel_before);
            }
        }
        count_bytes(busy, busy_count, &ring, &kernel);
        if (looked) {
            ring_all += ring - ring_before;
            all += ring - ring_before + kernel - kernel_before;
        }
        sets++;
        for (int index = busy_count; index < connections; index++)
            evicted += (uint64_t)is_evicted((first + index) % connections, &random, is_blocking);
    }
    for (int index = 0; index < connections; index++) {
        char byte;
        shutdown(sockets[index], SHUT_WR);
        must(recv(sockets[index], &byte, 1, 0) == 0, "the end of the stream");
        close(sockets[index]);
    }
    must(waitpid(server, &status, 0) == server && status == 0, "the server's end");
    printf("sets %lu exchanges %lu evicted %lu ring_percent %lu\n", (unsigned long)sets, (unsigned long)exchanges,
           (unsigned long)evicted, (unsigned long)(all ? ring_all * 100 / all : 0));
    return 0;
}
