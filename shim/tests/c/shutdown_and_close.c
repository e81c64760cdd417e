/* A thread ends another one's connection by shutdown(), as servers stop their readers; the reader closes it when it sees the
 * end, which may be before shutdown() has returned. Prints how many of the connections were on a ring. */
#include "axio.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS = 300, EXCHANGES = 12 };

static atomic_int reads;

static void *answer(void *argument)
{
    int connection = (int)(long)argument;
    char byte;
    while (read(connection, &byte, 1) == 1)
        if (write(connection, &byte, 1) != 1)
            break;
    close(connection);
    return 0;
}

static void serve(int listener)
{
    pthread_t thread;
    for (int index = 0; index < CONNECTIONS; index++)
        if (!pthread_create(&thread, 0, answer, (void *)(long)accept(listener, 0, 0)))
            pthread_join(thread, 0);
}

static void *read_to_the_end(void *argument)
{
    int connection = (int)(long)argument;
    char byte;
    ssize_t got;
    reads = 1;
    while ((got = recv(connection, &byte, 1, MSG_DONTWAIT)) < 0 && errno == EAGAIN)
        continue;
    return (void *)(long)(close(connection) != 0 || got != 0);
}

int main(void)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof name;
    int listener = socket(AF_INET, SOCK_STREAM, 0), on_ring = 0;
    if (bind(listener, (struct sockaddr *)&name, length) || listen(listener, 8)
        || getsockname(listener, (struct sockaddr *)&name, &length))
        return 1;
    pid_t server = fork();
    if (server == 0) {
        serve(listener);
        return 0;
    }
    for (int index = 0; index < CONNECTIONS; index++) {
        int connection = socket(AF_INET, SOCK_STREAM, 0);
        char byte = 'a';
        struct axio_status status;
        pthread_t reader;
        void *failed;
        if (connect(connection, (struct sockaddr *)&name, sizeof name))
            return 2;
        for (int exchange = 0; exchange < EXCHANGES; exchange++)
            if (write(connection, &byte, 1) != 1 || read(connection, &byte, 1) != 1)
                return 3;
        if (ioctl(connection, AXIO_SIOCSTATUS, &status) == 0)
            on_ring += status.path == AXIO_PATH_SHARED_MEMORY;
        reads = 0;
        if (pthread_create(&reader, 0, read_to_the_end, (void *)(long)connection))
            return 4;
        while (!reads)
            continue;
        if (shutdown(connection, SHUT_RDWR))
            return 5;
        if (pthread_join(reader, &failed) || failed)
            return 6;
    }
    printf("%d\n", on_ring);
    fflush(stdout);
    return 0;
}
