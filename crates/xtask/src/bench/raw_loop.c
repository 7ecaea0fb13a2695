/* The least that running plugins can cost: posix_spawn with a pipe, one after another.
 * Arguments: program, seconds, microseconds of pause between two runs. Prints runs, and its own CPU time in microseconds. */
#define _GNU_SOURCE
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>

extern char **environ;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    if (argc != 4) return 64;
    double end = now() + atof(argv[2]);
    long runs = 0;
    while (now() < end) {
        int fds[2];
        if (pipe2(fds, O_CLOEXEC)) return 1;
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
        pid_t pid;
        char *args[] = {argv[1], NULL};
        if (posix_spawn(&pid, argv[1], &actions, NULL, args, environ)) return 1;
        posix_spawn_file_actions_destroy(&actions);
        close(fds[1]);
        char buffer[4096];
        while (read(fds[0], buffer, sizeof buffer) > 0) {}
        close(fds[0]);
        int status;
        waitpid(pid, &status, 0);
        runs++;
        if (atoi(argv[3])) usleep(atoi(argv[3]));
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("%ld %ld\n", runs,
           (long)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000L + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    return 0;
}
