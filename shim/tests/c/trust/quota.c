/* A user who is not S's may cause so many channels there and no more; S's own user has no such limit.
 *
 *   quota C_USER S_USER */
#include "ends.h"

/* A process of that user connects to S, which keeps the connections it has. */
static struct end visit(int user, struct end s)
{
    struct setting setting = {.user = user, .mode = "eager"};
    struct end c = start(&setting);
    join(c, s);
    return c;
}

int main(int count, char **words)
{
    static struct end visitors[AXIO_CHANNELS_PER_FOREIGN_USER];
    if (count > 1 && strcmp(words[1], "end") == 0)
        return be_an_end();
    must(count == 3, "arguments");
    begin(words);
    int foreign_user = atoi(words[1]), own_user = atoi(words[2]), visits = 0;
    struct setting s_setting = {.user = own_user, .mode = "eager"};
    struct end s = start(&s_setting);
    doing = "as many as there may be";
    for (; visits < AXIO_CHANNELS_PER_FOREIGN_USER; visits++) {
        visitors[visits] = visit(foreign_user, s);
        must_come_on_ring(visitors[visits], s, 600);
    }
    doing = "one more";
    struct end c = visit(foreign_user, s);
    for (int round = 0; round < 600 && status_of(s).reason != AXIO_REASON_QUOTA_REACHED; round++)
        exchange(c, s, 64);
    must_be_in_kernel(s, "S", AXIO_REASON_QUOTA_REACHED);
    /* Later chances meet nobody, for C offers none any more: that is no better reason. */
    for (int round = 0; round < 600; round++)
        exchange(c, s, 64);
    exchange(c, s, 60000);
    must_be_in_kernel(s, "S", AXIO_REASON_QUOTA_REACHED);
    must(status_of(c).path == AXIO_PATH_KERNEL, "the foreign user's end");
    doing = "one of S's own user";
    struct end own = visit(own_user, s);
    must_come_on_ring(own, s, 600);
    doing = "the end";
    finish(own);
    finish(c);
    while (visits > 0)
        finish(visitors[--visits]);
    finish(s);
    puts("refused");
    return 0;
}
