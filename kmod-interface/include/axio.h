/* SPDX-License-Identifier: Apache-2.0 */
/*
 * axio.h: what a program may ask Axio about one of its own sockets. C11 and C++17.
 *
 * Two requests on an ordinary TCP descriptor:
 *
 *     struct axio_acceleration wish = { 1, 0 };
 *     if (ioctl(fd, AXIO_SIOCACCEL, &wish) == 0 && wish.reason != AXIO_REASON_NONE)
 *         printf("on the kernel path for now: %s\n", axio_reason_name(wish.reason));
 *
 *     struct axio_status status;
 *     if (ioctl(fd, AXIO_SIOCSTATUS, &status) == 0)
 *         printf("%llu bytes by ring\n", (unsigned long long)status.ring_bytes_out);
 *
 * A program calls the C library's ioctl(). With libaxio.so preloaded or linked (cc program.c -laxio) that call is
 * answered inside the process and costs no system call. Without it the very same call reaches the kernel, which knows
 * neither number: the program needs no second build and no run-time look-up, only axio_present() below.
 *
 *
 * CONTRACT
 *
 * Who answers. Axio answers both requests for every descriptor that is a socket, unless it is switched off (AXIO=off,
 * or a set-uid program). For everything else (files, pipes, epoll sets, descriptors opened with O_PATH, numbers that
 * are not open), and always when it is switched off or absent, the call goes to the kernel unchanged and the kernel's
 * own answer comes back. Measured on Linux 6.18 with both numbers, valid and null argument:
 *
 *     sockets of every kind and state    ENOTTY   TCP (new, listening, connected, shut down, MPTCP), UDP, Unix,
 *                                                 netlink, packet, raw, vsock; the argument is not touched
 *     files, pipes, eventfd, memfd, tty  ENOTTY
 *     epoll sets, /dev/urandom           EINVAL
 *     number not open, O_PATH            EBADF
 *
 * So ENOTTY *on a socket* means one thing only: no Axio in this process, or AXIO=off. Axio itself never answers ENOTTY
 * for a socket.
 *
 * Return values of Axio, for both requests:
 *
 *     0                    the structure is filled in. Says nothing about acceleration: read `reason`
 *     -1, EOPNOTSUPP       a socket that Axio never manages (not TCP). The structure is filled in all the same, with
 *                          path AXIO_PATH_KERNEL and reason AXIO_REASON_NOT_STREAM_SOCKET
 *     -1, EINVAL           AXIO_SIOCACCEL only: `enable` is neither 0 nor 1. Nothing was done or written
 *     -1, EFAULT           the argument is null or no possible address. Nothing was done or written
 *
 * AXIO_SIOCACCEL, enable = 1: the program asks for acceleration of this socket. The answer comes at once, the move to
 * the ring later: it needs the far side's consent and a moment when nothing is under way in the kernel, so `reason` is
 * usually AXIO_REASON_NOT_YET at first. It may be asked before connect() or listen(); a connection accepted from a
 * listening socket inherits the wish that stood at the time of accept(). It lifts AXIO_REASON_NOT_OPTED_IN and
 * AXIO_REASON_RELEASED, nothing else: a rule of the user (AXIO_RULES) outranks the program.
 *
 * AXIO_SIOCACCEL, enable = 0: back to the kernel path, until the program itself asks with enable = 1 again. When the
 * call returns, everything this side writes from now on goes through the kernel. What was written before arrives first
 * and once; the opposite direction follows when the far side makes its next call on the connection, or at once if it
 * is asleep in one. May be asked at any moment, also while other threads are inside calls on the same socket.
 *
 * AXIO_SIOCSTATUS: changes nothing. `version` is set by Axio and tells which fields exist; a later, longer structure
 * gets a request number of its own (the number holds the length), and old numbers keep working.
 *
 * Both requests concern the socket, not the number: duplicates and forked copies of the descriptor share the answer.
 * (Until a socket is connected, a wish belongs to the descriptor and to duplicates made after it.) From a signal handler
 * that interrupted a call on the same socket, enable = 0 takes effect at the socket's next send.
 */
#ifndef AXIO_H
#define AXIO_H

#include <errno.h>
#include <stdint.h>
#include <sys/ioctl.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Argument of AXIO_SIOCACCEL. */
struct axio_acceleration {
	uint32_t enable; /* in: 1 = accelerate as soon as possible, 0 = back to the kernel path */
	uint32_t reason; /* out: enum axio_reason that holds now; AXIO_REASON_NONE = accelerated */
};

/* Argument of AXIO_SIOCSTATUS; every field is an answer. */
struct axio_status {
	uint32_t version; /* AXIO_STATUS_VERSION */
	uint32_t path;    /* enum axio_path */
	uint32_t state;   /* enum axio_state */
	uint32_t reason;  /* enum axio_reason */
	uint64_t kernel_bytes_in;
	uint64_t kernel_bytes_out;
	uint64_t ring_bytes_in;
	uint64_t ring_bytes_out;
	uint32_t switches_out; /* changes of carrier, sending direction; odd = on the ring now, unless path says no */
	uint32_t switches_in;  /* the same for the receiving direction */
	uint64_t reserved[2];  /* zero */
};

