// SPDX-License-Identifier: GPL-2.0
/* C that only a macro or an inline function of the kernel can provide. */

#include <linux/completion.h>
#include <linux/device.h>
#include <linux/dma-direction.h>
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/irq_work.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <linux/workqueue.h>

#include <linux/virtio_vesper.h>

#include "helpers.h"

MODULE_IMPORT_NS("VESPER_CARRIER");
/* Not needed to load, but without it nobody drives the device. */
MODULE_SOFTDEP("post: vesper_guest");

/* Unbound: where it works is nobody's business, what it waits for is little. */
struct workqueue_struct *vesper_helper_alloc_workqueue(void)
{
	return alloc_workqueue("vesper_local", WQ_UNBOUND, 0);
}

void vesper_helper_init_irq_work(struct irq_work *work,
				 void (*func)(struct irq_work *work))
{
	*work = IRQ_WORK_INIT_HARD(func);
}

/*
 * This device is the kernel: what is an address to a device of iron is a
 * pointer here. All memory that drivers map is in the linear map, or has a page
 * that is.
 */
static dma_addr_t map_page(union virtio_map map, struct page *page,
			   unsigned long offset, size_t size,
			   enum dma_data_direction dir, unsigned long attrs)
{
	return (dma_addr_t)(unsigned long)page_address(page) + offset;
}

static void unmap_page(union virtio_map map, dma_addr_t addr, size_t size,
		       enum dma_data_direction dir, unsigned long attrs)
{
}

static void sync_single(union virtio_map map, dma_addr_t addr, size_t size,
			enum dma_data_direction dir)
{
}

static void *map_alloc(union virtio_map map, size_t size, dma_addr_t *addr,
		       gfp_t gfp)
{
	void *pages = alloc_pages_exact(PAGE_ALIGN(size), gfp);

	*addr = (dma_addr_t)(unsigned long)pages;
	return pages;
}

static void map_free(union virtio_map map, size_t size, void *pages,
		     dma_addr_t addr, unsigned long attrs)
{
	free_pages_exact(pages, PAGE_ALIGN(size));
}

static bool need_sync(union virtio_map map, dma_addr_t addr)
{
	return false;
}

static int mapping_error(union virtio_map map, dma_addr_t addr)
{
	return 0;
}

static size_t max_mapping_size(union virtio_map map)
{
	return SIZE_MAX;
}

static const struct virtio_map_ops map_ops = {
	.map_page = map_page,
	.unmap_page = unmap_page,
	.sync_single_for_cpu = sync_single,
	.sync_single_for_device = sync_single,
	.alloc = map_alloc,
	.free = map_free,
	.need_sync = need_sync,
	.mapping_error = mapping_error,
	.max_mapping_size = max_mapping_size,
};

struct local_device {
	struct virtio_device vdev;
	struct completion released;
};

static void release(struct device *dev)
{
	struct local_device *local = container_of(dev, struct local_device,
						  vdev.dev);

	complete(&local->released);
}

/* A device to fill in and register, with a parent of its own. */
struct virtio_device *vesper_helper_virtio_alloc(void)
{
	struct local_device *local = kzalloc_obj(*local);
	struct device *parent;

	if (!local)
		return ERR_PTR(-ENOMEM);
	parent = root_device_register("vesper_local");
	if (IS_ERR(parent)) {
		kfree(local);
		return ERR_CAST(parent);
	}
	init_completion(&local->released);
	local->vdev.id.device = VIRTIO_ID_VESPER;
	local->vdev.dev.parent = parent;
	local->vdev.dev.release = release;
	local->vdev.map = &map_ops;
	return &local->vdev;
}

/*
 * After its last reference was put, or is about to be by somebody who looks at
 * it in sysfs: waits for that, as release() is code of this module.
 */
void vesper_helper_virtio_free(struct virtio_device *vdev)
{
	struct local_device *local = container_of(vdev, struct local_device,
						  vdev);

	wait_for_completion(&local->released);
	root_device_unregister(vdev->dev.parent);
	kfree(local);
}

bool vesper_helper_virtio_has_feature(struct virtio_device *vdev,
				      unsigned int bit)
{
	return virtio_has_feature(vdev, bit);
}

struct virtqueue *
vesper_helper_vq_create(struct virtio_device *vdev, unsigned int index,
			unsigned int size, bool (*notify)(struct virtqueue *vq),
			void (*callback)(struct virtqueue *vq),
			const char *name)
{
	union virtio_map map = {};
	struct virtqueue *vq;

	vq = vring_create_virtqueue_map(index, size, SMP_CACHE_BYTES, vdev,
					true, true, false, notify, callback,
					name, map);
	if (vq)
		vq->num_max = size;
	return vq;
}

void vesper_helper_vqs_delete(struct virtio_device *vdev)
{
	struct virtqueue *vq, *next;

	list_for_each_entry_safe(vq, next, &vdev->vqs, list)
		vring_del_virtqueue(vq);
}

struct page *vesper_helper_virt_to_page(void *addr)
{
	return virt_to_page(addr);
}
