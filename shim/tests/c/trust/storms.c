/* A far side that wakes its victim for nothing: bells without anything new, ready bits that tell nothing (TRUST.md,
 * storms). The connection goes back to the kernel and every byte arrives; whoever goes on is reset; behind eight such
 * connections the channel takes no more.
 *
 *   storms [SCENARIO]     without an argument: all of them */
#include "ends.h"
#include "own_region.h"
#include <sys/epoll.h>

#define WARM_ROUNDS 40
#define WARM_BYTES 100
#define ALL_WARM (WARM_ROUNDS * WARM_BYTES)
#define BELLS_MOST 20000
#define MARKS_MOST_MS 120000
#define WAITER_MOST_MS 60000

/* ---- what ends do */

enum other {
    SLEEP_IN_EPOLL, /* the victim: until the connection has something to tell */
    SLEEP_IN_POLL,
    HEEDED_BELLS,   /* the liar: until it is asked to go back */
    BELLS,          /* whatever it is asked */
    MARKS,          /* ready bits of its connection, until it is asked to go back */
    STRAY_MARKS,    /* of slots that no connection has */
    GO_BACK,        /* by hand, for its books are wrong now; then so many bytes by the kernel */
};

static int sleep_in(int connection, int in_epoll)
{
    if (!in_epoll) {
        struct pollfd entry = {connection, POLLIN, 0};
        return poll(&entry, 1, -1) == 1 ? 0 : -1;
    }
    int set = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {EPOLLIN, {.fd = connection}};
    if (set < 0 || epoll_ctl(set, EPOLL_CTL_ADD, connection, &event) != 0)
        return -1;
    int count = epoll_wait(set, &event, 1, -1);
    close(set);
    return count == 1 && event.events ? 0 : -1;
}

struct place {
    unsigned char *own, *far; /* entries */
    unsigned char *own_region, *far_region;
    unsigned slots, slot;
};

static int find_place(int connection, struct place *place)
{
    struct region *region;
    find_regions();
    if (region_count != 1 || far_region_count != 1 || !find_entry_in(connection, &region, &place->slot))
        return 0;
    place->slots = region->slots;
    place->own_region = region->base;
    place->far_region = far_regions[0].base;
    place->own = place->own_region + AXIO_ENTRY_PLACE(place->slots, place->slot);
    place->far = place->far_region + AXIO_ENTRY_PLACE(place->slots, place->slot);
    return *(volatile uint32_t *)(place->own + AXIO_ENTRY_EP) & 1;
}

static int is_asked_back(const struct place *place)
{
    return *(volatile uint32_t *)(place->far + AXIO_ENTRY_WANT) == *(volatile uint32_t *)(place->own + AXIO_ENTRY_EP);
}

static int ring(int connection, const struct place *place)
{
    volatile uint64_t *koff = (uint64_t *)(place->own + AXIO_ENTRY_KOFF);
    unsigned char bell = (unsigned char)*koff;
    *koff += 1;
    __sync_synchronize();
    return raw(SYS_sendto, connection, (long)&bell, 1) == 1;
}

/* Thousands of bells that lie unread are a lie of another kind, and a victim may have to wait for a processor. */
static void wait_until_heard(const struct place *place)
{
    volatile uint64_t *koff = (uint64_t *)(place->own + AXIO_ENTRY_KOFF), *krx = (uint64_t *)(place->far + AXIO_ENTRY_KRX);
    for (int patience_ms = 2000; *koff - *krx > 500 && patience_ms > 0; patience_ms--)
        usleep(1000);
}

static long bells(int connection, const struct place *place, int heeds)
{
    long rung = 0;
    while (rung < BELLS_MOST && !(heeds && is_asked_back(place)) && ring(connection, place)) {
        rung++;
        wait_until_heard(place);
        usleep(20);
    }
    return rung;
}

/* The number of the victim's waiter; it is there when the victim waits, for which it may need a while. */
static unsigned waiter_of(const struct place *place)
{
    for (long began = now_ms(); now_ms() - began < WAITER_MOST_MS; usleep(1000)) {
        unsigned waiter = *(volatile uint32_t *)(place->far + AXIO_ENTRY_WAITER);
        if (waiter != 0 && waiter < AXIO_WAITERS)
            return waiter;
    }
    return 0;
}

/* Marks whenever the last one was answered; rings when nobody answers. Thousands of marks are needed: it sleeps meanwhile,
 * or on a busy machine it would use up the turns in which it could ring. */
