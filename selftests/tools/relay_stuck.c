// SPDX-License-Identifier: GPL-2.0
/*
 * A reader that never gets done: reads a relay file into memory whose first
 * touch nobody answers. It sits in the middle of the copy until it is killed.
 *
 * usage: relay_stuck FILE
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };
	int uffd, fd;
	ssize_t got;
	void *mem;

	if (argc != 2)
		return 2;
	fd = open(argv[1], O_RDONLY);
	mem = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	reg.range.start = (uintptr_t)mem;
	reg.range.len = 4096;
	if (fd < 0 || mem == MAP_FAILED || uffd < 0 ||
	    ioctl(uffd, UFFDIO_API, &api) ||
	    ioctl(uffd, UFFDIO_REGISTER, &reg)) {
		perror(argv[1]);
		return 4;
	}
	got = read(fd, mem, 4096);
	fprintf(stderr, "read gave %zd, and should have given nothing\n", got);
	return 1;
}
