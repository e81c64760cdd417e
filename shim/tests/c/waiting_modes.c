/* Whether calls that find nothing wait, and for how long, changed on a connection in every way there is.
 *
 * Prints what the calls said, which is the same on the bare kernel. The far end is another process, which answers after a
 * pause: what waits gets the answer, what does not is told EAGAIN. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MESSAGE = 64, WARM_UP = 200, PAUSE_US = 30000, TRIES = 20, TOGGLES = 20000, WATCHDOG_S = 300 };

static void must(int holds, const char *what)
{
    if (!holds) {
        printf("impossible: %s (%s)\n", what, strerror(errno));
        fflush(stdout);
        _exit(3);
    }
}

static void whole(int descriptor, char *bytes)
{
    for (ssize_t done = 0, part; done < MESSAGE; done += part)
        must((part = recv(descriptor, bytes + done, (size_t)(MESSAGE - done), 0)) > 0, "recv");
}

/* Answers each message; one that begins with a 1 after a pause. */
static void answer(int listener)
{
    char bytes[MESSAGE];
    int descriptor = accept(listener, 0, 0);
    must(descriptor >= 0, "accept");
    for (;;) {
        ssize_t count = recv(descriptor, bytes, sizeof bytes, MSG_WAITALL);
        if (count <= 0)
            _exit(0);
        if (bytes[0] == 1)
            usleep(PAUSE_US);
        if (send(descriptor, bytes, MESSAGE, MSG_NOSIGNAL) != MESSAGE)
            _exit(0);
    }
}

static void ask(int descriptor, int with_pause)
{
    char bytes[MESSAGE] = {(char)with_pause};
    must(send(descriptor, bytes, MESSAGE, MSG_NOSIGNAL) == MESSAGE, "send");
}

static void take_the_rest(int descriptor, ssize_t taken)
{
    char bytes[MESSAGE];
    while (taken < MESSAGE) {
        ssize_t part = recv(descriptor, bytes, (size_t)(MESSAGE - taken), 0);
        must(part > 0 || errno == EAGAIN, "the answer");
        taken += part > 0 ? part : 0;
        if (part < 0)
            usleep(1000);
    }
}

/* A receive right behind a question whose answer comes later: whether it waits. One that is not to wait and gets the answer
 * was perhaps only called too late, on a busy machine, and is asked again. */
static void say(int descriptor, const char *after, int is_to_wait)
{
    char bytes[MESSAGE];
    ssize_t count = 0;
    for (int time = 0; time < TRIES && count >= 0; time++) {
        ask(descriptor, 1);
        count = recv(descriptor, bytes, sizeof bytes, 0);
        must(count > 0 || (count < 0 && errno == EAGAIN), "recv");
        take_the_rest(descriptor, count < 0 ? 0 : count);
        if (is_to_wait)
            break;
    }
    printf("%s: %s\n", after, count < 0 ? "does not wait" : "waits");
    fflush(stdout);
}

static void set_flag(int descriptor, int on)
{
    int flags = fcntl(descriptor, F_GETFL);
    must(!fcntl(descriptor, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK), "F_SETFL");
}

static void set_by_ioctl(int descriptor, int on)
{
    must(!ioctl(descriptor, FIONBIO, &on), "FIONBIO");
}

static void set_by_word(int descriptor, int on)
{
    must(!syscall(SYS_fcntl, descriptor, F_SETFL, O_RDWR | (on ? O_NONBLOCK : 0)), "syscall");
}

static void set_by_copy(int descriptor, int on)
{
    int copy = dup(descriptor);
    set_flag(copy, on);
    close(copy);
}

static void *set_in_thread(void *descriptor)
{
    for (int time = 0; time < TOGGLES; time++)
        set_flag(*(int *)descriptor, time % 2);
    return 0;
}

