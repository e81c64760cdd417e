/* What epoll promises, asked of one set: level, edge, one-shot, ends, zombies, mixed and nested sets. Prints what it
 * sees; the kernel's answers and those of the library must be the same text. */
#include "far_side.h"

/* Long enough for anything that is on its way. */
#define SOON 60000
/* Nothing is on its way. */
#define NOT_EVER 20

static int set, one, number;

/* Fills `one`, and shows that it has no more room. A ring that stays full for 10 ms gives way to the kernel, where there is
 * room: whoever had no processor for that time between the two fills that, too. */
static void show_full(void)
{
    int count, tries = 0;
    long began_ms;
    do {
        do
            began_ms = now_ms();
        while (send(one, scratch, 4096, 0) > 0);
        count = epoll_wait(set, events, 8, 0);
    } while (count > 0 && now_ms() - began_ms > 8 && ++tries < 100);
    say(count);
}

static void level(void)
{
    printf("level:");
    add(set, one, EPOLLIN, 1);
    show(set, 8, 0);
    tell(SEND, number, 4);
    show(set, 8, SOON);
    show(set, 8, SOON);
    take(one, 2);
    show(set, 8, SOON);
    take(one, 2);
    show(set, 8, NOT_EVER);
    mod(set, one, EPOLLIN | EPOLLOUT, 2);
    show(set, 8, 0);
    show(set, 8, 0);
    tell(SEND, number, 1);
    show(set, 8, SOON);
    take(one, 1);
    show(set, 8, 0);
    printf("\nlevel, while it sleeps:");
    mod(set, one, EPOLLIN, 3);
    struct later later = {SEND, number, 3, 50};
    pthread_t thread;
    pthread_create(&thread, 0, do_later, &later);
    show(set, 8, SOON);
    pthread_join(thread, 0);
    printf(" took %d", take(one, 3));
    show(set, 8, 0);
}

static void control(void)
{
    struct epoll_event event = {.events = EPOLLIN};
    printf("\ncontrol:");
    tell(SEND, number, 1);
    mod(set, one, 0, 4);
    show(set, 8, NOT_EVER);
    mod(set, one, EPOLLOUT, 5);
    show(set, 8, SOON);
    mod(set, one, EPOLLIN, 6);
    show(set, 8, SOON);
    printf(" %s", epoll_ctl(set, EPOLL_CTL_ADD, one, &event) ? strerror(errno) : "added");
    printf(" %s", epoll_ctl(set, EPOLL_CTL_DEL, one, 0) ? strerror(errno) : "removed");
    show(set, 8, NOT_EVER);
    printf(" %s", epoll_ctl(set, EPOLL_CTL_DEL, one, 0) ? strerror(errno) : "removed");
    printf(" %s", epoll_ctl(set, EPOLL_CTL_MOD, one, &event) ? strerror(errno) : "modified");
    add(set, one, EPOLLIN, 7);
    show(set, 8, SOON);
    epoll_ctl(set, EPOLL_CTL_DEL, one, 0);
    add(set, one, EPOLLIN, 8);
    show(set, 8, SOON);
    printf(" took %d", take(one, 1));
    printf(" %s", epoll_wait(set, events, 0, 0) < 0 ? strerror(errno) : "waited for nothing");
    printf(" %s", epoll_wait(one, events, 1, 0) < 0 ? strerror(errno) : "waited on a socket");
}