static long marks(int connection, const struct place *place, unsigned slot)
{
    unsigned waiter = waiter_of(place), word = AXIO_READY_WORD(slot, 0);
    if (waiter == 0)
        return -1;
    unsigned char *own = place->own_region + AXIO_FAR_WAITER_PLACE(place->slots, waiter);
    unsigned char *far = place->far_region + AXIO_OWN_WAITER_PLACE(place->slots, waiter);
    volatile uint64_t *summary = (uint64_t *)(own + AXIO_FAR_WAITER_SUMMARY);
    volatile uint64_t *ready = (uint64_t *)(own + AXIO_FAR_WAITER_READY_WORDS) + word;
    volatile uint64_t *summary_answer = (uint64_t *)(far + AXIO_OWN_WAITER_ANSWER_SUMMARY);
    volatile uint64_t *answer = (uint64_t *)(far + AXIO_OWN_WAITER_ANSWER_WORDS) + word;
    uint64_t bit = 1ull << AXIO_READY_SHIFT(slot, 0), summary_bit = 1ull << word % 64;
    long marked = 0, began = now_ms(), last = began, patience_ms = 0;
    while (!is_asked_back(place) && now_ms() - began < MARKS_MOST_MS) {
        if (!((*ready ^ *answer) & bit)) {
            *ready ^= bit;
            __sync_synchronize();
            if (!((*summary ^ *summary_answer) & summary_bit))
                *summary ^= summary_bit;
            __sync_synchronize();
            marked++;
            last = now_ms();
            patience_ms = 0;
        } else if (now_ms() - last > patience_ms) {
            if (!ring(connection, place))
                break;
            last = now_ms();
            patience_ms = 50;
        } else {
            usleep(50);
        }
    }
    return is_asked_back(place) ? marked : -1;
}

/* RETREAT of SWITCH.md, and bytes behind it. */
static long go_back(int connection, const struct place *place, long position)
{
    volatile uint64_t *koff = (uint64_t *)(place->own + AXIO_ENTRY_KOFF), *kr = (uint64_t *)(place->own + AXIO_ENTRY_KR);
    volatile uint32_t *ep = (uint32_t *)(place->own + AXIO_ENTRY_EP);
    unsigned char bytes[65] = {(unsigned char)*koff};
    *kr = *koff + 1;
    *koff += 1;
    __sync_synchronize();
    *ep += 1;
    __sync_synchronize();
    for (int at = 0; at < 64; at++)
        bytes[1 + at] = byte_at(1, (uint64_t)(position + at));
    return raw(SYS_sendto, connection, (long)bytes, sizeof bytes) == sizeof bytes ? 0 : -1;
}

static long do_other(int connection, long what, long position)
{
    struct place place;
    if (what == SLEEP_IN_EPOLL || what == SLEEP_IN_POLL)
        return sleep_in(connection, what == SLEEP_IN_EPOLL);
    if (!find_place(connection, &place))
        return -1;
    switch (what) {
    case HEEDED_BELLS: return bells(connection, &place, 1);
    case BELLS: return bells(connection, &place, 0);
    case MARKS: return marks(connection, &place, place.slot);
    case STRAY_MARKS: return marks(connection, &place, place.slots - 1);
    default: return go_back(connection, &place, position);
    }
}

/* ---- scenarios */

enum sleeper { RECEIVES, POLLS, EPOLLS };

static void warm_up(struct end c, struct end s)
{
    for (int round = 0; round < WARM_ROUNDS; round++)
        exchange(c, s, WARM_BYTES);
    must_be_on_ring(c, "C");
    must_be_on_ring(s, "S");
}

static void fall_asleep(struct end s, enum sleeper how)
{
    if (how == RECEIVES)
        tell_only(s, RECEIVE, 64, 0);
    else
        tell_only(s, OTHER, how == EPOLLS ? SLEEP_IN_EPOLL : SLEEP_IN_POLL, 0);
    usleep(20000);
}

/* 64 bytes arrive at last, if `arrives`; else a reset. */
static void wake_up(struct end s, enum sleeper how, int arrives)
{
    struct answer answer = await(s);
    if (how != RECEIVES) {
        must(answer.result == 0, "what the sleeper is told");
        answer = tell(s, RECEIVE, 64, 0);
    }
    errno = answer.error;
    must(arrives ? answer.result == 64 : answer.result == -1 && answer.error == ECONNRESET, "what the sleeper receives");
}

/* The liar stops when it is asked back, and goes back: S says why, and every byte arrives. */
static void heeded(struct end c, struct end s, enum sleeper how, enum other storm)
{
    warm_up(c, s);
    fall_asleep(s, how);
    struct answer stormed = tell(c, OTHER, storm, 0);
    if (stormed.result <= 64 || stormed.result >= BELLS_MOST) {
        fprintf(stderr, "%s: the storm lasted for %ld\n", doing, stormed.result);
        exit(3);
    }
    must(tell(c, OTHER, GO_BACK, ALL_WARM).result == 0, "going back");
    wake_up(s, how, 1);
    carry(s, c, 5000);
    struct axio_status status = status_of(s);
    must(status.path == AXIO_PATH_KERNEL && status.reason == AXIO_REASON_USELESS_WAKES, axio_reason_name(status.reason));
}

