/* SPDX-License-Identifier: GPL-2.0 */
/* What only C can read of the structures that the probe points pass. */
#ifndef VESPER_PROCESS_FIELDS_H
#define VESPER_PROCESS_FIELDS_H

#include <linux/types.h>

struct kernel_siginfo;
struct linux_binprm;
struct task_struct;

const char *process_exec_file(const struct linux_binprm *bprm);
unsigned long process_fault_address(const struct kernel_siginfo *info);
unsigned long process_user_ip(void);
int process_exit_status(const struct task_struct *task, bool last);

#endif
