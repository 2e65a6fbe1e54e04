// SPDX-License-Identifier: GPL-2.0
/*
 * Passes a probe point many times, or ends in an uncommon way. Runs in a guest, where
 * there are no libraries; a shell would start a process for each time.
 *
 * work call COUNT		enters the kernel, and leaves it
 * work connect COUNT PORT	asks for a connection to a port of 127.0.0.1, always with the
 *				same socket
 * work exit COUNT		starts a process that shares all it can, and ends
 * work read COUNT SIZE FILE [direct]
 *				reads on and on, or directly, always the first block
 * work readdir COUNT DIR	reads an open directory, which may fail
 * work signal COUNT		sends itself a signal that it takes
 * work spin COUNT		nothing, in two million instructions
 * work switch COUNT		hands a byte to another process and gets it back
 * work threads			ends with 3 in its first thread, then with 5 in another of
 *				another name:
 *				what the parent gets is what the last one left
 * work group			ends with 7 by a thread of another name that is not the first
 * work reset PORT		has a connection of its own to a port of 127.0.0.1, and resets it
 * work deaf PORT		has one of which first the end that asks for it, then the other
 *				one, does not hear for a while
 * work nowhere			sends a netlink message to a port that there is not
 *
 * Those with a count print the nanoseconds that it took and how often CPUs' timers ticked
 * meanwhile, and pass a mark before and behind it, at which an emulator may count
 * (env/bench/counted.c).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/membarrier.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int fail(const char *what)
{
	fprintf(stderr, "work: %s: %s\n", what, strerror(errno));
	return 1;
}

static long long now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ll + now.tv_nsec;
}

/* An instruction without an effect, known by its operand. */
static void mark(void)
{
	asm volatile(".byte 0x0f, 0x1f, 0x80; .ascii \"vesp\"" : : : "memory");
}

/* Of all CPUs, since the kernel began; -1 if it does not say. */
static long ticks(void)
{
	char line[1024], *at, *next;
	FILE *file = fopen("/proc/interrupts", "r");
	long sum = -1;

	while (file && fgets(line, sizeof(line), file)) {
		at = strstr(line, "LOC:");
		if (!at)
			continue;
		sum = 0;
		for (at += 4;; at = next) {
			long count = strtol(at, &next, 10);

			if (next == at)
				break;
			sum += count;
		}
	}
	if (file)
		fclose(file);
	return sum;
}

struct work {
	long count;
	/* Returns what has failed, or NULL. */
	const char *(*once)(struct work *work);
	int fd, other_fd;
	size_t size;
	off_t at, step;
	char *buffer;
	struct sockaddr_in to;
};

/* Waits until what the kernel does later, for lack of a grace period, is done. */
static void settle(void)
{
	syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
	usleep(100000);
}

static int measured(struct work *work)
{
	const struct sched_param first = { .sched_priority = 1 };
	const char *failed;
	long ticked, left;
	long long began, took;

	/* No other task comes in between, and who wakes this one stops at once. */
	if (sched_setscheduler(0, SCHED_FIFO, &first))
		return fail("sched_setscheduler");
	/* Once for the caches. */
	failed = work->once(work);
	settle();
	ticked = ticks();
	began = now();
	mark();
	for (left = work->count; left && !failed; left--)
		failed = work->once(work);
	took = now() - began;
	settle();
	mark();
	if (failed)
		return fail(failed);
	printf("%lld %ld\n", took, ticks() - ticked);
	return 0;
}

static const char *call_once(struct work *work)
{
	(void)work;
	/* Not getppid(): what a library remembers is no call. */
	return syscall(SYS_getppid) < 0 ? "getppid" : NULL;
}

static const char *connect_once(struct work *work)
{
	if (connect(work->fd, (struct sockaddr *)&work->to, sizeof(work->to)) &&
	    errno != ECONNREFUSED)
		return "connect";
	return NULL;
}

static int do_connect(struct work *work, const char *port)
{
	work->to.sin_family = AF_INET;
	work->to.sin_port = htons(atoi(port));
	work->to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	work->once = connect_once;
	work->fd = socket(AF_INET, SOCK_STREAM, 0);
	return work->fd < 0 ? fail("socket") : measured(work);
}

