/* Readiness under stress: connections of several processes, watched in every way there is, under random traffic.
 *
 * Every wait is without end, so a lost wake-up is an answer that never comes; the producers notice. Where one thread
 * alone reads a connection, what is reported must be so: a receive, or a send, that finds nothing behind a report is
 * spurious. (A set of sets can be told by a bell whose bytes were read meanwhile; those are counted, and few.)
 *
 *   stress  PRODUCERS CONNECTIONS DURATION_MS PATIENCE_MS */
#include "common.h"
#include "producer.h"

#define SHARED_THREADS 4
#define STOP UINT64_MAX

struct connection {
    int descriptor;
    enum group group;
    unsigned events;     /* as registered */
    unsigned flood_left; /* bytes to be poured */
    int is_blocked;      /* a send found no room */
    int ended;
    pthread_mutex_t reading;
};

static struct connection all[PRODUCERS_MAX * CONNECTIONS_MAX];
static int connections_in_all;
static int shared_set, exclusive_sets[2], alone_set, inner_set, outer_set, flood_set, stop[2];
static sem_t released[PRODUCERS_MAX];
/* Each has one writer. */
static long spurious[GROUPS], reports[GROUPS], hollow;

/* Without end. A debugger may interrupt it. */
static int wait_in(int set, struct epoll_event *events, int room)
{
    int count;
    while ((count = epoll_wait(set, events, room, -1)) < 0 && errno == EINTR) {
    }
    must(count > 0, "epoll_wait");
    return count;
}

static void add(int set, struct connection *one, unsigned events)
{
    struct epoll_event event = {.events = events, .data.ptr = one};
    one->events = events;
    must(epoll_ctl(set, EPOLL_CTL_ADD, one->descriptor, &event) == 0, "EPOLL_CTL_ADD");
}

static void remove_from(int set, struct connection *one)
{
    must(epoll_ctl(set, EPOLL_CTL_DEL, one->descriptor, 0) == 0, "EPOLL_CTL_DEL");
}

static void answer(struct connection *one, const struct message *message)
{
    if (message->kind == HOLD)
        while (sem_wait(&released[message->producer]) < 0) {
        }
    if (message->kind == RELEASE)
        sem_post(&released[message->producer]);
    if (message->kind == POUR) {
        one->flood_left += FLOOD_BYTES;
        return;
    }
    ssize_t sent = send(one->descriptor, message, sizeof *message, MSG_NOSIGNAL);
    must(sent == sizeof *message || (sent < 0 && (errno == EPIPE || errno == ECONNRESET)), "an answer");
}

/* Takes one message, or all; true when there was something. Answers are sent behind the lock, for one may take long. */
static int take(struct connection *one, int all_of_it)
{
    struct message messages[64];
    int count = 0, found = 0;
    pthread_mutex_lock(&one->reading);
    while (count < 64) {
        ssize_t got = recv(one->descriptor, &messages[count], sizeof messages[count], 0);
        found |= got >= 0 || errno != EAGAIN;
        if (got == 0 || (got < 0 && errno != EAGAIN))
            one->ended = 1;
        if (got <= 0)
            break;
        if (got < (ssize_t)sizeof messages[count])
            exactly(one->descriptor, (char *)&messages[count] + got, sizeof messages[count] - (size_t)got);
        count++;
        if (!all_of_it)
            break;
    }
    pthread_mutex_unlock(&one->reading);
    must(count < 64, "room for what one producer sends at once");
    for (int index = 0; index < count; index++)
        answer(one, &messages[index]);
    return found;
}

/* Several threads, one set: whoever comes second may find nothing. */
static void *serve_shared(void *argument)
{
    int set = *(int *)argument;
    for (;;) {
        struct epoll_event event;
        wait_in(set, &event, 1);
        if (event.data.u64 == STOP)
            return 0;
        struct connection *one = event.data.ptr;
        take(one, 1);
        if (one->ended) {
            epoll_ctl(set, EPOLL_CTL_DEL, one->descriptor, 0);
        } else if (one->events & EPOLLONESHOT) {
            event.events = one->events;
            must(epoll_ctl(set, EPOLL_CTL_MOD, one->descriptor, &event) == 0, "EPOLL_CTL_MOD");
        }
    }
}

/* One connection that this thread alone reads was reported. */
static void serve_alone(int set, struct connection *one, unsigned events, unsigned *random)
{
    reports[one->group]++;
    int all_of_it = one->events & (EPOLLET | EPOLLONESHOT) || chance(random, 2);
    if (events & EPOLLIN && !take(one, all_of_it))
        spurious[one->group]++;
    if (set < 0)
        return;
    if (one->ended) {
        remove_from(set, one);
    } else if (one->events & EPOLLONESHOT) {
        struct epoll_event event = {.events = one->events, .data.ptr = one};
        must(epoll_ctl(set, EPOLL_CTL_MOD, one->descriptor, &event) == 0, "EPOLL_CTL_MOD");
    }
}

