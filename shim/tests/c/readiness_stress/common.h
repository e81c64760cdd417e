/* What both sides of the stress share: connections and what they are watched by, messages, chance. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* How the near side watches a connection: by its number, in turn. */
enum group {
    SHARED_LEVEL,    /* one set, several threads, each with room for one event */
    SHARED_EDGE,     /* the same, edge-triggered */
    SHARED_ONE_SHOT, /* the same, one-shot */
    EXCLUSIVE,       /* two sets with a thread each, EPOLLEXCLUSIVE in both */
    ALONE,           /* a set of one thread: level, edge, one-shot in turn */
    NESTED,          /* a set inside a set, one thread */
    POLLED,          /* poll and select in turn, one thread */
    FLOOD,           /* edge-triggered for room, too: more is sent than fits */
    GROUPS
};
static const char *const group_names[GROUPS] = {"shared level", "shared edge", "shared one-shot", "exclusive",
                                                "alone",        "nested",      "polled",          "flood"};

#define PRODUCERS_MAX 4
#define CONNECTIONS_MAX 64
#define WARM_UP 12
#define FLOOD_BYTES (3 << 20)

enum kind {
    ECHO = 'e',    /* comes back as it is */
    HOLD = 'h',    /* comes back once the same producer's RELEASE was handled; its thread sleeps until then */
    RELEASE = 'r', /* lets HOLD go on, comes back */
    POUR = 'f',    /* FLOOD_BYTES come back */
};

struct message {
    uint8_t kind, producer;
    uint16_t connection;
    uint32_t number;
};

/* Exit codes. */
enum { GOOD = 0, LOST = 1, SPURIOUS = 2, IMPOSSIBLE = 3 };

/* The verdict is there, and the producers are being ended: what threads see of that says nothing. */
static volatile int over;

static void must(int holds, const char *what)
{
    while (!holds && over)
        pause();
    if (!holds) {
        printf("impossible: %s (%s)\n", what, strerror(errno));
        fflush(stdout);
        _exit(IMPOSSIBLE);
    }
}

static unsigned chance(unsigned *state, unsigned below)
{
    *state = *state * 1103515245u + 12345u;
    return (*state >> 16) % below;
}

static long now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void nap_us(long us)
{
    struct timespec left = {us / 1000000, us % 1000000 * 1000};
    while (nanosleep(&left, &left) < 0 && errno == EINTR) {
    }
}

/* Mostly nothing; sometimes a moment, so that the other side is caught on its way to sleep; sometimes until it sleeps. */
static void pause_by_chance(unsigned *state)
{
    unsigned which = chance(state, 20);
    if (which < 5) {
        long end = now_us() + chance(state, 12);
        while (now_us() < end) {
        }
    } else if (which < 8) {
        nap_us(50 + chance(state, 1500));
    }
}

static void exactly(int descriptor, void *target, size_t count)
{
    for (size_t got = 0; got < count;) {
        ssize_t part = recv(descriptor, (char *)target + got, count - got, 0);
        must(part > 0, "a warm connection");
        got += (size_t)part;
    }
}
