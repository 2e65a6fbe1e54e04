// SPDX-License-Identifier: GPL-2.0
/*
 * Shuts a file system down, as an operator can: nothing is written any more.
 *
 * usage: shut_down DIRECTORY
 */
#include <fcntl.h>
#include <linux/types.h>
#include <stdio.h>
#include <sys/ioctl.h>

/* As ext4, xfs and f2fs have it; in no header of user space. */
#define FS_IOC_SHUTDOWN		_IOR('X', 125, __u32)
#define FS_SHUTDOWN_NOLOGFLUSH	2

int main(int argc, char **argv)
{
	__u32 how = FS_SHUTDOWN_NOLOGFLUSH;
	int fd;

	if (argc != 2)
		return 2;
	fd = open(argv[1], O_RDONLY | O_DIRECTORY);
	if (fd < 0 || ioctl(fd, FS_IOC_SHUTDOWN, &how)) {
		perror(argv[1]);
		return 1;
	}
	return 0;
}
