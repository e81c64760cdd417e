/*
 * What the statistics page counts, held against what happened. Two processes, one connection at a time, and between them
 * a line of commands: this one does its part and tells the other what to do, so that the history is known to the call.
 * Both read their own pages, as others would (PROTOCOL.md section 16). One argument: the history to be played.
 */
#define _GNU_SOURCE
#include "axio.h"
#include "axio_layout.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE_BYTES = 64, COUNTERS = 64, TO_SERVER = 100, TO_CLIENT = 101, WATCHDOG_S = 600 };

static int failures;
static const char *doing = "starting";

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "%s: %s: %s\n", doing, what, strerror(errno));
	exit(1);
}

/* ---- what the page of this process says */

struct told {
	uint64_t counters[COUNTERS];
	uint8_t row[AXIO_STATISTICS_ROW_BYTES]; /* of the connection; zero when it has none */
};

static int own_page(void)
{
	char name[64], means[64];
	uint32_t magic;

	for (int fd = 0; fd < 4096; fd++) {
		ssize_t length;

		snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
		length = readlink(name, means, sizeof means - 1);
		if (length <= 0)
			continue;
		means[length] = 0;
		if (strncmp(means, "/memfd:axio", 11) == 0 && pread(fd, &magic, 4, 0) == 4 &&
		    magic == AXIO_STATISTICS_MAGIC)
			return fd;
	}
	return -1;
}

static struct told told_of(int connection)
{
	struct told told = { 0 };
	int page = own_page();
	uint32_t used = 0;

	must(page >= 0, "the page of statistics");
	must(pread(page, told.counters, sizeof told.counters, AXIO_STATISTICS_COUNTERS_OFFSET) == sizeof told.counters, "pread");
	must(pread(page, &used, 4, AXIO_STATISTICS_HEADER_ROWS_USED) == 4, "pread");
	for (uint32_t index = 0; index < used; index++) {
		uint8_t row[AXIO_STATISTICS_ROW_BYTES];
		uint32_t in_use;
		int32_t descriptor;

		must(pread(page, row, sizeof row, AXIO_STATISTICS_ROWS_OFFSET + index * (off_t)sizeof row) == sizeof row, "pread");
		memcpy(&in_use, row + AXIO_STATISTICS_ROW_IN_USE, 4);
		memcpy(&descriptor, row + AXIO_STATISTICS_ROW_DESCRIPTOR, 4);
		if (in_use == 1 && descriptor == connection)
			memcpy(told.row, row, sizeof row);
	}
	return told;
}

static uint64_t word(const struct told *told, size_t offset, size_t bytes)
{
	uint64_t value = 0;

	memcpy(&value, told->row + offset, bytes);
	return value;
}

/* ---- the two ends */

static int server_socket = -1;

static void send_all(int fd, size_t bytes)
{
	static char message[1 << 20];

	while (bytes > 0) {
		ssize_t sent = send(fd, message, bytes, MSG_NOSIGNAL);

		must(sent > 0, "send");
		bytes -= (size_t)sent;
	}
}

static void receive_all(int fd, size_t bytes)
{
	static char message[1 << 20];

	while (bytes > 0) {
		ssize_t got = recv(fd, message, bytes, 0);

		must(got > 0, "recv");
		bytes -= (size_t)got;
	}
}

/* The other process is asleep: in the call that it has told of. */
static void wait_until_asleep(pid_t process)
{
	char name[64], text[512];

	snprintf(name, sizeof name, "/proc/%d/stat", (int)process);
	for (int look = 0; look < 10000; look++) {
		const struct timespec pause = { 0, 2000000 };
		int file = open(name, O_RDONLY | O_CLOEXEC);
		ssize_t length = read(file, text, sizeof text - 1);
		const char *state;

		must(length > 0, name);
		close(file);
		text[length] = 0;
		state = strrchr(text, ')');
		must(state != NULL, name);
		if (state[2] == 'S')
			return;
		nanosleep(&pause, NULL);
	}
	must(false, "it does not fall asleep");
}

