/* AXIO_STRICT=1: what should have worked and did not is an error of that socket, and nothing else; what was asked for or
 * chosen is none.
 *
 *   strict [SCENARIO]     without an argument: all of them */
#include "ends.h"
#include "own_region.h"

enum { C, S };

enum other {
    WRITE_BEHIND, /* one byte by a system call of its own, as Go or io_uring would: no library sees it */
    RELEASE,      /* asks for the kernel path */
    ACCELERATE,   /* and for the ring again */
};

static long do_other(int connection, long what, long more)
{
    (void)more;
    struct axio_acceleration wish = {what == ACCELERATE, 0};
    if (what == WRITE_BEHIND)
        return raw(SYS_sendto, connection, (long)"x", 1) == 1 ? 0 : -1;
    return ioctl(connection, AXIO_SIOCACCEL, &wish);
}

static const char *const strictly = "AXIO_STRICT=1";

/* One end sends, the other receives; either may fail. */
static void try_to_carry(struct end from, struct end to, struct answer *sent, struct answer *received)
{
    tell_only(from, SEND, 64, 0);
    *received = tell(to, RECEIVE, 64, 0);
    *sent = await(from);
}

/* The connection must end within some exchanges: by a reset for the one it fails at, who is then told of ends only, and by
 * an end of some kind for the other. Without a reason: of what was never managed nothing is known once it has no far end. */
static void must_fail(struct end c, struct end s, int who, enum axio_reason reason)
{
    struct answer of[2] = {{.result = 0}, {.result = 0}};
    for (int round = 0; round < 70 && of[C].result >= 0 && of[S].result >= 0; round++) {
        try_to_carry(c, s, &of[C], &of[S]);
        if (of[C].result >= 0 && of[S].result >= 0)
            try_to_carry(s, c, &of[S], &of[C]);
    }
    const struct end both[2] = {[C] = c, [S] = s}, one = both[who];
    int other = who == C ? S : C;
    /* What the other one sent last may have been on its way when this one failed in its receive: its next call is told. */
    if (of[who].result == -1 && of[other].result >= 0)
        of[other] = tell(both[other], RECEIVE, 64, 0);
    must(of[C].result == -1 && of[S].result == -1, "both ends are told");
    errno = of[who].error;
    must(of[who].error == ECONNRESET, "the error is a reset");
    struct answer again = tell(one, SEND, 1, 0);
    must(again.result == -1 && again.error == EPIPE, "behind the reset the pipe is broken");
    again = tell(one, RECEIVE, 1, 0);
    must(again.result == -1 && again.error == 0, "and the stream has ended");
    if (reason != AXIO_REASON_NONE)
        must_be_in_kernel(one, "the strict end", reason);
}

static void quit(struct end c, struct end s)
{
    ask(c, CLOSE, 0);
    ask(s, CLOSE, 0);
    finish(c);
    finish(s);
}

/* As limits.c has it, but strict. */
static void without_a_call(int who, long call, long only, int refusal, enum axio_reason reason)
{
    struct setting free_setting = {.mode = "eager", .more = strictly};
    struct setting bound = {.mode = "eager", .forbidden = call, .only = only, .refusal = refusal, .more = strictly};
    struct end c = start(who == C ? &bound : &free_setting), s = start(who == S ? &bound : &free_setting);
    join(c, s);
    must_fail(c, s, who, reason);
    quit(c, s);
}

static void without_memory(int who, int from_the_beginning)
{
    struct setting setting = {.mode = "eager", .more = strictly};
    struct end c = start(&setting), s = start(&setting), *one = who == C ? &c : &s;
    if (from_the_beginning)
        ask(*one, NO_MEMORY, 0);
    join(c, s);
    if (!from_the_beginning)
        ask(*one, NO_MEMORY, 0);
    must_fail(c, s, who, from_the_beginning ? AXIO_REASON_NONE : AXIO_REASON_OUT_OF_MEMORY);
    quit(c, s);
}

