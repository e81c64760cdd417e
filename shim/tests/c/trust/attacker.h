/* What somebody needs who dials another's box or waits in another's name: names, offers, memory. Bytes as PROTOCOL.md has
 * them; nothing of the library's own. */
#ifndef ATTACKER_H
#define ATTACKER_H
#include "ends.h"
#include "axio_layout.h"
#include <stdalign.h>
#include <sys/mman.h>
#include <sys/un.h>

#define REGION_BYTES AXIO_CLASS_0_REGION_BYTES
#define SLOTS AXIO_CLASS_0_SLOTS
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 16
#endif
#define SEALS_GIVEN (F_SEAL_SHRINK | F_SEAL_GROW)
#define SEALS_FINAL (SEALS_GIVEN | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)

static volatile uint32_t *word32(void *base, size_t offset) { return (uint32_t *)((char *)base + offset); }
static volatile uint64_t *word64(void *base, size_t offset) { return (uint64_t *)((char *)base + offset); }

/* The name of one end of a loopback connection; the length of the address. */
static socklen_t name_of(struct sockaddr_un *name, struct ports ports, char end)
{
    static const char address[] = "00000000000000000000ffff7f000001";
    memset(name, 0, sizeof *name);
    name->sun_family = AF_UNIX;
    snprintf(name->sun_path + 1, sizeof name->sun_path - 1, "axio1:%s%04x-%s%04x:%c", address, (unsigned)ports.connecting,
             address, (unsigned)ports.accepting, end);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + AXIO_NAME_BYTES);
}

static int unix_socket(void)
{
    int made = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    must(made >= 0, "an attacker's socket");
    return made;
}

static int take_name(int socket, struct ports ports, char end)
{
    struct sockaddr_un name;
    socklen_t length = name_of(&name, ports, end);
    return bind(socket, (struct sockaddr *)&name, length);
}

