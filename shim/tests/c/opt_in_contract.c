/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract of axio.h, kept by the library under which this program runs. One argument: the configuration that
 * holds (on, optin, rule, off), which the test has put into the environment.
 */
#define _GNU_SOURCE
#include "axio.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static int failures;

#define CHECK(condition)                                                                       \
	do {                                                                                   \
		if (!(condition)) {                                                            \
			failures++;                                                            \
			fprintf(stderr, "line %d: does not hold: %s\n", __LINE__, #condition); \
		}                                                                              \
	} while (0)

static int accelerate(int fd, uint32_t enable, uint32_t *reason)
{
	struct axio_acceleration wish = { enable, 4711 };
	int error = ioctl(fd, AXIO_SIOCACCEL, &wish) == 0 ? 0 : errno;

	CHECK(wish.enable == enable);
	*reason = wish.reason;
	return error;
}

static struct axio_status status_of(int fd, int expected_error)
{
	struct axio_status status;
	int error;

	memset(&status, 0xff, sizeof(status));
	error = ioctl(fd, AXIO_SIOCSTATUS, &status) == 0 ? 0 : errno;
	CHECK(error == expected_error);
	CHECK(status.version == AXIO_STATUS_VERSION && status.reserved[0] == 0 && status.reserved[1] == 0);
	return status;
}

static bool has_reason(int fd, uint32_t reason)
{
	struct axio_status status = status_of(fd, 0);

	if (status.reason != reason)
		fprintf(stderr, "reason %s\n", axio_reason_name(status.reason));
	return status.reason == reason && status.path == AXIO_PATH_KERNEL;
}

struct connection {
	int listener, client, server;
};

/* A connection on loopback; what `ask` says is asked of the listener and of the client before they are connected. */
static struct connection connected(int ask)
{
	struct connection made;
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t length = sizeof(address);
	uint32_t reason;

	made.listener = socket(AF_INET, SOCK_STREAM, 0);
	made.client = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(bind(made.listener, (struct sockaddr *)&address, length) == 0 && listen(made.listener, 1) == 0);
	CHECK(getsockname(made.listener, (struct sockaddr *)&address, &length) == 0);
	if (ask >= 0) {
		CHECK(accelerate(made.listener, (uint32_t)ask, &reason) == 0);
		CHECK(reason == (ask ? AXIO_REASON_NOT_YET : AXIO_REASON_RELEASED));
		CHECK(accelerate(made.client, (uint32_t)ask, &reason) == 0);
	}
	CHECK(connect(made.client, (struct sockaddr *)&address, length) == 0);
	made.server = accept(made.listener, NULL, NULL);
	CHECK(made.server >= 0);
	return made;
}

static void both_have(struct connection pair, uint32_t reason)
{
	CHECK(has_reason(pair.client, reason));
	CHECK(has_reason(pair.server, reason));
	CHECK(axio_present(pair.client) == 1 && axio_present(pair.server) == 1);
}

static void disconnect(struct connection pair)
{
	close(pair.client);
	close(pair.server);
	close(pair.listener);
}

/* What is refused, and how: the same under every configuration but "off". */
static void refusals(void)
{
	int tcp = socket(AF_INET, SOCK_STREAM, 0);
	int others[] = { socket(AF_INET, SOCK_DGRAM, 0), socket(AF_UNIX, SOCK_STREAM, 0), socket(AF_UNIX, SOCK_SEQPACKET, 0) };
	int pipes[2], epoll = epoll_create1(0);
	struct axio_status status;
	uint32_t reason;

	CHECK(pipe(pipes) == 0);
	for (size_t index = 0; index < sizeof(others) / sizeof(others[0]); index++) {
		status = status_of(others[index], EOPNOTSUPP);
		CHECK(status.reason == AXIO_REASON_NOT_STREAM_SOCKET && status.path == AXIO_PATH_KERNEL);
		CHECK(status.state == AXIO_STATE_UNMANAGED);
		CHECK(accelerate(others[index], 1, &reason) == EOPNOTSUPP && reason == AXIO_REASON_NOT_STREAM_SOCKET);
		CHECK(axio_present(others[index]) == 1);
	}
	CHECK(accelerate(tcp, 2, &reason) == EINVAL && reason == 4711);
	CHECK(ioctl(tcp, AXIO_SIOCACCEL, NULL) == -1 && errno == EFAULT);
	CHECK(ioctl(tcp, AXIO_SIOCSTATUS, NULL) == -1 && errno == EFAULT);
	errno = 4711;
	CHECK(axio_present(tcp) == 1 && errno == 4711);
	CHECK(axio_present(pipes[0]) == 0 && axio_present(epoll) == 0 && errno == 4711);
	CHECK(ioctl(pipes[0], AXIO_SIOCSTATUS, &status) == -1 && errno == ENOTTY);
	CHECK(ioctl(epoll, AXIO_SIOCSTATUS, &status) == -1 && errno == EINVAL);
	close(tcp);
	CHECK(axio_present(tcp) == -1 && errno == EBADF);
	CHECK(ioctl(tcp, AXIO_SIOCSTATUS, NULL) == -1 && errno == EBADF);
}

static void on(void)
{
	struct connection pair = connected(-1);
	uint32_t reason;
	int copy;

	both_have(pair, AXIO_REASON_NOT_YET);
	CHECK(status_of(pair.client, 0).state == AXIO_STATE_WATCHING);
	CHECK(accelerate(pair.client, 0, &reason) == 0 && reason == AXIO_REASON_RELEASED);
	copy = dup(pair.client);
	CHECK(has_reason(copy, AXIO_REASON_RELEASED));
	CHECK(has_reason(pair.server, AXIO_REASON_NOT_YET));
	CHECK(accelerate(copy, 1, &reason) == 0 && reason == AXIO_REASON_NOT_YET);
	CHECK(has_reason(pair.client, AXIO_REASON_NOT_YET));
	close(copy);
	disconnect(pair);

	/* Asked for the kernel before there was a connection. */
	pair = connected(0);
	both_have(pair, AXIO_REASON_RELEASED);
	disconnect(pair);
	/* The numbers are the same again; the wish went with the sockets. */
	pair = connected(-1);
	both_have(pair, AXIO_REASON_NOT_YET);

	/* A reason that is no wish is not lifted by one. */
	CHECK(setsockopt(pair.client, SOL_SOCKET, SO_OOBINLINE, &(int){ 1 }, sizeof(int)) == 0);
	CHECK(has_reason(pair.client, AXIO_REASON_KERNEL_FEATURE));
	CHECK(accelerate(pair.client, 1, &reason) == 0 && reason == AXIO_REASON_KERNEL_FEATURE);
	CHECK(accelerate(pair.client, 0, &reason) == 0 && reason == AXIO_REASON_KERNEL_FEATURE);
	CHECK(accelerate(pair.client, 1, &reason) == 0 && reason == AXIO_REASON_KERNEL_FEATURE);
	disconnect(pair);
}

static void optin(void)
{
	struct connection pair = connected(-1);
	uint32_t reason;
	int before, copy;

	both_have(pair, AXIO_REASON_NOT_OPTED_IN);
	CHECK(has_reason(pair.listener, AXIO_REASON_NOT_OPTED_IN));
	CHECK(accelerate(pair.client, 1, &reason) == 0 && reason == AXIO_REASON_NOT_YET);
	CHECK(has_reason(pair.client, AXIO_REASON_NOT_YET) && has_reason(pair.server, AXIO_REASON_NOT_OPTED_IN));
	disconnect(pair);

	pair = connected(1);
	both_have(pair, AXIO_REASON_NOT_YET);
	disconnect(pair);

	/* Before there is a connection, the wish goes with duplicates made after it. */
	before = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(has_reason(before, AXIO_REASON_NOT_OPTED_IN));
	CHECK(accelerate(before, 1, &reason) == 0 && reason == AXIO_REASON_NOT_YET);
	copy = dup(before);
	CHECK(has_reason(copy, AXIO_REASON_NOT_YET));
	close(copy);
	close(before);
	before = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(has_reason(before, AXIO_REASON_NOT_OPTED_IN));
	close(before);
}

static void rule(void)
{
	struct connection pair = connected(-1);
	uint32_t reason;

	both_have(pair, AXIO_REASON_RULE);
	CHECK(accelerate(pair.client, 1, &reason) == 0 && reason == AXIO_REASON_RULE);
	CHECK(has_reason(pair.client, AXIO_REASON_RULE));
	disconnect(pair);
}

static void off(void)
{
	struct axio_acceleration wish = { 1, 4711 };
	int tcp = socket(AF_INET, SOCK_STREAM, 0);

	CHECK(ioctl(tcp, AXIO_SIOCACCEL, &wish) == -1 && errno == ENOTTY && wish.reason == 4711);
	CHECK(axio_present(tcp) == 0);
}

int main(int argument_count, char **arguments)
{
	static const struct {
		const char *name;
		void (*check)(void);
	} configurations[] = { { "on", on }, { "optin", optin }, { "rule", rule }, { "off", off } };

	for (size_t index = 0; argument_count == 2 && index < sizeof(configurations) / sizeof(configurations[0]); index++)
		if (strcmp(arguments[1], configurations[index].name) == 0) {
			if (configurations[index].check != off)
				refusals();
			configurations[index].check();
			return failures != 0;
		}
	return 2;
}