/* C is on a ring with one S; its connection to another S fails for want of descriptors; the first goes on, and a third,
 * when there are descriptors again, is accelerated. */
static void others_go_on(void)
{
    struct setting setting = {.mode = "evidence", .more = strictly};
    struct end c = start(&setting), first = start(&setting), second = start(&setting);
    join(c, first);
    must_come_on_ring(c, first, 60);
    ask(c, SWAP, 0);
    must(tell(c, LIMIT, RLIMIT_NOFILE, 128).result == 0, "a limit");
    long port = ask(second, LISTEN, 0);
    ask(c, FILL, 1);
    ask(c, CONNECT, port);
    ask(second, ACCEPT, 0);
    must_fail(c, second, C, AXIO_REASON_OUT_OF_DESCRIPTORS);
    ask(c, SWAP, 0);
    /* More than its ring holds: the rest may have gone by the kernel, and the ring is taken again behind it. */
    exchange(c, first, 5000);
    must_come_on_ring(c, first, 600);
    ask(c, SWAP, 0);
    ask(c, CLOSE, 0);
    ask(second, CLOSE, 0);
    ask(c, FREE, 0);
    join(c, second);
    must_come_on_ring(c, second, 600);
    ask(c, CLOSE, 0);
    ask(c, SWAP, 0);
    exchange(c, first, 64);
    ask(c, CLOSE, 0);
    finish(c);
    finish(first);
    finish(second);
}

/* A far side without the library is nobody's failure. */
static void against_nobody(void)
{
    struct setting with = {.mode = "evidence", .more = strictly}, without = {.without_library = 1};
    struct end c = start(&with), s = start(&without);
    join(c, s);
    for (int round = 0; round < 600; round++)
        exchange(c, s, 64);
    must_be_in_kernel(c, "C", AXIO_REASON_PEER_HAS_NO_AXIO);
    quit(c, s);
}

/* Nor is what this kernel cannot do. */
static void without_statx(void)
{
    struct setting setting = {.mode = "eager", .more = strictly};
    struct setting bound = {.mode = "eager", .forbidden = SYS_statx, .only = -1, .refusal = ENOSYS, .more = strictly};
    struct end c = start(&bound), s = start(&setting);
    join(c, s);
    for (int round = 0; round < 100; round++)
        exchange(c, s, 64);
    must_be_in_kernel(c, "C", AXIO_REASON_UNSUPPORTED);
    quit(c, s);
}

/* Nor is what the program was asked to leave alone, though it could not have it. */
static void by_rule(void)
{
    struct setting setting = {.mode = "eager", .more = strictly, .also = "AXIO_RULES=kernel * * *:*"};
    struct end c = start(&setting), s = start(&setting);
    ask(c, NO_MEMORY, 0);
    join(c, s);
    for (int round = 0; round < 20; round++)
        exchange(c, s, 64);
    quit(c, s);
}

/* Two ends that rest in the middle of a handshake for longer than it may last: it comes to nothing, and the next one is
 * done. A program may rest. */
static void a_rest(void)
{
    struct setting setting = {.mode = "evidence", .more = strictly};
    struct end c = start(&setting), s = start(&setting);
    join(c, s);
    exchange(c, s, 64);
    carry(c, s, 64);
    must(status_of(c).state == AXIO_STATE_NEGOTIATING, "C has begun");
    must(status_of(s).state == AXIO_STATE_NEGOTIATING, "S has begun");
    usleep(1300 * 1000);
    carry(s, c, 64);
    exchange(c, s, 64);
    exchange(c, s, 64);
    struct axio_status of_c = status_of(c), of_s = status_of(s);
    must(of_c.path == AXIO_PATH_KERNEL && of_s.path == AXIO_PATH_KERNEL, "the handshake came to nothing");
    must(of_c.reason == AXIO_REASON_TIMED_OUT || of_s.reason == AXIO_REASON_TIMED_OUT, "for want of time");
    must_come_on_ring(c, s, 600);
    quit(c, s);
}

