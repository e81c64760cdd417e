/* A far side that lies: processes under the library become accelerated with a victim, and then write random values over
 * everything their side shares, while bytes and bells go on. The victim must answer with an error on that connection or
 * go on; connections of honest processes in the same sets and threads must notice nothing, and nothing may hang.
 *
 *   lying_far_side FIRST_SEED SEEDS
 *
 * Prints one line "liars N accelerated N scribbles N resets N ends N honest N". The library is preloaded by the caller. */
#define _GNU_SOURCE
#include "axio.h"
#include "own_region.h"
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
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PER_LIAR 4
#define HONEST_PER_KIND 2
#define PATIENCE_MS 60000
#define DESCRIPTORS 4096

/* How the victim serves a connection, said in its first byte: by a level-triggered set, an edge-triggered one, a thread
 * that blocks, one that polls, one that only sends. In capitals: the far side is honest, no error is allowed. The last:
 * the victim is to connect to a port. */
static const char kinds[] = "lebps";
#define CONNECT_TO 'd'

static struct shared {
    volatile int stop, port, failed;
    volatile long liars, accelerated, scribbles, resets, ends, honest, open, ring_bytes;
    volatile long beat; /* exchanges of honest processes: the watchdog's proof of life */
    volatile int linger, quiet, leave;
    volatile long lingering;
} *shared;

static long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void fail(const char *who, const char *what)
{
    fprintf(stderr, "%s %d: %s (%s)\n", who, getpid(), what, strerror(errno));
    shared->failed = 1;
    _exit(3);
}