static void wish(int fd, uint32_t enable)
{
	struct axio_acceleration wish = { enable, 0 };

	must(ioctl(fd, AXIO_SIOCACCEL, &wish) == 0, "AXIO_SIOCACCEL");
}

/* The descriptor goes over a Unix socket: whoever gets it has no Axio, so this end leaves the ring for good. */
static void hand_over(int fd)
{
	int ends[2];
	char byte = 0, control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof fd);
	must(sendmsg(ends[0], &message, 0) == 1, "sendmsg");
	close(ends[0]);
	close(ends[1]);
}

struct command {
	char verb;
	unsigned bytes;
};

static void serve(int listener)
{
	struct command command;
	pid_t other = getppid();

	while (read(TO_SERVER, &command, sizeof command) == sizeof command) {
		struct told told = { 0 };

		switch (command.verb) {
		case 'a': server_socket = accept(listener, NULL, NULL); break;
		case 'r': receive_all(server_socket, command.bytes); break;
		case 'd': wait_until_asleep(other); /* fall through */
		case 'w': send_all(server_socket, command.bytes); break;
		case 'e': /* echoes so many messages */
			for (unsigned done = 0; done < command.bytes; done++) {
				receive_all(server_socket, MESSAGE_BYTES);
				send_all(server_socket, MESSAGE_BYTES);
			}
			break;
		case 'D': /* echoes so many messages, each when the other sleeps */
			for (unsigned done = 0; done < command.bytes; done++) {
				receive_all(server_socket, MESSAGE_BYTES);
				wait_until_asleep(other);
				send_all(server_socket, MESSAGE_BYTES);
			}
			break;
		case 's': must(shutdown(server_socket, SHUT_WR) == 0, "shutdown"); break;
		case 'h': hand_over(server_socket); break;
		case 'c': close(server_socket); break;
		case 't': break;
		default: must(false, "an unknown command");
		}
		/* There is no page before the first connection. */
		if (command.verb != 'a' && own_page() >= 0)
			told = told_of(server_socket);
		must(write(TO_CLIENT, &told, sizeof told) == sizeof told, "write");
	}
}

static void order(char verb, unsigned bytes)
{
	struct command command = { verb, bytes };

	must(write(TO_SERVER, &command, sizeof command) == sizeof command, "write");
}

static struct told answer(void)
{
	struct told told;

	must(read(TO_CLIENT, &told, sizeof told) == sizeof told, "the server has ended");
	return told;
}

static struct told server(char verb, unsigned bytes)
{
	order(verb, bytes);
	return answer();
}

static struct sockaddr_in place;
static pid_t child;

static int connected(void)
{
	int client = socket(AF_INET, SOCK_STREAM, 0);

	order('a', 0);
	must(client >= 0 && connect(client, (struct sockaddr *)&place, sizeof place) == 0, "connect");
	answer();
	return client;
}

static void exchange(int client, unsigned times)
{
	order('e', times);
	for (unsigned done = 0; done < times; done++) {
		send_all(client, MESSAGE_BYTES);
		receive_all(client, MESSAGE_BYTES);
	}
	answer();
}

/* Both directions are on the ring. */
static void accelerate(int client)
{
	struct axio_status status;

	for (int round = 0; round < 50; round++) {
		exchange(client, 20);
		must(ioctl(client, AXIO_SIOCSTATUS, &status) == 0, "AXIO_SIOCSTATUS");
		if (status.switches_in % 2 == 1 && status.switches_out % 2 == 1)
			return;
	}
	must(false, "both directions on the ring");
}

/* ---- expectations */

