// SPDX-License-Identifier: GPL-2.0
/* What only C can read of the structures that the probe points pass. */

#include <linux/binfmts.h>
#include <linux/ptrace.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/signal.h>
#include <trace/events/coredump.h>
#include <trace/events/sched.h>
#include <trace/events/signal.h>

#include "../prototypes.h"
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

/*
 * What a task that is ending leaves: the last of a process what wait(2) will say of
 * that, which need not be its own code if the process was ended as a whole while this
 * task was ending by itself.
 */
int process_exit_status(const struct task_struct *task, bool last)
{
	const struct signal_struct *signal = task->signal;

	if (!last)
		return task->exit_code;
	if (signal->flags & SIGNAL_GROUP_EXIT)
		return signal->group_exit_code;
	return task->group_leader->exit_code;
}

/* The tracepoints of process_main.rs, and that of the group signal, which has no C. */
PROTOTYPE(sched_process_fork, struct task_struct *, struct task_struct *);
PROTOTYPE(sched_process_exec, struct task_struct *, pid_t, struct linux_binprm *);
PROTOTYPE(sched_process_exit, struct task_struct *, bool);
PROTOTYPE(signal_deliver, int, struct kernel_siginfo *, struct k_sigaction *);
PROTOTYPE(coredump, int);
PROTOTYPE(signal_generate, int, struct kernel_siginfo *, struct task_struct *, int, int);
