// SPDX-License-Identifier: GPL-2.0
/* C that only a macro or an inline function of the kernel can provide. */

#include <linux/cgroup.h>
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/percpu.h>
#include <linux/pid.h>
#include <linux/ratelimit.h>
#include <linux/rcupdate.h>
#include <linux/relay.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/security.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include "helpers.h"

/*
 * struct rchan has a per-CPU array of buffer pointers. A global channel uses
 * the entry of CPU 0 only; free_percpu() releases the array.
 */
void *vesper_helper_alloc_percpu_buf(struct rchan_buf *buf)
{
	struct rchan_buf * __percpu *array = alloc_percpu(struct rchan_buf *);

	if (array)
		*per_cpu_ptr(array, 0) = buf;
	return (__force void *)(unsigned long)array;
}

static void wake_readers(struct irq_work *work)
{
	struct rchan_buf *buf = container_of(work, struct rchan_buf,
					     wakeup_work);

	wake_up_interruptible(&buf->read_wait);
}

/* What __relay_reset() does for a new buffer, which is static in relay.c. */
void vesper_helper_init_relay_wakeup(struct rchan_buf *buf)
{
	init_waitqueue_head(&buf->read_wait);
	kref_init(&buf->kref);
	init_irq_work(&buf->wakeup_work, wake_readers);
}

/*
 * For kvfree(). As for pages of a copy: not accounted, and neither is the OOM
 * killer called nor a word said if there is no room.
 */
void *vesper_helper_alloc_array(size_t count, size_t size)
{
	return kvmalloc_array(count, size, GFP_KERNEL | __GFP_RETRY_MAYFAIL |
			      __GFP_NOWARN);
}

void *vesper_helper_vmap(struct page **pages, unsigned int count)
{
	return vmap(pages, count, VM_MAP, PAGE_KERNEL);
}

/*
 * A guest may write to @from all the while. That is no data race for C that
 * the compiler cannot look into, and any mixture of bytes is fine.
 */
void vesper_helper_copy(void *to, const void *from, size_t len)
{
	memcpy(to, from, len);
}

unsigned long vesper_helper_page_to_pfn(struct page *page)
{
	return page_to_pfn(page);
}

unsigned long vesper_helper_zero_pfn(void)
{
	return page_to_pfn(ZERO_PAGE(0));
}

void vesper_helper_get_page(struct page *page)
{
	get_page(page);
}

void vesper_helper_put_page(struct page *page)
{
	put_page(page);
}

/*
 * Takes @pages off what @mm has locked, unless that would have to wait. No
 * mapping changes, so who looks at them without the lock need not be told, as
 * mmap_write_lock() would; of that there is no variant that only tries.
 */
bool vesper_helper_try_unaccount(struct mm_struct *mm, unsigned long pages)
{
	if (!down_write_trylock(&mm->mmap_lock))
		return false;
	__account_locked_vm(mm, pages, false, current, true);
	up_write(&mm->mmap_lock);
	return true;
}

/* Does @addr of this process lie in a shared mapping of a file? */
bool vesper_helper_mapped_file(unsigned long addr)
{
	struct vm_area_struct *vma;
	bool file = false;

	if (mmap_read_lock_killable(current->mm))
		return false;
	vma = vma_lookup(current->mm, addr);
	if (vma)
		file = vma->vm_file && (vma->vm_flags & VM_SHARED) &&
		       (vma->vm_flags & VM_WRITE);
	mmap_read_unlock(current->mm);
	return file;
}

/*
 * Killable, and for a worker that means no more than that its wait for a
 * reader, who may have all the time in the world, is no hung task.
 */
int vesper_helper_inode_lock(struct inode *inode)
{
	return inode_lock_killable(inode);
}

bool vesper_helper_inode_trylock(struct inode *inode)
{
	return inode_trylock(inode);
}

void vesper_helper_inode_unlock(struct inode *inode)
{
	inode_unlock(inode);
}

struct inode *vesper_helper_dentry_inode(struct dentry *dentry)
{
	return d_inode(dentry);
}

struct inode *vesper_helper_file_inode(struct file *file)
{
	return file_inode(file);
}

int vesper_helper_rename(struct dentry *dentry, const char *name)
{
	return debugfs_change_name(dentry, "%s", name);
}

int vesper_helper_lock_interruptible(struct mutex *lock)
{
	return mutex_lock_interruptible(lock);
}

void vesper_helper_unlock(struct mutex *lock)
{
	mutex_unlock(lock);
}

void vesper_helper_vm_flags_mod(struct vm_area_struct *vma, vm_flags_t set,
				vm_flags_t clear)
{
	vm_flags_mod(vma, set, clear);
}