struct expected {
	const char *name;
	int counter;     /* place in the page; -1: none */
	size_t offset;   /* in the row; 0: none */
	size_t bytes;
};
#define BOTH(name, width) { #name, AXIO_COUNTER_##name, AXIO_STATISTICS_ROW_##name, width }
#define ROW(name, width) { #name, -1, AXIO_STATISTICS_ROW_##name, width }
#define PROCESS(name) { #name, AXIO_COUNTER_##name, 0, 0 }

/* All that may move while a connection is open. What a history does not name must not. */
static const struct expected all[] = {
	BOTH(BELLS_SENT, 4), BOTH(BELLS_RECEIVED, 4), BOTH(SPINS_WON, 4), BOTH(SPINS_LOST, 4), BOTH(KERNEL_SLEEPS, 4),
	BOTH(RETREATS_ASKED, 4), BOTH(RETREATS_SPILL, 4), BOTH(RETREATS_DEAD_LINE, 4), BOTH(RETREATS_LOCAL, 4),
	ROW(KERNEL_BYTES_IN, 8), ROW(KERNEL_BYTES_OUT, 8), ROW(RING_BYTES_IN, 8), ROW(RING_BYTES_OUT, 8),
	ROW(KERNEL_CALLS_IN, 8), ROW(KERNEL_CALLS_OUT, 8), ROW(RING_CALLS_IN, 8), ROW(RING_CALLS_OUT, 8),
	ROW(UPGRADES_OUT, 4), ROW(UPGRADES_IN, 4), ROW(RETREATS_OUT, 4), ROW(RETREATS_IN, 4),
	PROCESS(SOCKETS_SEEN), PROCESS(UPGRADES), PROCESS(RETREATS), PROCESS(REWINDS), PROCESS(REWOUND_BYTES), PROCESS(LEAVES),
	PROCESS(SPURIOUS_WAKES), PROCESS(LOCKS_RECOVERED), PROCESS(HANDLER_CONFLICTS), PROCESS(INTERNAL_ERRORS),
	PROCESS(PROOFS_FAILED), PROCESS(PEERS_MISBEHAVED), PROCESS(EVICTIONS), PROCESS(KERNEL_CALLS), PROCESS(RING_CALLS),
};
enum { ALL = sizeof all / sizeof all[0] };
#define ANY UINT64_MAX

struct change {
	const char *name;
	uint64_t least, most;
};
#define EXACTLY(name, amount) { #name, (amount), (amount) }
#define AT_LEAST(name, amount) { #name, (amount), ANY }

static void fail(const char *who, const char *name, const char *where, uint64_t changed, uint64_t least)
{
	failures++;
	fprintf(stderr, "%s: %s's %s (%s): changed by %lld, expected %llu\n", doing, who, name, where, (long long)changed,
		(unsigned long long)least);
}

static void judge(const char *who, const struct told *before, const struct told *after, const struct change *changes,
		  size_t count)
{
	for (int index = 0; index < ALL; index++) {
		const struct expected *one = &all[index];
		struct change wanted = { one->name, 0, 0 };

		for (size_t change = 0; change < count; change++)
			if (strcmp(changes[change].name, one->name) == 0)
				wanted = changes[change];
		uint64_t counted = one->counter < 0 ? 0 : after->counters[one->counter] - before->counters[one->counter];
		uint64_t shown = one->bytes == 0 ? 0 : word(after, one->offset, one->bytes) - word(before, one->offset, one->bytes);
		if (one->counter >= 0 && (counted < wanted.least || counted > wanted.most))
			fail(who, one->name, "process", counted, wanted.least);
		if (one->bytes != 0 && (shown < wanted.least || shown > wanted.most))
			fail(who, one->name, "row", shown, wanted.least);
		if (one->counter >= 0 && one->bytes != 0 && counted != shown)
			fail(who, one->name, "row, by the process", shown, counted);
	}
}
#define JUDGE(who, before, after, ...)                                                                       \
	do {                                                                                                 \
		const struct change changes[] = { __VA_ARGS__ };                                             \
		judge(who, &(before), &(after), changes, sizeof changes / sizeof changes[0]);                \
	} while (0)