static int end(void *unused)
{
	(void)unused;
	return 0;
}

/* Both ends of a connection within this process. */
struct pair {
	struct sockaddr_in to;
	int listening, asking;
};

static int listens(struct pair *pair, const char *port)
{
	pair->to.sin_family = AF_INET;
	pair->to.sin_port = htons(atoi(port));
	pair->to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	pair->listening = socket(AF_INET, SOCK_STREAM, 0);
	pair->asking = socket(AF_INET, SOCK_STREAM, 0);
	return bind(pair->listening, (struct sockaddr *)&pair->to, sizeof(pair->to)) ||
	       listen(pair->listening, 1);
}

static int asks(const struct pair *pair)
{
	return connect(pair->asking, (const struct sockaddr *)&pair->to, sizeof(pair->to));
}

/* By the end that asked for it: what is sent of a socket without a lingering time. */
static int do_reset(const char *port)
{
	const struct linger none = { .l_onoff = 1 };
	struct pair pair = {};
	int accepted;
	char byte;

	if (listens(&pair, port))
		return fail("listen");
	if (asks(&pair))
		return fail("connect");
	accepted = accept(pair.listening, NULL, NULL);
	if (accepted < 0)
		return fail("accept");
	if (setsockopt(pair.asking, SOL_SOCKET, SO_LINGER, &none, sizeof(none)) ||
	    close(pair.asking))
		return fail("close");
	if (read(accepted, &byte, 1) >= 0 || errno != ECONNRESET)
		return fail("read");
	return 0;
}

/* A socket gets nothing of what is sent to it. */
static int deafen(int fd)
{
	struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
	const struct sock_fprog filter = { .len = 1, .filter = &nothing };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter));
}

static int hear(int fd)
{
	const int unused = 0;

	return setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused));
}

/* Longer than the pause before something is sent again, a second for a SYN and its answer. */
#define DEAF_US 1500000

static void *hear_later(void *fd)
{
	usleep(DEAF_US);
	return hear(*(int *)fd) ? fd : NULL;
}

static int do_deaf(const char *port)
{
	struct pair pair = {};
	pthread_t later;
	int accepted;
	void *failed;
	char byte = 0;

	if (listens(&pair, port))
		return fail("listen");
	if (deafen(pair.asking))
		return fail("filter");
	if (pthread_create(&later, NULL, hear_later, &pair.asking))
		return fail("pthread_create");
	if (asks(&pair))
		return fail("connect");
	if (pthread_join(later, &failed) || failed)
		return fail("filter");
	accepted = accept(pair.listening, NULL, NULL);
	if (accepted < 0)
		return fail("accept");

	if (deafen(accepted) || write(pair.asking, &byte, 1) != 1)
		return fail("write");
	usleep(DEAF_US);
	if (hear(accepted) || read(accepted, &byte, 1) != 1)
		return fail("read");
	return 0;
}

static int do_nowhere(void)
{
	/* Of a port of this kind nobody has such a number. */
	const struct sockaddr_nl to = { .nl_family = AF_NETLINK, .nl_pid = 0x7fffffff };
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_USERSOCK);

	if (sendto(fd, "", 1, 0, (const struct sockaddr *)&to, sizeof(to)) >= 0 ||
	    errno != ECONNREFUSED)
		return fail("sendto");
	return 0;
}

static const char *exit_once(struct work *work)
{
	static char stack[16384];
	/* Aligned as the ABI wants it. */
	char *top = (char *)((unsigned long)(stack + sizeof(stack)) & ~15ul);
	int flags = CLONE_VM | CLONE_VFORK | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | SIGCHLD;
	pid_t pid = clone(end, top, flags, NULL);

	(void)work;
	return pid < 0 || waitpid(pid, NULL, 0) != pid ? "clone" : NULL;
}

static const char *read_once(struct work *work)
{
	if (pread(work->fd, work->buffer, work->size, work->at) != (ssize_t)work->size)
		return "read";
	work->at += work->step;
	return NULL;
}

/* Directly: always the same block. */
static int do_read(struct work *work, const char *size, const char *file, bool direct)
{
	work->size = atol(size);
	work->step = direct ? 0 : work->size;
	work->once = read_once;
	work->fd = open(file, direct ? O_RDONLY | O_DIRECT : O_RDONLY);
	if (work->fd < 0 || posix_memalign((void **)&work->buffer, 4096, work->size))
		return fail(file);
	return measured(work);
}

