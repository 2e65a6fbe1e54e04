/* SPDX-License-Identifier: GPL-2.0 */
/* C that only a macro or an inline function of the kernel can provide. */
#ifndef VESPER_GUEST_HELPERS_H
#define VESPER_GUEST_HELPERS_H

#include <linux/lockdep_types.h>
#include <linux/spinlock_types_raw.h>
#include <linux/types.h>

struct module;
struct page;
struct scatterlist;
struct virtio_device;
struct virtio_device_id;
struct virtqueue;
struct virtqueue_info;
struct workqueue_struct;

struct workqueue_struct *vesper_helper_alloc_workqueue(const char *name);
ssize_t vesper_helper_boot_id(char *text, size_t len);
void vesper_helper_clock_anchor(u64 *now, u64 *realtime_ns);
u32 vesper_helper_clock_khz(void);
u64 vesper_helper_clock_now(void);
const struct virtio_device_id *vesper_helper_id_table(void);
bool vesper_helper_module_sig_ok(struct module *module);
void vesper_helper_raw_spin_lock_init(raw_spinlock_t *lock, const char *name,
				      struct lock_class_key *key);
unsigned long vesper_helper_raw_spin_lock_irqsave(raw_spinlock_t *lock);
bool vesper_helper_raw_spin_trylock_irqsave(raw_spinlock_t *lock,
					    unsigned long *flags);
void vesper_helper_raw_spin_unlock_irqrestore(raw_spinlock_t *lock,
					      unsigned long flags);
const char *vesper_helper_release(void);
void vesper_helper_sg_set_page(struct scatterlist *sg, struct page *page);
const char *vesper_helper_vermagic(void);
void vesper_helper_virtio_del_vqs(struct virtio_device *vdev);
void vesper_helper_virtio_device_ready(struct virtio_device *vdev);
int vesper_helper_virtio_find_vqs(struct virtio_device *vdev, unsigned int nvqs,
				  struct virtqueue *vqs[],
				  struct virtqueue_info *info);
bool vesper_helper_virtio_has_feature(struct virtio_device *vdev,
				      unsigned int bit);
void vesper_helper_virtio_read_config(struct virtio_device *vdev, void *config,
				      unsigned int len);
bool vesper_helper_virtqueue_bounces(struct virtqueue *vq);

#endif
