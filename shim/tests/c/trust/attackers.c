/* Attackers of the same user who hold neither socket (TRUST.md rows 6 and 7), against two processes under the library.
 * Each must get nothing: no bytes, and the connection stays on the kernel path with a reason. Without the knock each
 * must get everything: the bytes of the connection in its own memory.
 *
 *   attackers squatter|false_acceptor|relay with|without
 *
 * Ends with 5 if there was nothing to attack: a handshake that may take a second was over before, on a machine that is
 * busy with other things. That is for the ends themselves to say; whatever else is not as it must be is wrong. */
#include "attacker.h"

#define NOTHING_TO_ATTACK 5

static int knocks;

static void must_get_nothing(int got, const char *what)
{
    errno = 0;
    if (knocks)
        must(!got, what);
}

/* As `must`, for what an attack needs. */
static void must_be_in_time(int holds, struct end c, struct end s, const char *what)
{
    int error = errno;
    if (!holds && was_over(c, s)) {
        fprintf(stderr, "%s: the handshake was over: %s\n", doing, what);
        exit(NOTHING_TO_ATTACK);
    }
    errno = error;
    must(holds, what);
}

/* S arrives at the squatter's. */
static void admit(struct squatter *squatter, struct end c, struct end s)
{
    struct pollfd entry = {squatter->listener, POLLIN, 0};
    must_be_in_time(poll(&entry, 1, 1000) == 1, c, s, "S at the door");
    squatter->visitor = accept4(squatter->listener, 0, 0, SOCK_CLOEXEC);
    must(squatter->visitor >= 0, "S");
}

/* A counter of the end's process, from its page, as anybody of the same user reads it. */
static uint64_t counted_by(struct end end, int counter)
{
    char name[64], means[64];
    for (int number = 0; number < 1024; number++) {
        snprintf(name, sizeof name, "/proc/%d/fd/%d", (int)end.process, number);
        ssize_t length = readlink(name, means, sizeof means - 1);
        if (length < 11 || strncmp(means, "/memfd:axio", 11) != 0)
            continue;
        uint32_t magic = 0;
        uint64_t value = 0;
        int page = open(name, O_RDONLY | O_CLOEXEC);
        int is_page = page >= 0 && pread(page, &magic, sizeof magic, 0) == sizeof magic && magic == AXIO_STATISTICS_MAGIC &&
                      pread(page, &value, sizeof value, AXIO_STATISTICS_COUNTERS_OFFSET + 8 * counter) == sizeof value;
        close(page);
        if (is_page)
            return value;
    }
    must(0, "the page of an end");
    return 0;
}

/* The one end has seen through the attacker, the other one is on the kernel for its own reason. */
static void must_have_refused(struct end refuses, enum axio_reason reason, struct end other, enum axio_reason its_reason,
                              const char *who)
{
    must_be_in_time(status_of(refuses).reason == reason, refuses, other, who);
    must_be_in_kernel(refuses, who, reason);
    must_be_in_kernel(other, "the other end", its_reason);
    if (reason == AXIO_REASON_PROOF_FAILED) {
        must(counted_by(refuses, AXIO_COUNTER_PROOFS_FAILED) >= 1, "a failed proof is counted by who asked for it");
        must(counted_by(other, AXIO_COUNTER_PROOFS_FAILED) == 0, "and not by the other end");
    }
}

/* A byte of S's or C's lies in the ring of slot 0. */
static int has_bytes(void *region)
{
    return *word64((char *)region + AXIO_ENTRY_PLACE(SLOTS, 0), AXIO_ENTRY_TAIL) != 0;
}

/* Slot 0 as somebody writes it who wants the far side's bytes on a ring: every byte so far is taken, upgrade at will. */
static void invite(void *region, long bytes_taken)
{
    char *entry = (char *)region + AXIO_ENTRY_PLACE(SLOTS, 0);
    *word32(entry, AXIO_ENTRY_STATE) = AXIO_SLOT_BOUND;
    *word32(entry, AXIO_ENTRY_GENERATION) = 1;
    *word64(entry, AXIO_ENTRY_KRX) = (uint64_t)bytes_taken;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    *word32(entry, AXIO_ENTRY_GRANT) = 1;
}

/* Whether so many bytes of a direction, from a position on, lie in the ring of slot 0. */
static int holds_bytes(void *region, int direction, uint64_t position, uint64_t count)
{
    char *entry = (char *)region + AXIO_ENTRY_PLACE(SLOTS, 0);
    uint32_t offset = *word32(entry, AXIO_ENTRY_RING_OFFSET), length = *word32(entry, AXIO_ENTRY_RING_BYTES);
    if (*word32(entry, AXIO_ENTRY_EP) % 2 == 0 || *word64(entry, AXIO_ENTRY_TAIL) < count || length < count ||
        offset >= REGION_BYTES)
        return 0;
    for (uint64_t at = 0; at < count; at++)
        if (((unsigned char *)region)[offset + at] != byte_at(direction, position + at))
            return 0;
    return 1;
}