/* Ends as it is asked to, while this thread keeps asking the socket what it says now. */
static void set_while_asked(int descriptor, int on)
{
    pthread_t thread;
    char byte;
    must(!pthread_create(&thread, 0, set_in_thread, &descriptor), "thread");
    int waits = 0;
    for (int time = 0; time < TOGGLES / 8; time++) {
        /* Every other one would wait for ever, so there is something to take. */
        ask(descriptor, 0);
        for (int taken = 0; taken < MESSAGE;) {
            ssize_t part = recv(descriptor, &byte, 1, 0);
            must(part > 0 || errno == EAGAIN, "a byte");
            taken += part > 0;
            waits += part < 0;
        }
    }
    pthread_join(thread, 0);
    set_flag(descriptor, on);
}

static void set_in_child(int descriptor, int on)
{
    pid_t child = fork();
    if (child == 0) {
        set_flag(descriptor, on);
        _exit(0);
    }
    must(waitpid(child, 0, 0) == child, "child");
}

/* A program that the library is not in, with the same number. */
static void set_by_program(int descriptor, int on)
{
    char number[16], word[2] = {(char)('0' + on), 0};
    char *words[] = {"waiting_modes", "set", number, word, 0}, *nothing[] = {0};
    pid_t child;
    snprintf(number, sizeof number, "%d", descriptor);
    must(!posix_spawn(&child, "/proc/self/exe", 0, 0, words, nothing), "spawn");
    must(waitpid(child, 0, 0) == child, "program");
}

static void limit(int descriptor, int name, long milliseconds)
{
    struct timeval time = {milliseconds / 1000, milliseconds % 1000 * 1000};
    must(!setsockopt(descriptor, SOL_SOCKET, name, &time, sizeof time), "a limit");
}

/* Sends until there is no room. */
static void fill(int descriptor)
{
    static char bytes[1 << 16];
    ssize_t count;
    int sends = 0;
    do
        count = send(descriptor, bytes, sizeof bytes, MSG_NOSIGNAL);
    while (count > 0 && ++sends < 4096);
    printf("a full direction with a limit: %s\n", count < 0 && errno == EAGAIN ? "told in time" : "?");
}

int main(int count, char **words)
{
    static void (*const ways[])(int, int) = {set_flag, set_by_ioctl, set_by_word, set_by_copy, set_while_asked, set_in_child,
                                             set_by_program};
    static const char *const names[] = {"fcntl", "ioctl", "syscall", "a copy", "a thread", "a child", "a program"};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    char bytes[MESSAGE], text[64];
    alarm(WATCHDOG_S);
    if (count == 4) {
        set_flag(atoi(words[2]), atoi(words[3]));
        return 0;
    }
    /* A process of its own asks: it has started no other. */
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    must(!bind(listener, (struct sockaddr *)&address, length) && !listen(listener, 1)
             && !getsockname(listener, (struct sockaddr *)&address, &length), "listen");
    pid_t asker = fork();
    must(asker >= 0, "fork");
    if (asker != 0)
        answer(listener);
    close(listener);
    int descriptor = socket(AF_INET, SOCK_STREAM, 0);
    must(!connect(descriptor, (struct sockaddr *)&address, length), "connect");
    for (int time = 0; time < WARM_UP; time++) {
        ask(descriptor, time % 20 == 0);
        whole(descriptor, bytes);
    }
    /* While no other process can hold it; a sleep without a limit comes before each limit. */
    say(descriptor, "as it began", 1);
    for (int turn = 0; turn < 4; turn++) {
        limit(descriptor, SO_RCVTIMEO, turn % 2 == 0 ? 5 : 0);
        say(descriptor, turn % 2 == 0 ? "a short limit" : "no limit", turn % 2);
        say(descriptor, turn % 2 == 0 ? "a short limit" : "no limit", turn % 2);
    }
    for (size_t way = 0; way < sizeof ways / sizeof *ways; way++)
        for (int turn = 0; turn < 4; turn++) {
            ways[way](descriptor, turn % 2 == 0);
            snprintf(text, sizeof text, "%s, %s", names[way], turn % 2 == 0 ? "nonblocking" : "blocking");
            say(descriptor, text, turn % 2);
            say(descriptor, text, turn % 2);
        }
    limit(descriptor, SO_SNDTIMEO, 50);
    /* The far end takes nothing during its pauses: they add up. */
    for (int time = 0; time < 20; time++)
        ask(descriptor, 1);
    fill(descriptor);
    return 0;
}
