/* The far side: random traffic, and a watchdog. Whatever it sends is answered, so an answer that does not come within
 * its patience is a wake-up that the near side has lost. The producers begin each round together, so that none goes on
 * and wakes with its next message who should have been woken for another's. */
#include <sys/mman.h>

static struct rounds {
    pthread_barrier_t begin;
    unsigned last; /* round; 0 = not known yet */
} *rounds;

static void make_rounds(int producers)
{
    pthread_barrierattr_t shared;
    rounds = mmap(0, sizeof *rounds, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(rounds != MAP_FAILED, "mmap");
    pthread_barrierattr_init(&shared);
    pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    must(pthread_barrier_init(&rounds->begin, &shared, (unsigned)producers) == 0, "a barrier");
}

/* False when it is the last one. */
static int next_round(int me, long end_us)
{
    static unsigned round;
    round++;
    if (me == 0 && now_us() >= end_us)
        rounds->last = round;
    pthread_barrier_wait(&rounds->begin);
    return rounds->last != round;
}

struct producer {
    int sockets[CONNECTIONS_MAX];
    unsigned owed[CONNECTIONS_MAX]; /* bytes that are to come back */
    int connections, me, patience_ms;
    unsigned random;
    uint32_t number;
    long echoes;
};

static void say_lost(const struct producer *self, int connection)
{
    printf("producer %d: nothing came back on connection %d (%s) for %d ms: %u bytes\n", self->me, connection,
           group_names[connection % GROUPS], self->patience_ms, self->owed[connection]);
    fflush(stdout);
    _exit(LOST);
}

static int is_readable(struct producer *self, int descriptor)
{
    if (chance(&self->random, 3)) {
        struct pollfd entry = {descriptor, POLLIN, 0};
        return poll(&entry, 1, self->patience_ms) == 1;
    }
    fd_set reads;
    struct timeval time = {self->patience_ms / 1000, self->patience_ms % 1000 * 1000};
    FD_ZERO(&reads);
    FD_SET(descriptor, &reads);
    return select(descriptor + 1, &reads, 0, 0, &time) == 1;
}

static void send_one(struct producer *self, int connection, enum kind kind)
{
    struct message message = {(uint8_t)kind, (uint8_t)self->me, (uint16_t)connection, self->number++};
    must(send(self->sockets[connection], &message, sizeof message, MSG_NOSIGNAL) == sizeof message, "send");
    self->owed[connection] += kind == POUR ? FLOOD_BYTES : sizeof message;
}

static void await(struct producer *self, int connection)
{
    static char bytes[1 << 16];
    while (self->owed[connection]) {
        if (!is_readable(self, self->sockets[connection]))
            say_lost(self, connection);
        size_t room = self->owed[connection] < sizeof bytes ? self->owed[connection] : sizeof bytes;
        ssize_t part = recv(self->sockets[connection], bytes, room, 0);
        must(part > 0, "an answer");
        self->owed[connection] -= (unsigned)part;
        if (self->owed[connection] > sizeof(struct message))
            pause_by_chance(&self->random);
    }
    self->echoes++;
}

/* A connection that several threads serve. */
static int any_shared(struct producer *self)
{
    return (int)chance(&self->random, (unsigned)self->connections / GROUPS) * GROUPS +
           (int)chance(&self->random, EXCLUSIVE);
}

/* One thread is held up on a connection; another one must serve the other. Whether both arrive with one bell is left to
 * chance. */
static void hold_one_up(struct producer *self)
{
    int held = any_shared(self), other = any_shared(self);
    if (held == other)
        return;
    send_one(self, held, HOLD);
    if (chance(&self->random, 2))
        nap_us(chance(&self->random, 3000));
    send_one(self, other, RELEASE);
    await(self, other);
    await(self, held);
}

static void burst(struct producer *self)
{
    int used[8], count = 1 + (int)chance(&self->random, 8);
    for (int index = 0; index < count; index++) {
        used[index] = (int)chance(&self->random, (unsigned)self->connections);
        pause_by_chance(&self->random);
        send_one(self, used[index], ECHO);
    }
    for (int index = 0; index < count; index++)
        await(self, used[index]);
}

static void produce(int me, int connections, int duration_ms, int patience_ms, const struct sockaddr_in *address)
{
    static struct producer self;
    self.me = me;
    self.connections = connections;
    self.patience_ms = patience_ms;
    self.random = (unsigned)me * 7919u + (unsigned)getpid();
    for (int index = 0; index < connections; index++) {
        int one = self.sockets[index] = socket(AF_INET, SOCK_STREAM, 0);
        must(connect(one, (const struct sockaddr *)address, sizeof *address) == 0, "connect");
        setsockopt(one, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        for (int round = 0; round < WARM_UP; round++) {
            struct message message = {ECHO, (uint8_t)me, (uint16_t)index, 0};
            must(send(one, &message, sizeof message, 0) == sizeof message, "warm up");
            exactly(one, &message, sizeof message);
        }
    }
    long end = now_us() + duration_ms * 1000L;
    while (next_round(me, end)) {
        unsigned which = chance(&self.random, 64);
        if (which < 8) {
            hold_one_up(&self);
        } else if (which == 8) {
            int one = (int)chance(&self.random, (unsigned)connections / GROUPS) * GROUPS + FLOOD;
            send_one(&self, one, POUR);
            await(&self, one);
        } else {
            burst(&self);
        }
    }
    must(self.echoes > 0, "some traffic");
    _exit(GOOD);
}