static void edge(void)
{
    printf("\nedge:");
    mod(set, one, EPOLLIN | EPOLLET, 9);
    show(set, 8, 0);
    tell(SEND, number, 2);
    show(set, 8, SOON);
    show(set, 8, NOT_EVER);
    tell(SEND, number, 1);
    show(set, 8, SOON);
    tell(SEND, number, 1);
    arrive(one, 4);
    printf(" took %d", take(one, 100));
    show(set, 8, NOT_EVER);
    tell(SEND, number, 4);
    show(set, 8, SOON);
    take(one, 2);
    show(set, 8, NOT_EVER);
    mod(set, one, EPOLLIN | EPOLLET, 10);
    show(set, 8, SOON);
    take(one, 2);
    mod(set, one, EPOLLIN | EPOLLOUT | EPOLLET, 11);
    show(set, 8, SOON);
    show(set, 8, 0);
    tell(SEND, number, 1);
    show(set, 8, SOON);
    take(one, 1);
    printf("\nedge, room:");
    while (send(one, scratch, 4096, 0) > 0) {
    }
    printf(" %s", strerror(errno));
    tell(DRAIN, number, 0);
    show(set, 8, SOON);
    printf("\nlevel, room:");
    mod(set, one, EPOLLOUT, 12);
    show(set, 8, 0);
    show_full();
    tell(DRAIN, number, 0);
    show(set, 8, SOON);
}

static void one_shot(void)
{
    printf("\none-shot:");
    mod(set, one, EPOLLIN | EPOLLONESHOT, 13);
    tell(SEND, number, 1);
    show(set, 8, SOON);
    tell(SEND, number, 1);
    show(set, 8, NOT_EVER);
    mod(set, one, EPOLLIN | EPOLLONESHOT, 14);
    show(set, 8, SOON);
    show(set, 8, NOT_EVER);
    mod(set, one, EPOLLIN, 15);
    arrive(one, 2);
    printf(" took %d", take(one, 2));
}

static void ends(void)
{
    pthread_t thread;
    printf("\nhalf close:");
    mod(set, one, 0, 16);
    tell(SHUT, number, 0);
    show(set, 8, NOT_EVER);
    mod(set, one, EPOLLIN | EPOLLRDHUP, 17);
    show(set, 8, SOON);
    printf(" recv %zd", recv(one, scratch, 9, 0));
    show(set, 8, SOON);
    mod(set, one, EPOLLOUT, 18);
    show(set, 8, SOON);
    shutdown(one, SHUT_WR);
    nap_ms(5);
    mod(set, one, EPOLLIN | EPOLLRDHUP, 19);
    show(set, 8, SOON);
    mod(set, one, 0, 20);
    show(set, 8, SOON);
    close(one);
    show(set, 8, 0);
    printf("\nhalf close while it sleeps:");
    one = connection();
    add(set, one, EPOLLIN | EPOLLRDHUP | EPOLLET, 21);
    show(set, 8, 0);
    struct later later = {SHUT, connections - 1, 0, 50};
    pthread_create(&thread, 0, do_later, &later);
    show(set, 8, SOON);
    pthread_join(thread, 0);
    /* The kernel wakes for a FIN twice; whoever is as quick as the second of them is told of the same once more. */
    int again = epoll_wait(set, events, 8, NOT_EVER);
    printf(" %s", again == 0 || (again == 1 && events[0].events == (EPOLLIN | EPOLLRDHUP)) ? "nothing else" : "more");
    close(one);
    printf("\nbytes in front of an end:");
    one = connection();
    add(set, one, EPOLLIN | EPOLLRDHUP, 22);
    tell(SEND, connections - 1, 5);
    tell(SHUT, connections - 1, 0);
    arrive(one, 5);
    end_arrives(one, POLLRDHUP);
    show(set, 8, SOON);
    printf(" took %d", take(one, 5));
    show(set, 8, SOON);
    printf(" recv %zd", recv(one, scratch, 9, 0));
    close(one);
    printf("\nclose:");
    one = connection();
    add(set, one, EPOLLIN, 23);
    tell(CLOSE, connections - 1, 0);
    show(set, 8, SOON);
    printf(" recv %zd", recv(one, scratch, 9, 0));
    show(set, 8, SOON);
    close(one);
    printf("\nreset:");
    one = connection();
    add(set, one, EPOLLIN, 24);
    tell(RESET, connections - 1, 0);
    end_arrives(one, 0);
    show(set, 8, SOON);
    printf(" recv %s", recv(one, scratch, 9, 0) < 0 ? strerror(errno) : "an end");
    printf(" recv %zd", recv(one, scratch, 9, 0));
    close(one);
}

