/* Limits and sandboxes: where the library cannot have what a ring needs, the connection stays on the kernel path with a
 * reason, and carries every byte.
 *
 *   limits [SCENARIO]     without an argument: all of them */
#include "ends.h"

enum { C, S };

/* Nothing came of an end's attempt because its time was over, or the other end's, which then does not knock any more: on a
 * busy machine. At a later chance it tries again. */
static int was_only_late(struct end end)
{
    switch (status_of(end).reason) {
    case AXIO_REASON_TIMED_OUT:
    case AXIO_REASON_PEER_HAS_NO_AXIO:
    case AXIO_REASON_PEER_LEFT:
    case AXIO_REASON_PROOF_FAILED:
        return is_late();
    default:
        return 0;
    }
}

/* Bytes in both directions, also more than a ring holds; and on, until nobody waits for anybody any more, and `one` has
 * come to something. */
static void carries(struct end c, struct end s, struct end one)
{
    for (int round = 0; round < 6; round++)
        exchange(c, s, 64);
    exchange(c, s, 60000);
    for (int round = 0; round < 600; round++) {
        int negotiates = status_of(c).state == AXIO_STATE_NEGOTIATING || status_of(s).state == AXIO_STATE_NEGOTIATING;
        if (!(negotiates && (round < 100 || is_late())) && !was_only_late(one))
            break;
        exchange(c, s, 64);
    }
}

static void quit(struct end c, struct end s)
{
    ask(c, CLOSE, 0);
    must(tell(s, RECEIVE, 1, 0).result == -1, "the end of the stream");
    finish(c);
    finish(s);
}

/* One end may not make a system call, by a filter that it was started under. */
static void without_a_call(int who, long call, long only, int refusal, enum axio_reason reason)
{
    struct setting free_setting = {.mode = "eager"};
    struct setting bound = {.mode = "eager", .forbidden = call, .only = only, .refusal = refusal};
    struct end c = start(who == C ? &bound : &free_setting), s = start(who == S ? &bound : &free_setting);
    join(c, s);
    carries(c, s, who == C ? c : s);
    must_be_in_kernel(who == C ? c : s, "the confined end", reason);
    must(status_of(who == C ? s : c).path == AXIO_PATH_KERNEL, "the other end");
    quit(c, s);
}

/* One end has no descriptor left when the upgrade is due; later it has, and is accelerated at a later chance. */
static void without_descriptors(int who)
{
    struct setting setting = {.mode = "evidence"};
    struct end c = start(&setting), s = start(&setting), *one = who == C ? &c : &s;
    join(c, s);
    must(tell(*one, LIMIT, RLIMIT_NOFILE, 128).result == 0, "a limit");
    ask(*one, FILL, 0);
    carries(c, s, *one);
    must_be_in_kernel(*one, "the full end", AXIO_REASON_OUT_OF_DESCRIPTORS);
    must(status_of(who == C ? s : c).path == AXIO_PATH_KERNEL, "the other end");
    ask(*one, FREE, 0);
    must_come_on_ring(c, s, 600);
    quit(c, s);
}

/* Fewer descriptors are free than a handshake needs, from none to all: whatever comes of it, bytes are carried, nothing
 * stays open that the program would miss. */
static void descriptors_run_out(int who)
{
    unsigned seen = 0;
    for (long left = 0; left < 9; left++) {
        struct setting setting = {.mode = "eager"};
        struct end c = start(&setting), s = start(&setting), *one = who == C ? &c : &s;
        must(tell(*one, LIMIT, RLIMIT_NOFILE, 128).result == 0, "a limit");
        long port = ask(s, LISTEN, 0);
        if (who == C) {
            /* The connection itself needs one. */
            ask(c, FILL, left + 1);
            ask(c, CONNECT, port);
            ask(s, ACCEPT, 0);
        } else {
            ask(s, FILL, 0);
            ask(c, CONNECT, port);
            struct answer refused = tell(s, ACCEPT, 0, 0);
            must(refused.result < 0 && refused.error == EMFILE, "accept says what the kernel says");
            ask(s, FREE, 0);
            ask(s, FILL, left + 1);
            ask(s, ACCEPT, 0);
        }
        carries(c, s, *one);
        struct axio_status status = status_of(*one);
        seen |= status.path == AXIO_PATH_SHARED_MEMORY ? 1u : status.reason == AXIO_REASON_OUT_OF_DESCRIPTORS ? 2u : 0;
        must(status.reason == AXIO_REASON_OUT_OF_DESCRIPTORS || status.path == AXIO_PATH_SHARED_MEMORY,
             axio_reason_name(status.reason));
        quit(c, s);
    }
    must(seen == 3, "some were too few, some enough");
}

/* No address space but what there is, from the beginning or when the connection is there. */
static void without_memory(int who, int from_the_beginning)
{
    struct setting setting = {.mode = "eager"};
    struct end c = start(&setting), s = start(&setting), *one = who == C ? &c : &s;
    if (from_the_beginning)
        ask(*one, NO_MEMORY, 0);
    join(c, s);
    if (!from_the_beginning)
        ask(*one, NO_MEMORY, 0);
    carries(c, s, *one);
    must_be_in_kernel(*one, "the poor end", AXIO_REASON_OUT_OF_MEMORY);
    must(status_of(who == C ? s : c).path == AXIO_PATH_KERNEL, "the other end");
    quit(c, s);
}

