/* Forks of processes that have accelerated connections in epoll sets.
 *
 *   forks at-a-time            two threads fork, each over and over, while the process has two sets
 *   forks holders              a manager forks more workers than a connection can have holders, with it in its set
 *   forks crashed              so many workers, one after the other, all killed asleep in recv
 *   forks parted               children give up privileges, and then write over all memory that looks shared
 *   forks numbers              a program closes the numbers it does not know, and uses one of them itself
 *   forks filtered             children let no system call happen but few, and go on with what they inherited
 *
 * Prints what happened, which is the same on the bare kernel. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FORKS 1000
#define WORKERS 24
#define MESSAGE 32
#define EXCHANGES 200

static void must(int holds, const char *what)
{
    if (!holds) {
        printf("impossible: %s (%s)\n", what, strerror(errno));
        fflush(stdout);
        _exit(3);
    }
}

static void get(int descriptor, char *bytes)
{
    for (ssize_t done = 0, part; done < MESSAGE; done += part)
        must((part = recv(descriptor, bytes + done, (size_t)(MESSAGE - done), 0)) > 0, "recv");
}

/* The other end of all connections: echoes. */
static void echo(int listener, int connections)
{
    static int descriptors[64];
    int set = epoll_create1(0);
    for (int index = 0; index < connections; index++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = index};
        must((descriptors[index] = accept(listener, 0, 0)) >= 0, "accept");
        must(!epoll_ctl(set, EPOLL_CTL_ADD, descriptors[index], &event), "add");
    }
    for (int ended = 0; ended < connections;) {
        struct epoll_event event;
        char bytes[MESSAGE];
        if (epoll_wait(set, &event, 1, -1) < 1)
            continue;
        int descriptor = descriptors[event.data.fd];
        ssize_t count = recv(descriptor, bytes, sizeof bytes, MSG_DONTWAIT);
        if (count > 0)
            must(send(descriptor, bytes, (size_t)count, MSG_NOSIGNAL) == count, "echo");
        else if (count == 0 || errno != EAGAIN) {
            ended++;
            close(descriptor);
        }
    }
    exit(0);
}

static pid_t connect_all(int *descriptors, int connections)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    must(!bind(listener, (struct sockaddr *)&address, length) && !listen(listener, connections)
             && !getsockname(listener, (struct sockaddr *)&address, &length), "listen");
    pid_t peer = fork();
    if (peer == 0)
        echo(listener, connections);
    close(listener);
    for (int index = 0; index < connections; index++) {
        descriptors[index] = socket(AF_INET, SOCK_STREAM, 0);
        must(!connect(descriptors[index], (struct sockaddr *)&address, length), "connect");
        setsockopt(descriptors[index], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    return peer;
}

static void exchange(int descriptor, int times)
{
    char sent[MESSAGE], got[MESSAGE];
    for (int time = 0; time < times; time++) {
        memset(sent, time, sizeof sent);
        must(send(descriptor, sent, sizeof sent, MSG_NOSIGNAL) == MESSAGE, "send");
        get(descriptor, got);
        must(!memcmp(sent, got, sizeof got), "the echo is what was sent");
    }
}

/* The same, waiting in a set. */
static void exchange_in(int set, int descriptor, int times)
{
    char sent[MESSAGE], got[MESSAGE];
    struct epoll_event event;
    for (int time = 0; time < times; time++) {
        memset(sent, time, sizeof sent);
        must(send(descriptor, sent, sizeof sent, MSG_NOSIGNAL) == MESSAGE, "send");
        must(epoll_wait(set, &event, 1, 20000) == 1 && event.data.fd == descriptor, "the set reports it");
        get(descriptor, got);
        must(!memcmp(sent, got, sizeof got), "the echo is what was sent");
    }
}

static int set_of(int descriptor, unsigned flags)
{
    struct epoll_event event = {.events = EPOLLIN | flags, .data.fd = descriptor};
    int set = epoll_create1(EPOLL_CLOEXEC);
    must(set >= 0 && !epoll_ctl(set, EPOLL_CTL_ADD, descriptor, &event), "a set");
    return set;
}

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

/* Writes over every writable shared mapping, as an attacker would who has taken over the process. */
static void scribble(void)
{
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    must(maps != 0, "maps");
    while (fgets(line, sizeof line, maps)) {
        unsigned long first, end;
        char rights[8];
        if (sscanf(line, "%lx-%lx %7s", &first, &end, rights) != 3 || strcmp(rights, "rw-s"))
            continue;
        /* Endpoints lie near the beginning; the rest is mostly untouched. */
        unsigned long bytes = end - first < 1 << 20 ? end - first : 1 << 20;
        memset((void *)first, 0xa5, bytes);
    }
    fclose(maps);
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

/* What a default-deny filter of a sandbox lets through; anything else kills. */
static void filter(void)
{
    static const int allowed[] = {SYS_read,  SYS_write,      SYS_sendto, SYS_recvfrom,  SYS_close, SYS_exit_group,
                                  SYS_futex, SYS_rt_sigreturn, SYS_clone,  SYS_clone3, SYS_exit, SYS_rt_sigprocmask,
                                  SYS_mmap,  SYS_mprotect,  SYS_munmap, SYS_madvise, SYS_set_robust_list, SYS_rseq,
                                  SYS_wait4, SYS_sched_yield, SYS_rt_sigaction, SYS_brk, SYS_getrandom};
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

int main(int count, char **words)
{
    signal(SIGPIPE, SIG_IGN);
    alarm(150);
    if (count == 2 && !strcmp(words[1], "at-a-time"))
        at_a_time();
    else if (count == 2 && !strcmp(words[1], "holders"))
        holders();
    else if (count == 2 && !strcmp(words[1], "crashed"))
        crashed();
    else if (count == 2 && !strcmp(words[1], "parted"))
        parted();
    else if (count == 2 && !strcmp(words[1], "numbers"))
        numbers();
    else if (count == 2 && !strcmp(words[1], "filtered"))
        filtered();
    else
        return 2;
    return 0;
}
