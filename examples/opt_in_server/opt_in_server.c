/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An echo server that asks Axio for acceleration with an ioctl, and can be asked about it over its own connections.
 *
 *     opt_in_server PORT        0 takes any free port; the port is the first line on standard output
 *
 * Every line is echoed, except four:
 *
 *     present       is Axio there for this connection?         "present 1"
 *     accelerate    ask for the ring                           "accelerate 0 reason=not_yet"
 *     release       back to the kernel path                    "release 0 reason=released"
 *     status        path, state, reason, bytes by path         "status 0 path=1 state=4 reason=none kernel_in=..."
 *
 * The number after the word is 0 or the errno of the request. Without libaxio.so everything works the same and the
 * requests answer ENOTTY: nothing in this program depends on the library but the linker's -laxio.
 */
#define _GNU_SOURCE /* accept4 */
#include <axio.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINE_BYTES = 4096 };

static bool write_all(int fd, const char *bytes, size_t count)
{
	while (count > 0) {
		ssize_t written = send(fd, bytes, count, MSG_NOSIGNAL);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return false;
		bytes += written;
		count -= (size_t)written;
	}
	return true;
}

/* Asks for the ring (1) or for the kernel path (0). */
static int ask(int fd, uint32_t enable, const char *word, char *answer, size_t room)
{
	struct axio_acceleration wish = { enable, AXIO_REASON_NONE };
	int error = ioctl(fd, AXIO_SIOCACCEL, &wish) == 0 ? 0 : errno;

	if (error == 0 || error == EOPNOTSUPP)
		return snprintf(answer, room, "%s %d reason=%s\n", word, error, axio_reason_name(wish.reason));
	return snprintf(answer, room, "%s %d\n", word, error);
}

static int describe(int fd, char *answer, size_t room)
{
	struct axio_status status;

	if (ioctl(fd, AXIO_SIOCSTATUS, &status) != 0)
		return snprintf(answer, room, "status %d\n", errno);
	return snprintf(answer, room,
			"status 0 path=%" PRIu32 " state=%" PRIu32 " reason=%s kernel_in=%" PRIu64 " kernel_out=%" PRIu64
			" ring_in=%" PRIu64 " ring_out=%" PRIu64 "\n",
			status.path, status.state, axio_reason_name(status.reason), status.kernel_bytes_in,
			status.kernel_bytes_out, status.ring_bytes_in, status.ring_bytes_out);
}

/* `line` has `count` bytes, the last of which is the line's end. */
static bool answer_line(int fd, const char *line, size_t count)
{
	char answer[256];
	int length;

	if (count == 8 && memcmp(line, "present\n", 8) == 0)
		length = snprintf(answer, sizeof(answer), "present %d\n", axio_present(fd));
	else if (count == 11 && memcmp(line, "accelerate\n", 11) == 0)
		length = ask(fd, 1, "accelerate", answer, sizeof(answer));
	else if (count == 8 && memcmp(line, "release\n", 8) == 0)
		length = ask(fd, 0, "release", answer, sizeof(answer));
	else if (count == 7 && memcmp(line, "status\n", 7) == 0)
		length = describe(fd, answer, sizeof(answer));
	else
		return write_all(fd, line, count);
	return length > 0 && (size_t)length < sizeof(answer) && write_all(fd, answer, (size_t)length);
}

static void *serve(void *argument)
{
	int fd = (int)(intptr_t)argument;
	char line[LINE_BYTES];
	size_t have = 0;

	for (;;) {
		ssize_t count = recv(fd, line + have, sizeof(line) - have, 0);
		char *start = line, *end;

		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			break;
		have += (size_t)count;
		while ((end = memchr(start, '\n', have)) != NULL) {
			size_t length = (size_t)(end - start) + 1;

			if (!answer_line(fd, start, length))
				goto closing;
			start += length;
			have -= length;
		}
		if (have == sizeof(line)) {
			/* Longer than a line may be: echoed as it comes. */
			if (!write_all(fd, start, have))
				break;
			have = 0;
		}
		memmove(line, start, have);
	}
closing:
	close(fd);
	return NULL;
}

static int listening_socket(uint16_t port)
{
	struct sockaddr_in address;
	socklen_t length = sizeof(address);
	int yes = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memset(&address, 0, sizeof(address));
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = htons(port);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) != 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 64) != 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &length) != 0) {
		perror("opt_in_server: listening");
		exit(1);
	}
	printf("%u\n", (unsigned)ntohs(address.sin_port));
	fflush(stdout);
	return fd;
}

int main(int argument_count, char **arguments)
{
	struct axio_acceleration wish = { 1, AXIO_REASON_NONE };
	int listener;

	if (argument_count != 2) {
		fprintf(stderr, "usage: %s PORT\n", arguments[0]);
		return 2;
	}
	listener = listening_socket((uint16_t)strtoul(arguments[1], NULL, 10));

	/* One request for all: what the listening socket asked for, every accepted connection inherits. */
	if (axio_present(listener) != 1)
		fprintf(stderr, "opt_in_server: no Axio here; serving over the kernel\n");
	else if (ioctl(listener, AXIO_SIOCACCEL, &wish) != 0)
		perror("opt_in_server: AXIO_SIOCACCEL");

	for (;;) {
		pthread_t thread;
		int no_delay = 1;
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0) {
			if (errno == EINTR || errno == ECONNABORTED)
				continue;
			perror("opt_in_server: accept4");
			return 1;
		}
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, sizeof(no_delay));
		if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) != 0) {
			close(fd);
			continue;
		}
		pthread_detach(thread);
	}
}
