/* Forks of processes that have accelerated connections in epoll sets.
 *
 *   forks at-a-time            two threads fork, each over and over, while the process has two sets
 *   forks holders              a manager forks more workers than a connection can have holders, with it in its set
 *   forks crashed              so many workers, one after the other, all killed asleep in recv
 *   forks parted               children give up privileges, and then write over all memory that looks shared
 *   forks unknown              the same of a child in a new namespace of process ids, where that may be made
 *   forks numbers              a program closes the numbers it does not know, and uses one of them itself
 *   forks meanwhile            another thread adds its first connection to a set while this one forks
 *   forks asked-after          waits of a server whose child lives: how often they ask the kernel whether it does
 *   forks filtered             children let no system call happen but few, and go on with what they inherited
 *
 * Prints what happened, which is the same on the bare kernel. */
#include "common.h"
#include "axio.h"
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>

#define FORKS 1000
#define WORKERS 24
/* Connections of a server with a child, its waits, and how often each may ask after the child, however slow the machine. */
#define CLIENTS 64
#define WAITS 200
#define ASKED_A_WAIT 8

static void *fork_over_and_over(void *unused)
{
    for (int time = 0; time < FORKS; time++) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        must(child > 0 && waitpid(child, 0, 0) == child, "fork");
    }
    return unused;
}

static void at_a_time(void)
{
    int descriptors[4], sets[4];
    pid_t peer = connect_all(descriptors, 4);
    for (int index = 0; index < 4; index++) {
        sets[index] = set_of(descriptors[index], 0);
        exchange_in(sets[index], descriptors[index], EXCHANGES);
    }
    pthread_t threads[2];
    for (int index = 0; index < 2; index++)
        must(!pthread_create(&threads[index], 0, fork_over_and_over, 0), "thread");
    for (int index = 0; index < 2; index++)
        pthread_join(threads[index], 0);
    for (int index = 0; index < 4; index++)
        exchange_in(sets[index], descriptors[index], EXCHANGES);
    for (int index = 0; index < 4; index++)
        close(descriptors[index]);
    must(waitpid(peer, 0, 0) == peer, "peer");
    printf("forked\n");
}

static void holders(void)
{
    int descriptors[3], sets[3];
    pid_t peer = connect_all(descriptors, 3), workers[WORKERS];
    for (int index = 0; index < 3; index++) {
        sets[index] = set_of(descriptors[index], index == 1 ? EPOLLET : 0);
        exchange_in(sets[index], descriptors[index], EXCHANGES);
    }
    for (int index = 0; index < WORKERS; index++) {
        if ((workers[index] = fork()) == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;)
                pause();
        }
        for (int other = 0; other < 3; other++)
            exchange_in(sets[other], descriptors[other], 5);
    }
    /* A stranger at the slots that were left must not lose a wake-up. */
    int others[8], other_sets[8];
    pid_t other_peer = connect_all(others, 8);
    for (int index = 0; index < 8; index++) {
        other_sets[index] = set_of(others[index], EPOLLET);
        exchange_in(other_sets[index], others[index], EXCHANGES);
    }
    for (int index = 0; index < 3; index++)
        exchange_in(sets[index], descriptors[index], EXCHANGES);
    for (int index = 0; index < WORKERS; index++) {
        kill(workers[index], SIGKILL);
        waitpid(workers[index], 0, 0);
    }
    for (int index = 0; index < 8; index++)
        exchange_in(other_sets[index], others[index], EXCHANGES);
    for (int index = 0; index < 3; index++)
        close(descriptors[index]);
    for (int index = 0; index < 8; index++)
        close(others[index]);
    must(waitpid(peer, 0, 0) == peer && waitpid(other_peer, 0, 0) == other_peer, "peers");
    printf("held\n");
}

