/*
 * Connections that the rules choose for, one after the other, both ends in this thread. The rules are in the environment
 * already; each argument is one line of what is to be done:
 *
 *   listen NAME ADDRESS PORT           a listening socket
 *   replace NAME ADDRESS PORT          closed, and a new one, which gets the same number
 *   move NAME ADDRESS PORT             the same socket listens at another place; it was bound to port 0 before
 *   copy NAME NAME                     the second is a dup() of the first
 *   try NAME ADDRESS PORT CLIENT SERVER [OWN_ADDRESS OWN_PORT]
 *
 * "try" connects to that place (port 0: the listener's), from the own one if there is one, and accepts with the listener
 * NAME. CLIENT and SERVER are what the rules say of that end, "fast" or "kernel". Exchanges follow, and then each end is
 * asked:
 *   both fast          each direction of each end has bytes by ring
 *   one of them fast   no byte by ring; the fast end is managed all the same, the other says "rule"
 *   none               no byte by ring, and both say "rule"
 *
 * Ports are fixed, some belong to name resolution, and some addresses are no loopback's: the whole runs in a network
 * namespace of its own, which the first start makes. It then starts itself with the library named by CHOOSING_LIBRARY.
 * Ends with 77 where such a namespace is not to be had.
 */
#define _GNU_SOURCE
#include "axio.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Evidence needs eight. */
enum { EXCHANGES = 32, MESSAGE_BYTES = 64, LISTENERS = 16, NO_NAMESPACE = 77, WATCHDOG_S = 600 };

static const char *doing = "starting";
static int failures;

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "%s: %s: %s\n", doing, what, strerror(errno));
	exit(1);
}

static void expect(bool holds, const char *what)
{
	if (holds)
		return;
	failures++;
	fprintf(stderr, "%s: does not hold: %s\n", doing, what);
}

/* ---- the namespace */

static void write_file(const char *path, const char *text)
{
	int file = open(path, O_WRONLY | O_CLOEXEC);

	must(file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text), path);
	close(file);
}

/*
 * A new address may be bound to when the kernel has found it to be nobody else's. It asks nobody on loopback, but it is a
 * worker that finds so (addrconf_dad_work), some time later: after 36 ms of a busy machine.
 */
static void wait_until_usable(const struct in6_addr *address)
{
	struct sockaddr_in6 name = { .sin6_family = AF_INET6, .sin6_addr = *address };
	bool usable = false;

	for (int tries = 0; tries < 10000 && !usable; tries++) {
		int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

		must(probe >= 0, "socket");
		usable = bind(probe, (struct sockaddr *)&name, sizeof name) == 0;
		must(usable || errno == EADDRNOTAVAIL, "bind to a new address");
		close(probe);
		if (!usable)
			usleep(1000);
	}
	must(usable, "a new address may be bound to");
}

static void make_namespace(void)
{
	static const char *const more_v6[] = { "fd00:a::1", "fd00:b::1" };
	struct ifreq interface = { .ifr_name = "lo" };
	char map[64];
	int user = (int)getuid(), any = 0;

	if (unshare(CLONE_NEWNET) != 0) {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
			exit(NO_NAMESPACE);
		snprintf(map, sizeof map, "0 %d 1", user);
		write_file("/proc/self/uid_map", map);
	}
	any = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	must(any >= 0 && ioctl(any, SIOCGIFFLAGS, &interface) == 0, "lo");
	interface.ifr_flags |= IFF_UP;
	must(ioctl(any, SIOCSIFFLAGS, &interface) == 0 && ioctl(any, SIOCGIFINDEX, &interface) == 0, "lo");
	for (size_t index = 0; index < sizeof more_v6 / sizeof more_v6[0]; index++) {
		struct in6_ifreq address = { .ifr6_prefixlen = 128, .ifr6_ifindex = interface.ifr_ifindex };

		must(inet_pton(AF_INET6, more_v6[index], &address.ifr6_addr) == 1, more_v6[index]);
		must(ioctl(any, SIOCSIFADDR, &address) == 0, more_v6[index]);
		wait_until_usable(&address.ifr6_addr);
	}
	close(any);
}

