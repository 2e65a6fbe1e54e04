// SPDX-License-Identifier: GPL-2.0
/*
 * Code that one CPU patches while another one runs it: a static branch in a function
 * that is alone in its page. For env/emulator-test/run.
 *
 * It is done when the module is loaded, on the CPU that loads it; that is not to be the
 * last one, which runs the function. A CPU that goes on with code that is not there any
 * more executes the int3 by which the kernel replaces it, and that ends the kernel.
 */
#include <linux/cpumask.h>
#include <linux/jump_label.h>
#include <linux/kthread.h>
#include <linux/module.h>

static unsigned int times = 20000;
module_param(times, uint, 0444);
MODULE_PARM_DESC(times, "how often the code is patched");

static DEFINE_STATIC_KEY_FALSE(alone_key);
static unsigned long taken, left;

static noinline __aligned(PAGE_SIZE) void alone(void)
{
	if (static_branch_unlikely(&alone_key))
		taken++;
	else
		left++;
}

/* The next page. */
static noinline __aligned(PAGE_SIZE) int runs(void *unused)
{
	unsigned int i;

	while (!kthread_should_stop()) {
		for (i = 0; i < 1000; i++)
			alone();
		cond_resched();
	}
	return 0;
}

static int __init patched_init(void)
{
	struct task_struct *task = kthread_create(runs, NULL, "patched");
	unsigned int i;

	if (IS_ERR(task))
		return PTR_ERR(task);
	kthread_bind(task, cpumask_last(cpu_online_mask));
	wake_up_process(task);
	for (i = 0; i < times; i++) {
		if (i & 1)
			static_branch_disable(&alone_key);
		else
			static_branch_enable(&alone_key);
		cond_resched();
	}
	kthread_stop(task);
	pr_info("patched %u times, while another CPU ran it %lu times: taken %lu, left %lu\n",
		times, taken + left, taken, left);
	return 0;
}

static void __exit patched_exit(void)
{
}

module_init(patched_init);
module_exit(patched_exit);
MODULE_DESCRIPTION("Code that one CPU patches while another one runs it");
MODULE_LICENSE("GPL");