static void crashed(void)
{
    int descriptor;
    pid_t peer = connect_all(&descriptor, 1);
    exchange(descriptor, EXCHANGES);
    for (int time = 0; time < WORKERS; time++) {
        pid_t worker = fork();
        if (worker == 0) {
            char byte;
            recv(descriptor, &byte, 1, 0);
            _exit(0);
        }
        usleep(3000);
        kill(worker, SIGKILL);
        /* A dying one may still take a byte; every other one stays a zombie. */
        siginfo_t ended;
        waitid(P_PID, (id_t)worker, &ended, WEXITED | (time & 1 ? 0 : WNOWAIT));
        exchange(descriptor, 20);
    }
    pid_t last = fork();
    if (last == 0) {
        exchange(descriptor, EXCHANGES);
        _exit(0);
    }
    int status;
    must(waitpid(last, &status, 0) == last && status == 0, "the last worker");
    exchange(descriptor, EXCHANGES);
    close(descriptor);
    must(waitpid(peer, &status, 0) == peer && status == 0, "peer");
    printf("crashed\n");
}

enum { SCRIBBLE = 0xa5 };

/* Endpoints lie near the beginning of a mapping; the rest is mostly untouched. */
enum { BEGINNING = 1 << 20 };

/* Calls `each` with the beginning of every writable shared mapping; how often that was true. */
static int for_each_shared(int (*each)(unsigned char *bytes, size_t length))
{
    char line[512];
    int found = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    must(maps != 0, "maps");
    while (fgets(line, sizeof line, maps)) {
        unsigned long first, end;
        char rights[8];
        if (sscanf(line, "%lx-%lx %7s", &first, &end, rights) != 3 || strcmp(rights, "rw-s"))
            continue;
        found += each((unsigned char *)first, end - first < BEGINNING ? end - first : BEGINNING);
    }
    fclose(maps);
    return found;
}

static int write_over(unsigned char *bytes, size_t length)
{
    memset(bytes, SCRIBBLE, length);
    return 1;
}

/* Anywhere a page in a row: what others go on writing meanwhile may hide some of it. */
static int is_written_over(unsigned char *bytes, size_t length)
{
    size_t in_a_row = 0;
    for (size_t index = 0; index < length && in_a_row < 4096; index++)
        in_a_row = bytes[index] == SCRIBBLE ? in_a_row + 1 : 0;
    return in_a_row == 4096;
}

/* Writes over every writable shared mapping, as an attacker would who has taken over the process. */
static void scribble(void)
{
    for_each_shared(write_over);
}

static int fork_and_exchange(int descriptor)
{
    int status = 1;
    pid_t child = fork();
    if (child == 0) {
        exchange(descriptor, EXCHANGES);
        _exit(0);
    }
    must(waitpid(child, &status, 0) == child, "fork");
    return status;
}

static void parted(void)
{
    int descriptors[4], sets[4], pipes[2];
    char byte = 0;
    pid_t peer = connect_all(descriptors, 4);
    for (int index = 0; index < 4; index++) {
        sets[index] = set_of(descriptors[index], 0);
        exchange_in(sets[index], descriptors[index], EXCHANGES);
    }
    must(!pipe(pipes), "pipe");
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(descriptors[1]);
        must(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges");
        /* Still in order: what was inherited works, and so does a new connection. */
        exchange(descriptors[0], EXCHANGES);
        int own;
        pid_t own_peer = connect_all(&own, 1);
        exchange(own, EXCHANGES);
        close(own);
        must(waitpid(own_peer, 0, 0) == own_peer, "peer");
        scribble();
        must(write(pipes[1], &byte, 1) == 1, "tell");
        for (;;)
            pause();
    }
    must(read(pipes[0], &byte, 1) == 1, "hear");
    must(!for_each_shared(is_written_over), "what the child writes, it alone sees");
    for (int index = 0; index < 4; index++)
        exchange_in(sets[index], descriptors[index], EXCHANGES);
    must(fork_and_exchange(descriptors[2]) == 0, "a later child");
    close(descriptors[3]);
    kill(child, SIGKILL);
    must(waitpid(child, 0, 0) == child, "child");
    for (int index = 0; index < 3; index++)
        exchange_in(sets[index], descriptors[index], EXCHANGES);
    for (int index = 0; index < 3; index++)
        close(descriptors[index]);
    must(waitpid(peer, 0, 0) == peer, "peer");
    printf("parted\n");
}