/* ---- histories */

/* AXIO_SPIN_US=0: each receive sleeps, and each answer is a bell. */
static void sleeps_and_bells(void)
{
	enum { TIMES = 10 };
	int client = connected();
	struct told mine, theirs, mine_after, theirs_after;

	accelerate(client);
	/* No bell is left from before. */
	for (int round = 0; round < 2; round++) {
		order('d', MESSAGE_BYTES);
		receive_all(client, MESSAGE_BYTES);
		answer();
	}
	doing = "sleeps and bells";
	mine = told_of(client);
	theirs = server('t', 0);
	for (int time = 0; time < TIMES; time++) {
		order('d', MESSAGE_BYTES);
		receive_all(client, MESSAGE_BYTES);
		theirs_after = answer();
	}
	mine_after = told_of(client);
	JUDGE("the sleeper", mine, mine_after, EXACTLY(KERNEL_SLEEPS, TIMES), EXACTLY(BELLS_RECEIVED, TIMES),
	      EXACTLY(RING_BYTES_IN, TIMES * MESSAGE_BYTES), EXACTLY(RING_CALLS_IN, TIMES));
	JUDGE("the other", theirs, theirs_after, EXACTLY(BELLS_SENT, TIMES), EXACTLY(RING_BYTES_OUT, TIMES * MESSAGE_BYTES),
	      EXACTLY(RING_CALLS_OUT, TIMES));

	doing = "a poll that sleeps is no call on the socket";
	mine = mine_after;
	struct pollfd one = { client, POLLIN, 0 };
	order('d', MESSAGE_BYTES);
	must(poll(&one, 1, 10000) == 1, "poll");
	answer();
	mine_after = told_of(client);
	if (mine_after.counters[AXIO_COUNTER_KERNEL_SLEEPS] - mine.counters[AXIO_COUNTER_KERNEL_SLEEPS] != 1)
		fail("the poller", "KERNEL_SLEEPS", "process",
		     mine_after.counters[AXIO_COUNTER_KERNEL_SLEEPS] - mine.counters[AXIO_COUNTER_KERNEL_SLEEPS], 1);
	if (word(&mine_after, AXIO_STATISTICS_ROW_KERNEL_SLEEPS, 4) != word(&mine, AXIO_STATISTICS_ROW_KERNEL_SLEEPS, 4))
		fail("the poller", "KERNEL_SLEEPS", "row", 1, 0);
	must(poll(&one, 1, 0) == 1, "poll");
	receive_all(client, MESSAGE_BYTES);
	theirs_after = server('t', 0);
	mine = told_of(client);
	if (mine.counters[AXIO_COUNTER_KERNEL_SLEEPS] != mine_after.counters[AXIO_COUNTER_KERNEL_SLEEPS])
		fail("a look", "KERNEL_SLEEPS", "process", 1, 0);
	close(client);
	server('c', 0);
}