/* The far side asks for the kernel: no failure, and this side can say why it is there. */
static void asked_back(void)
{
    struct setting setting = {.mode = "eager", .more = strictly};
    struct end c = start(&setting), s = start(&setting);
    join(c, s);
    must_come_on_ring(c, s, 60);
    ask(s, OTHER, RELEASE);
    for (int round = 0; round < 10; round++)
        exchange(c, s, 64);
    struct axio_status of_c = status_of(c), of_s = status_of(s);
    must(of_c.path == AXIO_PATH_KERNEL && of_c.reason == AXIO_REASON_PEER_ASKED, axio_reason_name(of_c.reason));
    must(of_s.path == AXIO_PATH_KERNEL && of_s.reason == AXIO_REASON_RELEASED, axio_reason_name(of_s.reason));
    ask(s, OTHER, ACCELERATE);
    must_come_back_on_ring(c, s);
    quit(c, s);
}

/* A byte that no library has seen, in the middle of a stream on its ring. */
static void used_behind(void)
{
    struct setting setting = {.mode = "eager", .more = strictly};
    struct end c = start(&setting), s = start(&setting);
    join(c, s);
    must_come_on_ring(c, s, 60);
    ask(c, OTHER, WRITE_BEHIND);
    struct answer told = tell(s, RECEIVE, 1, 0);
    must(told.result == -1 && told.error == ECONNRESET, "a reset");
    must(status_of(s).reason == AXIO_REASON_USED_BEHIND, "the reason");
    quit(c, s);
}

static const struct scenario {
    const char *name;
    int kind, who;
    long call, only;
    int refusal;
    enum axio_reason reason;
} scenarios[] = {
    {"C may not make unix sockets", 0, C, SYS_socket, AF_UNIX, EAFNOSUPPORT, AXIO_REASON_FORBIDDEN},
    {"S may not make unix sockets", 0, S, SYS_socket, AF_UNIX, EAFNOSUPPORT, AXIO_REASON_FORBIDDEN},
    {"C may not ask the kernel for sockets", 0, C, SYS_socket, AF_NETLINK, EPERM, AXIO_REASON_FORBIDDEN},
    {"S may not make memfds", 0, S, SYS_memfd_create, -1, EPERM, AXIO_REASON_FORBIDDEN},
    {"no memory for fallocate", 0, S, SYS_fallocate, -1, ENOMEM, AXIO_REASON_OUT_OF_MEMORY},
    {"C has no memory", 1, C, 0, 0, 0, 0},
    {"S has no memory", 1, S, 0, 0, 0, 0},
    {"C never had memory", 2, C, 0, 0, 0, 0},
    {"S never had memory", 2, S, 0, 0, 0, 0},
    {"others go on", 3, C, 0, 0, 0, 0},
    {"against nobody", 4, C, 0, 0, 0, 0},
    {"C has no statx", 5, C, 0, 0, 0, 0},
    {"by rule", 6, C, 0, 0, 0, 0},
    {"a rest", 7, C, 0, 0, 0, 0},
    {"used behind", 8, C, 0, 0, 0, 0},
    {"asked back", 9, C, 0, 0, 0, 0},
};

static void play(const void *scenario)
{
    const struct scenario *one = scenario;
    switch (one->kind) {
    case 0: without_a_call(one->who, one->call, one->only, one->refusal, one->reason); break;
    case 1: without_memory(one->who, 0); break;
    case 2: without_memory(one->who, 1); break;
    case 3: others_go_on(); break;
    case 4: against_nobody(); break;
    case 5: without_statx(); break;
    case 6: by_rule(); break;
    case 7: a_rest(); break;
    case 8: used_behind(); break;
    case 9: asked_back(); break;
    }
}

int main(int count, char **words)
{
    if (count > 1 && strcmp(words[1], "end") == 0)
        return other_order = do_other, be_an_end();
    return play_each(count, words, scenarios, sizeof scenarios / sizeof *scenarios, sizeof *scenarios, play);
}