static int inherited;

/* Runs within fork(), in the parent: what a child with process ids of another namespace inherits is left by then, by who
 * knows the others that may wait for its locks, and is known to them. */
static void must_have_left(void)
{
    struct axio_status status;
    int answer = ioctl(inherited, AXIO_SIOCSTATUS, &status);
    must(answer < 0 || status.path == AXIO_PATH_KERNEL, "the parent leaves what such a child inherits");
}

static void unknown(void)
{
    int descriptors[2], own, pipes[2];
    char byte = 0;
    struct sockaddr_in later;
    pid_t peer = connect_all(descriptors, 2), later_peer = peer_at(&later, 1);
    for (int index = 0; index < 2; index++)
        exchange(descriptors[index], EXCHANGES);
    must(!pipe(pipes), "pipe");
    int has_other_ids = !unshare(CLONE_NEWPID);
    if (!has_other_ids)
        fprintf(stderr, "no new namespace of process ids (%s): an ordinary child\n", strerror(errno));
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        must(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges");
        exchange(descriptors[0], EXCHANGES);
        scribble();
        must(write(pipes[1], &byte, 1) == 1, "tell");
        for (;;)
            pause();
    }
    must(read(pipes[0], &byte, 1) == 1, "hear");
    must(!for_each_shared(is_written_over), "what the child writes, it alone sees");
    for (int index = 0; index < 2; index++)
        exchange(descriptors[index], EXCHANGES);
    own = connect_to(&later);
    exchange(own, EXCHANGES);
    inherited = own;
    must(!has_other_ids || !pthread_atfork(must_have_left, 0, 0), "a handler");
    must(fork_and_exchange(own) == 0, "a later child");
    exchange(own, EXCHANGES);
    close(own);
    must(waitpid(later_peer, 0, 0) == later_peer, "peer of the new connection");
    kill(child, SIGKILL);
    must(waitpid(child, 0, 0) == child, "child");
    for (int index = 0; index < 2; index++)
        close(descriptors[index]);
    must(waitpid(peer, 0, 0) == peer, "peer");
    printf("unknown\n");
}

/* What a default-deny filter of a sandbox lets through; anything else kills. */
static void filter(void)
{
    static const int allowed[] = {SYS_read,  SYS_write,      SYS_sendto, SYS_recvfrom,  SYS_close, SYS_exit_group,
                                  SYS_futex, SYS_rt_sigreturn, SYS_clone,  SYS_clone3, SYS_exit, SYS_rt_sigprocmask,
                                  SYS_mmap,  SYS_mprotect,  SYS_munmap, SYS_madvise, SYS_set_robust_list, SYS_rseq,
                                  SYS_wait4, SYS_sched_yield, SYS_rt_sigaction, SYS_brk, SYS_getrandom,
                                  /* Where the machine's clock is none that the vDSO can read (vdso(7)). */
                                  SYS_clock_gettime};
    enum { COUNT = sizeof allowed / sizeof *allowed };
    struct sock_filter program[2 * COUNT + 2];
    int used = 0;
    program[used++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int index = 0; index < COUNT; index++) {
        program[used++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)allowed[index], 0, 1);
        program[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    program[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    struct sock_fprog whole = {.len = (unsigned short)used, .filter = program};
    must(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &whole, 0, 0), "filter");
}

static void *exchange_in_a_thread(void *descriptor)
{
    exchange(*(int *)descriptor, EXCHANGES);
    return 0;
}

static void filtered(void)
{
    int descriptors[2], status;
    pid_t peer = connect_all(descriptors, 2);
    for (int index = 0; index < 2; index++)
        exchange(descriptors[index], EXCHANGES);
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        filter();
        exchange(descriptors[0], EXCHANGES);
        /* A thread that is born behind the filter has never been asked who it is. */
        must(!pthread_create(&thread, 0, exchange_in_a_thread, &descriptors[0]), "thread");
        pthread_join(thread, 0);
        if (fork() == 0) {
            exchange(descriptors[1], EXCHANGES);
            _exit(0);
        }
        must(wait(&status) > 0 && status == 0, "the child of the child");
        _exit(0);
    }
    must(waitpid(child, &status, 0) == child, "child");
    printf("child %x\n", (unsigned)status);
    for (int index = 0; index < 2; index++) {
        exchange(descriptors[index], EXCHANGES);
        close(descriptors[index]);
    }
    must(waitpid(peer, 0, 0) == peer, "peer");
    printf("filtered\n");
}

