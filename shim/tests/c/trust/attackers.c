/* Attackers of the same user who hold neither socket (TRUST.md rows 6 and 7), against two processes under the library.
 * Each must get nothing: no bytes, and the connection stays on the kernel path with a reason. Without the knock each
 * must get everything: the bytes of the connection in its own memory.
 *
 *   attackers squatter|false_acceptor|relay with|without
 *
 * Ends with 4 if an attacker got what it must not have, with 3 if the trial came to nothing: a handshake that may take a
 * second is over before the attack on a machine that is busy with other things. */
#include "attacker.h"

static int knocks;

static void must_get_nothing(int got, const char *what)
{
    if (knocks && got) {
        fprintf(stderr, "%s: got in: %s\n", doing, what);
        exit(4);
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
    admit(squatter);
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
    must(status_of(s).state >= AXIO_STATE_BOUND, "S is bound to the squatter");
    invite(squatter->region, exchanges * PART);
    ask(s, SEND, PART); /* C will wait for it in vain */
    must(holds_bytes(squatter->s_region, 0, (uint64_t)(exchanges * PART), PART), "S's bytes in the squatter's hands");
}

static void squatter(struct end c, struct end s)
{
    struct ports ports = begin_connection(c, s);
    struct squatter squatter = squat(ports);
    long exchanges = 1;
    must(s_offers(c, s, &squatter, &exchanges), "S's offer");
    if (!knocks)
        return must_own_s(c, s, &squatter, exchanges);
    *word32(squatter.region, AXIO_HEADER_BOUND) = 1;
    invite(squatter.region, (exchanges + 1) * PART);
    for (int round = 0; round < 3; round++)
        exchange(c, s, PART);
    must_get_nothing(*word32(squatter.s_region, AXIO_HEADER_KNOWN) != 0, "S knows the squatter");
    must_get_nothing(has_bytes(squatter.s_region), "S's bytes");
    must_be_in_kernel(s, "S", AXIO_REASON_PROOF_FAILED);
    must_be_in_kernel(c, "C", AXIO_REASON_NAME_TAKEN);
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
    must(error == 0, "C lets the dialer in that has the name");
    ask(c, SEND, PART);
    must(*word32(liar.c_region, AXIO_HEADER_MAPPED) == 1, "C has taken the offer");
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
        must_be_in_kernel(c, "C", AXIO_REASON_PROOF_FAILED);
        must_be_in_kernel(s, "S", AXIO_REASON_NAME_TAKEN);
        return;
    }
    must(status_of(c).state >= AXIO_STATE_BOUND, "C is bound to the false acceptor");
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
    admit(&towards_s);
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
    must(has_box && taken, "a box, and an offer");
    if (!knocks) {
        for (int round = 0; round < 8; round++) {
            send_offer(towards_c.dialer, &towards_c.offer, &error);
            if (error == 0)
                break;
            exchange(c, s, PART);
            exchanges++;
        }
        must(error == 0, "C lets a nameless dialer in");
        exchange(c, s, PART);
        *word32(towards_c.region, AXIO_HEADER_KNOWN) = 1;
        exchange(c, s, PART);
        exchanges += 2;
        must(status_of(c).state >= AXIO_STATE_BOUND, "C is bound to the relay");
        return must_own_s(c, s, &towards_s, exchanges);
    }
    *word32(towards_s.region, AXIO_HEADER_BOUND) = 1;
    invite(towards_s.region, exchanges * PART);
    for (int round = 0; round < 6; round++) {
        refused |= status_of(s).reason == AXIO_REASON_PROOF_FAILED;
        exchange(c, s, PART);
        send_offer(towards_c.dialer, &towards_c.offer, &error);
        must_get_nothing(error == 0, "C takes the relay's memory");
    }
    /* The true ends may find each other meanwhile, since the relay has let the box's name go; it has no part in that. */
    must_get_nothing(*word32(towards_s.s_region, AXIO_HEADER_KNOWN) != 0, "S knows the relay");
    must_get_nothing(has_bytes(towards_s.s_region) || has_bytes(towards_c.c_region), "bytes for the relay");
    must(refused, "S has seen that the relay cannot knock");
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