static int memory(int seals)
{
    int made = memfd_create("attacker", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    must(made >= 0 && ftruncate(made, REGION_BYTES) == 0 && fallocate(made, 0, 0, REGION_BYTES) == 0, "memory");
    must(fcntl(made, F_ADD_SEALS, seals) == 0, "seals");
    return made;
}

static void *map(int descriptor, int rights)
{
    void *base = mmap(0, REGION_BYTES, rights, MAP_SHARED, descriptor, 0);
    must(base != MAP_FAILED, "a mapping");
    return base;
}

static void write_header(void *base)
{
    *word32(base, AXIO_HEADER_MAGIC) = AXIO_MAGIC;
    *word32(base, AXIO_HEADER_VERSION) = AXIO_VERSION;
    *word32(base, AXIO_HEADER_CLASS) = 0;
}

struct offer {
    alignas(8) unsigned char bytes[AXIO_OFFER_BYTES + 64];
    size_t length;
    int descriptors[8], count;
};

static void send_offer(int dialer, const struct offer *offer, int *error)
{
    alignas(8) char control[CMSG_SPACE(sizeof offer->descriptors)] = {0};
    struct iovec part = {(void *)offer->bytes, offer->length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    size_t bytes = (size_t)offer->count * sizeof(int);
    if (bytes) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(bytes);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        *header = (struct cmsghdr){CMSG_LEN(bytes), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(header), offer->descriptors, bytes);
    }
    *error = sendmsg(dialer, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? errno : 0;
}

/* Somebody who dials C's box in the place of S; no dialer: there is no box. */
struct false_acceptor {
    int dialer, own, given;
    void *region;  /* what it writes */
    void *c_region; /* what C writes, as it would read it */
    struct offer offer;
};

MAYBE_UNUSED static struct false_acceptor dial(struct end c, struct end s, struct ports ports, int holds_name)
{
    struct false_acceptor liar = {.dialer = unix_socket()};
    struct sockaddr_un name;
    socklen_t length = name_of(&name, ports, 'c');
    if (connect(liar.dialer, (struct sockaddr *)&name, length) != 0) {
        must(errno == ECONNREFUSED, "dialling the box");
        close(liar.dialer);
        liar.dialer = -1;
        return liar;
    }
    if (holds_name)
        must(take_name(liar.dialer, ports, 's') == 0, "the accepting side's name");
    liar.own = memory(0);
    liar.given = memory(SEALS_GIVEN);
    liar.region = map(liar.own, PROT_READ | PROT_WRITE);
    liar.c_region = map(liar.given, PROT_READ);
    must(fcntl(liar.own, F_ADD_SEALS, SEALS_FINAL) == 0, "seals");
    write_header(liar.region);
    unsigned char *bytes = liar.offer.bytes;
    *word32(bytes, AXIO_OFFER_MAGIC) = AXIO_MAGIC;
    *word32(bytes, AXIO_OFFER_VERSION) = AXIO_VERSION;
    *word64(bytes, AXIO_OFFER_CONNECT_COOKIE) = (uint64_t)ask(c, COOKIE, 0);
    *word64(bytes, AXIO_OFFER_ACCEPT_COOKIE) = (uint64_t)ask(s, COOKIE, 0);
    *word32(bytes, AXIO_OFFER_KNOCK_VALUE) = 9;
    *word32(bytes, AXIO_OFFER_GENERATION) = 1;
    liar.offer.length = AXIO_OFFER_BYTES;
    liar.offer.descriptors[0] = liar.own;
    liar.offer.descriptors[1] = liar.given;
    liar.offer.count = 2;
    return liar;
}

MAYBE_UNUSED static void hang_up(struct false_acceptor *liar)
{
    close(liar->dialer);
    close(liar->own);
    close(liar->given);
    munmap(liar->region, REGION_BYTES);
    munmap(liar->c_region, REGION_BYTES);
}

/* Both ends are on the kernel and were there all the time, and one of them says that the time of its handshake was over,
 * or that it has met nobody. At a later chance it negotiates again: then the limit of a handshake has passed since the
 * connection was made. */
MAYBE_UNUSED static int was_over(struct end c, struct end s)
{
    const struct axio_status statuses[] = {status_of(c), status_of(s)};
    int has_passed = now_ms() - connected_ms > AXIO_HANDSHAKE_LIMIT_MS, is_over = 0;
    for (int index = 0; index < 2; index++) {
        const struct axio_status *status = &statuses[index];
        if (status->path != AXIO_PATH_KERNEL || status->ring_bytes_in || status->ring_bytes_out)
            return 0;
        is_over |= status->reason == AXIO_REASON_TIMED_OUT || status->reason == AXIO_REASON_PEER_HAS_NO_AXIO ||
                   (status->reason == AXIO_REASON_NEGOTIATING && has_passed);
    }
    return is_over;
}

/* Lets C find the dialer at its next call: its memory is given to nobody before that. */
MAYBE_UNUSED static int offer_when_admitted(struct end c, struct end s, struct false_acceptor *liar)
{
    int error = EPERM;
    for (int round = 0; round < 8 && error == EPERM; round++) {
        exchange(c, s, 20);
        send_offer(liar->dialer, &liar->offer, &error);
    }
    return error;
}

/* Somebody who waits in C's name for S. */
struct squatter {
    int listener, visitor;
    void *s_region, *region; /* what S writes, what it writes itself */
};

MAYBE_UNUSED static struct squatter squat(struct ports ports)
{
    struct squatter squatter = {.listener = unix_socket(), .visitor = -1};
    must(take_name(squatter.listener, ports, 'c') == 0, "the connecting side's name");
    must(listen(squatter.listener, 16) == 0, "listen");
    return squatter;
}

/* Takes the offer and says that it has knocked; 0: there is none. */
MAYBE_UNUSED static int take_offer(struct squatter *squatter)
{
    alignas(8) char control[CMSG_SPACE(2 * sizeof(int))];
    unsigned char bytes[AXIO_OFFER_BYTES];
    struct iovec part = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    if (recvmsg(squatter->visitor, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != sizeof bytes)
        return 0;
    int descriptors[2];
    must(CMSG_FIRSTHDR(&message) != 0, "descriptors");
    memcpy(descriptors, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof descriptors);
    squatter->s_region = map(descriptors[0], PROT_READ);
    squatter->region = map(descriptors[1], PROT_READ | PROT_WRITE);
    must(fcntl(descriptors[1], F_ADD_SEALS, SEALS_FINAL) == 0, "seals");
    write_header(squatter->region);
    *word32(squatter->region, AXIO_HEADER_KNOCK_VALUE) = 7;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    *word32(squatter->region, AXIO_HEADER_MAPPED) = 1;
    close(descriptors[0]);
    close(descriptors[1]);
    return 1;
}

#endif
