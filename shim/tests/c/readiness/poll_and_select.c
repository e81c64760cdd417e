/* poll, ppoll, select and pselect over sockets, a pipe and closed numbers; signals and time-outs. Prints what it sees. */
#include "far_side.h"

#define SOON 60000
#define NOT_EVER 20

static int one, two, pipes[2];

static void show_poll(struct pollfd *entries, int count, int timeout_ms)
{
    printf(" %d", poll(entries, (nfds_t)count, timeout_ms));
    for (int index = 0; index < count; index++)
        printf(":%s", bits((unsigned)(unsigned short)entries[index].revents));
}

static void polls(void)
{
    struct pollfd three[3] = {{one, POLLIN, 0}, {two, POLLIN | POLLOUT, 0}, {pipes[0], POLLIN, 0}};
    pthread_t thread;
    printf("poll:");
    show_poll(three, 3, 0);
    three[1].events = POLLIN;
    show_poll(three, 3, NOT_EVER);
    tell(SEND, 0, 1);
    show_poll(three, 3, SOON);
    must(write(pipes[1], "x", 1) == 1, "write");
    show_poll(three, 3, SOON);
    take(one, 1);
    show_poll(three, 3, SOON);
    must(read(pipes[0], scratch, 1) == 1, "read");
    struct later later = {SEND, 1, 1, 50};
    pthread_create(&thread, 0, do_later, &later);
    show_poll(three, 3, SOON);
    pthread_join(thread, 0);
    take(two, 1);
    three[0].fd = -1;
    three[2].fd = 999;
    show_poll(three, 3, SOON);
    printf("\nmany entries:");
    struct pollfd many[200];
    for (int index = 0; index < 200; index++)
        many[index] = (struct pollfd){index == 150 ? one : index == 170 ? two : -1, POLLIN, 0};
    later = (struct later){SEND, 1, 1, 50};
    pthread_create(&thread, 0, do_later, &later);
    printf(" %d", poll(many, 200, SOON));
    printf(":%s:%s", bits((unsigned)many[150].revents), bits((unsigned)many[170].revents));
    pthread_join(thread, 0);
    take(two, 1);
    printf("\nroom:");
    struct pollfd single = {two, POLLOUT, 0};
    while (send(two, scratch, 4096, 0) > 0) {
    }
    printf(" %s", strerror(errno));
    tell(DRAIN, 1, 0);
    show_poll(&single, 1, SOON);
    printf("\nnothing asked:");
    single.events = 0;
    tell(SEND, 1, 1);
    show_poll(&single, 1, NOT_EVER);
    single.events = POLLRDHUP;
    show_poll(&single, 1, NOT_EVER);
    tell(SHUT, 1, 0);
    show_poll(&single, 1, SOON);
    single.events = POLLIN;
    show_poll(&single, 1, SOON);
    take(two, 1);
    shutdown(two, SHUT_WR);
    nap_ms(5);
    show_poll(&single, 1, SOON);
}

static void selects(void)
{
    fd_set reads, writes;
    struct timeval time = {0, NOT_EVER * 1000};
    struct timespec brief = {0, NOT_EVER * 1000000L};
    printf("\nselect:");
    FD_ZERO(&reads);
    FD_ZERO(&writes);
    FD_SET(one, &reads);
    FD_SET(pipes[0], &reads);
    FD_SET(one, &writes);
    int count = select(64, &reads, &writes, 0, &time);
    printf(" %d:%d%d%d", count, !!FD_ISSET(one, &reads), !!FD_ISSET(pipes[0], &reads), !!FD_ISSET(one, &writes));
    FD_SET(one, &reads);
    FD_SET(pipes[0], &reads);
    time = (struct timeval){0, NOT_EVER * 1000};
    count = select(64, &reads, 0, 0, &time);
    printf(" %d:%d%d left %ld", count, !!FD_ISSET(one, &reads), !!FD_ISSET(pipes[0], &reads), (long)time.tv_usec);
    FD_SET(one, &reads);
    FD_SET(pipes[0], &reads);
    tell(SEND, 0, 1);
    time = (struct timeval){SOON / 1000, 0};
    count = select(64, &reads, 0, 0, &time);
    printf(" %d:%d%d %s", count, !!FD_ISSET(one, &reads), !!FD_ISSET(pipes[0], &reads),
           time.tv_sec > 0 ? "time left" : "no time left");
    take(one, 1);
    FD_SET(one, &reads);
    FD_SET(63, &reads);
    printf(" %s", select(64, &reads, 0, 0, &time) < 0 ? strerror(errno) : "no error");
    FD_ZERO(&reads);
    FD_SET(one, &reads);
    printf(" %d", pselect(64, &reads, 0, 0, &brief, 0));
    brief.tv_nsec = -1;
    printf(" %s", pselect(64, &reads, 0, 0, &brief, 0) < 0 ? strerror(errno) : "no error");
}

