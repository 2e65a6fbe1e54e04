// SPDX-License-Identifier: GPL-2.0
/* What only C can read of the structures that the probe points pass. */

#include <linux/binfmts.h>
#include <linux/ptrace.h>
#include <linux/sched/task_stack.h>
#include <linux/signal.h>

#include "fields.h"

/* The file that was asked for; a script's, not its interpreter's. */
const char *process_exec_file(const struct linux_binprm *bprm)
{
	return bprm->filename;
}

/* Where it faulted, for a signal of the kernel's that says so. */
unsigned long process_fault_address(const struct kernel_siginfo *info)
{
	return (unsigned long)info->si_addr;
}

/* Where the current task was in user space; 0 if it has none. */
unsigned long process_user_ip(void)
{
	if (current->flags & (PF_KTHREAD | PF_USER_WORKER))
		return 0;
	return instruction_pointer(task_pt_regs(current));
}