/* Events of one wait, sorted by data: the order of different members is not promised. */
static void show_sorted(int maximum, int timeout_ms)
{
    int count = epoll_wait(set, events, maximum, timeout_ms);
    printf(" %d", count);
    for (uint64_t data = 0; data < 200; data++)
        for (int index = 0; index < count; index++)
            if (events[index].data.u64 == data)
                printf("(%s %lu)", bits(events[index].events), (unsigned long)data);
}

static void several(void)
{
    int members[3], pipes[2], seen[3] = {0};
    printf("\nroom for one event:");
    close(set);
    set = epoll_create1(EPOLL_CLOEXEC);
    for (int index = 0; index < 3; index++) {
        members[index] = connection();
        add(set, members[index], EPOLLIN, (uint64_t)index);
        tell(SEND, connections - 1, 1);
    }
    int first = connections - 3;
    for (int index = 0; index < 3; index++)
        arrive(members[index], 1);
    for (int round = 0; round < 9; round++)
        if (epoll_wait(set, events, 1, SOON) == 1)
            seen[events[0].data.u64]++;
    printf(" %d %d %d", seen[0], seen[1], seen[2]);
    printf("\nwith a pipe:");
    must(pipe(pipes) == 0, "pipe");
    add(set, pipes[0], EPOLLIN, 100);
    must(write(pipes[1], "x", 1) == 1, "write");
    nap_ms(1);
    show_sorted(8, SOON);
    int from_pipe = 0;
    /* Rings and the kernel take turns by time, not by call; but a time in which this thread has no processor is nobody's turn.
     * So many calls take 25 ms and more: hundreds of turns. */
    for (int calls = 0; from_pipe <= 10 && calls < 100000; calls++)
        if (epoll_wait(set, events, 1, SOON) == 1)
            from_pipe += events[0].data.u64 == 100;
    printf(" the pipe %s", from_pipe > 10 ? "has its turns" : "starves");
    must(read(pipes[0], scratch, 1) == 1, "read");
    for (int index = 0; index < 3; index++)
        take(members[index], 1);
    nap_ms(1);
    show_sorted(8, 0);
    must(write(pipes[1], "x", 1) == 1, "write");
    show_sorted(8, SOON);
    must(read(pipes[0], scratch, 1) == 1, "read");
    printf("\none socket under two numbers:");
    int twin = dup(members[0]), old = members[0];
    add(set, twin, EPOLLIN, 10);
    tell(SEND, first, 1);
    arrive(old, 1);
    show_sorted(8, SOON);
    close(old);
    nap_ms(1);
    show_sorted(8, SOON);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 11};
    printf(" %s", epoll_ctl(set, EPOLL_CTL_DEL, old, 0) ? strerror(errno) : "removed");
    int again = fcntl(members[1], F_DUPFD, old);
    printf(" %s number", again == old ? "the same" : "another");
    printf(" %s", epoll_ctl(set, EPOLL_CTL_ADD, again, &event) ? strerror(errno) : "added");
    tell(SEND, first + 1, 1);
    arrive(members[1], 1);
    show_sorted(8, SOON);
    close(again);
    close(twin);
    take(members[1], 1);
    nap_ms(1);
    show_sorted(8, 0);
    printf("\none data for two:");
    mod(set, members[1], EPOLLIN, 100);
    must(write(pipes[1], "x", 1) == 1, "write");
    show_sorted(8, SOON);
    must(read(pipes[0], scratch, 1) == 1, "read");
    nap_ms(1);
    show_sorted(8, 0);
    tell(SEND, first + 1, 1);
    show_sorted(8, SOON);
    take(members[1], 1);
    nap_ms(1);
    show_sorted(8, 0);
    mod(set, members[1], EPOLLIN, 1);
    one = members[1];
    number = first + 1;
    close(pipes[0]);
    close(pipes[1]);
}

