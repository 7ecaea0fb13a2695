/* Runs a program and says which of its functions were called.
 *
 *   called ADDRESSES OUTPUT SECONDS PROGRAM [ARGUMENT ..]
 *
 * ADDRESSES has one line for each function: where it starts in the program, in hex, as `nm` prints it. OUTPUT gets the lines of those that
 * were called until SECONDS were over; then the program is told to end. Each function starts with a breakpoint, which is taken out when it
 * is hit, so that the program soon runs as fast as ever. x86-64 only. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BREAKPOINT 0xcc
#define FOLLOWED (PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL)

struct function {
	uint64_t at;
	unsigned char first;
	char called;
};

static struct function *functions;
static size_t count;
static uint64_t base;
static int memory = -1;

static void fail(const char *what)
{
	fprintf(stderr, "called: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int by_address(const void *left, const void *right)
{
	uint64_t a = ((const struct function *)left)->at, b = ((const struct function *)right)->at;
	return (a > b) - (a < b);
}

static void read_addresses(const char *file)
{
	FILE *list = fopen(file, "r");
	size_t room = 0;
	unsigned long at;
	if (!list)
		fail(file);
	while (fscanf(list, "%lx", &at) == 1) {
		if (count == room) {
			room = room ? 2 * room : 4096;
			functions = realloc(functions, room * sizeof *functions);
			if (!functions)
				fail("remembering the functions");
		}
		functions[count++] = (struct function){ .at = at };
	}
	fclose(list);
	qsort(functions, count, sizeof *functions, by_address);
}

static struct function *function_at(uint64_t at)
{
	struct function key = { .at = at };
	return bsearch(&key, functions, count, sizeof key, by_address);
}

static void put(uint64_t at, unsigned char byte)
{
	if (pwrite(memory, &byte, 1, (off_t)(base + at)) != 1)
		fail("writing to the memory of the program");
}

/* The program has just been executed: its first mapping says where it was put. Breakpoints that an earlier image had went with it. */
static void prepare(pid_t pid)
{
	char name[64];
	unsigned long start;
	FILE *maps;
	snprintf(name, sizeof name, "/proc/%d/maps", pid);
	maps = fopen(name, "r");
	if (!maps || fscanf(maps, "%lx", &start) != 1)
		fail(name);
	fclose(maps);
	base = start;
	snprintf(name, sizeof name, "/proc/%d/mem", pid);
	if (memory >= 0)
		close(memory);
	memory = open(name, O_RDWR | O_CLOEXEC);
	if (memory < 0)
		fail(name);
	for (size_t i = 0; i < count; i++) {
		if (pread(memory, &functions[i].first, 1, (off_t)(base + functions[i].at)) != 1)
			fail("reading the memory of the program");
		if (!functions[i].called)
			put(functions[i].at, BREAKPOINT);
	}
}

/* Whether a thread stopped at one of our breakpoints; then it goes on as if there had been none. */
static int was_ours(pid_t thread)
{
	struct user_regs_struct registers;
	struct function *function;
	if (ptrace(PTRACE_GETREGS, thread, 0, &registers) < 0)
		return 0;
	function = function_at(registers.rip - 1 - base);
	if (!function)
		return 0;
	if (!function->called) {
		function->called = 1;
		put(function->at, function->first);
	}
	registers.rip--;
	ptrace(PTRACE_SETREGS, thread, 0, &registers);
	return 1;
}

static void handle(pid_t main_thread, pid_t thread, int status)
{
	int event = status >> 16, sent = WSTOPSIG(status);
	if (event == PTRACE_EVENT_EXEC) {
		/* What the program starts is no concern of ours; if it starts itself once more, it is. */
		if (thread == main_thread)
			prepare(thread);
		else {
			ptrace(PTRACE_DETACH, thread, 0, 0);
			return;
		}
	}
	if (event == PTRACE_EVENT_STOP && (sent == SIGSTOP || sent == SIGTSTP || sent == SIGTTIN || sent == SIGTTOU)) {
		ptrace(PTRACE_LISTEN, thread, 0, 0);
		return;
	}
	if (event || (sent == SIGTRAP && was_ours(thread)))
		sent = 0;
	ptrace(PTRACE_CONT, thread, 0, sent);
}

int main(int argc, char **argv)
{
	int status;
	pid_t pid, thread;
	time_t end;
	FILE *output;
	if (argc < 5) {
		fprintf(stderr, "called ADDRESSES OUTPUT SECONDS PROGRAM [ARGUMENT ..]\n");
		return 2;
	}
	read_addresses(argv[1]);
	pid = fork();
	if (pid < 0)
		fail("fork");
	if (pid == 0) {
		raise(SIGSTOP);
		execv(argv[4], argv + 4);
		fail(argv[4]);
	}
	if (waitpid(pid, &status, WUNTRACED) != pid || ptrace(PTRACE_SEIZE, pid, 0, FOLLOWED) < 0)
		fail("following the program");
	kill(pid, SIGCONT);
	end = time(NULL) + atoi(argv[3]);
	for (;;) {
		if (end && time(NULL) >= end) {
			kill(pid, SIGTERM);
			end = 0;
		}
		thread = waitpid(-1, &status, __WALL | (end ? WNOHANG : 0));
		if (thread < 0)
			break;
		if (thread == 0)
			usleep(200);
		else if (WIFSTOPPED(status))
			handle(pid, thread, status);
	}
	output = fopen(argv[2], "w");
	if (!output)
		fail(argv[2]);
	for (size_t i = 0; i < count; i++)
		if (functions[i].called)
			fprintf(output, "%lx\n", functions[i].at);
	return fclose(output) ? 1 : 0;
}
