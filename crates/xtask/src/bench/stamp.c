/* A plugin that writes down when it ran: `id microseconds` into the file that its first argument names. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
int main(int argc, char **argv) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    if (argc != 3) return 3;
    char line[128];
    int length = snprintf(line, sizeof line, "%s %lld\n", argv[2], (long long)t.tv_sec * 1000000 + t.tv_nsec / 1000);
    int fd = open(argv[1], O_WRONLY | O_APPEND | O_CREAT, 0600);
    if (fd < 0 || write(fd, line, length) != length) return 3;
    puts("OK - stamped");
    return 0;
}