/* ---- sockets */

struct place {
	struct sockaddr_storage name;
	socklen_t length;
	int family;
};

static struct place place_of(const char *address, int port)
{
	struct place place = { .family = strchr(address, ':') ? AF_INET6 : AF_INET };
	struct sockaddr_in *v4 = (struct sockaddr_in *)&place.name;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&place.name;

	place.name.ss_family = (sa_family_t)place.family;
	if (place.family == AF_INET) {
		place.length = sizeof *v4;
		v4->sin_port = htons((uint16_t)port);
		must(inet_pton(AF_INET, address, &v4->sin_addr) == 1, address);
	} else {
		place.length = sizeof *v6;
		v6->sin6_port = htons((uint16_t)port);
		must(inet_pton(AF_INET6, address, &v6->sin6_addr) == 1, address);
	}
	return place;
}

static struct {
	char name[16];
	int fd;
} listeners[LISTENERS];

static int *listener_named(const char *name)
{
	for (int index = 0; index < LISTENERS; index++) {
		if (listeners[index].name[0] == 0)
			strcpy(listeners[index].name, name);
		if (strcmp(listeners[index].name, name) == 0)
			return &listeners[index].fd;
	}
	must(false, "too many listeners");
	return NULL;
}

static void listen_at(int fd, struct place place)
{
	const int yes = 1, no = 0;

	must(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0, "SO_REUSEADDR");
	if (place.family == AF_INET6)
		must(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no) == 0, "IPV6_V6ONLY");
	must(bind(fd, (struct sockaddr *)&place.name, place.length) == 0, "bind");
	must(listen(fd, 16) == 0, "listen");
}