#define PART 100

/* The first exchange, before anything of the library's happens: evidence, not eagerness. */
static struct ports begin_connection(struct end c, struct end s)
{
    struct ports ports = join(c, s);
    exchange(c, s, PART);
    return ports;
}

/* S's offer to a squatter: S dials at its second receive, and sends at a call after that. */
static int s_offers(struct end c, struct end s, struct squatter *squatter, long *exchanges)
{
    ask(c, SEND, PART);
    ask(s, RECEIVE, PART);
    admit(squatter, c, s);
    int taken = 0;
    for (int round = 0; round < 8 && !taken; round++) {
        ask(s, SEND, PART);
        ask(c, RECEIVE, PART);
        ++*exchanges;
        taken = take_offer(squatter);
        if (!taken) {
            ask(c, SEND, PART);
            ask(s, RECEIVE, PART);
        }
    }
    return taken;
}

/* S believes somebody who says that it is C: its next bytes are in the attacker's hands. */
static void must_own_s(struct end c, struct end s, struct squatter *squatter, long exchanges)
{
    *word32(squatter->region, AXIO_HEADER_BOUND) = 1;
    ask(c, SEND, PART);
    ask(s, RECEIVE, PART);
    /* After many calls not each one is a step of the handshake. */
    for (int round = 0; round < 50 && status_of(s).state == AXIO_STATE_NEGOTIATING; round++, exchanges++) {
        ask(s, SEND, PART);
        ask(c, RECEIVE, PART);
        usleep(2000);
        ask(c, SEND, PART);
        ask(s, RECEIVE, PART);
    }
    must_be_in_time(status_of(s).state >= AXIO_STATE_BOUND, c, s, "S is bound to the squatter");
    invite(squatter->region, exchanges * PART);
    ask(s, SEND, PART); /* C will wait for it in vain */
    must(holds_bytes(squatter->s_region, 0, (uint64_t)(exchanges * PART), PART), "S's bytes in the squatter's hands");
}

static void squatter(struct end c, struct end s)
{
    struct ports ports = begin_connection(c, s);
    struct squatter squatter = squat(ports);
    long exchanges = 1;
    must_be_in_time(s_offers(c, s, &squatter, &exchanges), c, s, "S's offer");
    if (!knocks)
        return must_own_s(c, s, &squatter, exchanges);
    *word32(squatter.region, AXIO_HEADER_BOUND) = 1;
    invite(squatter.region, (exchanges + 1) * PART);
    for (int round = 0; round < 3; round++)
        exchange(c, s, PART);
    must_get_nothing(*word32(squatter.s_region, AXIO_HEADER_KNOWN) != 0, "S knows the squatter");
    must_get_nothing(has_bytes(squatter.s_region), "S's bytes");
    must_have_refused(s, AXIO_REASON_PROOF_FAILED, c, AXIO_REASON_NAME_TAKEN, "S sees that the squatter cannot knock");
}

static void false_acceptor(struct end c, struct end s)
{
    struct ports ports = begin_connection(c, s);
    ask(c, SEND, PART); /* the box is open from here on */
    struct false_acceptor liar = dial(c, s, ports, 1);
    must(liar.dialer >= 0, "a box");
    ask(s, RECEIVE, PART);
    ask(s, SEND, PART);
    ask(c, RECEIVE, PART);
    int error = EPERM;
    long exchanges = 2;
    for (; exchanges < 10 && error == EPERM; exchanges++) {
        exchange(c, s, PART);
        send_offer(liar.dialer, &liar.offer, &error);
    }
    errno = error;
    must_be_in_time(error == 0, c, s, "C lets the dialer in that has the name");
    ask(c, SEND, PART);
    must_be_in_time(*word32(liar.c_region, AXIO_HEADER_MAPPED) == 1, c, s, "C has taken the offer");
    ask(s, RECEIVE, PART);
    *word32(liar.region, AXIO_HEADER_KNOWN) = 1;
    exchanges++;
    ask(s, SEND, PART);
    ask(c, RECEIVE, PART);
    if (knocks) {
        invite(liar.region, exchanges * PART);
        for (int round = 0; round < 3; round++)
            exchange(c, s, PART);
        must_get_nothing(*word32(liar.c_region, AXIO_HEADER_BOUND) != 0, "C is bound to the false acceptor");
        must_get_nothing(has_bytes(liar.c_region), "C's bytes");
        must_have_refused(c, AXIO_REASON_PROOF_FAILED, s, AXIO_REASON_NAME_TAKEN, "C sees that the dialer cannot knock");
        return;
    }
    must_be_in_time(status_of(c).state >= AXIO_STATE_BOUND, c, s, "C is bound to the false acceptor");
    invite(liar.region, exchanges * PART);
    ask(c, SEND, PART);
    must(holds_bytes(liar.c_region, 1, (uint64_t)(exchanges * PART), PART), "C's bytes in its hands");
}

