// SPDX-License-Identifier: GPL-2.0
/* C that only a macro or an inline function of the kernel can provide. */

#include <asm/tsc.h>
#include <linux/cpufeature.h>
#include <linux/cpumask.h>
#include <linux/dma-direction.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/irq_work.h>
#include <linux/irqflags.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/relay.h>
#include <linux/scatterlist.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/stacktrace.h>
#include <linux/string.h>
#include <linux/sysfs.h>
#include <linux/timekeeping.h>
#include <linux/tracepoint.h>
#include <linux/uaccess.h>
#include <linux/utsname.h>
#include <linux/verification.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/workqueue.h>
#include <xen/xen.h>

#include <linux/virtio_vesper.h>

#include "helpers.h"

/* The header wants to know that it is not included by mistake. */
#define INCLUDE_VERMAGIC
#include <linux/vermagic.h>

/* Which clock is in use must not change under the records: decided once. */
static u32 clock_khz = U32_MAX;

u32 vesper_helper_clock_khz(void)
{
	u32 khz = READ_ONCE(clock_khz);

	if (unlikely(khz == U32_MAX)) {
		bool tsc = boot_cpu_has(X86_FEATURE_TSC) &&
			   boot_cpu_has(X86_FEATURE_CONSTANT_TSC) &&
			   !check_tsc_unstable();

		khz = cmpxchg(&clock_khz, U32_MAX, tsc ? tsc_khz : 0);
		if (khz == U32_MAX)
			khz = READ_ONCE(clock_khz);
	}
	return khz;
}

u64 vesper_helper_clock_now(void)
{
	return vesper_helper_clock_khz() ? rdtsc_ordered() :
					   ktime_get_mono_fast_ns();
}

void vesper_helper_clock_anchor(u64 *now, u64 *realtime_ns)
{
	unsigned long flags;

	local_irq_save(flags);
	*now = vesper_helper_clock_now();
	*realtime_ns = ktime_get_real_fast_ns();
	local_irq_restore(flags);
}

static const struct virtio_device_id id_table[] = {
	{ VIRTIO_ID_VESPER, VIRTIO_DEV_ANY_ID },
	{ 0 },
};
MODULE_DEVICE_TABLE(virtio, id_table);

struct workqueue_struct *vesper_helper_alloc_workqueue(const char *name)
{
	return alloc_workqueue("%s", WQ_UNBOUND, 0, name);
}

ssize_t vesper_helper_boot_id(char *text, size_t len)
{
	struct file *file;
	loff_t pos = 0;
	ssize_t ret;

	file = filp_open("/proc/sys/kernel/random/boot_id", O_RDONLY, 0);
	if (IS_ERR(file))
		return PTR_ERR(file);
	ret = kernel_read(file, text, len, &pos);
	filp_close(file, NULL);
	return ret;
}

const struct virtio_device_id *vesper_helper_id_table(void)
{
	return id_table;
}

/* Strings can't be parameters of a Rust module. */
static const char * const policies[] = {
	[VIRTIO_VESPER_POLICY_ANY] = "any",
	[VIRTIO_VESPER_POLICY_SIGNED] = "signed",
	[VIRTIO_VESPER_POLICY_NONE] = "none",
};

static unsigned int load_policy = VIRTIO_VESPER_POLICY_ANY;

static int load_policy_set(const char *value, const struct kernel_param *kp)
{
	int policy = sysfs_match_string(policies, value);

	if (policy < 0)
		return policy;
	load_policy = policy;
	return 0;
}

static int load_policy_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%s\n", policies[load_policy]);
}

static const struct kernel_param_ops load_policy_ops = {
	.set = load_policy_set,
	.get = load_policy_get,
};
module_param_cb(load_policy, &load_policy_ops, NULL, 0444);
MODULE_PARM_DESC(load_policy,
		 "Which modules the host may load here: any, signed (with a key that this kernel trusts) or none (default: any)");

unsigned int vesper_helper_load_policy(void)
{
	return load_policy;
}

bool vesper_helper_module_sig_ok(struct module *module)
{
	return IS_ENABLED(CONFIG_MODULE_SIG) && module_sig_ok(module);
}

const char *vesper_helper_release(void)
{
	return init_utsname()->release;
}

