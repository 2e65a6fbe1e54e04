// SPDX-License-Identifier: GPL-2.0
/*
 * Passes a probe point many times, or ends in an uncommon way. Runs in a guest, where
 * there are no libraries; a shell would start a process for each time.
 *
 * work connect COUNT PORT	asks for a connection to a port of 127.0.0.1
 * work exit COUNT		starts a process that ends
 * work readdir COUNT DIR	reads a directory, which may fail
 * work threads			ends with 3 in its first thread, then with 5 in another:
 *				what the parent gets is what the last one left
 * work group			ends with 7 by a thread that is not the first
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int fail(const char *what)
{
	fprintf(stderr, "work: %s: %s\n", what, strerror(errno));
	return 1;
}

static int do_connect(long count, const char *port)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(atoi(port)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};

	while (count--) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		if (fd < 0)
			return fail("socket");
		if (connect(fd, (struct sockaddr *)&to, sizeof(to)) && errno != ECONNREFUSED)
			return fail("connect");
		close(fd);
	}
	return 0;
}

static int do_exit(long count)
{
	while (count--) {
		pid_t pid = vfork();

		if (!pid)
			_exit(0);
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			return fail("vfork");
	}
	return 0;
}

static int do_readdir(long count, const char *dir)
{
	char entries[4096];

	while (count--) {
		int fd = open(dir, O_RDONLY | O_DIRECTORY);

		if (fd < 0)
			return fail(dir);
		while (syscall(SYS_getdents64, fd, entries, sizeof(entries)) > 0)
			;
		close(fd);
	}
	return 0;
}

static void *last(void *unused)
{
	char text[64] = "";

	(void)unused;
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

	if (argc == 4 && !strcmp(what, "connect"))
		return do_connect(atol(argv[2]), argv[3]);
	if (argc == 3 && !strcmp(what, "exit"))
		return do_exit(atol(argv[2]));
	if (argc == 4 && !strcmp(what, "readdir"))
		return do_readdir(atol(argv[2]), argv[3]);
	if (argc == 2 && !strcmp(what, "threads"))
		return do_threads(last, 3);
	if (argc == 2 && !strcmp(what, "group"))
		return do_threads(group, 0);
	fprintf(stderr, "usage: see the head of work.c\n");
	return 2;
}
