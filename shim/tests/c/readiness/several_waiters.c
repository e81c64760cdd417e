/* Several sets, threads and processes that wait for one socket. Prints what became of each. */
#include "far_side.h"

#define SOON 60000
#define ROUNDS 40

static int one, number, sets[2];
static volatile int woken[3];

static void *wait_in_set(void *argument)
{
    long which = (long)argument;
    struct epoll_event event;
    woken[which] = epoll_wait(sets[which], &event, 1, SOON) == 1 && event.data.u64 == (uint64_t)which;
    return 0;
}

static void *wait_in_poll(void *argument)
{
    struct pollfd entry = {one, POLLIN, 0};
    (void)argument;
    woken[2] = poll(&entry, 1, SOON) == 1;
    return 0;
}

static void *wait_in_recv(void *argument)
{
    char byte;
    (void)argument;
    struct pollfd entry = {one, POLLIN, 0};
    while (recv(one, &byte, 1, 0) < 0 && errno == EAGAIN)
        poll(&entry, 1, SOON);
    return 0;
}

static void two_sets(void)
{
    int both = 0, all = 0;
    pthread_t threads[3];
    for (long which = 0; which < 2; which++) {
        sets[which] = epoll_create1(EPOLL_CLOEXEC);
        add(sets[which], one, EPOLLIN, (uint64_t)which);
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (long which = 0; which < 2; which++)
            pthread_create(&threads[which], 0, wait_in_set, (void *)which);
        pthread_create(&threads[2], 0, wait_in_poll, 0);
        nap_ms(round % 3);
        tell(SEND, number, 1);
        for (int which = 0; which < 3; which++)
            pthread_join(threads[which], 0);
        both += woken[0] && woken[1];
        all += woken[0] && woken[1] && woken[2];
        take(one, 1);
    }
    printf("two sets and a poll on one socket: both sets %d, all %d of %d\n", both, all, ROUNDS);
    close(sets[0]);
    pthread_create(&threads[1], 0, wait_in_set, (void *)1);
    nap_ms(20);
    tell(SEND, number, 1);
    pthread_join(threads[1], 0);
    printf("the first of the sets is closed: %d\n", woken[1]);
    take(one, 1);
    close(sets[1]);
}

/* Edge-triggered: every arrival wakes a set, also when another thread takes the bytes at once. */
static void set_and_receiver(void)
{
    int seen = 0;
    pthread_t threads[2];
    sets[0] = epoll_create1(EPOLL_CLOEXEC);
    add(sets[0], one, EPOLLIN | EPOLLET, 0);
    for (int round = 0; round < ROUNDS; round++) {
        woken[0] = 0;
        pthread_create(&threads[0], 0, wait_in_recv, 0);
        pthread_create(&threads[1], 0, wait_in_set, (void *)0);
        nap_ms(2);
        tell(SEND, number, 1);
        pthread_join(threads[0], 0);
        /* The receiver may have been faster; nobody takes this one. */
        tell(SEND, number, 1);
        pthread_join(threads[1], 0);
        seen += woken[0];
        take(one, 1);
    }
    printf("a set beside a receiver: %d of %d\n", seen, ROUNDS);
    close(sets[0]);
}

static void exclusive(void)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.u64 = 0};
    int some = 0;
    pthread_t threads[2];
    for (long which = 0; which < 2; which++) {
        sets[which] = epoll_create1(EPOLL_CLOEXEC);
        event.data.u64 = (uint64_t)which;
        must(epoll_ctl(sets[which], EPOLL_CTL_ADD, one, &event) == 0, "EPOLLEXCLUSIVE");
    }
    event.events = EPOLLIN;
    printf("exclusive: %s", epoll_ctl(sets[0], EPOLL_CTL_MOD, one, &event) ? strerror(errno) : "modified");
    for (int round = 0; round < ROUNDS; round++) {
        woken[0] = woken[1] = 0;
        for (long which = 0; which < 2; which++)
            pthread_create(&threads[which], 0, wait_in_set, (void *)which);
        nap_ms(round % 3);
        tell(SEND, number, 1);
        for (int tries = 0; tries < SOON && !woken[0] && !woken[1]; tries++)
            nap_ms(1);
        some += woken[0] || woken[1];
        /* A second byte for whoever was left asleep. */
        tell(SEND, number, 1);
        for (int which = 0; which < 2; which++)
            pthread_join(threads[which], 0);
        take(one, 2);
    }
    printf(", at least one %d of %d\n", some, ROUNDS);
    close(sets[0]);
    close(sets[1]);
}

static void *endless_wait(void *set)
{
    struct epoll_event event;
    return epoll_wait(*(int *)set, &event, 1, -1) == 1 ? set : 0;
}

