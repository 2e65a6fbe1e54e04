// SPDX-License-Identifier: GPL-2.0
/*
 * Waits until a relay file has something to read: poll(), nothing else. With
 * cat it makes the plainest of relay consumers.
 *
 * Exit status: 0 there is data, 1 the file has ended, 2 an error, 3 time is up.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	struct pollfd pfd = { .events = POLLIN };
	int n;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: relay_wait FILE [MILLISECONDS]\n");
		return 2;
	}
	pfd.fd = open(argv[1], O_RDONLY);
	if (pfd.fd < 0) {
		fprintf(stderr, "relay_wait: %s: %s\n", argv[1], strerror(errno));
		return 2;
	}
	do {
		n = poll(&pfd, 1, argc == 3 ? atoi(argv[2]) : -1);
	} while (n < 0 && errno == EINTR);
	if (n < 0) {
		perror("relay_wait: poll");
		return 2;
	}
	if (n == 0)
		return 3;
	return pfd.revents & POLLIN ? 0 : 1;
}
