// SPDX-License-Identifier: GPL-2.0
/*
 * A consumer of relay files that reads them: opens the file once, waits with
 * poll(), copies what comes to standard output, until the file ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char bytes[65536];

static void die(const char *what)
{
	fprintf(stderr, "relay_tail: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* Copies what there is. */
static void drain(int fd)
{
	ssize_t n;

	while ((n = read(fd, bytes, sizeof(bytes))) != 0) {
		ssize_t done = 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			die("read");
		while (done < n) {
			ssize_t put = write(STDOUT_FILENO, bytes + done, n - done);

			if (put < 0)
				die("write");
			done += put;
		}
	}
}

int main(int argc, char **argv)
{
	struct pollfd pfd = { .events = POLLIN };

	if (argc != 2) {
		fprintf(stderr, "usage: relay_tail FILE\n");
		return 2;
	}
	pfd.fd = open(argv[1], O_RDONLY);
	if (pfd.fd < 0)
		die(argv[1]);
	for (;;) {
		int n = poll(&pfd, 1, -1);

		if (n < 0 && errno != EINTR)
			die("poll");
		if (n > 0 && !(pfd.revents & POLLIN))
			return 0;
		drain(pfd.fd);
	}
}