/*
 * Unbound and with many workers: an item may wait for a reader that is stuck,
 * and must hold up no other.
 */
struct workqueue_struct *vesper_helper_alloc_workqueue(void)
{
	return alloc_workqueue("vesper", WQ_UNBOUND, 0);
}

/* Of all guests; what one has is in sys/time.rs. */
bool vesper_helper_ratelimit(void)
{
	static DEFINE_RATELIMIT_STATE(rs, 5 * HZ, 100);

	return __ratelimit(&rs);
}

/* The same for what says that records are lost. */
bool vesper_helper_ratelimit_losses(void)
{
	static DEFINE_RATELIMIT_STATE(rs, 5 * HZ, 100);

	return __ratelimit(&rs);
}

u64 vesper_helper_real_ns(void)
{
	return ktime_get_real_ns();
}

struct pid *vesper_helper_get_tgid(void)
{
	return get_pid(task_tgid(current));
}

/* Ahead of ordinary threads: who looks late can't tell who else is. */
struct task_struct *vesper_helper_thread_start(int (*run)(void *data),
					       void *data)
{
	struct task_struct *task;

	task = kthread_create(run, data, "vesper_watch");
	if (!IS_ERR(task)) {
		sched_set_fifo_low(task);
		wake_up_process(task);
	}
	return task;
}

bool vesper_helper_thread_should_stop(void)
{
	return kthread_should_stop();
}

void vesper_helper_thread_stop(struct task_struct *task)
{
	kthread_stop(task);
}

/*
 * A glance without locks: values may be of moments a little apart. False if
 * there is no such thread any more.
 */
bool vesper_helper_thread_sight(struct pid *pid,
				struct vesper_thread_sight *sight)
{
	struct task_struct *task;
	unsigned int state;

	guard(rcu)();
	task = pid_task(pid, PIDTYPE_PID);
	if (!task)
		return false;
	sight->executed = READ_ONCE(task->se.sum_exec_runtime);
#ifdef CONFIG_SCHED_INFO
	sight->delayed = READ_ONCE(task->sched_info.run_delay);
#else
	sight->delayed = 0;
#endif
	state = READ_ONCE(task->__state);
	if ((state & (__TASK_STOPPED | __TASK_TRACED | TASK_FROZEN)) ||
	    cgroup_task_frozen(task))
		sight->doing = VESPER_THREAD_STOPPED;
	else if (state == TASK_RUNNING)
		sight->doing = VESPER_THREAD_RUNS;
	else if (state & TASK_UNINTERRUPTIBLE)
		sight->doing = VESPER_THREAD_BLOCKED;
	else
		sight->doing = VESPER_THREAD_SLEEPS;
	return true;
}

u64 vesper_helper_boot_ns(void)
{
	return ktime_get_boottime_ns();
}

struct vesper_mm_watch {
	struct mmu_notifier notifier;
	void (*gone)(void *data);
	void *data;
	bool armed;
};

static void mm_gone(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	struct vesper_mm_watch *watch = container_of(notifier,
						     struct vesper_mm_watch,
						     notifier);

	/* Who stops watching gets called, too. */
	if (READ_ONCE(watch->armed))
		watch->gone(watch->data);
}

static const struct mmu_notifier_ops watch_ops = {
	.release = mm_gone,
};

/* Has @gone called when the address space of this process goes; it may sleep. */
struct vesper_mm_watch *vesper_helper_watch_mm(void (*gone)(void *data),
					       void *data)
{
	struct vesper_mm_watch *watch;
	int ret;

	if (!current->mm)
		return ERR_PTR(-EFAULT);
	watch = kzalloc_obj(*watch, GFP_KERNEL_ACCOUNT);
	if (!watch)
		return ERR_PTR(-ENOMEM);
	watch->notifier.ops = &watch_ops;
	watch->gone = gone;
	watch->data = data;
	watch->armed = true;
	ret = mmu_notifier_register(&watch->notifier, current->mm);
	if (ret) {
		kfree(watch);
		return ERR_PTR(ret);
	}
	return watch;
}

/* The address space stays what it is for as long as it is watched, dead or alive. */
bool vesper_helper_watches_current(const struct vesper_mm_watch *watch)
{
	return watch->notifier.mm == current->mm;
}

/* When this returns, @gone is not running and will not be called any more. */
void vesper_helper_unwatch_mm(struct vesper_mm_watch *watch)
{
	WRITE_ONCE(watch->armed, false);
	mmu_notifier_unregister(&watch->notifier, watch->notifier.mm);
	kfree(watch);
}

/* Without security modules in the kernel this is an inline function. */
bool vesper_helper_debugfs_locked_down(void)
{
	return security_locked_down(LOCKDOWN_DEBUGFS);
}
