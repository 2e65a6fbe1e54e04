/* SPDX-License-Identifier: GPL-2.0 */
/* What only C can read of the structures that the probe points pass. */
#ifndef VESPER_MEMORY_FIELDS_H
#define VESPER_MEMORY_FIELDS_H

#include <linux/oom.h>
#include <linux/types.h>

#define MEMORY_CGROUP_LEN	128

/* Memory is out: who asked for what, and where there was none. */
struct memory_oom {
	u32 constraint;		/* enum oom_constraint */
	s32 order;		/* -1: by sysrq */
	u32 gfp;
	u64 total_kb;		/* of the machine */
	u64 free_kb;
	char cgroup[MEMORY_CGROUP_LEN];	/* whose limit it is; empty: none */
};

/* The task that is to be killed for it. */
struct memory_victim {
	u64 total_vm_kb;
	u64 anon_kb;
	u64 file_kb;
	u64 shmem_kb;
	u64 swap_kb;
	u64 pgtables_kb;
	s32 oom_score;
	s32 oom_score_adj;
	char cgroup[MEMORY_CGROUP_LEN];
};

void memory_read_oom(const struct oom_control *oc, struct memory_oom *oom);
void memory_read_victim(struct task_struct *task, struct memory_victim *victim);
bool memory_oom_kills(const struct oom_control *oc);
bool memory_in_stall(void);
bool memory_no_warning(u32 gfp);
bool memory_tries_again(u32 gfp);

#endif
