/* Two processes of two users, each in namespaces of its own, but in one network namespace: they are accelerated, by
 * ring bytes as each of them counts them.
 *
 *   strangers C_USER S_USER NAMESPACES eager|evidence */
#include "ends.h"

/* Both directions. */
static uint64_t ring_bytes(struct end end)
{
    struct axio_status said = status_of(end);
    return said.ring_bytes_in + said.ring_bytes_out;
}

int main(int count, char **words)
{
    if (count > 1 && strcmp(words[1], "end") == 0)
        return be_an_end();
    must(count == 5, "arguments");
    begin(words);
    int namespaces = atoi(words[3]);
    struct setting c_setting = {.user = atoi(words[1]), .namespaces = namespaces, .mode = words[4]};
    struct setting s_setting = {.user = atoi(words[2]), .namespaces = namespaces, .mode = words[4]};
    struct end c = start(&c_setting), s = start(&s_setting);
    doing = "the first connection";
    join(c, s);
    must_come_on_ring(c, s, 60);
    /* More than a ring holds, so that both sleep and wake each other. */
    doing = "a large transfer";
    exchange(c, s, 3 << 20);
    exchange(c, s, 3 << 20);
    /* Who sleeps too long on a busy machine has left the rest of a transfer to the kernel; but each begins on the ring. */
    doing = "smaller transfers";
    for (int round = 0; round < 200 && ring_bytes(c) <= 1 << 20; round++)
        exchange(c, s, 64 << 10);
    must(ring_bytes(c) > 1 << 20, "a megabyte by ring");
    ask(c, CLOSE, 0);
    must(tell(s, RECEIVE, 1, 0).result == -1, "the end of the stream");
    ask(s, CLOSE, 0);
    doing = "a later connection, by a claim";
    join(c, s);
    must_come_on_ring(c, s, 60);
    finish(c);
    finish(s);
    puts("accelerated");
    return 0;
}
