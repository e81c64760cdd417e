/* "serve": listens, prints its port, echoes one connection to its end. "ask PORT": two hundred exchanges with it. "pass-on PORT": the same,
 * then the connection is another program's. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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
    char byte;
    while (read(connection, &byte, 1) == 1)
        if (write(connection, &byte, 1) != 1)
            return 1;
    return 0;
}

static int exchange(int connection, int exchanges)
{
    for (int exchange = 0; exchange < exchanges; exchange++) {
        char sent = (char)exchange, got;
        if (write(connection, &sent, 1) != 1 || read(connection, &got, 1) != 1 || got != sent)
            return 1;
    }
    return 0;
}

static int ask(int port, const char *word)
{
    struct sockaddr_in far = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    far.sin_port = htons((unsigned short)port);
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(connection, (struct sockaddr *)&far, sizeof far) || exchange(connection, 200))
        return 1;
    if (strcmp(word, "pass-on") == 0) {
        execl("/bin/true", "true", (char *)0);
        return 1;
    }
    if (strcmp(word, "search") == 0) {
        /* As execvp goes through PATH. */
        for (int folder = 0; folder < 3; folder++)
            execl("/nonexistent/true", "true", (char *)0);
        return exchange(connection, 100);
    }
    return 0;
}

int main(int count, char **words)
{
    if (count == 2 && strcmp(words[1], "serve") == 0)
        return serve();
    return count == 3 ? ask(atoi(words[2]), words[1]) : 2;
}
