// SPDX-License-Identifier: GPL-2.0
/*
 * What the tests need of kexec(8), for a guest that has no libraries.
 *
 * kexec_self load KERNEL INITRD COMMAND-LINE
 * kexec_self go
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/reboot.h>

static int fail(const char *what)
{
	fprintf(stderr, "kexec_self: %s: %s\n", what, strerror(errno));
	return 1;
}

int main(int argc, char **argv)
{
	int kernel, initrd;

	if (argc == 2 && !strcmp(argv[1], "go")) {
		reboot(LINUX_REBOOT_CMD_KEXEC);
		return fail("reboot");
	}
	if (argc != 5 || strcmp(argv[1], "load")) {
		fprintf(stderr, "usage: kexec_self load KERNEL INITRD COMMAND-LINE | go\n");
		return 2;
	}
	kernel = open(argv[2], O_RDONLY);
	initrd = open(argv[3], O_RDONLY);
	if (kernel < 0 || initrd < 0)
		return fail("open");
	if (syscall(SYS_kexec_file_load, kernel, initrd, strlen(argv[4]) + 1,
		    argv[4], 0UL))
		return fail("kexec_file_load");
	return 0;
}