/* Each second connection is made by a non-blocking connect() and accepted by accept4(). */
static void make_pair(int listener, struct place far, const struct place *own, int *client, int *server)
{
	static unsigned made;
	const int yes = 1;
	bool differently = made++ % 2;
	int error = 0;
	socklen_t length = sizeof error;

	*client = socket(far.family, SOCK_STREAM | (differently ? SOCK_NONBLOCK : 0), 0);
	must(*client >= 0, "socket");
	if (own) {
		must(setsockopt(*client, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0, "SO_REUSEADDR");
		must(bind(*client, (const struct sockaddr *)&own->name, own->length) == 0, "bind of the client");
	}
	if (connect(*client, (struct sockaddr *)&far.name, far.length) != 0) {
		struct pollfd one = { *client, POLLOUT, 0 };

		must(differently && errno == EINPROGRESS, "connect");
		must(poll(&one, 1, 10000) == 1, "poll");
		must(getsockopt(*client, SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == 0, "connect, later");
	}
	if (differently)
		must(fcntl(*client, F_SETFL, 0) == 0, "F_SETFL");
	*server = differently ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : accept(listener, NULL, NULL);
	must(*server >= 0, "accept");
}

static void move_message(int from, int to, int fill)
{
	char sent[MESSAGE_BYTES], got[MESSAGE_BYTES];

	memset(sent, fill, sizeof sent);
	must(send(from, sent, sizeof sent, MSG_NOSIGNAL) == (ssize_t)sizeof sent, "send");
	must(recv(to, got, sizeof got, MSG_WAITALL) == (ssize_t)sizeof got, "recv");
	must(memcmp(sent, got, sizeof got) == 0, "the bytes that were sent");
}

static void judge(int fd, bool is_fast, bool far_is_fast)
{
	struct axio_status status;

	memset(&status, 0xff, sizeof status);
	must(ioctl(fd, AXIO_SIOCSTATUS, &status) == 0, "the status of a connection");
	if (is_fast && far_is_fast) {
		expect(status.reason == AXIO_REASON_NONE, "no reason to be in the kernel");
		expect(status.path == AXIO_PATH_SHARED_MEMORY && status.state == AXIO_STATE_ACCELERATED, "accelerated");
		expect(status.ring_bytes_in > 0 && status.ring_bytes_out > 0, "bytes by ring both ways");
	} else {
		expect(status.path == AXIO_PATH_KERNEL && status.state != AXIO_STATE_ACCELERATED, "by kernel");
		expect(status.ring_bytes_in == 0 && status.ring_bytes_out == 0, "no byte by ring");
		expect((status.reason != AXIO_REASON_RULE) == is_fast, "the reason is the rule of this end");
		expect((status.state != AXIO_STATE_UNMANAGED) == is_fast, "managed where the rules say fast");
	}
	if (failures)
		fprintf(stderr, "%s: reason %s, state %u, by ring %llu in, %llu out\n", doing,
			axio_reason_name(status.reason), status.state, (unsigned long long)status.ring_bytes_in,
			(unsigned long long)status.ring_bytes_out);
}

static bool is_fast(const char *word)
{
	must(strcmp(word, "fast") == 0 || strcmp(word, "kernel") == 0, word);
	return strcmp(word, "fast") == 0;
}

static void try_one(int listener, struct place far, const struct place *own, bool client_fast, bool server_fast)
{
	const struct linger at_once = { 1, 0 };
	int client, server;

	make_pair(listener, far, own, &client, &server);
	for (int exchange = 0; exchange < EXCHANGES; exchange++) {
		move_message(client, server, exchange);
		move_message(server, client, ~exchange);
	}
	judge(client, client_fast, server_fast);
	judge(server, server_fast, client_fast);
	/* The place of a client that has one is free again without a wait. */
	must(setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0, "SO_LINGER");
	close(client);
	close(server);
}

static void replace(int *listener, struct place place)
{
	int before = *listener;

	close(before);
	*listener = socket(place.family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(*listener == before, "the same number again");
	listen_at(*listener, place);
}

static void move(int listener, struct place place)
{
	struct sockaddr nowhere = { .sa_family = AF_UNSPEC };

	must(connect(listener, &nowhere, sizeof nowhere) == 0, "listens no more");
	listen_at(listener, place);
}

/* The port that the kernel has chosen. */
static int port_of(int listener)
{
	struct sockaddr_in6 name;
	socklen_t length = sizeof name;

	must(getsockname(listener, (struct sockaddr *)&name, &length) == 0, "getsockname");
	/* The same place in both structures. */
	return ntohs(name.sin6_port);
}

static void carry_out(const char *line)
{
	char verb[16], name[16], address[64], client[8], server[8], own_address[64];
	int port, own_port, words;

	doing = line;
	if (sscanf(line, "copy %15s %15s", name, address) == 2) {
		*listener_named(address) = dup(*listener_named(name));
		return;
	}
	words = sscanf(line, "%15s %15s %63s %d %7s %7s %63s %d", verb, name, address, &port, client, server, own_address,
		       &own_port);
	must(words >= 4, "what is meant");
	int *listener = listener_named(name);
	if (strcmp(verb, "try") == 0 && port == 0)
		port = port_of(*listener);
	struct place place = place_of(address, port);

	if (strcmp(verb, "listen") == 0) {
		*listener = socket(place.family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		listen_at(*listener, place);
	} else if (strcmp(verb, "replace") == 0) {
		replace(listener, place);
	} else if (strcmp(verb, "move") == 0) {
		move(*listener, place);
	} else {
		must(strcmp(verb, "try") == 0 && (words == 6 || words == 8), "what is meant");
		struct place own = words == 8 ? place_of(own_address, own_port) : place;

		try_one(*listener, place, words == 8 ? &own : NULL, is_fast(client), is_fast(server));
	}
}

int main(int count, char **lines)
{
	const char *library = getenv("CHOOSING_LIBRARY");

	alarm(WATCHDOG_S);
	if (library) {
		make_namespace();
		must(setenv("LD_PRELOAD", library, 1) == 0 && unsetenv("CHOOSING_LIBRARY") == 0, "the environment");
		execv("/proc/self/exe", lines);
		must(false, "starting again");
	}
	for (int index = 1; index < count && failures == 0; index++)
		carry_out(lines[index]);
	return failures != 0;
}
