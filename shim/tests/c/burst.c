/* Sixteen threads of a client make the first connections of their process at one time, and each has a thousand exchanges
 * with the other process. Prints the bytes that the connections' own status tells of, by kernel and by ring. */
#include "axio.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 16, EXCHANGES = 1000, BYTES = 1000 };

static struct sockaddr_in far_name = {.sin_family = AF_INET};
static pthread_barrier_t together;
static struct axio_status statuses[THREADS];

static int move_all(int descriptor, char *bytes, int is_send)
{
    for (size_t done = 0; done < BYTES;) {
        ssize_t part = is_send ? write(descriptor, bytes + done, BYTES - done) : read(descriptor, bytes + done, BYTES - done);
        if (part <= 0)
            return 0;
        done += (size_t)part;
    }
    return 1;
}

static void *answer(void *argument)
{
    int connection = (int)(long)argument;
    char bytes[BYTES];
    while (move_all(connection, bytes, 0) && move_all(connection, bytes, 1))
        continue;
    close(connection);
    return 0;
}

static void serve(int listener)
{
    pthread_t threads[THREADS];
    for (int index = 0; index < THREADS; index++)
        pthread_create(&threads[index], 0, answer, (void *)(long)accept(listener, 0, 0));
    for (int index = 0; index < THREADS; index++)
        pthread_join(threads[index], 0);
}

static void *ask(void *argument)
{
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    char bytes[BYTES] = {0};
    pthread_barrier_wait(&together);
    if (connect(connection, (struct sockaddr *)&far_name, sizeof far_name))
        return (void *)1;
    for (int exchange = 0; exchange < EXCHANGES; exchange++)
        if (!move_all(connection, bytes, 1) || !move_all(connection, bytes, 0))
            return (void *)1;
    return (void *)(long)(ioctl(connection, AXIO_SIOCSTATUS, argument) != 0);
}

int main(void)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t length = sizeof far_name;
    far_name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&far_name, length) || listen(listener, THREADS)
        || getsockname(listener, (struct sockaddr *)&far_name, &length))
        return 1;
    pid_t server = fork();
    if (server == 0) {
        serve(listener);
        return 0;
    }
    close(listener);
    pthread_t threads[THREADS];
    void *failed;
    int result = 0;
    pthread_barrier_init(&together, 0, THREADS);
    for (int index = 0; index < THREADS; index++)
        pthread_create(&threads[index], 0, ask, &statuses[index]);
    for (int index = 0; index < THREADS; index++)
        result |= pthread_join(threads[index], &failed) || failed;
    unsigned long long kernel = 0, ring = 0;
    for (int index = 0; index < THREADS; index++) {
        kernel += statuses[index].kernel_bytes_in + statuses[index].kernel_bytes_out;
        ring += statuses[index].ring_bytes_in + statuses[index].ring_bytes_out;
    }
    printf("%d %llu %llu\n", (int)getpid(), kernel, ring);
    fflush(stdout);
    return result || server < 0;
}