static void nested(void)
{
    int outer = epoll_create1(EPOLL_CLOEXEC);
    struct pollfd entry = {set, POLLIN, 0};
    pthread_t thread;
    printf("\na set in a set:");
    add(outer, set, EPOLLIN, 30);
    show(outer, 8, 0);
    tell(SEND, number, 1);
    show(outer, 8, SOON);
    printf(" poll %d", poll(&entry, 1, SOON));
    show(set, 8, 0);
    show(outer, 8, SOON);
    take(one, 1);
    show(set, 8, 0);
    show(outer, 8, NOT_EVER);
    printf(" poll %d", poll(&entry, 1, NOT_EVER));
    struct later later = {SEND, number, 1, 50};
    pthread_create(&thread, 0, do_later, &later);
    show(outer, 8, SOON);
    pthread_join(thread, 0);
    show(set, 8, 0);
    take(one, 1);
    show(set, 8, 0);
    mod(outer, set, EPOLLIN | EPOLLET, 31);
    show(outer, 8, 0);
    tell(SEND, number, 1);
    show(outer, 8, SOON);
    show(outer, 8, NOT_EVER);
    take(one, 1);
    show(set, 8, 0);
    close(outer);
}

static void duplicate(void)
{
    printf("\na set by its duplicate:");
    int twin = dup(set);
    close(set);
    set = twin;
    tell(SEND, number, 1);
    show(set, 8, SOON);
    take(one, 1);
    show(set, 8, 0);
    tell(SEND, number, 1);
    arrive(one, 1);
    epoll_ctl(set, EPOLL_CTL_DEL, one, 0);
    show(set, 8, 0);
    add(set, one, EPOLLIN, 40);
    show(set, 8, SOON);
    take(one, 1);
}

static void time_outs(void)
{
    struct timespec brief = {0, 3500000};
    printf("\ntime-outs:");
    long start = now_ms();
    show(set, 8, 50);
    printf(" %s", now_ms() - start >= 50 ? "50 ms" : "too soon");
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    printf(" %d", epoll_pwait2(set, events, 8, &brief, 0));
    clock_gettime(CLOCK_MONOTONIC, &after);
    long ns = (after.tv_sec - before.tv_sec) * 1000000000L + after.tv_nsec - before.tv_nsec;
    printf(" %s", ns >= brief.tv_nsec ? "3.5 ms" : "too soon");
    brief.tv_nsec = 1000000000;
    printf(" %s", epoll_pwait2(set, events, 8, &brief, 0) < 0 ? strerror(errno) : "waited");
}

/* The set knows the socket before it is connected, and a listener of this process is its far side. */
static void added_first(void)
{
    int early = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), good = 0;
    int mine = epoll_create1(EPOLL_CLOEXEC);
    printf("\nadded before connect:");
    add(mine, early, EPOLLIN | EPOLLOUT | EPOLLET, 50);
    must(connect(early, (struct sockaddr *)&address, sizeof address) == 0 || errno == EINPROGRESS, "connect");
    int accepted = accept(listener, 0, 0);
    must(accepted >= 0, "accept");
    pid_t child = fork();
    if (child == 0) {
        char text[10];
        close(early);
        for (ssize_t count; (count = recv(accepted, text, sizeof text, 0)) > 0;)
            send(accepted, text, (size_t)count, MSG_NOSIGNAL);
        _exit(0);
    }
    close(accepted);
    for (int round = 0; round < 40; round++) {
        ssize_t count = -1;
        send(early, "0123456789", 10, 0);
        for (int tries = 0; tries < 50 && count < 0; tries++) {
            epoll_wait(mine, events, 8, SOON);
            count = recv(early, scratch, 10, 0);
        }
        good += count == 10;
    }
    printf(" %d of 40", good);
    close(early);
    close(mine);
    waitpid(child, 0, 0);
}

int main(void)
{
    begin();
    set = epoll_create1(EPOLL_CLOEXEC);
    one = connection();
    number = connections - 1;
    level();
    control();
    edge();
    one_shot();
    ends();
    several();
    nested();
    duplicate();
    time_outs();
    added_first();
    printf("\n");
    return 0;
}
