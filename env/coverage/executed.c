// SPDX-License-Identifier: GPL-2.0
/*
 * Plugin of QEMU's emulator: which instructions of kernel modules were executed,
 * in the host VM and in guests inside it. For env/coverage/run.
 *
 * Instructions are noted when they are translated, which is done when they are
 * about to be executed. At the end their addresses are written, one a line.
 *
 * -plugin executed.so,output=FILE
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/emulator_plugin.h"

int qemu_plugin_version = PLUGIN_VERSION;

/* Where x86-64 kernels have their modules. */
#define FIRST	0xffffffffc0000000ull
#define LAST	0xfffffffffeffffffull

/* A bit for each address. */
static unsigned char *executed;
static char *output;

static void translated(struct qemu_plugin_tb *tb, void *data)
{
	(void)data;
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		unsigned long long at = qemu_plugin_insn_vaddr(insn);

		if (at < FIRST || at > LAST)
			continue;
		at -= FIRST;
		__atomic_fetch_or(&executed[at / 8], 1 << at % 8,
				  __ATOMIC_RELAXED);
	}
}

static void at_exit(void *data)
{
	FILE *file = fopen(output, "w");

	(void)data;
	for (unsigned long long at = 0; file && at <= LAST - FIRST; at++) {
		if (!executed[at / 8]) {
			at |= 7;
			continue;
		}
		if (executed[at / 8] & 1 << at % 8)
			fprintf(file, "%llx\n", FIRST + at);
	}
	if (!file || fclose(file))
		perror(output);
}

int qemu_plugin_install(unsigned long id, const void *info, int argc, char **argv)
{
	(void)info;
	output = plugin_output("executed", argc, argv);
	/* Only what is written to takes memory. */
	executed = calloc((LAST - FIRST) / 8 + 1, 1);
	if (!output || !executed)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated, NULL);
	qemu_plugin_register_atexit_cb(id, at_exit, NULL);
	return 0;
}