/* setrlimit(2): a file that grows beyond RLIMIT_FSIZE is a signal, unless nobody tries. */
static void with_small_files(void)
{
    struct setting setting = {.mode = "eager"};
    struct end c = start(&setting), s = start(&setting);
    must(tell(s, LIMIT, RLIMIT_FSIZE, 65536).result == 0, "a limit");
    join(c, s);
    carries(c, s, s);
    must_be_in_kernel(s, "S", AXIO_REASON_FORBIDDEN);
    quit(c, s);
}

/* A far side without the library gets three boxes at most, however long the connection lasts. */
static void against_nobody(void)
{
    char report[4096], line[8192] = {0};
    snprintf(report, sizeof report, "AXIO_REPORT=%s.report", own_path);
    struct setting with = {.mode = "evidence", .more = report}, without = {.without_library = 1};
    struct end c = start(&with), s = start(&without);
    join(c, s);
    for (int round = 0; round < 700; round++)
        exchange(c, s, 64);
    for (int round = 0; round < 60; round++)
        exchange(c, s, 1 << 20);
    must_be_in_kernel(c, "C", AXIO_REASON_PEER_HAS_NO_AXIO);
    quit(c, s);
    int file = open(strchr(report, '=') + 1, O_RDONLY | O_CLOEXEC);
    must(file >= 0 && read(file, line, sizeof line - 1) > 0, "C's report");
    close(file);
    unlink(strchr(report, '=') + 1);
    must(strstr(line, "\"boxes_opened\":3,") != 0, line);
}

/* A reader that stays away while more comes than a ring holds: the bytes go on through the kernel, which says why. */
static void with_a_slow_reader(void)
{
    struct setting setting = {.mode = "eager"};
    struct end c = start(&setting), s = start(&setting);
    join(c, s);
    must_come_on_ring(c, s, 60);
    ask(c, SEND, 200000);
    struct axio_status status = status_of(c);
    must(status.switches_out != 0 && status.switches_out % 2 == 0, "the ring gave way to the kernel's buffer");
    ask(s, SEND, 200000);
    ask(s, RECEIVE, 200000);
    ask(c, RECEIVE, 200000);
    /* The direction may be on its ring again by now: the reader has consented as soon as it had read. */
    status = status_of(c);
    must(status.path == AXIO_PATH_SHARED_MEMORY || status.reason == AXIO_REASON_READER_STUCK, axio_reason_name(status.reason));
    must_come_back_on_ring(c, s);
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
    {"S may not ask the kernel for sockets", 0, S, SYS_socket, AF_NETLINK, EPERM, AXIO_REASON_FORBIDDEN},
    {"C may not make memfds", 0, C, SYS_memfd_create, -1, EPERM, AXIO_REASON_FORBIDDEN},
    {"S may not make memfds", 0, S, SYS_memfd_create, -1, EPERM, AXIO_REASON_FORBIDDEN},
    {"S has no memfds", 0, S, SYS_memfd_create, -1, ENOSYS, AXIO_REASON_UNSUPPORTED},
    {"C has no statx", 0, C, SYS_statx, -1, ENOSYS, AXIO_REASON_UNSUPPORTED},
    {"no memory for fallocate", 0, S, SYS_fallocate, -1, ENOMEM, AXIO_REASON_OUT_OF_MEMORY},
    {"S's memfds fail as nobody expects", 0, S, SYS_memfd_create, -1, EIO, AXIO_REASON_INTERNAL},
    {"C has no descriptor left", 1, C, 0, 0, 0, 0},
    {"S has no descriptor left", 1, S, 0, 0, 0, 0},
    {"descriptors run out in C", 2, C, 0, 0, 0, 0},
    {"descriptors run out in S", 2, S, 0, 0, 0, 0},
    {"C has no memory", 3, C, 0, 0, 0, 0},
    {"S has no memory", 3, S, 0, 0, 0, 0},
    {"C never had memory", 4, C, 0, 0, 0, 0},
    {"S never had memory", 4, S, 0, 0, 0, 0},
    {"small files", 5, S, 0, 0, 0, 0},
    {"against nobody", 6, C, 0, 0, 0, 0},
    {"a slow reader", 7, S, 0, 0, 0, 0},
};

static void play(const void *scenario)
{
    const struct scenario *one = scenario;
    switch (one->kind) {
    case 0: without_a_call(one->who, one->call, one->only, one->refusal, one->reason); break;
    case 1: without_descriptors(one->who); break;
    case 2: descriptors_run_out(one->who); break;
    case 3: without_memory(one->who, 0); break;
    case 4: without_memory(one->who, 1); break;
    case 5: with_small_files(); break;
    case 6: against_nobody(); break;
    case 7: with_a_slow_reader(); break;
    }
}

int main(int count, char **words)
{
    if (count > 1 && strcmp(words[1], "end") == 0)
        return be_an_end();
    return play_each(count, words, scenarios, sizeof scenarios / sizeof *scenarios, sizeof *scenarios, play);
}
