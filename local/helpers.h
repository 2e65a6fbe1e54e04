/* SPDX-License-Identifier: GPL-2.0 */
/* C that only a macro or an inline function of the kernel can provide. */
#ifndef VESPER_LOCAL_HELPERS_H
#define VESPER_LOCAL_HELPERS_H

#include <linux/types.h>

struct device;
struct irq_work;
struct page;
struct virtio_device;
struct virtqueue;
struct workqueue_struct;

struct workqueue_struct *vesper_helper_alloc_workqueue(void);
void vesper_helper_init_irq_work(struct irq_work *work,
				 void (*func)(struct irq_work *work));

struct virtio_device *vesper_helper_virtio_alloc(void);
void vesper_helper_virtio_free(struct virtio_device *vdev);
bool vesper_helper_virtio_has_feature(struct virtio_device *vdev,
				      unsigned int bit);
struct virtqueue *
vesper_helper_vq_create(struct virtio_device *vdev, unsigned int index,
			unsigned int size, bool (*notify)(struct virtqueue *vq),
			void (*callback)(struct virtqueue *vq),
			const char *name);
void vesper_helper_vqs_delete(struct virtio_device *vdev);

struct page *vesper_helper_virt_to_page(void *addr);

#endif