/* Threads that sleep in a set before it has the connection; then before it has it again; and outside of such a set. */
static void asleep_before(void)
{
    int woken_in_all = 0, outer;
    pthread_t threads[2];
    void *result;
    sets[0] = epoll_create1(EPOLL_CLOEXEC);
    outer = epoll_create1(EPOLL_CLOEXEC);
    for (int round = 0; round < ROUNDS / 2; round++) {
        if (round == ROUNDS / 4) {
            close(sets[0]);
            sets[0] = epoll_create1(EPOLL_CLOEXEC);
            add(outer, sets[0], EPOLLIN, 0);
        }
        for (int which = 0; which < 2; which++)
            pthread_create(&threads[which], 0, endless_wait, which && round >= ROUNDS / 4 ? &outer : &sets[0]);
        nap_ms(5);
        add(sets[0], one, EPOLLIN, 0);
        nap_ms(round % 3);
        tell(SEND, number, 1);
        for (int which = 0; which < 2; which++) {
            pthread_join(threads[which], &result);
            woken_in_all += result != 0;
        }
        take(one, 1);
        must(epoll_ctl(sets[0], EPOLL_CTL_DEL, one, 0) == 0, "EPOLL_CTL_DEL");
    }
    printf("asleep before the connection was there: %d of %d\n", woken_in_all, ROUNDS);
    pthread_create(&threads[0], 0, endless_wait, &sets[0]);
    pthread_create(&threads[1], 0, endless_wait, &sets[0]);
    nap_ms(20);
    add(sets[0], one, EPOLLIN, 0);
    pthread_cancel(threads[0]);
    pthread_join(threads[0], &result);
    printf("one of them cancelled: %d", result == PTHREAD_CANCELED);
    tell(SEND, number, 1);
    pthread_join(threads[1], &result);
    printf(", the other woken: %d\n", result != 0);
    take(one, 1);
    close(sets[0]);
    close(outer);
}

/* Two numbers of one set, made before it has a connection: one to register with, one to wait under. */
static void under_another_number(void)
{
    int woken_in_all = 0;
    pthread_t thread;
    void *result;
    for (int round = 0; round < ROUNDS / 2; round++) {
        sets[0] = epoll_create1(EPOLL_CLOEXEC);
        int gone = dup(sets[0]), copy = round % 2 ? dup(sets[0]) : fcntl(sets[0], F_DUPFD_CLOEXEC, 100);
        /* A number that was a copy, and is something else by now. */
        close(gone);
        int other = round % 3 ? epoll_create1(0) : open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (round % 4 < 2)
            pthread_create(&thread, 0, endless_wait, &sets[0]);
        nap_ms(round % 4 < 2 ? 5 : 0);
        add(copy, one, EPOLLIN, 0);
        if (round % 4 >= 2)
            pthread_create(&thread, 0, endless_wait, &sets[0]);
        nap_ms(round % 3);
        tell(SEND, number, 1);
        pthread_join(thread, &result);
        woken_in_all += result != 0;
        take(one, 1);
        close(round % 2 ? copy : sets[0]);
        int left = round % 2 ? sets[0] : copy;
        pthread_create(&thread, 0, endless_wait, &left);
        nap_ms(2);
        tell(SEND, number, 1);
        pthread_join(thread, &result);
        woken_in_all += result != 0;
        take(one, 1);
        must(epoll_ctl(left, EPOLL_CTL_DEL, one, 0) == 0, "EPOLL_CTL_DEL");
        close(left);
        close(other);
    }
    printf("registered under one number, waiting under another: %d of %d\n", woken_in_all, ROUNDS);
}

/* The same in a program that got both numbers when it was executed. */
static int set_before_exec, copy_before_exec;

static void executed_with_two_numbers(char **arguments)
{
    if (!getenv("SETS_BEFORE_EXEC")) {
        char numbers[32];
        set_before_exec = epoll_create1(0);
        copy_before_exec = dup(set_before_exec);
        snprintf(numbers, sizeof numbers, "%d %d", set_before_exec, copy_before_exec);
        setenv("SETS_BEFORE_EXEC", numbers, 1);
        execv("/proc/self/exe", arguments);
        must(0, "exec");
    }
    must(sscanf(getenv("SETS_BEFORE_EXEC"), "%d %d", &set_before_exec, &copy_before_exec) == 2, "two numbers");
}

static void under_an_inherited_number(void)
{
    pthread_t thread;
    void *result;
    pthread_create(&thread, 0, endless_wait, &set_before_exec);
    nap_ms(5);
    add(copy_before_exec, one, EPOLLIN, 0);
    tell(SEND, number, 1);
    pthread_join(thread, &result);
    take(one, 1);
    printf("two numbers from before exec: %d\n", result != 0);
    close(copy_before_exec);
    close(set_before_exec);
}

static void *endless_poll(void *argument)
{
    struct pollfd entries[100];
    for (int index = 0; index < 100; index++)
        entries[index] = (struct pollfd){index == 99 ? one : -1, POLLIN, 0};
    return poll(entries, 100, -1) == 1 ? argument : 0;
}

static void *endless_select(void *argument)
{
    fd_set reads;
    FD_ZERO(&reads);
    FD_SET(one, &reads);
    return select(one + 1, &reads, 0, 0, 0) == 1 ? argument : 0;
}