static volatile int handled;
static void handle(int signal)
{
    (void)signal;
    handled++;
}

static volatile int is_calling;

/* The main thread sleeps, in the call that it has told of. */
static int sleeps(void)
{
    char name[64], text[512] = {0};
    snprintf(name, sizeof name, "/proc/self/task/%d/stat", (int)getpid());
    int file = open(name, O_RDONLY | O_CLOEXEC);
    must(file >= 0 && read(file, text, sizeof text - 1) > 0, name);
    close(file);
    const char *state = strrchr(text, ')');
    must(state != 0, name);
    return is_calling && state[2] == 'S';
}

/* One signal, when the main thread has fallen asleep. */
static void *signal_later(void *target)
{
    do
        nap_ms(10);
    while (!sleeps());
    pthread_kill(*(pthread_t *)target, SIGUSR1);
    return 0;
}

static void signal_me_later(pthread_t *thread)
{
    static pthread_t me;
    me = pthread_self();
    is_calling = 0;
    pthread_create(thread, 0, signal_later, &me);
}

static void interrupted(void)
{
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
    struct pollfd entry = {one, POLLIN, 0};
    struct epoll_event event;
    struct timeval time = {SOON / 1000, 0};
    struct timespec none = {0, 0};
    pthread_t thread;
    sigset_t blocked, empty;
    fd_set reads;
    int set = epoll_create1(EPOLL_CLOEXEC);
    add(set, one, EPOLLIN, 1);
    sigaction(SIGUSR1, &action, 0);
    printf("\nsignals:");
    signal_me_later(&thread);
    printf(" %s", (is_calling = 1, epoll_wait(set, &event, 1, SOON)) < 0 ? strerror(errno) : "no error");
    pthread_join(thread, 0);
    signal_me_later(&thread);
    printf(" %s", (is_calling = 1, poll(&entry, 1, SOON)) < 0 ? strerror(errno) : "no error");
    pthread_join(thread, 0);
    FD_ZERO(&reads);
    FD_SET(one, &reads);
    signal_me_later(&thread);
    printf(" %s", (is_calling = 1, select(64, &reads, 0, 0, &time)) < 0 ? strerror(errno) : "no error");
    pthread_join(thread, 0);
    printf(" handled %d", handled);
    printf("\nsignals that a mask lets in:");
    sigemptyset(&blocked);
    sigemptyset(&empty);
    sigaddset(&blocked, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &blocked, 0);
    raise(SIGUSR1);
    printf(" %s", epoll_pwait(set, &event, 1, SOON, &empty) < 0 ? strerror(errno) : "no error");
    raise(SIGUSR1);
    printf(" %d", epoll_pwait(set, &event, 1, 0, &empty));
    printf(" %s", ppoll(&entry, 1, &none, &empty) < 0 ? strerror(errno) : "no error");
    raise(SIGUSR1);
    tell(SEND, 0, 1);
    arrive(one, 1);
    printf(" ready %d", epoll_pwait(set, &event, 1, SOON, &empty));
    printf(" %d", ppoll(&entry, 1, 0, &empty));
    take(one, 1);
    printf(" %s", ppoll(&entry, 1, 0, &empty) < 0 ? strerror(errno) : "no error");
    printf(" handled %d", handled);
    close(set);
}

int main(void)
{
    begin();
    must(pipe(pipes) == 0, "pipe");
    one = connection();
    two = connection();
    polls();
    selects();
    interrupted();
    printf("\n");
    return 0;
}
