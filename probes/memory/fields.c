// SPDX-License-Identifier: GPL-2.0
/*
 * What only C can read of the structures that the probe points pass: bit fields,
 * inline functions, types that the kernel crate does not have.
 */
#include <linux/cgroup.h>
#include <linux/cpuset.h>
#include <linux/gfp.h>
#include <linux/kernfs.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/nodemask.h>
#include <linux/oom.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/vmstat.h>
#include <trace/events/oom.h>
#include <trace/events/vmscan.h>

#include "../prototypes.h"
#include "fields.h"

/* Names of a cgroup's path that are shown at most: the last ones. */
#define MAX_DEPTH	16

#define PAGES_TO_KB(pages)	((u64)(pages) << (PAGE_SHIFT - 10))

/*
 * The path of a group. The kernel's own function takes a lock, which a probe
 * point must not; names and parents are both protected by RCU.
 */
static void read_cgroup(struct mem_cgroup *memcg, char *path, size_t size)
{
	const char *names[MAX_DEPTH];
	struct kernfs_node *node;
	size_t len = 0;
	int depth = 0;

	path[0] = '\0';
	if (!memcg || !memcg->css.cgroup)
		return;

	node = memcg->css.cgroup->kn;
	while (node && depth < MAX_DEPTH) {
		struct kernfs_node *parent = rcu_dereference(node->__parent);

		/* The root has an empty name. */
		if (parent)
			names[depth++] = rcu_dereference(node->name);
		node = parent;
	}
	if (!depth)
		strscpy(path, "/", size);
	while (depth)
		len += scnprintf(path + len, size - len, "/%s", names[--depth]);
}

static enum oom_constraint constraint(const struct oom_control *oc)
{
	if (oc->memcg)
		return CONSTRAINT_MEMCG;
	if (oc->gfp_mask & __GFP_THISNODE)
		return CONSTRAINT_NONE;
	if (oc->nodemask && !nodes_subset(node_states[N_MEMORY], *oc->nodemask))
		return CONSTRAINT_MEMORY_POLICY;
	/* What the kernel needs itself may come from beyond the task's own cpuset. */
	if ((oc->gfp_mask & __GFP_HARDWALL) &&
	    !nodes_subset(node_states[N_MEMORY], cpuset_current_mems_allowed))
		return CONSTRAINT_CPUSET;
	return CONSTRAINT_NONE;
}

/*
 * Without file systems nothing is killed for the machine's memory: whoever asks
 * tries again, and comes here each time.
 */
bool memory_oom_kills(const struct oom_control *oc)
{
	return oc->memcg || !oc->gfp_mask || (oc->gfp_mask & __GFP_FS);
}

/* The kernel works out the constraint later, so it is worked out here, too. */
void memory_read_oom(const struct oom_control *oc, struct memory_oom *oom)
{
	oom->constraint = constraint(oc);
	oom->order = oc->order;
	oom->gfp = (__force u32)oc->gfp_mask;
	oom->total_kb = PAGES_TO_KB(totalram_pages());
	oom->free_kb = PAGES_TO_KB(global_zone_page_state(NR_FREE_PAGES));
	rcu_read_lock();
	read_cgroup(oc->memcg, oom->cgroup, sizeof(oom->cgroup));
	rcu_read_unlock();
}

/* The task has an mm, which is held: its lock is, or it is the one that runs. */
void memory_read_victim(struct task_struct *task, struct memory_victim *victim)
{
	struct mm_struct *mm = task->mm;
	long adj = task->signal->oom_score_adj;
	long total = totalram_pages();
	long points;
	unsigned long anon = get_mm_counter_sum(mm, MM_ANONPAGES);
	unsigned long file = get_mm_counter_sum(mm, MM_FILEPAGES);
	unsigned long shmem = get_mm_counter_sum(mm, MM_SHMEMPAGES);
	unsigned long swap = get_mm_counter_sum(mm, MM_SWAPENTS);
	unsigned long tables = mm_pgtables_bytes(mm);

	victim->total_vm_kb = PAGES_TO_KB(mm->total_vm);
	victim->anon_kb = PAGES_TO_KB(anon);
	victim->file_kb = PAGES_TO_KB(file);
	victim->shmem_kb = PAGES_TO_KB(shmem);
	victim->swap_kb = PAGES_TO_KB(swap);
	victim->pgtables_kb = tables >> 10;
	victim->oom_score_adj = adj;
	/* As oom_badness() weighs it, and /proc/PID/oom_score scales it. */
	points = anon + file + shmem + swap + tables / PAGE_SIZE + adj * (total / 1000);
	victim->oom_score = (1000 + points * 1000 / total) * 2 / 3;
	rcu_read_lock();
	read_cgroup(mem_cgroup_from_task(task), victim->cgroup, sizeof(victim->cgroup));
	rcu_read_unlock();
}

/* The running task is in a stall that the kernel accounts already. */
bool memory_in_stall(void)
{
#ifdef CONFIG_PSI
	return current->in_memstall;
#else
	return false;
#endif
}

/* Whoever asks for the memory reckons with not getting it. */
bool memory_no_warning(u32 gfp)
{
	return gfp & (__force u32)__GFP_NOWARN;
}

/* The warning says that it takes long; the memory is found in the end. */
bool memory_tries_again(u32 gfp)
{
	return gfp & (__force u32)__GFP_NOFAIL;
}

/* The tracepoints of memory_main.rs. */
PROTOTYPE(mark_victim, struct task_struct *, uid_t);
PROTOTYPE(mm_vmscan_direct_reclaim_begin, gfp_t, int, struct mem_cgroup *);
PROTOTYPE(mm_vmscan_direct_reclaim_end, unsigned long, struct mem_cgroup *);
PROTOTYPE(mm_vmscan_memcg_reclaim_begin, gfp_t, int, struct mem_cgroup *);
PROTOTYPE(mm_vmscan_memcg_reclaim_end, unsigned long, struct mem_cgroup *);
