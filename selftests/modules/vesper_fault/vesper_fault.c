// SPDX-License-Identifier: GPL-2.0
/*
 * Faults of a kernel, for tests of the probes that show them. What is written to
 * debugfs vesper_fault/ happens to the writer:
 *
 *	oops	it follows a pointer that leads nowhere
 *	spin	it keeps its CPU for so many seconds, without a break
 *	hang	all CPUs do nothing for so many milliseconds, interrupts off;
 *		read, it gives the wall clock when the last time began
 *	stuck	one CPU does
 *	halt	all CPUs are halted for good, interrupts off: nothing but a
 *		reset gets them out of that
 *	leak	so many pieces of memory are forgotten
 *	hypercall	none: the hypervisor is asked, for nothing
 */
#include <linux/compiler.h>
#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/irqflags.h>
#include <linux/kprobes.h>
#include <linux/kvm_para.h>
#include <linux/module.h>
#include <linux/preempt.h>
#include <linux/slab.h>
#include <linux/stop_machine.h>
#include <linux/timekeeping.h>

/* Longest time, in seconds. */
#define MAX_SPIN	60
/* Most pieces of memory at a time. */
#define MAX_LEAK	100

static struct dentry *dir;

static noinline int vesper_fault_oops(void *data, u64 value)
{
	/* In the first page, where nothing is mapped. */
	WRITE_ONCE(*(int *)(value & 0xff8), 1);
	return 0;
}

static noinline int vesper_fault_spin(void *data, u64 seconds)
{
	u64 ms;

	if (seconds > MAX_SPIN)
		return -EINVAL;
	preempt_disable();
	for (ms = 0; ms < seconds * 1000; ms++)
		mdelay(1);
	preempt_enable();
	return 0;
}

static u64 hung_at;

/*
 * With interrupts off; mdelay() looks at the time stamp counter only. No probe can
 * be put here, for the test of those that are to be put into a module that comes.
 */
static noinline int vesper_fault_silence(void *data)
{
	u64 ms = *(u64 *)data;

	while (ms--)
		mdelay(1);
	return 0;
}
NOKPROBE_SYMBOL(vesper_fault_silence);

/* Others are brought to the same point, and wait there with interrupts off. */
static noinline int vesper_fault_hang(void *data, u64 ms)
{
	if (ms > MAX_SPIN * 1000)
		return -EINVAL;
	hung_at = ktime_get_real_ns();
	return stop_machine(vesper_fault_silence, &ms, NULL);
}

static int vesper_fault_hung_at(void *data, u64 *value)
{
	*value = hung_at;
	return 0;
}

static int vesper_fault_halted(void *data)
{
	/* An NMI ends it, but for a moment. */
	for (;;)
		native_halt();
	return 0;
}

static noinline int vesper_fault_halt(void *data, u64 value)
{
	return stop_machine(vesper_fault_halted, NULL, cpu_online_mask);
}

static noinline int vesper_fault_stuck(void *data, u64 ms)
{
	unsigned long flags;

	if (ms > MAX_SPIN * 1000)
		return -EINVAL;
	local_irq_save(flags);
	vesper_fault_silence(&ms);
	local_irq_restore(flags);
	return 0;
}

static noinline int vesper_fault_leak(void *data, u64 count)
{
	void *lost;

	if (count > MAX_LEAK)
		return -EINVAL;
	while (count--) {
		lost = kzalloc(64, GFP_KERNEL);
		if (!lost)
			return -ENOMEM;
		OPTIMIZER_HIDE_VAR(lost);
	}
	return 0;
}

static int vesper_fault_hypercall(void *data, u64 value)
{
	return kvm_hypercall0(KVM_HC_VAPIC_POLL_IRQ);
}

DEFINE_DEBUGFS_ATTRIBUTE(hang_fops, vesper_fault_hung_at, vesper_fault_hang,
			 "%llu\n");
DEFINE_DEBUGFS_ATTRIBUTE(stuck_fops, NULL, vesper_fault_stuck, "%llu\n");
DEFINE_DEBUGFS_ATTRIBUTE(halt_fops, NULL, vesper_fault_halt, "%llu\n");
DEFINE_DEBUGFS_ATTRIBUTE(oops_fops, NULL, vesper_fault_oops, "%llu\n");
DEFINE_DEBUGFS_ATTRIBUTE(spin_fops, NULL, vesper_fault_spin, "%llu\n");
DEFINE_DEBUGFS_ATTRIBUTE(leak_fops, NULL, vesper_fault_leak, "%llu\n");
DEFINE_DEBUGFS_ATTRIBUTE(hypercall_fops, NULL, vesper_fault_hypercall, "%llu\n");

static int __init vesper_fault_init(void)
{
	dir = debugfs_create_dir("vesper_fault", NULL);
	if (IS_ERR(dir))
		return PTR_ERR(dir);
	debugfs_create_file_unsafe("oops", 0200, dir, NULL, &oops_fops);
	debugfs_create_file_unsafe("spin", 0200, dir, NULL, &spin_fops);
	debugfs_create_file_unsafe("hang", 0600, dir, NULL, &hang_fops);
	debugfs_create_file_unsafe("stuck", 0200, dir, NULL, &stuck_fops);
	debugfs_create_file_unsafe("halt", 0200, dir, NULL, &halt_fops);
	debugfs_create_file_unsafe("leak", 0200, dir, NULL, &leak_fops);
	debugfs_create_file_unsafe("hypercall", 0200, dir, NULL, &hypercall_fops);
	return 0;
}
module_init(vesper_fault_init);

static void __exit vesper_fault_exit(void)
{
	debugfs_remove_recursive(dir);
}
module_exit(vesper_fault_exit);

MODULE_DESCRIPTION("VESPER selftest: faults of a kernel");
MODULE_LICENSE("GPL");
