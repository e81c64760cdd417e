/* Processes whose main thread exits while others are in the midst of their calls, each of them on a connection: on Linux the
 * others notice nothing. Prints what they noticed.
 *
 * The library hides an exit for half a second, and on a machine that is busy with other things an exit may take longer. What
 * a thread notices behind that time is only counted, and another process is to show what that one did not. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PROCESSES = 60, LATE_MAX = 60, THREADS = 8, EXCHANGES = 300 };
/* As WAIT_NS of calls/exiting.rs. */
enum { HIDDEN_MS = 500 };

/* Of all processes. */
static struct shared {
    atomic_int is_over;
    atomic_int noticed_late; /* by threads of the process that was started last */
} *shared;

/* Threads that have made so many exchanges; the rest go on while they exit. */
static atomic_int warm;
/* When the main thread began to exit, in nanoseconds; 0: it has not. */
static atomic_long exit_began_ns;

static long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

static void notice(const char *call, const char *what)
{
    long began_ns = exit_began_ns;
    if (began_ns && now_ns() - began_ns >= HIDDEN_MS * 1000000L)
        shared->noticed_late++;
    else
        printf("%s: %s\n", call, what);
}

static void *ask(void *argument)
{
    int connection = (int)(long)argument;
    char bytes[64] = {0};
    for (int exchanges = 0;; exchanges++) {
        if (exchanges == EXCHANGES)
            warm++;
        if (send(connection, bytes, sizeof bytes, 0) != sizeof bytes) {
            notice("send", strerror(errno));
            break;
        }
        ssize_t got = recv(connection, bytes, sizeof bytes, 0);
        if (got != sizeof bytes) {
            notice("recv", got < 0 ? strerror(errno) : "an end");
            break;
        }
    }
    fflush(stdout);
    warm += THREADS; /* not to be waited for */
    return 0;
}

static void *answer(void *argument)
{
    int connection = (int)(long)argument;
    char bytes[64];
    ssize_t got;
    while ((got = recv(connection, bytes, sizeof bytes, 0)) > 0)
        if (send(connection, bytes, (size_t)got, MSG_NOSIGNAL) != got)
            break;
    close(connection);
    return 0;
}

static void serve(int listener)
{
    static pthread_t threads[(PROCESSES + LATE_MAX) * THREADS];
    int count = 0;
    for (int connection; (connection = accept(listener, 0, 0)) >= 0 && !shared->is_over;)
        pthread_create(&threads[count++], 0, answer, (void *)(long)connection);
    while (count > 0)
        pthread_join(threads[--count], 0);
    exit(0);
}

static void work_and_exit(const struct sockaddr_in *address)
{
    for (int index = 0; index < THREADS; index++) {
        int connection = socket(AF_INET, SOCK_STREAM, 0);
        pthread_t thread;
        if (connect(connection, (const struct sockaddr *)address, sizeof *address)
            || pthread_create(&thread, 0, ask, (void *)(long)connection))
            exit(1);
    }
    while (warm < THREADS)
        usleep(100);
    exit_began_ns = now_ns();
    exit(0);
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), wrong = 0;
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 64)
        || getsockname(listener, (struct sockaddr *)&address, &length))
        return 1;
    shared = mmap(0, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    pid_t server = fork();
    if (server == 0)
        serve(listener);
    int shown = 0, late = 0;
    while (shown < PROCESSES && late < LATE_MAX) {
        shared->noticed_late = 0;
        pid_t child = fork();
        if (child == 0)
            work_and_exit(&address);
        int status;
        wrong += waitpid(child, &status, 0) != child || status != 0;
        shared->noticed_late ? late++ : shown++;
    }
    /* One more connection, by which the server learns of it. */
    shared->is_over = 1;
    int last = socket(AF_INET, SOCK_STREAM, 0), status;
    wrong += connect(last, (struct sockaddr *)&address, length) != 0;
    wrong += waitpid(server, &status, 0) != server || status != 0;
    if (shown < PROCESSES)
        printf("the machine is too busy: %d of %d processes ended too late to hide it\n", late, late + shown);
    return wrong;
}
