/*
 * Twenty exchanges over a connection to itself; "ask" asks for acceleration on listener and client before, "quiet" does
 * not. Prints for the client and for the server: reason, path, bytes by ring in and out, by kernel in and out.
 */
#include "axio.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EXCHANGES = 20, MESSAGE_BYTES = 64 };

static void must(int holds, const char *what)
{
	if (!holds) {
		perror(what);
		exit(1);
	}
}

static void ask(int fd)
{
	struct axio_acceleration wish = { 1, AXIO_REASON_NONE };

	must(ioctl(fd, AXIO_SIOCACCEL, &wish) == 0, "AXIO_SIOCACCEL");
}

static void move(int from, int to)
{
	char message[MESSAGE_BYTES] = { 1 };

	must(send(from, message, sizeof message, MSG_NOSIGNAL) == (ssize_t)sizeof message, "send");
	must(recv(to, message, sizeof message, MSG_WAITALL) == (ssize_t)sizeof message, "recv");
}

static void report(int fd)
{
	struct axio_status status;

	must(ioctl(fd, AXIO_SIOCSTATUS, &status) == 0, "AXIO_SIOCSTATUS");
	printf("%s %u %llu %llu %llu %llu\n", axio_reason_name(status.reason), status.path,
	       (unsigned long long)status.ring_bytes_in, (unsigned long long)status.ring_bytes_out,
	       (unsigned long long)status.kernel_bytes_in, (unsigned long long)status.kernel_bytes_out);
}

int main(int count, char **words)
{
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t length = sizeof here;
	int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0), server;

	alarm(600);
	must(bind(listener, (struct sockaddr *)&here, length) == 0 && listen(listener, 1) == 0, "listen");
	must(getsockname(listener, (struct sockaddr *)&here, &length) == 0, "getsockname");
	if (count == 2 && strcmp(words[1], "ask") == 0) {
		ask(listener);
		ask(client);
	}
	must(connect(client, (struct sockaddr *)&here, length) == 0, "connect");
	server = accept(listener, NULL, NULL);
	must(server >= 0, "accept");
	for (int exchange = 0; exchange < EXCHANGES; exchange++) {
		move(client, server);
		move(server, client);
	}
	report(client);
	report(server);
	return 0;
}