/* As mod_verify_sig() in kernel/module/signing.c, which is not exported. */
int vesper_helper_verify_module(const void *image, size_t len,
				const void *signature, size_t signature_len)
{
	int ret = -EOPNOTSUPP;

#ifdef CONFIG_MODULE_SIG
	ret = verify_pkcs7_signature(image, len, signature, signature_len,
				     VERIFY_USE_SECONDARY_KEYRING,
				     VERIFYING_MODULE_SIGNATURE, NULL, NULL);
	if (ret == -ENOKEY && IS_ENABLED(CONFIG_INTEGRITY_PLATFORM_KEYRING))
		ret = verify_pkcs7_signature(image, len, signature,
					     signature_len,
					     VERIFY_USE_PLATFORM_KEYRING,
					     VERIFYING_MODULE_SIGNATURE, NULL,
					     NULL);
#endif
	return ret;
}

const char *vesper_helper_vermagic(void)
{
	return VERMAGIC_STRING;
}

void vesper_helper_raw_spin_lock_init(raw_spinlock_t *lock, const char *name,
				      struct lock_class_key *key)
{
#ifdef CONFIG_DEBUG_SPINLOCK
	__raw_spin_lock_init(lock, name, key, LD_WAIT_SPIN);
#else
	raw_spin_lock_init(lock);
#endif
}

unsigned long vesper_helper_raw_spin_lock_irqsave(raw_spinlock_t *lock)
{
	unsigned long flags;

	raw_spin_lock_irqsave(lock, flags);
	return flags;
}

bool vesper_helper_raw_spin_trylock_irqsave(raw_spinlock_t *lock,
					    unsigned long *flags)
{
	return raw_spin_trylock_irqsave(lock, *flags);
}

void vesper_helper_raw_spin_unlock_irqrestore(raw_spinlock_t *lock,
					      unsigned long flags)
{
	raw_spin_unlock_irqrestore(lock, flags);
}

void vesper_helper_sg_set_page(struct scatterlist *sg, struct page *page)
{
	sg_set_page(sg, page, PAGE_SIZE, 0);
}

void vesper_helper_virtio_del_vqs(struct virtio_device *vdev)
{
	vdev->config->del_vqs(vdev);
}

void vesper_helper_virtio_device_ready(struct virtio_device *vdev)
{
	virtio_device_ready(vdev);
}

int vesper_helper_virtio_find_vqs(struct virtio_device *vdev, unsigned int nvqs,
				  struct virtqueue *vqs[],
				  struct virtqueue_info *info)
{
	return virtio_find_vqs(vdev, nvqs, vqs, info, NULL);
}

u8 vesper_helper_virtio_get_status(struct virtio_device *vdev)
{
	return vdev->config->get_status(vdev);
}

bool vesper_helper_virtio_has_feature(struct virtio_device *vdev,
				      unsigned int bit)
{
	return virtio_has_feature(vdev, bit);
}

void vesper_helper_virtio_read_config(struct virtio_device *vdev, void *config,
				      unsigned int len)
{
	virtio_cread_bytes(vdev, 0, config, len);
}

/*
 * Tried with a page, as there is no other way to know: what the platform does
 * to DMA is not told to drivers.
 */
bool vesper_helper_virtqueue_bounces(struct virtqueue *vq)
{
	struct page *page;
	dma_addr_t addr;
	bool bounces;

	if (virtio_has_dma_quirk(vq->vdev) && !xen_domain())
		return false;

	page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (!page)
		return true;

	addr = virtqueue_map_page_attrs(vq, page, 0, PAGE_SIZE, DMA_FROM_DEVICE,
					0);
	bounces = virtqueue_map_mapping_error(vq, addr);
	if (!bounces) {
		bounces = virtqueue_map_need_sync(vq, addr);
		virtqueue_unmap_page_attrs(vq, addr, PAGE_SIZE, DMA_FROM_DEVICE,
					   0);
	}
	__free_page(page);
	return bounces;
}

int vesper_helper_virtqueue_map(struct virtqueue *vq, void *ptr, u32 len,
				dma_addr_t *addr)
{
	*addr = virtqueue_map_single_attrs(vq, ptr, len, DMA_TO_DEVICE, 0);
	return virtqueue_map_mapping_error(vq, *addr) ? -ENOMEM : 0;
}

void vesper_helper_virtqueue_unmap(struct virtqueue *vq, dma_addr_t addr,
				   u32 len)
{
	virtqueue_unmap_single_attrs(vq, addr, len, DMA_TO_DEVICE, 0);
}

