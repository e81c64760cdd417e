/* The least a program can do that a rule could be about. */
#include <sys/socket.h>

int main(void)
{
    int made = socket(AF_INET, SOCK_STREAM, 0);
    return made < 0 || listen(made, 1) != 0;
}
