/* Two ordinary programs that know nothing of Axio. "serve": listens, prints its port, sends every message of one
 * connection back to its end. "ask PORT": for each number on standard input that many exchanges, then prints its descriptor. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MESSAGE_BYTES = 64 };

/* One whole message; 0 at the end of the stream. */
static int receive(int connection, char *message)
{
    int got = 0;
    while (got < MESSAGE_BYTES) {
        ssize_t more = read(connection, message + got, MESSAGE_BYTES - got);
        if (more < 0 || (more == 0 && got > 0))
            exit(3);
        if (more == 0)
            return 0;
        got += more;
    }
    return 1;
}

static int serve(void)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof own;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&own, length) || listen(listener, 1)
        || getsockname(listener, (struct sockaddr *)&own, &length))
        return 1;
    printf("%d\n", ntohs(own.sin_port));
    fflush(stdout);
    int connection = accept(listener, 0, 0);
    char message[MESSAGE_BYTES];
    while (receive(connection, message))
        if (write(connection, message, MESSAGE_BYTES) != MESSAGE_BYTES)
            return 1;
    return 0;
}

static int ask(int port)
{
    struct sockaddr_in far = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    far.sin_port = htons((unsigned short)port);
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(connection, (struct sockaddr *)&far, sizeof far))
        return 1;
    char line[32], sent[MESSAGE_BYTES], got[MESSAGE_BYTES];
    for (char number = 0; fgets(line, sizeof line, stdin);) {
        for (int left = atoi(line); left > 0; left--) {
            memset(sent, ++number, sizeof sent);
            if (write(connection, sent, MESSAGE_BYTES) != MESSAGE_BYTES || !receive(connection, got)
                || memcmp(sent, got, MESSAGE_BYTES))
                return 1;
        }
        printf("%d\n", connection);
        fflush(stdout);
    }
    return 0;
}

int main(int count, char **words)
{
    if (count == 2 && strcmp(words[1], "serve") == 0)
        return serve();
    return count == 3 ? ask(atoi(words[2])) : 2;
}