/* AXIO_SPIN_US=0: released, and accelerated again. */
static void release(void)
{
	enum { TIMES = 7 };
	int client = connected();
	struct told mine, theirs, mine_after, theirs_after;

	accelerate(client);
	doing = "a release";
	mine = told_of(client);
	theirs = server('t', 0);
	wish(client, 0);
	exchange(client, 2);
	mine_after = told_of(client);
	theirs_after = server('t', 0);
	JUDGE("who released", mine, mine_after, EXACTLY(RETREATS, 1), EXACTLY(RETREATS_LOCAL, 1), EXACTLY(RETREATS_OUT, 1),
	      EXACTLY(RETREATS_IN, 1), EXACTLY(KERNEL_BYTES_OUT, 2 * MESSAGE_BYTES), EXACTLY(KERNEL_CALLS_OUT, 2),
	      AT_LEAST(BELLS_SENT, 0), AT_LEAST(BELLS_RECEIVED, 0), AT_LEAST(KERNEL_SLEEPS, 0), AT_LEAST(KERNEL_BYTES_IN, 0),
	      AT_LEAST(KERNEL_CALLS_IN, 0), AT_LEAST(RING_BYTES_IN, 0), AT_LEAST(RING_CALLS_IN, 0));
	JUDGE("the other", theirs, theirs_after, EXACTLY(RETREATS, 1), EXACTLY(RETREATS_ASKED, 1), EXACTLY(RETREATS_OUT, 1),
	      EXACTLY(RETREATS_IN, 1), EXACTLY(KERNEL_BYTES_IN, 2 * MESSAGE_BYTES), EXACTLY(KERNEL_CALLS_IN, 2),
	      AT_LEAST(BELLS_SENT, 0), AT_LEAST(BELLS_RECEIVED, 0), AT_LEAST(KERNEL_SLEEPS, 0), AT_LEAST(KERNEL_BYTES_OUT, 0),
	      AT_LEAST(KERNEL_CALLS_OUT, 0), AT_LEAST(RING_BYTES_OUT, 0), AT_LEAST(RING_CALLS_OUT, 0));

	doing = "released";
	mine = mine_after;
	theirs = theirs_after;
	exchange(client, TIMES);
	mine_after = told_of(client);
	theirs_after = server('t', 0);
	JUDGE("who released", mine, mine_after, EXACTLY(KERNEL_BYTES_IN, TIMES * MESSAGE_BYTES),
	      EXACTLY(KERNEL_BYTES_OUT, TIMES * MESSAGE_BYTES), EXACTLY(KERNEL_CALLS_IN, TIMES), EXACTLY(KERNEL_CALLS_OUT, TIMES),
	      AT_LEAST(KERNEL_SLEEPS, 0));
	JUDGE("the other", theirs, theirs_after, EXACTLY(KERNEL_BYTES_IN, TIMES * MESSAGE_BYTES),
	      EXACTLY(KERNEL_BYTES_OUT, TIMES * MESSAGE_BYTES), EXACTLY(KERNEL_CALLS_IN, TIMES), EXACTLY(KERNEL_CALLS_OUT, TIMES),
	      AT_LEAST(KERNEL_SLEEPS, 0));

	doing = "accelerated again";
	mine = mine_after;
	wish(client, 1);
	accelerate(client);
	mine_after = told_of(client);
	JUDGE("who was released", mine, mine_after, EXACTLY(UPGRADES, 1), EXACTLY(UPGRADES_OUT, 1), EXACTLY(UPGRADES_IN, 1),
	      AT_LEAST(BELLS_SENT, 1), AT_LEAST(BELLS_RECEIVED, 1), AT_LEAST(KERNEL_SLEEPS, 0), AT_LEAST(KERNEL_BYTES_IN, 0),
	      AT_LEAST(KERNEL_BYTES_OUT, 0), AT_LEAST(KERNEL_CALLS_IN, 0), AT_LEAST(KERNEL_CALLS_OUT, 0),
	      AT_LEAST(RING_BYTES_IN, 1), AT_LEAST(RING_BYTES_OUT, 1), AT_LEAST(RING_CALLS_IN, 1), AT_LEAST(RING_CALLS_OUT, 1));

	doing = "an end";
	mine = mine_after;
	close(client);
	mine_after = told_of(client);
	static const struct {
		int counter;
		size_t offset[2];
	} sums[] = {
		{ AXIO_COUNTER_KERNEL_BYTES_IN, { AXIO_STATISTICS_ROW_KERNEL_BYTES_IN, 0 } },
		{ AXIO_COUNTER_KERNEL_BYTES_OUT, { AXIO_STATISTICS_ROW_KERNEL_BYTES_OUT, 0 } },
		{ AXIO_COUNTER_RING_BYTES_IN, { AXIO_STATISTICS_ROW_RING_BYTES_IN, 0 } },
		{ AXIO_COUNTER_RING_BYTES_OUT, { AXIO_STATISTICS_ROW_RING_BYTES_OUT, 0 } },
		{ AXIO_COUNTER_KERNEL_CALLS, { AXIO_STATISTICS_ROW_KERNEL_CALLS_IN, AXIO_STATISTICS_ROW_KERNEL_CALLS_OUT } },
		{ AXIO_COUNTER_RING_CALLS, { AXIO_STATISTICS_ROW_RING_CALLS_IN, AXIO_STATISTICS_ROW_RING_CALLS_OUT } },
	};
	for (size_t index = 0; index < sizeof sums / sizeof sums[0]; index++) {
		uint64_t row = word(&mine, sums[index].offset[0], 8) + (sums[index].offset[1] ? word(&mine, sums[index].offset[1], 8) : 0);
		uint64_t added = mine_after.counters[sums[index].counter] - mine.counters[sums[index].counter];

		if (row == 0 || added != row)
			fail("who closed", "counters of closed sockets", "process", added, row);
	}
	server('c', 0);
}

