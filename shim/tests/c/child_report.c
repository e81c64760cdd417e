/* A child that serves a connection its parent has accepted, and opens no socket of its own. */
#include "readiness/far_side.h"

int main(void)
{
    begin();
    int one = connection(), number = connections - 1, status;
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        fcntl(one, F_SETFL, 0);
        for (int round = 0; round < 100; round++) {
            exactly(one, 50);
            must(send(one, scratch, 70, 0) == 70, "an answer");
        }
        close(one);
        exit(0);
    }
    close(one);
    for (int round = 0; round < 100; round++) {
        tell(SEND, number, 50);
        tell(TAKE, number, 70);
    }
    must(waitpid(child, &status, 0) == child && status == 0, "the child ends well");
    printf("%d\n", child);
    return 0;
}
