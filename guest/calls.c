// SPDX-License-Identifier: GPL-2.0
/*
 * Functions of the kernel that it does not export to modules.
 *
 * They are called as static calls: direct branches, which neither IBT (their
 * ENDBR may be sealed) nor kCFI has anything against.
 */

#include <linux/errno.h>
#include <linux/kprobes.h>
#include <linux/processor.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/static_call.h>

#include "calls.h"

/* The system calls take their arguments from registers. */
#ifndef CONFIG_X86_64
#error "only written for x86-64"
#endif

static long no_syscall(const struct pt_regs *regs)
{
	return -EOPNOTSUPP;
}

static struct mm_struct *no_mm_alloc(void)
{
	return NULL;
}

static void no_pick_mmap_layout(struct mm_struct *mm, const struct rlimit *stack)
{
}

DEFINE_STATIC_CALL(vesper_delete_module, no_syscall);
DEFINE_STATIC_CALL(vesper_init_module, no_syscall);
DEFINE_STATIC_CALL(vesper_mm_alloc, no_mm_alloc);
DEFINE_STATIC_CALL(vesper_pick_mmap_layout, no_pick_mmap_layout);

void vesper_helper_set_calls(unsigned long delete_module,
			     unsigned long init_module, unsigned long mm_alloc,
			     unsigned long pick_mmap_layout)
{
	static_call_update(vesper_delete_module, (void *)delete_module);
	static_call_update(vesper_init_module, (void *)init_module);
	static_call_update(vesper_mm_alloc, (void *)mm_alloc);
	static_call_update(vesper_pick_mmap_layout, (void *)pick_mmap_layout);
}

long vesper_helper_delete_module(unsigned long name, unsigned int flags)
{
	struct pt_regs regs = { .di = name, .si = flags };

	return static_call(vesper_delete_module)(&regs);
}

long vesper_helper_init_module(unsigned long image, unsigned long len,
			       unsigned long params)
{
	struct pt_regs regs = { .di = image, .si = len, .dx = params };

	return static_call(vesper_init_module)(&regs);
}

/*
 * A kprobe is the one interface that turns a name, also "module:name", into an
 * address. It is never armed. Returns 0 if there is no such function; @flags, if
 * not %NULL, are those that the kprobe was given.
 */
unsigned long vesper_kprobe_look_up(const char *name, u32 *flags)
{
	struct kprobe kp = {
		.symbol_name = name,
		.flags = KPROBE_FLAG_DISABLED,
	};

	if (register_kprobe(&kp))
		return 0;
	unregister_kprobe(&kp);
	if (flags)
		*flags = kp.flags;
	return (unsigned long)kp.addr;
}

unsigned long vesper_helper_kprobe_address(const char *name)
{
	return vesper_kprobe_look_up(name, NULL);
}

/* An address space for a kernel thread, as kunit_attach_mm() makes it. */
struct mm_struct *vesper_helper_mm_create(void)
{
	const struct rlimit *stack = &current->signal->rlim[RLIMIT_STACK];
	struct mm_struct *mm = static_call(vesper_mm_alloc)();

	if (!mm)
		return NULL;
	mm->task_size = TASK_SIZE;
	static_call(vesper_pick_mmap_layout)(mm, stack);
	return mm;
}