int vesper_helper_virtqueue_add_mapped(struct virtqueue *vq, dma_addr_t addr,
				       u32 len, void *data)
{
	struct scatterlist sg;

	sg_init_table(&sg, 1);
	sg_dma_address(&sg) = addr;
	sg_dma_len(&sg) = len;
	virtqueue_map_sync_single_range_for_device(vq, addr, 0, len,
						   DMA_TO_DEVICE);
	return virtqueue_add_outbuf_premapped(vq, &sg, 1, data, GFP_ATOMIC);
}

bool vesper_helper_cpu_online(u32 cpu)
{
	return cpu < nr_cpu_ids && cpu_online(cpu);
}

/* Ticks so far if this is a hard interrupt, else 0. */
unsigned long vesper_helper_interrupt_tick(void)
{
	return in_hardirq() ? jiffies : 0;
}

/*
 * Not on a CPU that is on its way out: it has run its last irq_work, and the
 * interrupt for another is lost, so that who waits for it waits for ever.
 */
void vesper_helper_irq_work_queue(struct irq_work *work)
{
	if (cpu_online(raw_smp_processor_id()))
		irq_work_queue(work);
}

void vesper_helper_init_irq_work_hard(struct irq_work *work,
				      void (*func)(struct irq_work *work))
{
	*work = IRQ_WORK_INIT_HARD(func);
}

void vesper_helper_init_work(struct work_struct *work,
			     void (*func)(struct work_struct *work))
{
	INIT_WORK(work, func);
}

/*
 * The raw ones: these bracket a record, which may be written where tracing of
 * the interrupt flag is itself what is being traced.
 */
void vesper_helper_irq_restore(unsigned long flags)
{
	raw_local_irq_restore(flags);
}

unsigned long vesper_helper_irq_save(void)
{
	unsigned long flags;

	raw_local_irq_save(flags);
	return flags;
}

void vesper_helper_on_each_cpu(void (*func)(void *data), void *data)
{
	on_each_cpu(func, data, 1);
}

void *vesper_helper_page_address(struct page *page)
{
	return page_address(page);
}

struct rchan_buf *vesper_helper_relay_buf(struct rchan *chan, u32 cpu)
{
	return *per_cpu_ptr(chan->buf, cpu);
}

void vesper_helper_tracepoint_synchronize_unregister(void)
{
	tracepoint_synchronize_unregister();
}

const char *vesper_helper_uts_nodename(void)
{
	return init_uts_ns.name.nodename;
}

/* Contexts in which a CPU is reading, or walks its stack, one bit each. */
static DEFINE_PER_CPU(u8, reading);
static DEFINE_PER_CPU(u8, walking);

/*
 * Returns this context's bit, for guard_end(), with preemption off. 0 if the
 * context is at it already: then there is nothing to end.
 */
static __always_inline u8 guard_begin(u8 __percpu *guard)
{
	u8 bit = 1 << interrupt_context_level();
	u8 *contexts;

	preempt_disable_notrace();
	contexts = this_cpu_ptr(guard);
	/* An interrupt leaves the bits as it found them. */
	if (READ_ONCE(*contexts) & bit) {
		preempt_enable_notrace();
		return 0;
	}
	WRITE_ONCE(*contexts, *contexts | bit);
	return bit;
}

static __always_inline void guard_end(u8 __percpu *guard, u8 bit)
{
	u8 *contexts = this_cpu_ptr(guard);

	WRITE_ONCE(*contexts, *contexts & ~bit);
	preempt_enable_notrace();
}

/*
 * copy_from_kernel_nofault(), but not from within itself: what it reads may not
 * be there, and a probe at what the fault passes (the tracepoint
 * page_fault_kernel) may read again, and so on, until the stack has no more room.
 */
long vesper_helper_read(void *to, const void *from, size_t len)
{
	u8 bit = guard_begin(&reading);
	long ret;

	if (!bit)
		return -EBUSY;
	ret = copy_from_kernel_nofault(to, from, len);
	guard_end(&reading, bit);
	return ret;
}

/*
 * stack_trace_save(), but not from within itself: the unwinder takes RCU's read
 * lock, which lockdep has a tracepoint for (lock_acquire), and a probe there may
 * want the stack again, and so on. Takes nothing then. This function counts for
 * @skip.
 */
u32 vesper_helper_stack_save(unsigned long *entries, u32 max, u32 skip)
{
	u8 bit = guard_begin(&walking);
	u32 taken;

	if (!bit)
		return 0;
	taken = stack_trace_save(entries, max, skip);
	guard_end(&walking, bit);
	return taken;
}

bool vesper_helper_within_module(unsigned long addr, const struct module *mod)
{
	return within_module(addr, mod);
}
