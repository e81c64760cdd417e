/* Malformed offers from somebody who has the accepting side's name: C stays on the kernel path with a reason, keeps no
 * descriptor and no memory of it, and the connection goes on.
 *
 *   bad_offers */
#include "attacker.h"

static int sealed(int seals) { return memory(seals); }

static int of_size(off_t bytes)
{
    int made = memfd_create("attacker", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    must(made >= 0 && ftruncate(made, bytes) == 0, "memory");
    must(bytes == 0 || fallocate(made, 0, 0, bytes) == 0, "memory");
    must(fcntl(made, F_ADD_SEALS, SEALS_FINAL) == 0, "seals");
    return made;
}

static int with_holes(void)
{
    int made = memfd_create("attacker", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    must(made >= 0 && ftruncate(made, REGION_BYTES) == 0, "memory");
    must(fcntl(made, F_ADD_SEALS, SEALS_FINAL) == 0, "seals");
    return made;
}

static int a_pipe(void)
{
    int ends[2];
    must(pipe(ends) == 0, "a pipe");
    close(ends[1]);
    return ends[0];
}

static void set32(struct offer *offer, size_t place, uint32_t value) { *word32(offer->bytes, place) = value; }

#define CASES 40
/* Attempts at one of them: a handshake takes a second at most, and on a busy machine one may be over before its offer. */
#define ATTEMPTS 8

/* Spoils the offer; says its name and what C is to answer. `number` goes from 0 on, nothing is left at CASES. */
static const char *spoil(int number, struct offer *offer, enum axio_reason *reason)
{
    *reason = AXIO_REASON_BAD_OFFER;
#define CASE(name, ...)                                                                                    \
    if (number-- == 0) {                                                                                   \
        __VA_ARGS__;                                                                                       \
        return name;                                                                                       \
    }
    CASE("no byte but one", offer->length = 1)
    CASE("a byte too short", offer->length -= 1)
    CASE("a byte too long", offer->length += 1)
    CASE("much too long", offer->length += 64)
    CASE("another magic word", set32(offer, AXIO_OFFER_MAGIC, 0))
    CASE("another major version", set32(offer, AXIO_OFFER_VERSION, 0x00020000), *reason = AXIO_REASON_VERSION_MISMATCH)
    CASE("major version 0", set32(offer, AXIO_OFFER_VERSION, 0x0000ffff), *reason = AXIO_REASON_VERSION_MISMATCH)
    CASE("a class that is none", set32(offer, AXIO_OFFER_CLASS, AXIO_CLASSES))
    CASE("an absurd class", set32(offer, AXIO_OFFER_CLASS, ~0u))
    CASE("a class larger than its memory", set32(offer, AXIO_OFFER_CLASS, 2))
    CASE("an absurd slot", set32(offer, AXIO_OFFER_SLOT, ~0u))
    CASE("the slot behind the last", set32(offer, AXIO_OFFER_SLOT, SLOTS))
    CASE("generation 0", set32(offer, AXIO_OFFER_GENERATION, 0))
    CASE("an absurd knock value", set32(offer, AXIO_OFFER_KNOCK_VALUE, 1u << AXIO_KNOCK_BITS))
    CASE("another connection's cookie", *word64(offer->bytes, AXIO_OFFER_CONNECT_COOKIE) += 1)
    CASE("another acceptor's cookie", *word64(offer->bytes, AXIO_OFFER_ACCEPT_COOKIE) = 0)
    CASE("no descriptor", offer->count = 0)
    CASE("one descriptor", offer->count = 1)
    CASE("three descriptors", offer->descriptors[2] = a_pipe(), offer->count = 3)
    CASE("the two in the wrong order", offer->descriptors[0] = sealed(SEALS_GIVEN), offer->descriptors[1] = sealed(SEALS_FINAL))
    CASE("a pipe for its memory", offer->descriptors[0] = a_pipe())
    CASE("a pipe for ours", offer->descriptors[1] = a_pipe())
    CASE("a socket for its memory", offer->descriptors[0] = unix_socket())
    CASE("a file for ours", offer->descriptors[1] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC))
    CASE("its memory is not sealed", offer->descriptors[0] = sealed(0))
    CASE("its memory can still shrink", offer->descriptors[0] = sealed(SEALS_FINAL & ~F_SEAL_SHRINK))
    CASE("our memory can still shrink", offer->descriptors[1] = sealed(F_SEAL_GROW))
    CASE("our memory is sealed against writing", offer->descriptors[1] = sealed(SEALS_GIVEN | F_SEAL_WRITE))
    CASE("our memory is sealed against sealing", offer->descriptors[1] = sealed(SEALS_GIVEN | F_SEAL_SEAL))
    CASE("its memory is empty", offer->descriptors[0] = of_size(0))
    CASE("its memory is a page short", offer->descriptors[0] = of_size(REGION_BYTES - 4096))
    CASE("its memory is a page long", offer->descriptors[0] = of_size(REGION_BYTES + 4096))
    CASE("its memory has holes", offer->descriptors[0] = with_holes())
    return 0;
}

enum outcome { NONE_LEFT, REFUSED, TOO_LATE };

/* One bad offer on a connection of its own, which ends with it. */
static enum outcome offer(struct end c, struct end s, int number)
{
    enum axio_reason reason;
    enum outcome outcome = REFUSED;
    struct ports ports = join(c, s);
    doing = "before the offer";
    exchange(c, s, 50);
    ask(c, SEND, 50); /* the box is open from here on */
    struct false_acceptor liar = dial(c, s, ports, 1);
    must(liar.dialer >= 0, "a box");
    ask(s, RECEIVE, 50);
    ask(s, SEND, 50);
    ask(c, RECEIVE, 50);
    doing = spoil(number, &liar.offer, &reason);
    if (!doing)
        return NONE_LEFT;
    int error = offer_when_admitted(c, s, &liar);
    if (error == 0) {
        exchange(c, s, 50);
        exchange(c, s, 50);
    }
    if ((error != 0 || status_of(c).reason != reason) && is_late() && was_over(c, s)) {
        fprintf(stderr, "%s: the handshake was over, once more\n", doing);
        outcome = TOO_LATE;
    } else {
        errno = error;
        must(error == 0, "the offer is taken in");
        must_be_in_kernel(c, "C", reason);
        must_be_in_kernel(s, "S", AXIO_REASON_NAME_TAKEN);
    }
    hang_up(&liar);
    exchange(c, s, 20000);
    ask(c, CLOSE, 0);
    must(tell(s, RECEIVE, 1, 0).result == -1, "the end of the stream");
    ask(s, CLOSE, 0);
    return outcome;
}

int main(int count, char **words)
{
    if (count > 1 && strcmp(words[1], "end") == 0)
        return be_an_end();
    begin(words);
    struct setting setting = {.mode = "evidence"};
    struct end c = start(&setting), s = start(&setting);
    long sockets = 0;
    int number = 0;
    for (; number < CASES; number++) {
        enum outcome outcome = TOO_LATE;
        alarm(SCENARIO_MOST_S);
        for (int attempt = 0; attempt < ATTEMPTS && outcome == TOO_LATE; attempt++)
            outcome = offer(c, s, number);
        must(outcome != TOO_LATE, "the machine is too busy");
        if (outcome == NONE_LEFT)
            break;
        /* Nothing of the handshake stays open: the library keeps one or two sockets for the next. */
        long now = ask(c, OPEN_COUNT, 0);
        must(number < 2 || now <= sockets, "descriptors stay open");
        if (number < 2)
            sockets = now;
    }
    printf("%d bad offers\n", number);
    return 0;
}
