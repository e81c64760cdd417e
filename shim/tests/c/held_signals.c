/* axio_hold_signals under a runtime that mends protected pages in its handler of SIGSEGV (POSIX.md R6). */
#include "../../c/call.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { PAGE = 4096 };

static char *page;
static volatile sig_atomic_t mended, told;

static void mend(int number)
{
    (void)number;
    mended++;
    if (mprotect(page, PAGE, PROT_READ | PROT_WRITE))
        abort();
}

static void count(int number)
{
    (void)number;
    told++;
}

static void must(int holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "%s\n", what);
    exit(1);
}

int main(void)
{
    sigset_t before, held;
    page = mmap(0, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(page != MAP_FAILED, "a page");
    signal(SIGSEGV, mend);
    signal(SIGUSR1, count);
    axio_hold_signals(&before);
    must(!sigismember(&before, SIGUSR1), "the mask before");
    raise(SIGUSR1);
    *(volatile char *)page = 1;
    must(mended == 1 && *page == 1, "the page is mended while signals are held back");
    must(told == 0, "a signal that another process may send waits");
    sigprocmask(SIG_SETMASK, 0, &held);
    const int raised[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    int number, open = 0;
    for (number = 1; number <= SIGRTMAX; number++)
        open += !sigismember(&held, number);
    for (size_t index = 0; index < sizeof raised / sizeof *raised; index++)
        must(!sigismember(&held, raised[index]), "what an instruction raises comes");
    /* Besides, those that cannot be held back, and the C library's own two. */
    must(open == 6 + 2 + SIGRTMIN - 32, "all others wait");
    sigprocmask(SIG_SETMASK, &before, 0);
    must(told == 1, "it comes afterwards");
    return 0;
}
