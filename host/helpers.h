/* SPDX-License-Identifier: GPL-2.0 */
/* C that only a macro or an inline function of the kernel can provide. */
#ifndef VESPER_HOST_HELPERS_H
#define VESPER_HOST_HELPERS_H

#include <linux/types.h>

struct dentry;
struct file;
struct inode;
struct mm_struct;
struct mutex;
struct page;
struct pid;
struct rchan_buf;
struct task_struct;
struct vm_area_struct;
struct workqueue_struct;

void *vesper_helper_alloc_percpu_buf(struct rchan_buf *buf);
void vesper_helper_init_relay_wakeup(struct rchan_buf *buf);
void *vesper_helper_alloc_array(size_t count, size_t size);
void *vesper_helper_vmap(struct page **pages, unsigned int count);
void vesper_helper_copy(void *to, const void *from, size_t len);
unsigned long vesper_helper_page_to_pfn(struct page *page);
unsigned long vesper_helper_zero_pfn(void);
void vesper_helper_get_page(struct page *page);
void vesper_helper_put_page(struct page *page);
bool vesper_helper_try_unaccount(struct mm_struct *mm, unsigned long pages);
bool vesper_helper_mapped_file(unsigned long addr);
int vesper_helper_inode_lock(struct inode *inode);
bool vesper_helper_inode_trylock(struct inode *inode);
void vesper_helper_inode_unlock(struct inode *inode);
struct inode *vesper_helper_dentry_inode(struct dentry *dentry);
struct inode *vesper_helper_file_inode(struct file *file);
int vesper_helper_rename(struct dentry *dentry, const char *name);
int vesper_helper_lock_interruptible(struct mutex *lock);
void vesper_helper_unlock(struct mutex *lock);
void vesper_helper_vm_flags_mod(struct vm_area_struct *vma, vm_flags_t set,
				vm_flags_t clear);
struct workqueue_struct *vesper_helper_alloc_workqueue(void);
bool vesper_helper_ratelimit(void);
bool vesper_helper_ratelimit_losses(void);
u64 vesper_helper_real_ns(void);
struct pid *vesper_helper_get_tgid(void);

struct task_struct *vesper_helper_thread_start(int (*run)(void *data),
					       void *data);
bool vesper_helper_thread_should_stop(void);
void vesper_helper_thread_stop(struct task_struct *task);

enum vesper_thread_doing {
	VESPER_THREAD_RUNS,
	VESPER_THREAD_SLEEPS,
	VESPER_THREAD_BLOCKED,
	VESPER_THREAD_STOPPED,
};

/* What is seen of a thread: nanoseconds that it executed, and waited to. */
struct vesper_thread_sight {
	u64 executed;
	u64 delayed;
	u32 doing;
};

bool vesper_helper_thread_sight(struct pid *pid,
				struct vesper_thread_sight *sight);
u64 vesper_helper_boot_ns(void);

struct vesper_mm_watch;

struct vesper_mm_watch *vesper_helper_watch_mm(void (*gone)(void *data),
					       void *data);
bool vesper_helper_watches_current(const struct vesper_mm_watch *watch);
void vesper_helper_unwatch_mm(struct vesper_mm_watch *watch);

enum vesper_trace_buffer {
	VESPER_TRACE_SHARE,
	VESPER_TRACE_UNSHARE,
	VESPER_TRACE_RETURN,
	VESPER_TRACE_SWITCH,
};

bool vesper_helper_debugfs_locked_down(void);
void vesper_helper_trace_attach(const u8 *domain, int pid);
void vesper_helper_trace_detach(const u8 *domain, u64 kept);
void vesper_helper_trace_step(const char *step, const u8 *domain,
			      const u8 *module, int status);
void vesper_helper_trace_lend(const u8 *domain, u32 channel, u32 buffer,
			      u32 first, u32 pages);
void vesper_helper_trace_buffer(enum vesper_trace_buffer what,
				const u8 *domain, const u8 *module,
				const u8 *channel, u32 buffer, u64 produced,
				u64 consumed);
void vesper_helper_trace_panic(const u8 *domain);
void vesper_helper_trace_broken(const u8 *domain, const u8 *why, size_t len);
void vesper_helper_trace_heartbeat(const u8 *domain, u32 state, u32 reason,
				   u64 silent_ms);
void vesper_helper_trace_reap(const u8 *domain, const u8 *module, u64 bytes);

#endif