/* The type byte of both requests. _IOWR encoding, outside the device-private range 0x89E0-0x89FF. */
#define AXIO_IOCTL_TYPE 0xA8
#define AXIO_SIOCACCEL _IOWR(AXIO_IOCTL_TYPE, 1, struct axio_acceleration)
#define AXIO_SIOCSTATUS _IOWR(AXIO_IOCTL_TYPE, 2, struct axio_status)

#define AXIO_STATUS_VERSION 1

/* What carries the bytes: shared memory as soon as one direction is on its ring. */
enum axio_path {
	AXIO_PATH_KERNEL = 0,
	AXIO_PATH_SHARED_MEMORY = 1
};

/* How far a socket has come. */
enum axio_state {
	AXIO_STATE_UNMANAGED = 0,   /* nothing has happened that concerns Axio */
	AXIO_STATE_WATCHING = 1,    /* exchanges are counted, as evidence for an upgrade */
	AXIO_STATE_NEGOTIATING = 2, /* the two processes are proving who they are */
	AXIO_STATE_BOUND = 3,       /* ring memory is agreed on, both directions still in the kernel */
	AXIO_STATE_ACCELERATED = 4, /* at least one direction is on the ring */
	AXIO_STATE_RETREATED = 5    /* was accelerated, is back in the kernel; the reason says why */
};

/* Why a socket is on the kernel path. A closed list: numbers and names never change, new ones are added at the end. */
enum axio_reason {
	AXIO_REASON_NONE = 0,
	AXIO_REASON_NOT_YET = 1,
	AXIO_REASON_NEGOTIATING = 2,
	AXIO_REASON_RULE = 3,
	AXIO_REASON_NOT_OPTED_IN = 4,
	AXIO_REASON_RELEASED = 5,
	AXIO_REASON_SECURE_EXECUTION = 6, /* by the command axio alone: there nobody answers */
	AXIO_REASON_PEER_HAS_NO_AXIO = 7,
	AXIO_REASON_ADDRESS_NOT_LOCAL = 8,
	AXIO_REASON_ADDRESS_TRANSLATED = 9,
	AXIO_REASON_NOT_STREAM_SOCKET = 10,
	AXIO_REASON_SHARED = 11,
	AXIO_REASON_INHERITED = 12,
	AXIO_REASON_STANDARD_STREAM = 13,
	AXIO_REASON_IO_URING = 14,
	AXIO_REASON_KERNEL_FEATURE = 15,
	AXIO_REASON_CONFINED = 16,
	AXIO_REASON_EPOLL_SHARED = 17,
	AXIO_REASON_SLOT_EVICTED = 18,
	AXIO_REASON_NO_GAIN = 19, /* reserved: this version never gives it */
	AXIO_REASON_PEER_LEFT = 20,
	AXIO_REASON_STREAM_ENDED = 21,
	AXIO_REASON_TOO_MANY_SOCKETS = 22,
	AXIO_REASON_UNSUPPORTED = 23,
	AXIO_REASON_NAME_TAKEN = 24,
	AXIO_REASON_PROOF_FAILED = 25,
	AXIO_REASON_FORBIDDEN = 26,
	AXIO_REASON_OUT_OF_MEMORY = 27,
	AXIO_REASON_OUT_OF_DESCRIPTORS = 28,
	AXIO_REASON_VERSION_MISMATCH = 29,
	AXIO_REASON_BAD_OFFER = 30,
	AXIO_REASON_TIMED_OUT = 31,
	AXIO_REASON_USED_BEHIND = 32,
	AXIO_REASON_LEFT_BEHIND = 33,
	AXIO_REASON_PEER_MISBEHAVED = 34,
	AXIO_REASON_INTERNAL = 35,
	AXIO_REASON_QUOTA_REACHED = 36,
	AXIO_REASON_READER_STUCK = 37,
	AXIO_REASON_USELESS_WAKES = 38,
	AXIO_REASON_PEER_ASKED = 39
};
#define AXIO_REASON_COUNT 40

/* How a reason is judged; "failed" is an error of the socket (ECONNRESET) under AXIO_STRICT=1. */
enum axio_reason_class {
	AXIO_REASON_CLASS_NONE = 0,   /* accelerated, or on its way */
	AXIO_REASON_CLASS_ASKED = 1,  /* the user, a rule or the program asked for the kernel path */
	AXIO_REASON_CLASS_POLICY = 2, /* Axio chose so: nothing to gain, or not possible for this kind of use */
	AXIO_REASON_CLASS_FAILED = 3  /* it should have worked */
};

