// SPDX-License-Identifier: GPL-2.0
/*
 * Plugin of QEMU's emulator: how many instructions were executed by guests inside the
 * host VM, kernel and user space, up to the moment when one of them passes a mark. For
 * env/bench/run.
 *
 * A mark is the instruction nopl 0x70736576(%rax), which nobody has by chance; see
 * selftests/tools/work.c. The first writes the count into FILE.0, the next into FILE.1,
 * and so on.
 *
 * A CPU is in a guest from a VMRUN to the instruction behind it, where KVM goes on at
 * every exit. The counter of each is advanced by the length of a translated block when
 * that begins, so one that is left in its middle, by a page fault or an exit, counts
 * whole.
 *
 * -plugin counted.so,output=FILE
 */
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/emulator_plugin.h"

int qemu_plugin_version = PLUGIN_VERSION;

static const unsigned char vmrun[] = { 0x0f, 0x01, 0xd8 };
static const unsigned char mark[] = { 0x0f, 0x1f, 0x80, 'v', 'e', 's', 'p' };

/* Of one CPU of the host VM. */
struct cpu {
	unsigned long executed;	/* instructions, in guests and outside */
	unsigned long entered;	/* what that was at the last VMRUN */
	unsigned long in_guests;	/* up to the last exit */
	bool guest;
};

static struct qemu_plugin_scoreboard *cpus;
static struct qemu_plugin_u64 executed;

/* The instructions behind all VMRUNs that were seen: KVM has two of them. */
#define EXITS 8
static unsigned long exits[EXITS];

static char *output;
static unsigned int marks;

static void enters(unsigned int index, void *unused)
{
	struct cpu *cpu = qemu_plugin_scoreboard_find(cpus, index);

	(void)unused;
	cpu->guest = true;
	cpu->entered = cpu->executed;
}

static void left(unsigned int index, void *unused)
{
	struct cpu *cpu = qemu_plugin_scoreboard_find(cpus, index);

	(void)unused;
	if (!cpu->guest)
		return;
	cpu->guest = false;
	cpu->in_guests += cpu->executed - cpu->entered;
}

/* Another CPU that is in a guest at this moment counts up to its last exit. */
static void marked(unsigned int index, void *unused)
{
	struct cpu *cpu = qemu_plugin_scoreboard_find(cpus, index);
	unsigned long sum = cpu->guest ? cpu->executed - cpu->entered : 0;
	char aside[PATH_MAX], name[PATH_MAX];
	FILE *file;

	(void)unused;
	snprintf(aside, sizeof(aside), "%s.new", output);
	snprintf(name, sizeof(name), "%s.%u", output, marks++);
	file = fopen(aside, "w");
	for (int i = 0; i < qemu_plugin_num_vcpus(); i++) {
		cpu = qemu_plugin_scoreboard_find(cpus, i);
		sum += cpu->in_guests;
	}
	if (!file || fprintf(file, "%lu\n", sum) < 0 ||
	    fclose(file) || rename(aside, name))
		perror(name);
}

static bool is(const struct qemu_plugin_insn *insn, const unsigned char *what,
	       size_t size)
{
	unsigned char bytes[16];

	return qemu_plugin_insn_size(insn) == size &&
	       qemu_plugin_insn_data(insn, bytes, sizeof(bytes)) == size &&
	       !memcmp(bytes, what, size);
}

static void note_exit(unsigned long at)
{
	for (int i = 0; i < EXITS; i++) {
		unsigned long free = 0;

		if (__atomic_compare_exchange_n(&exits[i], &free, at, false,
						__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) ||
		    free == at)
			return;
	}
	fprintf(stderr, "counted: more than %d VMRUNs\n", EXITS);
}

static bool is_exit(unsigned long at)
{
	for (int i = 0; i < EXITS; i++)
		if (__atomic_load_n(&exits[i], __ATOMIC_SEQ_CST) == at)
			return true;
	return false;
}

static void translated(struct qemu_plugin_tb *tb, void *data)
{
	size_t count = qemu_plugin_tb_n_insns(tb);

	(void)data;
	qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, ADD_U64, executed, count);
	if (is_exit(qemu_plugin_tb_vaddr(tb)))
		qemu_plugin_register_vcpu_tb_exec_cb(tb, left, NO_REGISTERS, NULL);
	for (size_t i = 0; i < count; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		if (is(insn, vmrun, sizeof(vmrun))) {
			note_exit(qemu_plugin_insn_vaddr(insn) + sizeof(vmrun));
			qemu_plugin_register_vcpu_insn_exec_cb(insn, enters,
							       NO_REGISTERS, NULL);
		} else if (is(insn, mark, sizeof(mark))) {
			qemu_plugin_register_vcpu_insn_exec_cb(insn, marked,
							       NO_REGISTERS, NULL);
		}
	}
}

int qemu_plugin_install(unsigned long id, const void *info, int argc, char **argv)
{
	(void)info;
	output = plugin_output("counted", argc, argv);
	if (!output)
		return -1;
	cpus = qemu_plugin_scoreboard_new(sizeof(struct cpu));
	executed = (struct qemu_plugin_u64){ cpus, offsetof(struct cpu, executed) };
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated, NULL);
	return 0;
}