/* Of three sleepers two are cancelled; the third must be woken. */
static void cancelled(const char *name, void *(*wait)(void *))
{
    int survived = 0, ended = 0;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t threads[3];
        void *result;
        for (int which = 0; which < 3; which++)
            pthread_create(&threads[which], 0, wait, &sets[0]);
        nap_ms(round % 3);
        for (int which = 0; which < 2; which++)
            pthread_cancel(threads[which]);
        for (int which = 0; which < 2; which++) {
            pthread_join(threads[which], &result);
            ended += result == PTHREAD_CANCELED;
        }
        nap_ms(round % 2);
        tell(SEND, number, 1);
        pthread_join(threads[2], &result);
        survived += result == &sets[0];
        take(one, 1);
    }
    printf("cancelled in %s: %d, woken after it: %d of %d\n", name, ended, survived, ROUNDS);
}

static int wait_and_take(int set, int timeout_ms)
{
    struct epoll_event event;
    return epoll_wait(set, &event, 1, timeout_ms) == 1 ? take(one, 3) : 0;
}

static void forked(void)
{
    int set = epoll_create1(EPOLL_CLOEXEC), reports[2], status, good = 0;
    char byte;
    add(set, one, EPOLLIN, 0);
    wait_and_take(set, 0);
    pid_t child = fork();
    if (child == 0) {
        close(one);
        close(set);
        _exit(0);
    }
    waitpid(child, 0, 0);
    tell(SEND, number, 3);
    printf("a child closed its copies: %d\n", wait_and_take(set, SOON));
    child = fork();
    if (child == 0) {
        nap_ms(200);
        _exit(0);
    }
    struct later later = {SEND, number, 3, 50};
    pthread_t thread;
    pthread_create(&thread, 0, do_later, &later);
    printf("a child that only lives: %d\n", wait_and_take(set, SOON));
    pthread_join(thread, 0);
    waitpid(child, 0, 0);
    must(pipe(reports) == 0, "pipe");
    child = fork();
    if (child == 0) {
        for (int round = 0; round < 10; round++)
            must(write(reports[1], wait_and_take(set, SOON) == 3 ? "y" : "n", 1) == 1, "a report");
        _exit(0);
    }
    for (int round = 0; round < 10; round++) {
        nap_ms(round % 2 * 30);
        tell(SEND, number, 3);
        good += read(reports[0], &byte, 1) == 1 && byte == 'y';
    }
    waitpid(child, &status, 0);
    printf("a child uses the set: %d of 10", good);
    tell(SEND, number, 3);
    printf(", then the parent: %d", wait_and_take(set, SOON));
    must(send(one, "back", 4, 0) == 4, "send");
    tell(TAKE, number, 4);
    printf(", and back\n");
    close(set);
}

/* Both processes wait in the set; every byte is taken by one of them. */
static void both_processes(void)
{
    int set = epoll_create1(EPOLL_CLOEXEC), status, mine = 0, told = 0;
    struct { volatile int got, over; } *child_s = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(child_s != MAP_FAILED, "mmap");
    add(set, one, EPOLLIN, 0);
    wait_and_take(set, 0);
    pid_t child = fork();
    if (child == 0) {
        while (!child_s->over)
            child_s->got += wait_and_take(set, 20);
        _exit(0);
    }
    for (long until = now_ms() + 1000; now_ms() < until;) {
        tell(SEND, number, 3);
        told += 3;
        mine += wait_and_take(set, 20);
        nap_ms(20);
    }
    for (long until = now_ms() + SOON; mine + child_s->got < told && now_ms() < until;)
        mine += wait_and_take(set, 20);
    child_s->over = 1;
    must(waitpid(child, &status, 0) == child && status == 0, "the child");
    printf("two processes in one set: %s\n", mine + child_s->got == told ? "every byte" : "bytes are missing");
    munmap((void *)child_s, 4096);
    close(set);
}

static void survived_by_a_child(void)
{
    int set = epoll_create1(EPOLL_CLOEXEC), status;
    add(set, one, EPOLLIN, 0);
    wait_and_take(set, 0);
    pid_t child = fork();
    if (child == 0) {
        nap_ms(50);
        _exit(wait_and_take(set, SOON));
    }
    close(set);
    close(one);
    nap_ms(100);
    tell(SEND, number, 3);
    waitpid(child, &status, 0);
    printf("the parent closed the set, a child goes on: %d\n", WEXITSTATUS(status));
}

int main(int count, char **arguments)
{
    must(count > 0, "a name");
    executed_with_two_numbers(arguments);
    begin();
    one = connection();
    number = connections - 1;
    two_sets();
    set_and_receiver();
    exclusive();
    asleep_before();
    under_another_number();
    under_an_inherited_number();
    sets[0] = epoll_create1(EPOLL_CLOEXEC);
    add(sets[0], one, EPOLLIN, 0);
    cancelled("epoll_wait", endless_wait);
    cancelled("poll", endless_poll);
    cancelled("select", endless_select);
    close(sets[0]);
    forked();
    close(one);
    one = connection();
    number = connections - 1;
    both_processes();
    close(one);
    one = connection();
    number = connections - 1;
    survived_by_a_child();
    return 0;
}
