// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's side of blktrace, for a guest that has no libraries.
 *
 * trace_disk setup DEVICE BUFFER-SIZE BUFFERS	opens the channel
 * trace_disk start|stop|teardown DEVICE
 * trace_disk copy MAPPED-FILE BUFFER-SIZE BUFFERS  writes the records in a buffer
 *	that was never written over to standard output: it is mapped, so that
 *	nothing is consumed, and each sub-buffer is taken as far as it has records
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/blktrace_api.h>
#include <linux/fs.h>

#define MAGIC		0x65617400u
#define MAGIC_MASK	0xffffff00u

static int fail(const char *what)
{
	fprintf(stderr, "trace_disk: %s: %s\n", what, strerror(errno));
	return 1;
}

static int copy(const char *path, size_t size, size_t count)
{
	int fd = open(path, O_RDONLY);
	const char *map;

	if (fd < 0)
		return fail(path);
	map = mmap(NULL, size * count, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return fail("mmap");
	for (size_t i = 0; i < count; i++) {
		const char *subbuf = map + i * size;
		struct blk_io_trace record;
		size_t len = 0;

		while (len + sizeof(record) <= size) {
			memcpy(&record, subbuf + len, sizeof(record));
			if ((record.magic & MAGIC_MASK) != MAGIC)
				break;
			len += sizeof(record) + record.pdu_len;
		}
		if (fwrite(subbuf, 1, len, stdout) != len)
			return fail("write");
	}
	return fflush(stdout) ? fail("write") : 0;
}

static int control(const char *what, const char *device, char **numbers)
{
	struct blk_user_trace_setup setup = { .act_mask = 0xffff };
	int fd = open(device, O_RDONLY | O_NONBLOCK);
	int ret;

	if (fd < 0)
		return fail(device);
	if (!strcmp(what, "setup")) {
		if (!numbers[0] || !numbers[1])
			return 2;
		setup.buf_size = strtoul(numbers[0], NULL, 0);
		setup.buf_nr = strtoul(numbers[1], NULL, 0);
		ret = ioctl(fd, BLKTRACESETUP, &setup);
	} else if (!strcmp(what, "start")) {
		ret = ioctl(fd, BLKTRACESTART);
	} else if (!strcmp(what, "stop")) {
		ret = ioctl(fd, BLKTRACESTOP);
	} else if (!strcmp(what, "teardown")) {
		ret = ioctl(fd, BLKTRACETEARDOWN);
	} else {
		return 2;
	}
	return ret ? fail(what) : 0;
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "copy"))
		return copy(argv[2], strtoul(argv[3], NULL, 0),
			    strtoul(argv[4], NULL, 0));
	if (argc >= 3)
		return control(argv[1], argv[2], argv + 3);
	fprintf(stderr, "usage: see the head of trace_disk.c\n");
	return 2;
}
