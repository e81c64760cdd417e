/* Threads that sleep in poll or select on an epoll descriptor, when the first socket comes into that set: what arrives
 * there wakes them. */
#include "far_side.h"

enum how { POLL, PPOLL, SELECT, PSELECT };
static const char *const names[] = {"poll", "ppoll", "select", "pselect"};

struct sleeper {
    enum how how;
    int set, result, ready;
};

static void *sleep_on(void *argument)
{
    struct sleeper *sleeper = argument;
    struct pollfd entry = {sleeper->set, POLLIN, 0};
    fd_set reads;
    FD_ZERO(&reads);
    FD_SET(sleeper->set, &reads);
    switch (sleeper->how) {
    case POLL: sleeper->result = poll(&entry, 1, 20000); break;
    case PPOLL: sleeper->result = ppoll(&entry, 1, &(struct timespec){20, 0}, 0); break;
    case SELECT: sleeper->result = select(sleeper->set + 1, &reads, 0, 0, &(struct timeval){20, 0}); break;
    case PSELECT: sleeper->result = pselect(sleeper->set + 1, &reads, 0, 0, &(struct timespec){20, 0}, 0); break;
    }
    sleeper->ready = sleeper->how <= PPOLL ? entry.revents == POLLIN : FD_ISSET(sleeper->set, &reads) != 0;
    return 0;
}

static void asleep(enum how how, int is_copied)
{
    int one = connection(), number = connections - 1, set = epoll_create1(EPOLL_CLOEXEC);
    int copy = is_copied ? dup(set) : set;
    struct sleeper sleeper = {how, copy, -1, 0};
    pthread_t thread;
    must(pthread_create(&thread, 0, sleep_on, &sleeper) == 0, "a thread");
    nap_ms(30);
    add(set, one, EPOLLIN, 5);
    nap_ms(30);
    tell(SEND, number, 5);
    pthread_join(thread, 0);
    printf("%s%s: %d %d;", names[how], is_copied ? " on a copy" : "", sleeper.result, sleeper.ready);
    show(set, 4, 0);
    printf(" taken %d;", take(one, 5));
    show(set, 4, 0);
    printf("\n");
    if (is_copied)
        close(copy);
    close(set);
    close(one);
}

int main(void)
{
    begin();
    for (enum how how = POLL; how <= PSELECT; how++)
        for (int is_copied = 0; is_copied < 2; is_copied++)
            asleep(how, is_copied);
    return 0;
}
