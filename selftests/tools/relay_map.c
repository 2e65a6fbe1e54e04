// SPDX-License-Identifier: GPL-2.0
/*
 * A consumer of relay files that maps them, in the style of relay-apps: looks at
 * produced and consumed, takes the sub-buffers between out of the mapping
 * without their padding, says how far it has come.
 *
 * relay_map FILE            what there is, to standard output
 * relay_map --follow FILE   until the file ends
 * relay_map --raw FILE      the whole mapping as it is, consumed or not
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/vesper.h>

static void die(const char *what)
{
	fprintf(stderr, "relay_map: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void put(const unsigned char *from, size_t len)
{
	while (len) {
		ssize_t n = write(STDOUT_FILENO, from, len);

		if (n < 0)
			die("write");
		from += n;
		len -= n;
	}
}

/* Writes out all that is there and consumes it; returns the position after. */
static struct vesper_position drain(int fd, const unsigned char *map)
{
	struct vesper_position pos;

	for (;;) {
		size_t slot;

		if (ioctl(fd, VESPER_IOC_POSITION, &pos))
			die("VESPER_IOC_POSITION");
		if (pos.consumed == pos.produced)
			return pos;
		slot = pos.consumed % pos.n_subbufs;
		put(map + slot * pos.subbuf_size, pos.subbuf_size - pos.padding);
		pos.consumed++;
		if (ioctl(fd, VESPER_IOC_CONSUME, &pos))
			die("VESPER_IOC_CONSUME");
	}
}

int main(int argc, char **argv)
{
	const char *mode = argc == 3 ? argv[1] : "";
	int follow = !strcmp(mode, "--follow");
	int raw = !strcmp(mode, "--raw");
	struct vesper_position pos;
	unsigned char *map;
	size_t size;
	int fd;

	if (argc < 2 || argc > 3 || (argc == 3 && !follow && !raw)) {
		fprintf(stderr, "usage: relay_map [--follow|--raw] FILE\n");
		return 2;
	}
	fd = open(argv[argc - 1], O_RDONLY);
	if (fd < 0)
		die(argv[argc - 1]);
	if (ioctl(fd, VESPER_IOC_POSITION, &pos))
		die("VESPER_IOC_POSITION");
	size = (size_t)pos.subbuf_size * pos.n_subbufs;
	map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		die("mmap");
	if (raw) {
		put(map, size);
		return 0;
	}
	for (;;) {
		struct pollfd pfd = { .fd = fd, .events = POLLIN };

		pos = drain(fd, map);
		if (!follow || (pos.flags & VESPER_POSITION_ENDED))
			return 0;
		if (poll(&pfd, 1, -1) < 0 && errno != EINTR)
			die("poll");
	}
}