static void one_heeded(enum sleeper how, enum other storm)
{
    struct setting setting = {.mode = "eager"};
    struct end c = start(&setting), s = start(&setting);
    join(c, s);
    heeded(c, s, how, storm);
    ask(s, CLOSE, 0);
    ask(c, CLOSE, 0);
    finish(c);
    finish(s);
}

/* The liar goes on. */
static void unheeded(enum sleeper how)
{
    struct setting setting = {.mode = "eager"};
    struct end c = start(&setting), s = start(&setting);
    join(c, s);
    warm_up(c, s);
    fall_asleep(s, how);
    struct answer stormed = tell(c, OTHER, BELLS, 0);
    must(stormed.result > 64 && stormed.result < BELLS_MOST, "the storm has an end");
    wake_up(s, how, 0);
    must(status_of(s).reason == AXIO_REASON_PEER_MISBEHAVED, "the reason");
    ask(s, CLOSE, 0);
    ask(c, CLOSE, 0);
    finish(c);
    finish(s);
}

static long reported(const char *file, const char *counter)
{
    char line[8192] = {0}, key[64];
    int report = open(file, O_RDONLY | O_CLOEXEC);
    must(report >= 0 && read(report, line, sizeof line - 1) > 0, "a report");
    close(report);
    snprintf(key, sizeof key, "\"%s\":", counter);
    char *found = strstr(line, key);
    must(found != 0, counter);
    return atol(found + strlen(key));
}

static void join_again(struct end c, struct end s, int port)
{
    ask(c, CONNECT, port);
    ask(s, ACCEPT, 0);
}

/* Eight connections, one after the other, beside one that keeps the channel alive. If they are storms, the next one
 * stays on the kernel; who has the channel keeps it. */
static void eight(int are_storms)
{
    char report[4096];
    snprintf(report, sizeof report, "AXIO_REPORT=%s.report", own_path);
    struct setting setting = {.mode = "eager"}, reporting = {.mode = "eager", .more = report};
    struct end c = start(&setting), s = start(&reporting);
    int port = join(c, s).accepting;
    warm_up(c, s);
    ask(c, SWAP, 0);
    ask(s, SWAP, 0);
    for (int one = 0; one < 8; one++) {
        join_again(c, s, port);
        if (are_storms)
            heeded(c, s, RECEIVES, HEEDED_BELLS);
        else
            warm_up(c, s);
        ask(s, CLOSE, 0);
        ask(c, CLOSE, 0);
    }
    join_again(c, s, port);
    if (are_storms) {
        for (int round = 0; round < 100; round++)
            exchange(c, s, WARM_BYTES);
        must(status_of(c).path == AXIO_PATH_KERNEL, "C behind eight storms");
        must(status_of(s).path == AXIO_PATH_KERNEL, "S behind eight storms");
    } else {
        must_come_on_ring(c, s, 60);
    }
    ask(s, CLOSE, 0);
    ask(c, CLOSE, 0);
    ask(s, SWAP, 0);
    ask(c, SWAP, 0);
    /* More than its ring holds: the rest may have gone by the kernel, and the ring is taken again behind it. */
    exchange(c, s, 5000);
    must_come_on_ring(c, s, 600);
    ask(s, CLOSE, 0);
    ask(c, CLOSE, 0);
    finish(c);
    finish(s);
    const char *file = strchr(report, '=') + 1;
    long made = reported(file, "channels_made"), claimed = reported(file, "claims_bound");
    unlink(file);
    must(made == 1 && claimed == (are_storms ? 8 : 9), "claims of one channel");
}

static const struct scenario {
    const char *name;
    int kind;
    enum sleeper how;
    enum other storm;
} scenarios[] = {
    {"bells for one who receives", 0, RECEIVES, HEEDED_BELLS},
    {"bells for one who polls", 0, POLLS, HEEDED_BELLS},
    {"bells for a set", 0, EPOLLS, HEEDED_BELLS},
    {"marks for a set", 0, EPOLLS, MARKS},
    {"marks for nobody", 0, EPOLLS, STRAY_MARKS},
    {"bells without end for one who receives", 1, RECEIVES, BELLS},
    {"bells without end for one who polls", 1, POLLS, BELLS},
    {"bells without end for a set", 1, EPOLLS, BELLS},
    {"eight storms", 2, RECEIVES, 1},
    {"eight connections without", 2, RECEIVES, 0},
};

static void play(const void *scenario)
{
    const struct scenario *one = scenario;
    switch (one->kind) {
    case 0: one_heeded(one->how, one->storm); break;
    case 1: unheeded(one->how); break;
    case 2: eight(one->storm == 1); break;
    }
}

int main(int count, char **words)
{
    if (count > 1 && strcmp(words[1], "end") == 0)
        return other_order = do_other, be_an_end();
    return play_each(count, words, scenarios, sizeof scenarios / sizeof *scenarios, sizeof *scenarios, play);
}