/* Where the statistics page is found; -1 on the bare kernel. */
static int page_number(void)
{
    for (int number = 3; number < 4096; number++) {
        char path[32], file[64] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%d", number);
        if (readlink(path, file, sizeof file - 1) > 0 && !strncmp(file, "/memfd:axio", 11))
            return number;
    }
    return -1;
}

static void numbers(void)
{
    int descriptors[64], status;
    pid_t peer = connect_all(descriptors, 1);
    exchange(descriptors[0], EXCHANGES);
    int found = page_number(), number = found < 0 ? 600 : found, mine = open("/dev/null", O_RDONLY);
    must((found < 0 || !close(found)) && mine >= 0 && dup2(mine, number) == number, "a number");
    pid_t child = fork();
    if (child == 0)
        _exit(fcntl(number, F_GETFD) < 0);
    must(waitpid(child, &status, 0) == child, "child");
    printf("the child's number is closed: %d\n", status != 0);
    fflush(stdout);
    close(descriptors[0]);
    must(waitpid(peer, 0, 0) == peer, "peer");
    /* The page is shown again after some more sockets. */
    for (int time = 0; time < 2; time++) {
        peer = connect_all(descriptors, 64);
        for (int index = 0; index < 64; index++) {
            exchange(descriptors[index], 3);
            close(descriptors[index]);
        }
        must(waitpid(peer, 0, 0) == peer, "peer");
    }
    must(found < 0 || page_number() >= 0, "the page can be found");
    must(fcntl(number, F_GETFD) == 0, "the program's number");
}

static struct {
    sem_t begins, made;
    int is_wanted, set, descriptor;
} adding;

static void *add_meanwhile(void *unused)
{
    while (sem_wait(&adding.begins)) {
    }
    adding.set = set_of(adding.descriptor, 0);
    sem_post(&adding.made);
    return unused;
}

/* Runs inside fork(), in front of the system call. The other thread may have to wait for the fork's end. */
static void prepare_fork(void)
{
    struct timespec until;
    if (!adding.is_wanted)
        return;
    sem_post(&adding.begins);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    while (sem_timedwait(&adding.made, &until) && errno == EINTR) {
    }
}