/* A reader that does nothing: the ring is full, the rest goes by kernel. */
static void spill(void)
{
	enum { BYTES = 128 << 10 };
	int client = connected();
	struct told mine, theirs, mine_after, theirs_after;

	accelerate(client);
	doing = "a spill";
	mine = told_of(client);
	theirs = server('t', 0);
	send_all(client, BYTES);
	mine_after = told_of(client);
	JUDGE("the writer", mine, mine_after, EXACTLY(RETREATS, 1), EXACTLY(RETREATS_SPILL, 1), EXACTLY(RETREATS_OUT, 1),
	      AT_LEAST(RING_BYTES_OUT, 1), AT_LEAST(KERNEL_BYTES_OUT, 1), AT_LEAST(BELLS_SENT, 1), AT_LEAST(KERNEL_SLEEPS, 1),
	      AT_LEAST(RING_CALLS_OUT, 1), AT_LEAST(KERNEL_CALLS_OUT, 1));
	if (word(&mine_after, AXIO_STATISTICS_ROW_RING_BYTES_OUT, 8) + word(&mine_after, AXIO_STATISTICS_ROW_KERNEL_BYTES_OUT, 8) -
		    word(&mine, AXIO_STATISTICS_ROW_RING_BYTES_OUT, 8) - word(&mine, AXIO_STATISTICS_ROW_KERNEL_BYTES_OUT, 8) !=
	    BYTES)
		fail("the writer", "bytes by ring and kernel", "row", 0, BYTES);
	theirs_after = server('r', BYTES);
	JUDGE("the reader", theirs, theirs_after, EXACTLY(RETREATS_IN, 1), AT_LEAST(RING_BYTES_IN, 1), AT_LEAST(KERNEL_BYTES_IN, 1),
	      AT_LEAST(BELLS_RECEIVED, 1), AT_LEAST(BELLS_SENT, 0), AT_LEAST(RING_CALLS_IN, 1), AT_LEAST(KERNEL_CALLS_IN, 1),
	      AT_LEAST(KERNEL_SLEEPS, 0));
	close(client);
	server('c', 0);
}

/* The far side has shut its direction down: nothing can wake a writer any more, so the ring that is full is left. */
static void dead_line(void)
{
	enum { BYTES = 128 << 10 };
	char byte;
	int client = connected();
	struct told mine, mine_after;

	accelerate(client);
	doing = "a dead line";
	server('s', 0);
	must(recv(client, &byte, 1, 0) == 0, "the end of the other direction");
	mine = told_of(client);
	send_all(client, BYTES);
	mine_after = told_of(client);
	JUDGE("the writer", mine, mine_after, EXACTLY(RETREATS, 1), EXACTLY(RETREATS_DEAD_LINE, 1), EXACTLY(RETREATS_OUT, 1),
	      AT_LEAST(RING_BYTES_OUT, 1), AT_LEAST(KERNEL_BYTES_OUT, 1), AT_LEAST(BELLS_SENT, 1), AT_LEAST(RING_CALLS_OUT, 1),
	      AT_LEAST(KERNEL_CALLS_OUT, 1), AT_LEAST(KERNEL_SLEEPS, 0));
	server('r', BYTES);
	close(client);
	server('c', 0);
}