static void *serve_set_alone(void *argument)
{
    unsigned random = 3;
    (void)argument;
    for (;;) {
        struct epoll_event events[4];
        int count = wait_in(alone_set, events, 1 + (int)chance(&random, 4));
        for (int index = 0; index < count; index++) {
            if (events[index].data.u64 == STOP)
                return 0;
            serve_alone(alone_set, events[index].data.ptr, events[index].events, &random);
        }
    }
}

static void *serve_nested(void *argument)
{
    unsigned random = 5;
    (void)argument;
    for (;;) {
        struct epoll_event event, events[4];
        wait_in(outer_set, &event, 1);
        if (event.data.u64 == STOP)
            return 0;
        int count = epoll_wait(inner_set, events, 1 + (int)chance(&random, 3), 0);
        must(count >= 0, "epoll_wait of the inner set");
        hollow += count == 0;
        for (int index = 0; index < count; index++)
            serve_alone(inner_set, events[index].data.ptr, events[index].events, &random);
    }
}

static void *serve_polled(void *argument)
{
    static struct pollfd entries[PRODUCERS_MAX * CONNECTIONS_MAX + 1];
    static struct connection *watched[PRODUCERS_MAX * CONNECTIONS_MAX];
    unsigned random = 7;
    int count = 0;
    (void)argument;
    for (int index = 0; index < connections_in_all; index++)
        if (all[index].group == POLLED) {
            watched[count] = &all[index];
            entries[count++] = (struct pollfd){all[index].descriptor, POLLIN, 0};
        }
    entries[count] = (struct pollfd){stop[0], POLLIN, 0};
    for (;;) {
        if (chance(&random, 2)) {
            must(poll(entries, (nfds_t)count + 1, -1) > 0, "poll");
        } else {
            fd_set reads;
            FD_ZERO(&reads);
            for (int index = 0; index <= count; index++)
                if (entries[index].fd >= 0)
                    FD_SET(entries[index].fd, &reads);
            must(select(FD_SETSIZE, &reads, 0, 0, 0) > 0, "select");
            for (int index = 0; index <= count; index++)
                entries[index].revents =
                    entries[index].fd >= 0 && FD_ISSET(entries[index].fd, &reads) ? POLLIN : 0;
        }
        if (entries[count].revents)
            return 0;
        for (int index = 0; index < count; index++)
            if (entries[index].revents) {
                serve_alone(-1, watched[index], EPOLLIN, &random);
                if (watched[index]->ended)
                    entries[index].fd = -1;
            }
    }
}

/* Sends until there is no room; behind a report of room there must be some. */
static void pour(struct connection *one, int is_reported)
{
    static const char bytes[1 << 16];
    int first = is_reported && one->is_blocked;
    while (one->flood_left && !one->ended) {
        size_t size = one->flood_left < sizeof bytes ? one->flood_left : sizeof bytes;
        ssize_t sent = send(one->descriptor, bytes, size, MSG_NOSIGNAL);
        if (sent < 0) {
            must(errno == EAGAIN || errno == EPIPE || errno == ECONNRESET, "pouring");
            one->ended = errno != EAGAIN;
            one->is_blocked = 1;
            spurious[FLOOD] += first && !one->ended;
            return;
        }
        first = one->is_blocked = 0;
        one->flood_left -= (unsigned)sent;
    }
}

static void *serve_flood(void *argument)
{
    unsigned random = 9;
    (void)argument;
    for (;;) {
        struct epoll_event event;
        wait_in(flood_set, &event, 1);
        if (event.data.u64 == STOP)
            return 0;
        struct connection *one = event.data.ptr;
        serve_alone(flood_set, one, event.events, &random);
        if (!one->ended)
            pour(one, (event.events & EPOLLOUT) != 0);
    }
}

static void watch(struct connection *one, int number)
{
    const unsigned turns[] = {0, EPOLLET, EPOLLONESHOT};
    switch (one->group) {
    case SHARED_LEVEL: add(shared_set, one, EPOLLIN); break;
    case SHARED_EDGE: add(shared_set, one, EPOLLIN | EPOLLET); break;
    case SHARED_ONE_SHOT: add(shared_set, one, EPOLLIN | EPOLLONESHOT); break;
    case EXCLUSIVE:
        add(exclusive_sets[0], one, EPOLLIN | EPOLLEXCLUSIVE);
        add(exclusive_sets[1], one, EPOLLIN | EPOLLEXCLUSIVE);
        break;
    case ALONE: add(alone_set, one, EPOLLIN | turns[number / GROUPS % 3]); break;
    case NESTED: add(inner_set, one, EPOLLIN | turns[number / GROUPS % 2]); break;
    case FLOOD: add(flood_set, one, EPOLLIN | EPOLLOUT | EPOLLET); break;
    case POLLED:
    case GROUPS: break;
    }
}