static void once_meanwhile(void)
{
    int modified[2], status;
    char byte = 0, message[MESSAGE] = "";
    pthread_t thread;
    pid_t peer = connect_all(&adding.descriptor, 1);
    exchange(adding.descriptor, EXCHANGES);
    must(!pipe(modified) && !pthread_create(&thread, 0, add_meanwhile, 0), "thread");
    adding.is_wanted = 1;
    pid_t child = fork();
    adding.is_wanted = 0;
    if (child == 0) {
        /* What it does to the connection concerns no set that it does not use. */
        must(read(modified[0], &byte, 1) == 1, "the parent has modified the set");
        struct axio_acceleration kernel = {.enable = 0};
        ioctl(adding.descriptor, AXIO_SIOCACCEL, &kernel);
        exchange(adding.descriptor, 3);
        _exit(0);
    }
    must(child > 0 && !pthread_join(thread, 0), "fork");
    while (!sem_trywait(&adding.made)) {
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.fd = 4711};
    must(!epoll_ctl(adding.set, EPOLL_CTL_MOD, adding.descriptor, &event), "modify");
    must(write(modified[1], &byte, 1) == 1 && waitpid(child, &status, 0) == child && status == 0, "child");
    must(send(adding.descriptor, message, sizeof message, MSG_NOSIGNAL) == MESSAGE, "send");
    memset(&event, 0, sizeof event);
    int found = epoll_wait(adding.set, &event, 1, 60000);
    printf("told %d, of %d", found, event.data.fd);
    get(adding.descriptor, message);
    exchange(adding.descriptor, 1);
    printf(", and then %d\n", epoll_wait(adding.set, &event, 1, 100));
    fflush(stdout);
    close(modified[0]);
    close(modified[1]);
    close(adding.set);
    close(adding.descriptor);
    must(waitpid(peer, 0, 0) == peer, "peer");
}

static void meanwhile(void)
{
    must(!sem_init(&adding.begins, 0, 0) && !sem_init(&adding.made, 0, 0), "semaphores");
    must(!pthread_atfork(prepare_fork, 0, 0), "pthread_atfork");
    for (int time = 0; time < 10; time++)
        once_meanwhile();
}

static volatile int asked;

/* In place of a kill(): the process is there. */
static void count_question(int number, siginfo_t *unused, void *context)
{
    (void)number;
    (void)unused;
    asked++;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX] = 0;
}

/* Behind the library's back, which ends all acceleration in front of a filter. */
static long plain_call(long number, long first, long second, long third)
{
    register long fourth __asm__("r10") = 0;
    register long fifth __asm__("r8") = 0;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(first), "S"(second), "d"(third), "r"(fourth), "r"(fifth)
                     : "rcx", "r11", "memory");
    return result;
}

static void count_questions(void)
{
    struct sigaction action = {.sa_sigaction = count_question, .sa_flags = SA_SIGINFO};
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_kill, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog whole = {.len = sizeof program / sizeof *program, .filter = program};
    must(!sigaction(SIGSYS, &action, 0) && !plain_call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0), "no new privileges");
    must(!plain_call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, (long)&whole), "filter");
}

/* The child holds every connection, too. A server with thousands of them must not ask for each of them, each time. */
static void asked_after(void)
{
    int descriptors[CLIENTS], set = epoll_create1(0), wakes[2];
    char byte;
    connect_all(descriptors, CLIENTS);
    for (int index = 0; index < CLIENTS; index++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptors[index]};
        must(!epoll_ctl(set, EPOLL_CTL_ADD, descriptors[index], &event), "add");
        exchange(descriptors[index], EXCHANGES);
    }
    must(!pipe(wakes), "pipe");
    if (fork() == 0) {
        close(wakes[1]);
        must(read(wakes[0], &byte, 1) == 0, "the parent has ended");
        _exit(0);
    }
    count_questions();
    for (int time = 0; time < WAITS; time++) {
        struct epoll_event event;
        must(epoll_wait(set, &event, 1, 1) == 0, "nothing has come");
    }
    printf("asked seldom: %d\n", asked < ASKED_A_WAIT * WAITS);
    exchange(descriptors[0], 1);
}

int main(int count, char **words)
{
    static const struct mode modes[] = {
        {"at-a-time", at_a_time}, {"holders", holders},     {"crashed", crashed},
        {"parted", parted},       {"unknown", unknown},     {"numbers", numbers},
        {"meanwhile", meanwhile}, {"filtered", filtered},   {"asked-after", asked_after},
    };
    return play(modes, sizeof modes / sizeof *modes, count, words);
}
