/* A connection of two relatives: one of them moves it to a ring, and the other waits for its events.
 *
 *   relatives unseen           a child waits for an edge of room, and its parent moved what is sent to a ring before
 *   relatives unheard          a child waits for bytes, and its parent moved what is received to a ring meanwhile
 *
 * Prints what happened, which is the same on the bare kernel. */
#include "common.h"
#include "axio.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>

/* Echoes messages up to one of this word, and takes whatever comes from there on. */
static const char enough[MESSAGE] = "enough";

static void sink(int listener)
{
    char bytes[65536];
    int descriptor = accept(listener, 0, 0);
    must(descriptor >= 0, "accept");
    do {
        get(descriptor, bytes);
        must(send(descriptor, bytes, MESSAGE, MSG_NOSIGNAL) == MESSAGE, "echo");
    } while (memcmp(bytes, enough, MESSAGE));
    while (recv(descriptor, bytes, sizeof bytes, 0) > 0) {
    }
    exit(0);
}

/* Asks for a ring, or for the kernel, and exchanges until both directions are there; nothing on the bare kernel. */
static void move_to(int descriptor, int ring)
{
    struct axio_acceleration wish = {.enable = (unsigned)ring};
    struct axio_status status;
    if (ioctl(descriptor, AXIO_SIOCACCEL, &wish))
        return;
    for (int time = 0; time < 20000; time++) {
        must(!ioctl(descriptor, AXIO_SIOCSTATUS, &status), "status");
        if ((status.switches_out & 1) == (unsigned)ring && (status.switches_in & 1) == (unsigned)ring)
            return;
        exchange(descriptor, 1);
    }
    must(0, "both directions have moved");
}

static void unseen(void)
{
    int listener, descriptor, moved[2], status;
    struct sockaddr_in address;
    char byte = 0, message[MESSAGE];
    listen_at(&listener, &address, 1);
    pid_t peer = fork();
    if (peer == 0)
        sink(listener);
    close(listener);
    descriptor = connect_to(&address);
    exchange(descriptor, EXCHANGES);
    move_to(descriptor, 0);
    must(!pipe(moved), "pipe");
    pid_t child = fork();
    if (child == 0) {
        static char bytes[65536];
        struct epoll_event event = {.events = EPOLLOUT | EPOLLET};
        int set = epoll_create1(0);
        must(!epoll_ctl(set, EPOLL_CTL_ADD, descriptor, &event), "add");
        printf("room: %d\n", epoll_wait(set, &event, 1, 60000));
        must(read(moved[0], &byte, 1) == 1, "the parent has moved it");
        kill(peer, SIGSTOP);
        while (send(descriptor, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
        }
        printf("full: %d\n", errno == EAGAIN);
        kill(peer, SIGCONT);
        printf("room again: %d\n", epoll_wait(set, &event, 1, 20000));
        fflush(stdout);
        _exit(0);
    }
    exchange(descriptor, 10);
    move_to(descriptor, 1);
    must(send(descriptor, enough, MESSAGE, MSG_NOSIGNAL) == MESSAGE, "send");
    get(descriptor, message);
    must(write(moved[1], &byte, 1) == 1 && waitpid(child, &status, 0) == child && status == 0, "child");
    close(descriptor);
    must(waitpid(peer, 0, 0) == peer, "peer");
}

/* Waits for a message in one of several ways, and takes it. */
static void wait_and_get(int descriptor, int way)
{
    char message[MESSAGE];
    if (way < 3) {
        struct epoll_event event = {.events = EPOLLIN | (way == 1 ? EPOLLET : way == 2 ? EPOLLONESHOT : 0)};
        int set = epoll_create1(0), found;
        must(!epoll_ctl(set, EPOLL_CTL_ADD, descriptor, &event), "add");
        while ((found = epoll_wait(set, &event, 1, 20000)) < 0 && errno == EINTR) {
        }
        printf("way %d: %d\n", way, found);
    } else if (way == 3) {
        struct pollfd asked = {.fd = descriptor, .events = POLLIN};
        int found;
        while ((found = poll(&asked, 1, 20000)) < 0 && errno == EINTR) {
        }
        printf("way %d: %d\n", way, found);
    } else {
        get(descriptor, message);
        printf("way %d: %d\n", way, 1);
    }
    fflush(stdout);
}

static void one_unheard(int way)
{
    int descriptor, status;
    char message[MESSAGE] = "";
    pid_t peer = connect_all(&descriptor, 1);
    exchange(descriptor, EXCHANGES);
    move_to(descriptor, 0);
    pid_t child = fork();
    if (child == 0) {
        wait_and_get(descriptor, way);
        _exit(0);
    }
    usleep(50000);
    kill(child, SIGSTOP);
    must(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status), "stop");
    if (way < 4)
        exchange(descriptor, 10);
    move_to(descriptor, 1);
    kill(child, SIGCONT);
    usleep(50000);
    must(send(descriptor, message, MESSAGE, MSG_NOSIGNAL) == MESSAGE, "send");
    must(waitpid(child, &status, 0) == child && status == 0, "child");
    close(descriptor);
    must(waitpid(peer, 0, 0) == peer, "peer");
}

static void unheard(void)
{
    for (int way = 0; way < 4; way++)
        one_unheard(way);
}

int main(int count, char **words)
{
    static const struct mode modes[] = {{"unseen", unseen}, {"unheard", unheard}};
    return play(modes, sizeof modes / sizeof *modes, count, words);
}