/* The next connection: warmed up, then watched by whom its number says. */
static void accept_one(int listener)
{
    struct connection *one = &all[connections_in_all];
    struct message message;
    one->descriptor = accept(listener, 0, 0);
    must(one->descriptor >= 0 && one->descriptor < FD_SETSIZE, "accept");
    setsockopt(one->descriptor, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    pthread_mutex_init(&one->reading, 0);
    for (int round = 0; round < WARM_UP; round++) {
        exactly(one->descriptor, &message, sizeof message);
        must(send(one->descriptor, &message, sizeof message, 0) == sizeof message, "warm up");
    }
    one->group = (enum group)(message.connection % GROUPS);
    fcntl(one->descriptor, F_SETFL, O_NONBLOCK);
    connections_in_all++;
    watch(one, message.connection);
}

static void begin(pthread_t *thread, void *(*serve)(void *), void *argument)
{
    must(pthread_create(thread, 0, serve, argument) == 0, "a thread");
}

int main(int count, char **arguments)
{
    must(count == 5, "four arguments");
    int producers = atoi(arguments[1]), connections = atoi(arguments[2]);
    int duration_ms = atoi(arguments[3]), patience_ms = atoi(arguments[4]);
    must(producers <= PRODUCERS_MAX && connections <= CONNECTIONS_MAX && connections % GROUPS == 0, "small numbers");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    must(bind(listener, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    must(listen(listener, 512) == 0, "listen");
    must(getsockname(listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
    pid_t children[PRODUCERS_MAX];
    make_rounds(producers);
    for (int index = 0; index < producers; index++) {
        sem_init(&released[index], 0, 0);
        if ((children[index] = fork()) == 0) {
            close(listener);
            produce(index, connections, duration_ms, patience_ms, &address);
        }
    }
    must(pipe(stop) == 0, "pipe");
    int *sets[] = {&shared_set, &exclusive_sets[0], &exclusive_sets[1], &alone_set, &inner_set, &outer_set, &flood_set};
    for (size_t index = 0; index < sizeof sets / sizeof *sets; index++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = STOP};
        *sets[index] = epoll_create1(EPOLL_CLOEXEC);
        if (sets[index] != &inner_set)
            must(epoll_ctl(*sets[index], EPOLL_CTL_ADD, stop[0], &event) == 0, "EPOLL_CTL_ADD of the pipe");
    }
    struct epoll_event nested = {.events = EPOLLIN};
    must(epoll_ctl(outer_set, EPOLL_CTL_ADD, inner_set, &nested) == 0, "EPOLL_CTL_ADD of a set");
    pthread_t threads[SHARED_THREADS + 6];
    int begun = 0;
    while (begun < SHARED_THREADS)
        begin(&threads[begun++], serve_shared, &shared_set);
    begin(&threads[begun++], serve_shared, &exclusive_sets[0]);
    begin(&threads[begun++], serve_shared, &exclusive_sets[1]);
    begin(&threads[begun++], serve_set_alone, 0);
    begin(&threads[begun++], serve_nested, 0);
    begin(&threads[begun++], serve_flood, 0);
    for (int index = 0; index < producers * connections; index++)
        accept_one(listener);
    begin(&threads[begun++], serve_polled, 0);
    int worst = GOOD;
    for (int index = 0; index < producers; index++) {
        int status;
        pid_t ended = wait(&status);
        must(ended > 0, "wait");
        int code = WIFEXITED(status) ? WEXITSTATUS(status) : IMPOSSIBLE;
        over |= code != GOOD;
        for (int other = 0; other < producers; other++) {
            if (children[other] == ended)
                children[other] = 0;
            else if (code != GOOD && worst == GOOD && children[other])
                kill(children[other], SIGKILL); /* it would wait for the next round */
        }
        if (worst == GOOD)
            worst = code;
    }
    if (worst != GOOD) {
        /* Its threads may sleep for ever, and the others see the producers' deaths. */
        printf("%s\n", worst == LOST ? "a wake-up was lost" : "not so");
        fflush(stdout);
        _exit(worst);
    }
    must(write(stop[1], "", 1) == 1, "the end");
    for (int index = 0; index < begun; index++)
        pthread_join(threads[index], 0);
    for (int group = 0; group < GROUPS; group++) {
        if (reports[group])
            printf("%s: %ld reports, %ld spurious\n", group_names[group], reports[group], spurious[group]);
        if (worst == GOOD && spurious[group])
            worst = SPURIOUS;
    }
    printf("nested: %ld hollow\n", hollow);
    if (worst == GOOD && hollow > reports[NESTED] / 5)
        worst = SPURIOUS;
    printf("%s\n", worst == GOOD ? "no wake-up was lost" : "not so");
    fflush(stdout);
    _exit(worst);
}
