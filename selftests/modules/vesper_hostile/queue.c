// SPDX-License-Identifier: GPL-2.0
/* Queues: set up again and again, used and abused. */

#include <linux/jiffies.h>
#include <linux/slab.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "hostile.h"

/* For a device that neither answers nor says that it is broken. */
#define ANSWER_TIMEOUT	(60 * HZ)

struct element *element_new(enum message kind, unsigned int queue, u32 out_len)
{
	struct element *e = kzalloc_obj(*e, GFP_KERNEL);

	if (!e)
		return NULL;
	e->kind = kind;
	e->queue = queue;
	e->out_len = out_len;
	e->out = kzalloc(max_t(u32, out_len, LOADER_ROOM), GFP_KERNEL);
	e->reply = kzalloc(REPLY_ROOM, GFP_KERNEL);
	if (!e->out || !e->reply) {
		element_free(e);
		return NULL;
	}
	return e;
}

void element_free(struct element *e)
{
	kfree(e->reply);
	kfree(e->out);
	kfree(e);
}

static void hostile_used(struct virtqueue *vq)
{
	struct hostile *h = vq->vdev->priv;

	wake_up(&h->wait);
}

int hostile_up(struct hostile *h)
{
	struct virtqueue_info info[VIRTIO_VESPER_VQ_MAX] = {
		{ "loader", hostile_used }, { "lend", hostile_used },
		{ "control", hostile_used }, { "notify", hostile_used },
	};
	struct virtio_device *vdev = h->vdev;
	int err;

	WRITE_ONCE(h->config_changed, false);
	h->broken = false;
	virtio_add_status(vdev, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	virtio_add_status(vdev, VIRTIO_CONFIG_S_DRIVER);
	err = vdev->config->finalize_features(vdev);
	if (err)
		return err;
	/* Without it, nobody knows what the device has looked at. */
	if (!virtio_has_feature(vdev, VIRTIO_RING_F_EVENT_IDX))
		return -EOPNOTSUPP;
	virtio_add_status(vdev, VIRTIO_CONFIG_S_FEATURES_OK);
	if (!(vdev->config->get_status(vdev) & VIRTIO_CONFIG_S_FEATURES_OK))
		return -ENODEV;
	err = virtio_find_vqs(vdev, VIRTIO_VESPER_VQ_MAX, h->vq, info, NULL);
	if (err)
		return err;
	virtio_device_ready(vdev);
	h->up = true;
	return 0;
}

static void count(struct hostile *h, struct element *e, bool accepted)
{
	(accepted ? h->accepted : h->refused)[e->kind]++;
}

/* How many elements the device has taken from a queue: it says so for each. */
static u16 taken(struct virtqueue *vq)
{
	const struct vring *ring = virtqueue_get_vring(vq);

	return le16_to_cpu((__force __le16)vring_avail_event(ring));
}

/*
 * The device will not use @e any more, nor what is behind @last, the last one that
 * it has taken from the queue. If it broke at an element it did not use that; but it
 * also keeps loans, which it has accepted, and loader buffers until there is a
 * message.
 */
static void settle(struct hostile *h, struct element *e, u16 last)
{
	bool seen = (s16)(last - e->at) >= 0;
	bool loan = e->queue == VIRTIO_VESPER_VQ_LEND;
	bool kept = loan ? !(h->broken && e->mutated && e->at == last) :
		    e->queue == VIRTIO_VESPER_VQ_LOADER && !e->mutated;

	if (!seen || (kept && !loan))
		h->unseen[e->kind]++;
	else
		count(h, e, kept);
	element_free(e);
}

void hostile_down(struct hostile *h)
{
	struct element *e;
	unsigned int i;
	u16 last;

	virtio_reset_device(h->vdev);
	if (h->up) {
		/* What it has used since it was last asked. */
		hostile_reap(h);
		for (i = 0; i < VIRTIO_VESPER_VQ_MAX; i++) {
			last = taken(h->vq[i]) - 1;
			while ((e = virtqueue_detach_unused_buf(h->vq[i])))
				settle(h, e, last);
		}
		h->vdev->config->del_vqs(h->vdev);
	}
	h->up = false;
	h->greeted = false;
	h->posted = 0;
	h->nr_ids = 0;
	h->owed = false;
	memset(h->channels, 0, sizeof(h->channels));
}

bool hostile_broken(struct hostile *h)
{
	unsigned int i;

	for (i = 0; i < VIRTIO_VESPER_VQ_MAX; i++)
		if (virtqueue_is_broken(h->vq[i]))
			h->broken = true;
	/* Asking costs an exit. */
	if (READ_ONCE(h->config_changed) &&
	    h->vdev->config->get_status(h->vdev) & VIRTIO_CONFIG_S_NEEDS_RESET)
		h->broken = true;
	return h->broken;
}

bool hostile_post(struct hostile *h, struct element *e, unsigned int out_sgs,
		  unsigned int in_sgs)
{
	struct virtqueue *vq = h->vq[e->queue];
	const struct vring *ring;
	int err;

	err = virtqueue_add_sgs(vq, h->sg_list, out_sgs, in_sgs, e, GFP_KERNEL);
	if (err == -ENOSPC) {
		hostile_kick(h, e->queue);
		hostile_reap(h);
		err = virtqueue_add_sgs(vq, h->sg_list, out_sgs, in_sgs, e,
					GFP_KERNEL);
	}
	if (err) {
		element_free(e);
		return false;
	}
	ring = virtqueue_get_vring(vq);
	e->at = le16_to_cpu((__force __le16)ring->avail->idx) - 1;
	h->sent++;
	return true;
}

void hostile_kick(struct hostile *h, unsigned int queue)
{
	virtqueue_kick(h->vq[queue]);
}

static void check_reply(struct hostile *h, struct element *e)
{
	struct virtio_vesper_reply *reply = (void *)e->reply;
	struct virtio_vesper_hdr *hdr = (void *)e->out;

	if (e->mutated)
		return;
	if (e->len < sizeof(*reply) || reply->hdr.type != hdr->type ||
	    reply->hdr.id != hdr->id ||
	    le32_to_cpu(reply->hdr.len) != sizeof(*reply))
		h->error = "a reply that does not fit its request";
}

/* A message of the host's loader: the id is what we need for a result. */
static void heard(struct hostile *h, struct element *e)
{
	struct virtio_vesper_hdr *hdr = (void *)e->out;
	u32 id = le32_to_cpu(hdr->id);

	h->posted--;
	h->loader_messages++;
	if (e->len < sizeof(*hdr))
		return;
	h->owed |= !h->nr_ids || h->ids[(h->nr_ids - 1) % MAX_IDS] != id;
	h->ids[h->nr_ids++ % MAX_IDS] = id;
}

/* The device has used @e. */
static void complete_element(struct hostile *h, struct element *e)
{
	struct virtio_vesper_reply *reply = (void *)e->reply;

	switch (e->queue) {
	case VIRTIO_VESPER_VQ_NOTIFY:
		count(h, e, true);
		break;
	case VIRTIO_VESPER_VQ_LOADER:
		count(h, e, true);
		heard(h, e);
		break;
	default:
		check_reply(h, e);
		count(h, e, !reply->status);
		break;
	}
}

void hostile_reap(struct hostile *h)
{
	struct element *e;
	unsigned int i, len;

	for (i = 0; i < VIRTIO_VESPER_VQ_MAX; i++) {
		while ((e = virtqueue_get_buf(h->vq[i], &len))) {
			e->len = len;
			complete_element(h, e);
			e->done = true;
			if (!e->waited)
				element_free(e);
		}
	}
}

static bool is_over(struct hostile *h, struct element *e)
{
	hostile_reap(h);
	return e->done || hostile_broken(h);
}

bool hostile_wait(struct hostile *h, struct element *e)
{
	if (!wait_event_timeout(h->wait, is_over(h, e), ANSWER_TIMEOUT))
		h->error = "a device that does not answer";
	if (!e->done)
		e->waited = false;
	return e->done;
}

/* Damages the next element of a queue where the device finds it. */
void hostile_scribble_ring(struct hostile *h)
{
	unsigned int queue = rng_below(&h->rng, VIRTIO_VESPER_VQ_MAX);
	struct vring *ring = (struct vring *)virtqueue_get_vring(h->vq[queue]);
	struct element *e = element_new(K_RING, queue, 32);
	struct vring_desc *desc, whole;
	u16 at, head, entry;

	if (!e)
		return;
	e->mutated = true;
	sg_init_one(&h->sgs[0], e->out, e->out_len);
	sg_init_one(&h->sgs[1], e->reply, REPLY_ROOM);
	if (!hostile_post(h, e, queue != VIRTIO_VESPER_VQ_LOADER, 1))
		return;

	at = le16_to_cpu((__force __le16)ring->avail->idx);
	entry = (u16)(at - 1) % ring->num;
	head = ring->avail->ring[entry];
	desc = &ring->desc[head % ring->num];
	whole = *desc;
	switch (rng_below(&h->rng, 9)) {
	case 0:
		ring->avail->idx = at + ring->num + 7;
		break;
	case 1:
		ring->avail->ring[entry] = 0xffff;
		break;
	case 2:
		desc->flags |= VRING_DESC_F_NEXT;
		desc->next = head;
		break;
	case 3:
		desc->flags |= VRING_DESC_F_INDIRECT;
		desc->len = 15;
		break;
	case 4:
		desc->flags |= VRING_DESC_F_INDIRECT;
		desc->len = 16 * 0xffff;
		break;
	case 5:
		desc->flags |= VRING_DESC_F_NEXT;
		desc->next = 0xfff0;
		break;
	case 6:
		desc->len = U32_MAX;
		break;
	case 7:
		desc->addr = memory_absurd(h);
		break;
	default:
		desc->flags = 0xffff;
		break;
	}
	hostile_kick(h, queue);
	/* Whether it says anything to that or not. */
	wait_event_timeout(h->wait, hostile_broken(h), HZ / 20);
	/* The ring's own accounts are kept in it. */
	virtio_reset_device(h->vdev);
	*desc = whole;
	h->resets++;
	hostile_down(h);
	if (hostile_up(h))
		h->error = "a device that does not come up again";
}