static void must(int holds, const char *what)
{
    if (!holds)
        fail("impossible", what);
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static int tcp(void)
{
    int made = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(made >= 0, "socket");
    return made;
}

static struct sockaddr_in loopback(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static int listen_on(int *port)
{
    int listener = tcp();
    struct sockaddr_in address = loopback(0);
    socklen_t length = sizeof address;
    must(bind(listener, (struct sockaddr *)&address, length) == 0, "bind");
    must(listen(listener, 128) == 0, "listen");
    must(getsockname(listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
    *port = ntohs(address.sin_port);
    return listener;
}

static int connect_to(int port)
{
    int made = tcp();
    struct sockaddr_in address = loopback(port);
    must(connect(made, (struct sockaddr *)&address, sizeof address) == 0, "connect");
    setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    return made;
}

/* ---- the victim: echoes every byte plus one */

static char kind_of[DESCRIPTORS];

static int is_honest(int descriptor) { return kind_of[descriptor] >= 'A' && kind_of[descriptor] <= 'Z'; }

/* The end of a connection of the victim's. `result` is what a call has returned. */
static void ended(int descriptor, const char *call, ssize_t result)
{
    if (is_honest(descriptor)) {
        if (!shared->stop)
            fail("victim: honest connection ended", call);
    } else if (result < 0) {
        if (errno != ECONNRESET && errno != EPIPE)
            fail("victim: liar's connection", call);
        __sync_fetch_and_add(&shared->resets, 1);
    } else {
        __sync_fetch_and_add(&shared->ends, 1);
    }
    close(descriptor);
    __sync_fetch_and_sub(&shared->open, 1);
}

static int is_patient(void) { return errno == EAGAIN || errno == EINTR; }

/* Sends it all; a non-blocking socket is waited for, not for ever where the far side is a liar. 0: the connection has
 * been ended. */
static int send_all(int descriptor, const unsigned char *bytes, size_t count)
{
    for (long started = now_ms(); count > 0;) {
        ssize_t part = send(descriptor, bytes, count, MSG_NOSIGNAL);
        if (part > 0) {
            bytes += part;
            count -= (size_t)part;
        } else if (part < 0 && is_patient()) {
            struct pollfd entry = {descriptor, POLLOUT, 0};
            poll(&entry, 1, 5);
            if (!is_honest(descriptor) && now_ms() - started > 50) {
                ended(descriptor, "send", 0);
                return 0;
            }
        } else {
            ended(descriptor, "send", part);
            return 0;
        }
    }
    return 1;
}

static int echo(int descriptor, const unsigned char *got, ssize_t count)
{
    unsigned char back[4096];
    for (ssize_t at = 0; at < count; at++)
        back[at] = (unsigned char)(got[at] + 1);
    return send_all(descriptor, back, (size_t)count);
}

static void *serve_set(void *argument)
{
    int set = (int)(intptr_t)argument;
    unsigned char bytes[4096];
    for (;;) {
        struct epoll_event events[16];
        int count = epoll_wait(set, events, 16, -1);
        if (count < 0 && errno != EINTR)
            fail("victim", "epoll_wait");
        for (int index = 0; index < count; index++) {
            int descriptor = events[index].data.fd;
            int is_edge = (kind_of[descriptor] | 32) == 'e';
            /* Bounded even for an edge: a liar that never stops must not keep the set from the others. */
            for (int round = 0; round < 64; round++) {
                ssize_t got = recv(descriptor, bytes, sizeof bytes, 0);
                if (got < 0 && is_patient())
                    break;
                if (got <= 0) {
                    ended(descriptor, "recv in a set", got);
                    break;
                }
                if (!echo(descriptor, bytes, got) || !is_edge)
                    break;
                if (round == 63) {
                    struct epoll_event again = {EPOLLIN | EPOLLET, {.fd = descriptor}};
                    epoll_ctl(set, EPOLL_CTL_MOD, descriptor, &again);
                }
            }
        }
    }
    return 0;
}

static void *serve_alone(void *argument)
{
    int descriptor = (int)(intptr_t)argument;
    char kind = kind_of[descriptor] | 32;
    unsigned char bytes[4096];
    if (kind == 's') {
        memset(bytes, 's', sizeof bytes);
        while (send_all(descriptor, bytes, sizeof bytes)) {
        }
        return 0;
    }
    for (;;) {
        if (kind == 'p') {
            struct pollfd entry = {descriptor, POLLIN, 0};
            if (poll(&entry, 1, -1) < 0 && errno != EINTR)
                fail("victim", "poll");
        }
        ssize_t got = recv(descriptor, bytes, sizeof bytes, kind == 'p' ? MSG_DONTWAIT : 0);
        if (got < 0 && is_patient())
            continue;
        if (got <= 0) {
            ended(descriptor, "recv in a thread", got);
            return 0;
        }
        if (!echo(descriptor, bytes, got))
            return 0;
    }
}

static void serve_by_thread(int descriptor)
{
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 << 10);
    must(pthread_create(&thread, &attributes, serve_alone, (void *)(intptr_t)descriptor) == 0, "a thread");
    pthread_detach(thread);
}

static void victim(void)
{
    int port, listener = listen_on(&port), sets[2];
    pthread_t thread;
    for (int index = 0; index < 2; index++) {
        sets[index] = epoll_create1(EPOLL_CLOEXEC);
        must(pthread_create(&thread, 0, serve_set, (void *)(intptr_t)sets[index]) == 0, "a thread");
    }
    shared->port = port;
    for (;;) {
        int descriptor = accept4(listener, 0, 0, SOCK_CLOEXEC);
        must(descriptor >= 0 && descriptor < DESCRIPTORS, "accept");
        unsigned char kind = 0, words[2];
        if (recv(descriptor, &kind, 1, 0) != 1) {
            close(descriptor);
            continue;
        }
        if (kind == 'q')
            break;
        setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        __sync_fetch_and_add(&shared->open, 1);
        kind_of[descriptor] = (char)kind;
        if (kind == CONNECT_TO) {
            int takes = recv(descriptor, words, 2, MSG_WAITALL) == 2;
            close(descriptor);
            if (!takes) {
                __sync_fetch_and_sub(&shared->open, 1);
                continue;
            }
            descriptor = connect_to(words[0] << 8 | words[1]);
            kind_of[descriptor] = 'b';
            if (send(descriptor, "!", 1, MSG_NOSIGNAL) != 1)
                ended(descriptor, "the first send", -1);
            else
                serve_by_thread(descriptor);
            continue;
        }
        if ((kind | 32) == 'l' || (kind | 32) == 'e') {
            int is_edge = (kind | 32) == 'e';
            struct epoll_event event = {EPOLLIN | (is_edge ? EPOLLET : 0), {.fd = descriptor}};
            fcntl(descriptor, F_SETFL, O_NONBLOCK);
            must(epoll_ctl(sets[is_edge], EPOLL_CTL_ADD, descriptor, &event) == 0, "EPOLL_CTL_ADD");
        } else {
            serve_by_thread(descriptor);
        }
    }
    exit(0); /* by way of the library's report */
}

/* ---- an exchange, checked; the far side is the victim */

/* 1: echoed as it should be; 0: the connection has failed; -1: wrong bytes; -2: nothing came. */
static int exchange(int descriptor, uint64_t *random, size_t count, int patience_ms)
{
    unsigned char out[8192] = {0}, in[8192];
    for (size_t at = 0; at < count; at++)
        out[at] = (unsigned char)next_random(random);
    if (send(descriptor, out, count, MSG_NOSIGNAL) != (ssize_t)count)
        return 0;
    long started = now_ms();
    for (size_t got = 0; got < count;) {
        struct pollfd entry = {descriptor, POLLIN, 0};
        ssize_t part = recv(descriptor, in + got, count - got, MSG_DONTWAIT);
        if (part > 0)
            got += (size_t)part;
        else if (part == 0 || !is_patient())
            return 0;
        else if (now_ms() - started > patience_ms)
            return -2;
        else
            poll(&entry, 1, 100);
    }
    for (size_t at = 0; at < count; at++)
        if (in[at] != (unsigned char)(out[at] + 1))
            return -1;
    return 1;
}

static void honest(unsigned number)
{
    int sockets[2 * HONEST_PER_KIND * 4], count = 0;
    uint64_t random = 77 + number;
    for (int kind = 0; kind < 4; kind++)
        for (int one = 0; one < HONEST_PER_KIND; one++) {
            char letter = (char)(kinds[kind] - 32);
            sockets[count] = connect_to(shared->port);
            must(send(sockets[count++], &letter, 1, 0) == 1, "the first byte");
        }
    while (!shared->stop) {
        if (shared->quiet) {
            usleep(1000);
            continue;
        }
        int result = exchange(sockets[next_random(&random) % (unsigned)count], &random,
                              1 + next_random(&random) % (next_random(&random) % 8 ? 64 : 6000), PATIENCE_MS);
        if (result != 1)
            fail("honest", result == -1 ? "wrong bytes" : result == -2 ? "nothing comes" : "the connection failed");
        __sync_fetch_and_add(&shared->honest, 1);
        __sync_fetch_and_add(&shared->beat, 1);
        if (next_random(&random) % 8 == 0)
            usleep(200);
    }
    for (int index = 0; index < count; index++) {
        struct axio_status status;
        if (ioctl(sockets[index], AXIO_SIOCSTATUS, &status) == 0)
            __sync_fetch_and_add(&shared->ring_bytes, (long)(status.ring_bytes_in + status.ring_bytes_out));
    }
    _exit(0);
}

/* ---- the liar */

/* What is written over. */
enum target { EVERYTHING, ENTRIES, ONE_ENTRY, WAITERS, CLAIMS_AND_EVENTS, POOL, TARGETS };

static struct lie {
    enum target target;
    struct region *region;
    unsigned slot;
    volatile int stop;
    uint64_t random;
    long count;
} lie;

static uint64_t invented(uint64_t *random, uint64_t before)
{
    switch (next_random(random) % 8) {
    case 0: return next_random(random);
    case 1: return 0;
    case 2: return ~0ull;
    case 3: return before + 1;
    case 4: return before - 1;
    case 5: return before ^ 1ull << next_random(random) % 64;
    case 6: return before + next_random(random) % 10000;
    default: return next_random(random) % 70;
    }
}

static void scribble_once(void)
{
    struct region *region = lie.target == ONE_ENTRY ? lie.region : &regions[next_random(&lie.random) % (unsigned)region_count];
    unsigned slots = region->slots;
    size_t first = 0, end = (size_t)AXIO_POOL_PLACE(slots);
    switch (lie.target) {
    case ENTRIES: first = (size_t)AXIO_ENTRY_PLACE(slots, 0), end = (size_t)AXIO_ENTRY_PLACE(slots, PER_LIAR + 1); break;
    case ONE_ENTRY: first = (size_t)AXIO_ENTRY_PLACE(slots, lie.slot), end = first + AXIO_ENTRY_BYTES; break;
    case WAITERS: first = (size_t)AXIO_OWN_WAITER_PLACE(slots, 0), end = (size_t)AXIO_ENTRY_PLACE(slots, 0); break;
    case CLAIMS_AND_EVENTS: end = (size_t)AXIO_OWN_WAITER_PLACE(slots, 0); break;
    case POOL: first = end, end = region->bytes; break;
    default: break;
    }
    if (next_random(&lie.random) % 2) {
        volatile uint64_t *word = (uint64_t *)(region->base + first + next_random(&lie.random) % ((end - first) / 8) * 8);
        *word = invented(&lie.random, *word);
    } else {
        volatile uint32_t *word = (uint32_t *)(region->base + first + next_random(&lie.random) % ((end - first) / 4) * 4);
        *word = (uint32_t)invented(&lie.random, *word);
    }
    lie.count++;
}

static void *scribble(void *argument)
{
    (void)argument;
    /* In bursts: each lie has a chance to be seen before the next. */
    while (!lie.stop) {
        for (unsigned burst = 1 + next_random(&lie.random) % 32; burst; burst--)
            scribble_once();
        for (unsigned pause = next_random(&lie.random) % 400; pause; pause--)
            __asm__ volatile("" ::: "memory");
        if (next_random(&lie.random) % 16 == 0)
            sched_yield();
    }
    return 0;
}

static void leave_without_a_word(void)
{
    if (shared->linger) {
        /* Everything stays as it was left, and nothing more is said. */
        __sync_fetch_and_add(&shared->lingering, 1);
        while (!shared->leave)
            usleep(1000);
    }
    raw(SYS_exit_group, 0, 0, 0);
    __builtin_trap();
}

/* A library in a process whose own memory is being written over may do anything; that is not what is tried here. */
static void own_trouble(int number)
{
    (void)number;
    leave_without_a_word();
}

static int find_entry(int descriptor) { return find_entry_in(descriptor, &lie.region, &lie.slot); }

/* Ring lengths and places that cannot be, each shown by an upgrade that follows. */
static void lie_about_the_ring(int descriptor, uint64_t *random)
{
    if (!find_entry(descriptor))
        return;
    unsigned char *entry = lie.region->base + AXIO_ENTRY_PLACE(lie.region->slots, lie.slot);
    struct axio_acceleration wish = {0, 0};
    ioctl(descriptor, AXIO_SIOCACCEL, &wish);
    exchange(descriptor, random, 8, 200);
    static const uint32_t lengths[] = {0, 1, 4095, 4097, 12288, 1u << 20, 1u << 31, ~0u};
    static const uint32_t places[] = {0, 1, 64, ~0u, 1u << 31, 128u << 10, (128u << 10) - 4096 + 64};
    if (next_random(random) % 2)
        *(volatile uint32_t *)(entry + AXIO_ENTRY_RING_BYTES) = lengths[next_random(random) % 8];
    else
        *(volatile uint32_t *)(entry + AXIO_ENTRY_RING_OFFSET) = places[next_random(random) % 7];
    lie.count++;
    wish = (struct axio_acceleration){1, 0};
    ioctl(descriptor, AXIO_SIOCACCEL, &wish);
    for (int round = 0; round < 12; round++)
        if (exchange(descriptor, random, 8, 200) != 1)
            break;
}

/* One word of a connection's entry is wrong, in one way; nothing else ever is. */
static const struct {
    size_t place;
    int is_long;
} words_of_an_entry[] = {
    {AXIO_ENTRY_TAIL, 1},       {AXIO_ENTRY_KOFF, 1},       {AXIO_ENTRY_KR, 1},      {AXIO_ENTRY_EP, 0},
    {AXIO_ENTRY_FIN, 0},        {AXIO_ENTRY_RINGING, 0},    {AXIO_ENTRY_STAMP, 1},   {AXIO_ENTRY_HEAD, 1},
    {AXIO_ENTRY_KRX, 1},        {AXIO_ENTRY_RX_EP, 0},      {AXIO_ENTRY_GRANT, 0},   {AXIO_ENTRY_WANT, 0},
    {AXIO_ENTRY_GONE, 0},       {AXIO_ENTRY_ARM_RX, 0},     {AXIO_ENTRY_ARM_TX, 0},  {AXIO_ENTRY_GENERATION, 0},
    {AXIO_ENTRY_STATE, 0},      {AXIO_ENTRY_LEAVING, 0},    {AXIO_ENTRY_WAITER, 0},  {AXIO_ENTRY_WATCH, 0},
    {AXIO_ENTRY_RING_OFFSET, 0}, {AXIO_ENTRY_RING_BYTES, 0},
};
#define WORDS (sizeof words_of_an_entry / sizeof *words_of_an_entry)
#define WAYS 6
#define SILENT (WORDS * WAYS)

static void lie_once(int descriptor, unsigned which)
{
    if (!find_entry(descriptor))
        return;
    unsigned char *entry = lie.region->base + AXIO_ENTRY_PLACE(lie.region->slots, lie.slot);
    size_t place = words_of_an_entry[which % WORDS].place;
    volatile uint64_t *koff = (uint64_t *)(entry + AXIO_ENTRY_KOFF), *kr = (uint64_t *)(entry + AXIO_ENTRY_KR);
    unsigned char bell = (unsigned char)*koff;
    uint64_t before = words_of_an_entry[which % WORDS].is_long ? *(volatile uint64_t *)(entry + place)
                                                              : *(volatile uint32_t *)(entry + place);
    const uint64_t values[WAYS] = {before + 1, before - 1, before + 2, before + 40, 0, ~0ull};
    uint64_t value = values[which / WORDS % WAYS];
    if (place == AXIO_ENTRY_EP)
        *kr = *koff + 2; /* a switch whose bell never comes */
    if (words_of_an_entry[which % WORDS].is_long)
        *(volatile uint64_t *)(entry + place) = value;
    else
        *(volatile uint32_t *)(entry + place) = (uint32_t)value;
    __sync_synchronize();
    lie.count++;
    /* A bell as it should be: whoever sleeps looks. */
    if (place != AXIO_ENTRY_KOFF)
        *koff += 1;
    __sync_synchronize();
    raw(SYS_sendto, descriptor, (long)&bell, 1);
}

static void liar(unsigned seed)
{
    uint64_t random = (seed + 1) * 0x9e3779b97f4a7c15ull;
    int sockets[PER_LIAR], on_ring = 0;
    char letters[PER_LIAR];
    signal(SIGSEGV, own_trouble);
    signal(SIGBUS, own_trouble);
    signal(SIGALRM, own_trouble);
    signal(SIGABRT, own_trouble);
    for (int index = 0; index < 8; index++)
        next_random(&random);
    for (int index = 0; index < PER_LIAR; index++) {
        int kind = shared->linger ? index : (int)(next_random(&random) % 6);
        letters[index] = kind == 5 ? CONNECT_TO : kinds[kind];
        if (kind == 5) {
            int port, listener = listen_on(&port), caller = connect_to(shared->port);
            unsigned char words[3] = {CONNECT_TO, (unsigned char)(port >> 8), (unsigned char)port};
            must(send(caller, words, 3, 0) == 3, "the first bytes");
            sockets[index] = accept4(listener, 0, 0, SOCK_CLOEXEC);
            must(recv(sockets[index], words, 1, 0) == 1, "the victim's first byte");
            close(listener);
            close(caller);
        } else {
            sockets[index] = connect_to(shared->port);
            must(send(sockets[index], &letters[index], 1, 0) == 1, "the first byte");
        }
    }
    for (int index = 0; index < PER_LIAR; index++) {
        unsigned char drop[4096];
        for (int round = 0; round < 10; round++)
            if (letters[index] == 's') {
                must(recv(sockets[index], drop, sizeof drop, 0) > 0, "a stream");
                must(send(sockets[index], "x", 1, 0) == 1, "against the stream");
            } else {
                must(exchange(sockets[index], &random, 16, PATIENCE_MS) == 1, "a warm connection");
            }
        struct axio_status status = {0};
        on_ring += ioctl(sockets[index], AXIO_SIOCSTATUS, &status) == 0 && status.path == AXIO_PATH_SHARED_MEMORY;
    }
    /* It is warm: from here on only its own lies can make it hang. */
    alarm(shared->linger ? 60 : 3);
    find_regions();
    __sync_fetch_and_add(&shared->liars, 1);
    __sync_fetch_and_add(&shared->accelerated, on_ring);
    if (region_count == 0)
        leave_without_a_word();
    lie.random = next_random(&random);
    unsigned mode = shared->linger ? TARGETS + 2 : seed % (TARGETS + 3);
    int victims_first = 0;
    if (mode == TARGETS + 2) {
        for (int index = 0; index < PER_LIAR; index++)
            lie_once(sockets[index], shared->linger ? seed : (unsigned)(next_random(&random) >> 8));
        if (!shared->linger)
            usleep(3000);
    } else if (mode == TARGETS) {
        for (int index = 0; index < PER_LIAR; index++)
            if (letters[index] != 's')
                lie_about_the_ring(sockets[index], &random);
    } else if (mode == TARGETS + 1) {
        /* No word is touched: bytes that nobody counted, and bells that were never due. */
        for (int round = 0; round < 200; round++) {
            unsigned char bytes[100] = {0};
            raw(SYS_sendto, sockets[next_random(&random) % PER_LIAR], (long)bytes, 1 + (long)(next_random(&random) % 100));
            lie.count++;
        }
    } else {
        pthread_t thread;
        lie.target = (enum target)mode;
        if (mode == ONE_ENTRY) {
            if (!find_entry(sockets[0]))
                leave_without_a_word();
            victims_first = 1; /* the others go on as if nothing were */
        }
        must(pthread_create(&thread, 0, scribble, 0) == 0, "a thread");
        unsigned char bytes[4096] = {1};
        for (long end = now_ms() + 8 + (long)(next_random(&random) % 16); now_ms() < end;) {
            int index = victims_first ? 0 : (int)(next_random(&random) % PER_LIAR);
            size_t count = 1 + next_random(&random) % (next_random(&random) % 4 ? 32 : 4096);
            switch (next_random(&random) % 4) {
            case 0: send(sockets[index], bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT); break;
            case 1: recv(sockets[index], bytes, sizeof bytes, MSG_DONTWAIT); break;
            case 2: raw(SYS_sendto, sockets[index], (long)bytes, 1 + (long)(next_random(&random) % 3)); break;
            default: usleep(50);
            }
            if (victims_first)
                for (int other = 1; other < PER_LIAR; other++)
                    if (letters[other] != 's' && exchange(sockets[other], &random, 32, PATIENCE_MS) != 1)
                        fail("liar", "a connection of its own that it did not lie about");
        }
        lie.stop = 1;
        pthread_join(thread, 0);
        for (int index = 0; index < PER_LIAR; index++) /* whoever sleeps is to look */
            if (index == 0 || !victims_first)
                raw(SYS_sendto, sockets[index], (long)bytes, 1);
    }
    __sync_fetch_and_add(&shared->scribbles, lie.count);
    leave_without_a_word();
}

/* ---- the director: has no socket, so that nobody is anybody's relative */

static pid_t start(void (*role)(unsigned), unsigned number)
{
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0)
        role(number);
    return child;
}

static void as_victim(unsigned number)
{
    (void)number;
    victim();
}

static void check(pid_t child, const char *who)
{
    int status;
    if (shared->failed)
        exit(1);
    if (waitpid(child, &status, WNOHANG) == child) {
        fprintf(stderr, "%s has ended: %s %d\n", who, WIFSIGNALED(status) ? "signal" : "status",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        exit(1);
    }
}

static pid_t the_victim, the_honest[2];

/* Clock ticks of CPU time that a process has used (proc(5)). */
static long cpu_of(pid_t process)
{
    char name[64], text[1024] = {0};
    unsigned long user = 0, system = 0;
    snprintf(name, sizeof name, "/proc/%d/stat", process);
    int file = open(name, O_RDONLY | O_CLOEXEC);
    must(file >= 0 && read(file, text, sizeof text - 1) > 0, "the victim's CPU time");
    close(file);
    must(sscanf(strrchr(text, ')') + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) == 2,
         "the victim's CPU time");
    return (long)(user + system);
}

/* Liars that stay alive behind their lies, silent: nobody may spin on one. CPU time of the victim, percent of the second
 * or more for which this process slept. */
static long cpu_of_a_silent_second(void)
{
    pid_t liars[SILENT];
    int status;
    shared->linger = 1;
    for (unsigned index = 0; index < SILENT; index++) {
        liars[index] = start(liar, index);
        for (long began = now_ms(); shared->lingering <= (long)index; usleep(500)) {
            check(the_victim, "the victim");
            must(now_ms() - began < PATIENCE_MS, "a liar that hangs");
        }
    }
    shared->quiet = 1;
    usleep(300000);
    long began = now_ms(), before = cpu_of(the_victim);
    usleep(1000000);
    long used = cpu_of(the_victim) - before, lasted_ms = now_ms() - began;
    if (getenv("SHOW"))
        usleep(10000000);
    shared->quiet = 0;
    shared->leave = 1;
    for (unsigned index = 0; index < SILENT; index++)
        waitpid(liars[index], &status, 0);
    return used * 100 * 1000 / sysconf(_SC_CLK_TCK) / lasted_ms;
}

static void stop_all(void)
{
    pid_t all[] = {the_victim, the_honest[0], the_honest[1]};
    for (size_t index = 0; index < sizeof all / sizeof *all; index++)
        if (all[index] > 0)
            kill(all[index], SIGKILL);
}

int main(int count, char **words)
{
    unsigned first = count > 2 ? (unsigned)atoi(words[1]) : 0, seeds = count > 2 ? (unsigned)atoi(words[2]) : 100;
    shared = mmap(0, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(shared != MAP_FAILED, "mmap");
    the_victim = start(as_victim, 0);
    atexit(stop_all);
    while (!shared->port) {
        check(the_victim, "the victim");
        usleep(1000);
    }
    the_honest[0] = start(honest, 0);
    the_honest[1] = start(honest, 1);
    long beat = 0, beaten_ms = now_ms();
    for (unsigned seed = first; seed < first + seeds; seed++) {
        pid_t child = start(liar, seed);
        int status, is_over;
        do {
            is_over = waitpid(child, &status, WNOHANG) == child;
            check(the_victim, "the victim");
            check(the_honest[0], "an honest process");
            check(the_honest[1], "an honest process");
            if (shared->beat != beat) {
                beat = shared->beat;
                beaten_ms = now_ms();
            } else if (now_ms() - beaten_ms > PATIENCE_MS) {
                fprintf(stderr, "seed %u: honest processes hang\n", seed);
                return 1;
            }
            if (!is_over)
                usleep(500);
        } while (!is_over);
        if (shared->failed) {
            fprintf(stderr, "seed %u\n", seed);
            return 1;
        }
    }
    long silent_percent = cpu_of_a_silent_second();
    /* Every connection of a liar has ended; only those of the honest are left. */
    for (long started = now_ms(); shared->open != 2 * 4 * HONEST_PER_KIND; usleep(1000)) {
        check(the_victim, "the victim");
        if (now_ms() - started > PATIENCE_MS) {
            fprintf(stderr, "%ld connections of liars never end\n", shared->open - 2 * 4 * HONEST_PER_KIND);
            return 1;
        }
    }
    shared->stop = 1;
    for (int index = 0; index < 2; index++) {
        int status;
        if (waitpid(the_honest[index], &status, 0) < 0 || status != 0) {
            fprintf(stderr, "an honest process: status %x\n", status);
            return 1;
        }
        the_honest[index] = 0;
    }
    int last = connect_to(shared->port), status;
    must(send(last, "q", 1, 0) == 1, "the end");
    if (waitpid(the_victim, &status, 0) < 0 || status != 0) {
        fprintf(stderr, "the victim: status %x\n", status);
        return 1;
    }
    the_victim = 0;
    printf("liars %ld accelerated %ld scribbles %ld resets %ld ends %ld honest %ld ring_bytes %ld silent_percent %ld\n",
           shared->liars,
           shared->accelerated, shared->scribbles, shared->resets, shared->ends, shared->honest, shared->ring_bytes,
           silent_percent);
    return 0;
}