/* The far side leaves with bytes unread: they are sent again through the kernel. */
static void rewind_of_a_ring(void)
{
	enum { BYTES = 1000 };
	int client = connected();
	struct told mine, theirs, mine_after, theirs_after;

	accelerate(client);
	doing = "a rewind";
	mine = told_of(client);
	theirs = server('t', 0);
	send_all(client, BYTES);
	server('h', 0);
	send_all(client, MESSAGE_BYTES);
	theirs_after = server('r', BYTES + MESSAGE_BYTES);
	mine_after = told_of(client);
	JUDGE("who sent", mine, mine_after, EXACTLY(REWINDS, 1), EXACTLY(REWOUND_BYTES, BYTES), EXACTLY(RING_BYTES_OUT, BYTES),
	      EXACTLY(RING_CALLS_OUT, 1), EXACTLY(KERNEL_BYTES_OUT, MESSAGE_BYTES), EXACTLY(KERNEL_CALLS_OUT, 1),
	      AT_LEAST(BELLS_SENT, 0), AT_LEAST(BELLS_RECEIVED, 0), AT_LEAST(LEAVES, 0), AT_LEAST(RETREATS_IN, 0));
	JUDGE("who left", theirs, theirs_after, EXACTLY(LEAVES, 1), EXACTLY(RETREATS, 1), EXACTLY(RETREATS_LOCAL, 1),
	      EXACTLY(RETREATS_OUT, 1), EXACTLY(KERNEL_BYTES_IN, BYTES + MESSAGE_BYTES), AT_LEAST(KERNEL_CALLS_IN, 1),
	      AT_LEAST(BELLS_SENT, 0), AT_LEAST(BELLS_RECEIVED, 0), AT_LEAST(KERNEL_SLEEPS, 0));
	close(client);
	server('c', 0);
}

/* The two processes run on CPUs of their own, if there are two: nobody spins for a far side on the same one. */
static bool take_cpus_of_their_own(pid_t other)
{
	cpu_set_t allowed, mine, theirs;
	int found = 0;

	must(sched_getaffinity(0, sizeof allowed, &allowed) == 0, "sched_getaffinity");
	CPU_ZERO(&mine);
	CPU_ZERO(&theirs);
	for (int cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++)
		if (CPU_ISSET(cpu, &allowed))
			CPU_SET(cpu, found++ == 0 ? &mine : &theirs);
	return found == 2 && sched_setaffinity(0, sizeof mine, &mine) == 0 && sched_setaffinity(other, sizeof theirs, &theirs) == 0;
}

/* Messages and their answers, each of which is sent when this side sleeps. */
static void exchange_slowly(int client, unsigned times)
{
	order('D', times);
	for (unsigned done = 0; done < times; done++) {
		send_all(client, MESSAGE_BYTES);
		receive_all(client, MESSAGE_BYTES);
	}
	answer();
}

