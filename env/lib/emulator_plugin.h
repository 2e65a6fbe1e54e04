/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the plugins here use of the plugin interface of the emulator that the host VM runs
 * in: version 7, that of QEMU 11, as its plugin documentation describes it. Debian's
 * packages have no header for it; that of our own QEMU's source is of an older version,
 * which the emulator refuses.
 */
#ifndef EMULATOR_PLUGIN_H
#define EMULATOR_PLUGIN_H

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define PLUGIN_VERSION	7
#define PLUGIN_SYMBOL	__attribute__((visibility("default")))

struct qemu_plugin_tb;
struct qemu_plugin_insn;
/* An array with an element for each CPU. */
struct qemu_plugin_scoreboard;

/* A member of those elements. */
struct qemu_plugin_u64 {
	struct qemu_plugin_scoreboard *score;
	size_t offset;
};

/* Whether a callback reads or writes registers: the first value of its enumeration. */
#define NO_REGISTERS	0
/* What is done without a callback: the first value of its enumeration. */
#define ADD_U64		0

typedef void on_translation(struct qemu_plugin_tb *tb, void *data);
typedef void on_execution(unsigned int cpu, void *data);
typedef void on_exit_of_emulator(void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(unsigned long id, on_translation *call, void *data);
void qemu_plugin_register_atexit_cb(unsigned long id, on_exit_of_emulator *call, void *data);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, on_execution *call,
					  int registers, void *data);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, on_execution *call,
					    int registers, void *data);
void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(struct qemu_plugin_tb *tb, int operation,
						       struct qemu_plugin_u64 where,
						       unsigned long value);

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
unsigned long qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
unsigned long qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
/* Returns how many bytes were copied. */
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *to, size_t size);

struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t element_size);
void *qemu_plugin_scoreboard_find(struct qemu_plugin_scoreboard *score, unsigned int cpu);
int qemu_plugin_num_vcpus(void);

/* What the emulator looks for in a plugin. */
extern PLUGIN_SYMBOL int qemu_plugin_version;
PLUGIN_SYMBOL int qemu_plugin_install(unsigned long id, const void *info, int argc, char **argv);

/* The value of an argument NAME=VALUE, with NAME= in prefix; if there is none, that is said. */
static inline const char *plugin_argument(const char *plugin, const char *prefix, int argc,
					  char **argv)
{
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], prefix, strlen(prefix)))
			return argv[i] + strlen(prefix);
	}
	fprintf(stderr, "%s: wants %s...\n", plugin, prefix);
	return NULL;
}

/* Of the argument output=FILE: a copy of that; else it is said. */
static inline char *plugin_output(const char *plugin, int argc, char **argv)
{
	const char *output = plugin_argument(plugin, "output=", argc, argv);

	return output ? strdup(output) : NULL;
}

#endif