static void relay(struct end c, struct end s)
{
    struct ports ports = begin_connection(c, s);
    /* It squats, S dials it; it lets the name go, C opens its box, and the relay dials that. */
    struct squatter towards_s = squat(ports);
    int error;
    struct false_acceptor towards_c;
    ask(c, SEND, PART); /* the name is taken: no box yet */
    ask(s, RECEIVE, PART);
    admit(&towards_s, c, s);
    close(towards_s.listener);
    ask(s, SEND, PART);
    ask(c, RECEIVE, PART);
    long exchanges = 2;
    int taken = take_offer(&towards_s), has_box = 0, refused = 0;
    for (; exchanges < 12 && !has_box; exchanges++) {
        ask(c, SEND, PART); /* C's next chance comes at the eighth turn */
        towards_c = dial(c, s, ports, 0);
        has_box = towards_c.dialer >= 0;
        if (has_box && knocks && status_of(s).state == AXIO_STATE_NEGOTIATING)
            must(take_name(towards_c.dialer, ports, 's') != 0, "S holds its name while it knocks");
        ask(s, RECEIVE, PART);
        ask(s, SEND, PART);
        ask(c, RECEIVE, PART);
        taken = taken || take_offer(&towards_s);
        refused |= status_of(s).reason == AXIO_REASON_PROOF_FAILED;
    }
    must_be_in_time(has_box && taken, c, s, "a box, and an offer");
    if (!knocks) {
        for (int round = 0; round < 8; round++) {
            send_offer(towards_c.dialer, &towards_c.offer, &error);
            if (error == 0)
                break;
            exchange(c, s, PART);
            exchanges++;
        }
        must_be_in_time(error == 0, c, s, "C lets a nameless dialer in");
        exchange(c, s, PART);
        *word32(towards_c.region, AXIO_HEADER_KNOWN) = 1;
        exchange(c, s, PART);
        exchanges += 2;
        must_be_in_time(status_of(c).state >= AXIO_STATE_BOUND, c, s, "C is bound to the relay");
        return must_own_s(c, s, &towards_s, exchanges);
    }
    *word32(towards_s.region, AXIO_HEADER_BOUND) = 1;
    invite(towards_s.region, exchanges * PART);
    /* Whom nobody let in before the box was closed is told ECONNRESET instead. */
    int is_turned_away = 0;
    for (int round = 0; round < 6; round++) {
        refused |= status_of(s).reason == AXIO_REASON_PROOF_FAILED;
        exchange(c, s, PART);
        send_offer(towards_c.dialer, &towards_c.offer, &error);
        is_turned_away |= error == EPIPE;
        must_get_nothing(error == 0, "C takes the relay's memory");
    }
    /* The true ends may find each other meanwhile, since the relay has let the box's name go; it has no part in that. */
    must_get_nothing(*word32(towards_s.s_region, AXIO_HEADER_KNOWN) != 0, "S knows the relay");
    must_get_nothing(has_bytes(towards_s.s_region) || has_bytes(towards_c.c_region), "bytes for the relay");
    must_be_in_time(refused, c, s, "S sees that the relay cannot knock");
    must_be_in_time(is_turned_away, c, s, "C turns the relay away, which has no name");
}

int main(int count, char **words)
{
    if (count > 1 && strcmp(words[1], "end") == 0)
        return be_an_end();
    must(count == 3, "arguments");
    begin(words);
    knocks = strcmp(words[2], "with") == 0;
    struct setting setting = {.mode = "evidence"};
    struct end c = start(&setting), s = start(&setting);
    doing = words[1];
    if (strcmp(words[1], "squatter") == 0)
        squatter(c, s);
    else if (strcmp(words[1], "false_acceptor") == 0)
        false_acceptor(c, s);
    else if (strcmp(words[1], "relay") == 0)
        relay(c, s);
    else
        must(0, "no such attacker");
    if (knocks) {
        doing = "the connection afterwards";
        exchange(c, s, 100000);
        finish(c);
        finish(s);
    } else {
        kill(c.process, SIGKILL);
        kill(s.process, SIGKILL);
    }
    puts(knocks ? "nothing" : "everything");
    return 0;
}
