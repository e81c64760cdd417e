/* Processes whose main thread exits while others are in the midst of their calls, each of them on a connection: on Linux the
 * others notice nothing. Prints what they noticed. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES = 60, THREADS = 8, EXCHANGES = 300 };

/* Threads that have made so many exchanges; the rest go on while they exit. */
static atomic_int warm;

static void *ask(void *argument)
{
    int connection = (int)(long)argument;
    char bytes[64] = {0};
    for (int exchanges = 0;; exchanges++) {
        if (exchanges == EXCHANGES)
            warm++;
        if (send(connection, bytes, sizeof bytes, 0) != sizeof bytes) {
            printf("send: %s\n", strerror(errno));
            break;
        }
        ssize_t got = recv(connection, bytes, sizeof bytes, 0);
        if (got != sizeof bytes) {
            printf("recv: %s\n", got < 0 ? strerror(errno) : "an end");
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
    pthread_t threads[PROCESSES * THREADS];
    for (int index = 0; index < PROCESSES * THREADS; index++)
        pthread_create(&threads[index], 0, answer, (void *)(long)accept(listener, 0, 0));
    for (int index = 0; index < PROCESSES * THREADS; index++)
        pthread_join(threads[index], 0);
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
    pid_t server = fork();
    if (server == 0)
        serve(listener);
    for (int index = 0; index < PROCESSES; index++) {
        pid_t child = fork();
        if (child == 0)
            work_and_exit(&address);
        int status;
        wrong += waitpid(child, &status, 0) != child || status != 0;
    }
    int status;
    wrong += waitpid(server, &status, 0) != server || status != 0;
    return wrong;
}
