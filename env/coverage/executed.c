// SPDX-License-Identifier: GPL-2.0
/*
 * Plugin of QEMU's emulator: which instructions were executed, of kernel modules, in the
 * host VM and in guests inside it, and of one program. For env/coverage/run.
 *
 * Instructions are noted when they are translated, which is done when they are
 * about to be executed. At the end their addresses are written, one a line.
 *
 * Whose an address of a program is can't be seen here. So what is there must be what the
 * program's file has at that place, whose code is loaded as it lies in the file.
 *
 * -plugin executed.so,output=FILE,program=FILE,at=ADDRESS OF ITS FIRST BYTE
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lib/emulator_plugin.h"

int qemu_plugin_version = PLUGIN_VERSION;

/* Where x86-64 kernels have their modules. */
#define FIRST	0xffffffffc0000000ull
#define LAST	0xfffffffffeffffffull

/* So many bytes are not the same by chance. */
#define ENOUGH	4
#define MAX_INSN	15

/* Addresses, a bit for each. */
struct range {
	unsigned long long first, size;
	unsigned char *executed;
};

static struct range modules = { FIRST, LAST - FIRST + 1, NULL };
static struct range program;
static const unsigned char *program_file;
static char *output;

static bool range_init(struct range *range)
{
	/* Only what is written to takes memory. */
	range->executed = calloc(range->size / 8 + 1, 1);
	return range->executed;
}

static bool within(const struct range *range, unsigned long long at)
{
	return at >= range->first && at - range->first < range->size;
}

/* Whether all of the block is the program's. */
static bool of_program(struct qemu_plugin_tb *tb)
{
	size_t bytes = 0;

	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		unsigned long long at = qemu_plugin_insn_vaddr(insn);
		unsigned char data[MAX_INSN];
		size_t len = qemu_plugin_insn_data(insn, data, sizeof(data));

		if (!within(&program, at) || !within(&program, at + len) ||
		    memcmp(data, program_file + (at - program.first), len))
			return false;
		bytes += len;
	}
	return bytes >= ENOUGH;
}

static void translated(struct qemu_plugin_tb *tb, void *data)
{
	const struct range *range = &modules;

	(void)data;
	if (within(&program, qemu_plugin_tb_vaddr(tb))) {
		if (!of_program(tb))
			return;
		range = &program;
	}
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		unsigned long long at = qemu_plugin_insn_vaddr(insn);

		if (!within(range, at))
			continue;
		at -= range->first;
		__atomic_fetch_or(&range->executed[at / 8], 1 << at % 8,
				  __ATOMIC_RELAXED);
	}
}

static void range_write(const struct range *range, FILE *file)
{
	for (unsigned long long at = 0; at < range->size; at++) {
		if (!range->executed[at / 8]) {
			at |= 7;
			continue;
		}
		if (range->executed[at / 8] & 1 << at % 8)
			fprintf(file, "%llx\n", range->first + at);
	}
}

static void at_exit(void *data)
{
	FILE *file = fopen(output, "w");

	(void)data;
	if (file) {
		range_write(&modules, file);
		range_write(&program, file);
	}
	if (!file || fclose(file))
		perror(output);
}

/* Whether the program of the arguments is there; else it is said. */
static bool program_init(int argc, char **argv)
{
	const char *path = plugin_argument("executed", "program=", argc, argv);
	const char *at = plugin_argument("executed", "at=", argc, argv);
	struct stat stat;
	void *map;
	int fd;

	if (!path || !at)
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &stat)) {
		perror(path);
		return false;
	}
	map = mmap(NULL, stat.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (map == MAP_FAILED) {
		perror(path);
		return false;
	}
	program_file = map;
	program.first = strtoull(at, NULL, 0);
	program.size = stat.st_size;
	return range_init(&program);
}

int qemu_plugin_install(unsigned long id, const void *info, int argc, char **argv)
{
	(void)info;
	output = plugin_output("executed", argc, argv);
	if (!output || !range_init(&modules) || !program_init(argc, argv))
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated, NULL);
	qemu_plugin_register_atexit_cb(id, at_exit, NULL);
	return 0;
}
