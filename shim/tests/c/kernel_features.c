/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection of this process with a child, after something that its one argument names. What it is worth is asked of
 * the library under which this runs.
 */
#define _GNU_SOURCE
#include "axio.h"
#include <aio.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 200, SIZE = 64 };

static int failures;

#define CHECK(condition)                                                                       \
	do {                                                                                   \
		if (!(condition)) {                                                            \
			failures++;                                                            \
			fprintf(stderr, "line %d: does not hold: %s\n", __LINE__, #condition); \
		}                                                                              \
	} while (0)

static void set(int fd, int level, int name, int value)
{
	CHECK(setsockopt(fd, level, name, &value, sizeof(value)) == 0);
}

static void nothing_to_do(int signal)
{
	(void)signal;
}

static void prepare(int fd, const char *what)
{
	if (!strcmp(what, "async")) {
		signal(SIGIO, nothing_to_do);
		CHECK(fcntl(fd, F_SETOWN, getpid()) == 0);
		CHECK(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC) == 0);
	} else if (!strcmp(what, "zerocopy")) {
		set(fd, SOL_SOCKET, SO_ZEROCOPY, 1);
	} else if (!strcmp(what, "timestamp") || !strcmp(what, "inherited_timestamp")) {
		set(fd, SOL_SOCKET, SO_TIMESTAMP, 1);
	} else if (!strcmp(what, "timestamp_new")) {
		set(fd, SOL_SOCKET, SO_TIMESTAMP_NEW, 1);
	} else if (!strcmp(what, "peek_offset")) {
		set(fd, SOL_SOCKET, SO_PEEK_OFF, 0);
	} else if (!strcmp(what, "inherited_inq")) {
		set(fd, IPPROTO_TCP, TCP_INQ, 1);
	} else if (!strcmp(what, "filter")) {
		struct sock_filter all = BPF_STMT(BPF_RET | BPF_K, 0xffff);
		struct sock_fprog program = { 1, &all };
		CHECK(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0);
	}
}

static void whole(int fd, bool sends, char *bytes)
{
	for (size_t done = 0; done < SIZE;) {
		ssize_t part = sends ? send(fd, bytes + done, SIZE - done, 0) : recv(fd, bytes + done, SIZE - done, 0);
		if (part < 0 && errno == EINTR)
			continue;
		if (part <= 0) {
			CHECK(!"the connection goes on");
			exit(1);
		}
		done += (size_t)part;
	}
}

static void exchange(int fd, int rounds)
{
	char bytes[SIZE] = "question";

	for (int round = 0; round < rounds; round++) {
		whole(fd, true, bytes);
		whole(fd, false, bytes);
	}
}

static struct axio_status status_of(int fd)
{
	struct axio_status status = { 0 };

	CHECK(ioctl(fd, AXIO_SIOCSTATUS, &status) == 0);
	return status;
}

static void aio(int fd)
{
	char bytes[SIZE] = "read by a thread of the C library";
	char found[SIZE] = "";
	struct aiocb transfer = { .aio_fildes = fd, .aio_buf = found, .aio_nbytes = SIZE };
	const struct aiocb *list[] = { &transfer };

	whole(fd, true, bytes);
	CHECK(aio_read(&transfer) == 0);
	while (aio_error(&transfer) == EINPROGRESS)
		aio_suspend(list, 1, 0);
	CHECK(aio_return(&transfer) == SIZE && !memcmp(found, bytes, SIZE));
	exchange(fd, ROUNDS);
}

static void receive_without_copying(int fd)
{
	struct tcp_zerocopy_receive request;
	socklen_t length = sizeof(request);
	struct pollfd readable = { fd, POLLIN, 0 };
	char bytes[SIZE] = "to be copied";

	whole(fd, true, bytes);
	CHECK(poll(&readable, 1, 10000) == 1);
	memset(&request, 0, sizeof(request));
	request.address = (uint64_t)(uintptr_t)mmap(0, 1 << 16, PROT_READ, MAP_SHARED, fd, 0);
	request.length = 1 << 16;
	CHECK(getsockopt(fd, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &request, &length) == 0);
	CHECK(request.length == 0 && request.recv_skip_hint == SIZE);
	/* The mapping holds the connection open. */
	CHECK(munmap((void *)(uintptr_t)request.address, 1 << 16) == 0);
	whole(fd, false, bytes);
	CHECK(!strcmp(bytes, "to be copied"));
}