static const char *readdir_once(struct work *work)
{
	char entries[4096];

	if (lseek(work->fd, 0, SEEK_SET))
		return "lseek";
	while (syscall(SYS_getdents64, work->fd, entries, sizeof(entries)) > 0)
		;
	return NULL;
}

static int do_readdir(struct work *work, const char *dir)
{
	work->once = readdir_once;
	work->fd = open(dir, O_RDONLY | O_DIRECTORY);
	return work->fd < 0 ? fail(dir) : measured(work);
}

static void take(int signal)
{
	(void)signal;
}

static const char *signal_once(struct work *work)
{
	(void)work;
	return kill(getpid(), SIGUSR1) ? "kill" : NULL;
}

static const char *spin_once(struct work *work)
{
	long left = 1000000;

	(void)work;
	asm volatile("1: dec %0; jnz 1b" : "+r"(left) : : "cc");
	return NULL;
}

static const char *switch_once(struct work *work)
{
	char byte = 0;

	return write(work->fd, &byte, 1) != 1 || read(work->other_fd, &byte, 1) != 1 ?
	       "pipe" : NULL;
}

static int do_switch(struct work *work)
{
	int there[2], back[2];
	char byte;

	if (pipe(there) || pipe(back))
		return fail("pipe");
	if (!fork()) {
		close(there[1]);
		while (read(there[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1)
			;
		_exit(0);
	}
	work->once = switch_once;
	work->fd = there[1];
	work->other_fd = back[0];
	return measured(work);
}

static void *last(void *unused)
{
	char text[64] = "";

	(void)unused;
	prctl(PR_SET_NAME, "other");
	/* Nobody can wait for the first thread, but it shows when it has ended. */
	while (!strstr(text, ") Z")) {
		int fd = open("/proc/self/stat", O_RDONLY);

		if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
			_exit(fail("/proc/self/stat"));
		close(fd);
	}
	syscall(SYS_exit, 5);
	return NULL;
}

static void *group(void *unused)
{
	(void)unused;
	prctl(PR_SET_NAME, "other");
	syscall(SYS_exit_group, 7);
	return NULL;
}

static int do_threads(void *(*other)(void *), int code)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, other, NULL))
		return fail("pthread_create");
	if (code)
		syscall(SYS_exit, code);
	pthread_join(thread, NULL);
	return 1;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	struct work work = { .count = argc > 2 ? atol(argv[2]) : 0 };

	if (argc == 4 && !strcmp(what, "connect"))
		return do_connect(&work, argv[3]);
	if (argc == 3 && !strcmp(what, "call")) {
		work.once = call_once;
		return measured(&work);
	}
	if (argc == 3 && !strcmp(what, "exit")) {
		work.once = exit_once;
		return measured(&work);
	}
	if (argc == 5 && !strcmp(what, "read"))
		return do_read(&work, argv[3], argv[4], false);
	if (argc == 6 && !strcmp(what, "read") && !strcmp(argv[5], "direct"))
		return do_read(&work, argv[3], argv[4], true);
	if (argc == 4 && !strcmp(what, "readdir"))
		return do_readdir(&work, argv[3]);
	if (argc == 3 && !strcmp(what, "signal")) {
		signal(SIGUSR1, take);
		work.once = signal_once;
		return measured(&work);
	}
	if (argc == 3 && !strcmp(what, "spin")) {
		work.once = spin_once;
		return measured(&work);
	}
	if (argc == 3 && !strcmp(what, "switch"))
		return do_switch(&work);
	if (argc == 2 && !strcmp(what, "threads"))
		return do_threads(last, 3);
	if (argc == 2 && !strcmp(what, "group"))
		return do_threads(group, 0);
	if (argc == 3 && !strcmp(what, "reset"))
		return do_reset(argv[2]);
	if (argc == 3 && !strcmp(what, "deaf"))
		return do_deaf(argv[2]);
	if (argc == 2 && !strcmp(what, "nowhere"))
		return do_nowhere();
	fprintf(stderr, "usage: see the head of work.c\n");
	return 2;
}