/* AXIO_SPIN_US=1000: quick answers are spun for, and slow ones in vain. */
static void spins(void)
{
	enum { SLOW = 10, QUICK = 200 };
	int client = connected();
	uint64_t won = 0, lost = take_cpus_of_their_own(child) ? SLOW : 0;
	bool may_win = lost > 0;
	struct told mine, mine_after;

	accelerate(client);
	/* From here on it is known where the other one runs, and no bell is left from before. */
	exchange_slowly(client, 2);
	doing = "slow answers";
	mine = told_of(client);
	exchange_slowly(client, SLOW);
	mine_after = told_of(client);
	JUDGE("who asks", mine, mine_after, EXACTLY(SPINS_LOST, lost), EXACTLY(KERNEL_SLEEPS, SLOW), EXACTLY(BELLS_RECEIVED, SLOW),
	      EXACTLY(RING_BYTES_IN, SLOW * MESSAGE_BYTES), EXACTLY(RING_BYTES_OUT, SLOW * MESSAGE_BYTES),
	      EXACTLY(RING_CALLS_IN, SLOW), EXACTLY(RING_CALLS_OUT, SLOW), AT_LEAST(BELLS_SENT, 0));

	/* On a busy machine not every round has an answer within a millisecond. */
	doing = "quick answers";
	for (int round = 0; round < 100 && may_win && won == 0; round++) {
		mine = told_of(client);
		exchange(client, QUICK);
		mine_after = told_of(client);
		won += word(&mine_after, AXIO_STATISTICS_ROW_SPINS_WON, 4) - word(&mine, AXIO_STATISTICS_ROW_SPINS_WON, 4);
		JUDGE("who asks", mine, mine_after, AT_LEAST(SPINS_WON, 0), AT_LEAST(SPINS_LOST, 0), AT_LEAST(KERNEL_SLEEPS, 0),
		      AT_LEAST(BELLS_SENT, 0), AT_LEAST(BELLS_RECEIVED, 0), EXACTLY(RING_BYTES_IN, QUICK * MESSAGE_BYTES),
		      EXACTLY(RING_BYTES_OUT, QUICK * MESSAGE_BYTES), EXACTLY(RING_CALLS_IN, QUICK), EXACTLY(RING_CALLS_OUT, QUICK));
	}
	if (may_win && won == 0)
		fail("who asks", "SPINS_WON", "row", won, 1);
	close(client);
	server('c', 0);
}

int main(int count, char **words)
{
	static const struct {
		const char *name;
		void (*play)(void);
	} histories[] = { { "sleeps", sleeps_and_bells }, { "release", release }, { "spill", spill },
			  { "dead_line", dead_line }, { "rewind", rewind_of_a_ring }, { "spins", spins } };
	socklen_t length = sizeof place;
	int to_server[2], to_client[2], listener;

	alarm(WATCHDOG_S);
	if (count == 3 && strcmp(words[1], "serve") == 0) {
		serve(atoi(words[2]));
		return 0;
	}
	listener = socket(AF_INET, SOCK_STREAM, 0);
	place = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	must(bind(listener, (struct sockaddr *)&place, length) == 0 && listen(listener, 4) == 0, "listen");
	must(getsockname(listener, (struct sockaddr *)&place, &length) == 0, "getsockname");
	must(pipe2(to_server, O_CLOEXEC) == 0 && pipe2(to_client, O_CLOEXEC) == 0, "pipe2");
	child = fork();
	must(child >= 0, "fork");
	if (child == 0) {
		char number[16];

		must(dup2(to_server[0], TO_SERVER) == TO_SERVER && dup2(to_client[1], TO_CLIENT) == TO_CLIENT, "dup2");
		snprintf(number, sizeof number, "%d", listener);
		execl("/proc/self/exe", words[0], "serve", number, (char *)NULL);
		must(false, "execl");
	}
	must(dup2(to_server[1], TO_SERVER) == TO_SERVER && dup2(to_client[0], TO_CLIENT) == TO_CLIENT, "dup2");
	fcntl(TO_SERVER, F_SETFD, FD_CLOEXEC);
	close(to_server[0]);
	close(to_server[1]);
	close(to_client[0]);
	close(to_client[1]);
	for (size_t index = 0; count == 2 && index < sizeof histories / sizeof histories[0]; index++)
		if (strcmp(words[1], histories[index].name) == 0) {
			histories[index].play();
			close(TO_SERVER);
			must(waitpid(child, &count, 0) == child && count == 0, "the server ends well");
			return failures != 0;
		}
	return 2;
}