/* ppoll and pselect6 of the kernel write the time left back if they can, and judge every address themselves. */
static void constants(int fd)
{
	static const struct timespec at_once = { 0, 1000000 };
	struct pollfd entry = { fd, POLLIN, 0 };
	uint64_t no_signals = 0;
	struct {
		const void *signals;
		size_t bytes;
	} mask = { &no_signals, 8 };
	struct timespec *constant = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct timespec left = { 5, 0 };
	int ends[2];

	*constant = at_once;
	CHECK(mprotect(constant, 4096, PROT_READ) == 0);
	CHECK(syscall(SYS_ppoll, &entry, 1, constant, &no_signals, 8) == 0);
	CHECK(syscall(SYS_pselect6, 0, 0, 0, 0, constant, &mask) == 0);
	errno = 0;
	CHECK(syscall(SYS_ppoll, &entry, 1, 8192L, 0, 8) == -1 && errno == EFAULT);
	errno = 0;
	CHECK(syscall(SYS_pselect6, 0, 0, 0, 0, constant, 8192L) == -1 && errno == EFAULT);
	CHECK(pipe(ends) == 0 && write(ends[1], "!", 1) == 1);
	struct pollfd both[] = { { fd, POLLIN, 0 }, { ends[0], POLLIN, 0 } };
	CHECK(syscall(SYS_ppoll, both, 2, &left, 0, 8) == 1);
	CHECK(left.tv_sec < 5 && left.tv_sec >= 3);
}

int main(int count, char **arguments)
{
	const char *what = count > 1 ? arguments[1] : "nothing";
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t length = sizeof(address);
	bool inherits = !strncmp(what, "inherited", 9);
	bool plain = !strcmp(what, "nothing") || !strcmp(what, "aio") || !strcmp(what, "zerocopy_receive") || !strcmp(what, "constants");

	alarm(600);
	if (!strcmp(what, "constants_without_sockets")) {
		int ends[2];
		CHECK(pipe(ends) == 0);
		constants(ends[0]);
		/* They went through the library: without it nobody knows this request. */
		struct axio_status status;
		CHECK(ioctl(socket(AF_INET, SOCK_STREAM, 0), AXIO_SIOCSTATUS, &status) == 0 || errno != ENOTTY);
		return failures != 0;
	}
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, 1) == 0);
	CHECK(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
	if (inherits)
		prepare(listener, what);
	pid_t child = fork();
	if (child == 0) {
		int server = accept(listener, 0, 0);
		char bytes[SIZE];
		ssize_t received;
		while ((received = recv(server, bytes, SIZE, 0)) > 0)
			if (send(server, bytes, (size_t)received, 0) != received)
				_exit(1);
		_exit(0);
	}
	int client = socket(AF_INET, SOCK_STREAM, 0);
	if (!inherits)
		prepare(client, what);
	CHECK(connect(client, (struct sockaddr *)&address, length) == 0);
	exchange(client, ROUNDS);
	struct axio_status status = status_of(client);
	uint64_t by_ring = status.ring_bytes_in + status.ring_bytes_out;
	if (plain)
		CHECK(by_ring > ROUNDS * SIZE);
	else
		CHECK(by_ring == 0);
	/* The end that inherited says so; the other finds nobody who agrees. */
	if (!plain && !inherits)
		CHECK(status.reason == AXIO_REASON_KERNEL_FEATURE);
	if (!strcmp(what, "aio"))
		aio(client);
	else if (!strcmp(what, "zerocopy_receive"))
		receive_without_copying(client);
	else if (!strcmp(what, "constants"))
		constants(client);
	close(client);
	int ended = 0;
	CHECK(waitpid(child, &ended, 0) == child && ended == 0);
	return failures != 0;
}