/* Stable name of a reason, as `axio stat` and AXIO_REPORT write it; "unknown" for a code this header does not have. */
static inline const char *axio_reason_name(uint32_t reason)
{
	switch (reason) {
	case AXIO_REASON_NONE: return "none";
	case AXIO_REASON_NOT_YET: return "not_yet";
	case AXIO_REASON_NEGOTIATING: return "negotiating";
	case AXIO_REASON_RULE: return "rule";
	case AXIO_REASON_NOT_OPTED_IN: return "not_opted_in";
	case AXIO_REASON_RELEASED: return "released";
	case AXIO_REASON_SECURE_EXECUTION: return "secure_execution";
	case AXIO_REASON_PEER_HAS_NO_AXIO: return "peer_has_no_axio";
	case AXIO_REASON_ADDRESS_NOT_LOCAL: return "address_not_local";
	case AXIO_REASON_ADDRESS_TRANSLATED: return "address_translated";
	case AXIO_REASON_NOT_STREAM_SOCKET: return "not_stream_socket";
	case AXIO_REASON_SHARED: return "shared";
	case AXIO_REASON_INHERITED: return "inherited";
	case AXIO_REASON_STANDARD_STREAM: return "standard_stream";
	case AXIO_REASON_IO_URING: return "io_uring";
	case AXIO_REASON_KERNEL_FEATURE: return "kernel_feature";
	case AXIO_REASON_CONFINED: return "confined";
	case AXIO_REASON_EPOLL_SHARED: return "epoll_shared";
	case AXIO_REASON_SLOT_EVICTED: return "slot_evicted";
	case AXIO_REASON_NO_GAIN: return "no_gain";
	case AXIO_REASON_PEER_LEFT: return "peer_left";
	case AXIO_REASON_STREAM_ENDED: return "stream_ended";
	case AXIO_REASON_TOO_MANY_SOCKETS: return "too_many_sockets";
	case AXIO_REASON_UNSUPPORTED: return "unsupported";
	case AXIO_REASON_NAME_TAKEN: return "name_taken";
	case AXIO_REASON_PROOF_FAILED: return "proof_failed";
	case AXIO_REASON_FORBIDDEN: return "forbidden";
	case AXIO_REASON_OUT_OF_MEMORY: return "out_of_memory";
	case AXIO_REASON_OUT_OF_DESCRIPTORS: return "out_of_descriptors";
	case AXIO_REASON_VERSION_MISMATCH: return "version_mismatch";
	case AXIO_REASON_BAD_OFFER: return "bad_offer";
	case AXIO_REASON_TIMED_OUT: return "timed_out";
	case AXIO_REASON_USED_BEHIND: return "used_behind";
	case AXIO_REASON_LEFT_BEHIND: return "left_behind";
	case AXIO_REASON_PEER_MISBEHAVED: return "peer_misbehaved";
	case AXIO_REASON_INTERNAL: return "internal";
	case AXIO_REASON_QUOTA_REACHED: return "quota_reached";
	case AXIO_REASON_READER_STUCK: return "reader_stuck";
	case AXIO_REASON_USELESS_WAKES: return "useless_wakes";
	case AXIO_REASON_PEER_ASKED: return "peer_asked";
	default: return "unknown";
	}
}

/* How a reason is judged; AXIO_REASON_CLASS_POLICY for a code this header does not have. */
static inline enum axio_reason_class axio_reason_class(uint32_t reason)
{
	switch (reason) {
	case AXIO_REASON_NONE:
	case AXIO_REASON_NOT_YET:
	case AXIO_REASON_NEGOTIATING:
		return AXIO_REASON_CLASS_NONE;
	case AXIO_REASON_RULE:
	case AXIO_REASON_NOT_OPTED_IN:
	case AXIO_REASON_RELEASED:
	case AXIO_REASON_SECURE_EXECUTION:
		return AXIO_REASON_CLASS_ASKED;
	case AXIO_REASON_NAME_TAKEN:
	case AXIO_REASON_PROOF_FAILED:
	case AXIO_REASON_FORBIDDEN:
	case AXIO_REASON_OUT_OF_MEMORY:
	case AXIO_REASON_OUT_OF_DESCRIPTORS:
	case AXIO_REASON_VERSION_MISMATCH:
	case AXIO_REASON_BAD_OFFER:
	case AXIO_REASON_TIMED_OUT:
	case AXIO_REASON_USED_BEHIND:
	case AXIO_REASON_LEFT_BEHIND:
	case AXIO_REASON_PEER_MISBEHAVED:
	case AXIO_REASON_INTERNAL:
		return AXIO_REASON_CLASS_FAILED;
	default:
		return AXIO_REASON_CLASS_POLICY;
	}
}

/*
 * Is Axio there for this socket?
 *
 *      1   yes, it answered, whatever its answer: "no" has a reason, see AXIO_SIOCSTATUS
 *      0   only the kernel answered: no Axio in this process, or AXIO=off, or `fd` is no socket
 *     -1   `fd` is not an open descriptor; errno is EBADF
 *
 * Changes nothing; errno is kept unless the result is -1.
 */
static inline int axio_present(int fd)
{
	struct axio_status status;
	int errno_before = errno;
	int error;

	status.version = 0;
	error = ioctl(fd, AXIO_SIOCSTATUS, &status) == 0 ? 0 : errno;
	if (error == EBADF)
		return -1;
	errno = errno_before;
	/* A driver that reads the number as its own would not know the version. */
	return (error == 0 || error == EOPNOTSUPP) && status.version >= 1;
}

#ifdef __cplusplus
}
#endif

#endif /* AXIO_H */
