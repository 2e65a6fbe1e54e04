// SPDX-License-Identifier: GPL-2.0
/* The tracepoints of sched_main.rs. */
#include <linux/mm_types.h>
#include <linux/sched.h>
#include <trace/events/sched.h>

#include "../prototypes.h"

PROTOTYPE(sched_switch, bool, struct task_struct *, struct task_struct *, unsigned int);
PROTOTYPE(sched_process_hang, struct task_struct *);
