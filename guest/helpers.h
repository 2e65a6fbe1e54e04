/* SPDX-License-Identifier: GPL-2.0 */
/* C that only a macro or an inline function of the kernel can provide. */
#ifndef VESPER_GUEST_HELPERS_H
#define VESPER_GUEST_HELPERS_H

#include <linux/lockdep_types.h>
#include <linux/spinlock_types_raw.h>
#include <linux/types.h>

struct irq_work;
struct module;
struct page;
struct rchan;
struct rchan_buf;
struct scatterlist;
struct virtio_device;
struct virtio_device_id;
struct virtqueue;
struct virtqueue_info;
struct work_struct;
struct workqueue_struct;

struct workqueue_struct *vesper_helper_alloc_workqueue(const char *name);
ssize_t vesper_helper_boot_id(char *text, size_t len);
void vesper_helper_clock_anchor(u64 *now, u64 *realtime_ns);
u32 vesper_helper_clock_khz(void);
u64 vesper_helper_clock_now(void);
bool vesper_helper_cpu_online(u32 cpu);
unsigned long vesper_helper_interrupt_tick(void);
const struct virtio_device_id *vesper_helper_id_table(void);
void vesper_helper_irq_work_queue(struct irq_work *work);
void vesper_helper_init_irq_work_hard(struct irq_work *work,
				      void (*func)(struct irq_work *work));
void vesper_helper_init_work(struct work_struct *work,
			     void (*func)(struct work_struct *work));
void vesper_helper_irq_restore(unsigned long flags);
unsigned long vesper_helper_irq_save(void);
unsigned int vesper_helper_load_policy(void);
bool vesper_helper_module_sig_ok(struct module *module);
void vesper_helper_on_each_cpu(void (*func)(void *data), void *data);
void *vesper_helper_page_address(struct page *page);
void vesper_helper_raw_spin_lock_init(raw_spinlock_t *lock, const char *name,
				      struct lock_class_key *key);
unsigned long vesper_helper_raw_spin_lock_irqsave(raw_spinlock_t *lock);
bool vesper_helper_raw_spin_trylock_irqsave(raw_spinlock_t *lock,
					    unsigned long *flags);
void vesper_helper_raw_spin_unlock_irqrestore(raw_spinlock_t *lock,
					      unsigned long flags);
struct rchan_buf *vesper_helper_relay_buf(struct rchan *chan, u32 cpu);
const char *vesper_helper_release(void);
void vesper_helper_sg_set_page(struct scatterlist *sg, struct page *page);
void vesper_helper_tracepoint_synchronize_unregister(void);
const char *vesper_helper_uts_nodename(void);
int vesper_helper_verify_module(const void *image, size_t len,
				const void *signature, size_t signature_len);
const char *vesper_helper_vermagic(void);
void vesper_helper_virtio_del_vqs(struct virtio_device *vdev);
void vesper_helper_virtio_device_ready(struct virtio_device *vdev);
int vesper_helper_virtio_find_vqs(struct virtio_device *vdev, unsigned int nvqs,
				  struct virtqueue *vqs[],
				  struct virtqueue_info *info);
u8 vesper_helper_virtio_get_status(struct virtio_device *vdev);
bool vesper_helper_virtio_has_feature(struct virtio_device *vdev,
				      unsigned int bit);
void vesper_helper_virtio_read_config(struct virtio_device *vdev, void *config,
				      unsigned int len);
int vesper_helper_virtqueue_add_mapped(struct virtqueue *vq, dma_addr_t addr,
				       u32 len, void *data);
bool vesper_helper_virtqueue_bounces(struct virtqueue *vq);
int vesper_helper_virtqueue_map(struct virtqueue *vq, void *ptr, u32 len,
				dma_addr_t *addr);
void vesper_helper_virtqueue_unmap(struct virtqueue *vq, dma_addr_t addr,
				   u32 len);
long vesper_helper_read(void *to, const void *from, size_t len);
u32 vesper_helper_stack_save(unsigned long *entries, u32 max, u32 skip);
bool vesper_helper_within_module(unsigned long addr, const struct module *mod);

#endif
