// SPDX-License-Identifier: GPL-2.0
/* Memory that a made-up guest lends, and what it writes there. */

#define _GNU_SOURCE
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "fuzz.h"

static __u8 *ring_of(struct slot *slot, __u32 channel, __u32 buffer)
{
	size_t number = ((slot - fuzz.slots) * CHANNELS + channel) * BUFFERS +
		buffer;

	return fuzz.arena + number * RING_PAGES * PAGE;
}

static struct virtio_vesper_index *index_of(struct slot *slot, __u32 channel,
					    __u32 buffer)
{
	return (void *)(ring_of(slot, channel, buffer) +
			(RING_PAGES - 1) * PAGE);
}

static __u8 *beat_of(struct slot *slot)
{
	return ring_of(&fuzz.slots[SLOTS], 0, 0) + (slot - fuzz.slots) * PAGE;
}

size_t memory_len(void)
{
	return beat_of(&fuzz.slots[SLOTS]) - fuzz.arena;
}

/* A writer of its own, who may say anything of what it has begun. */
static bool is_foreign(struct channel c)
{
	return c.flags & VIRTIO_VESPER_CHAN_FOREIGN;
}

bool begun_absurd(struct slot *slot, __u32 number, __u32 buffer)
{
	struct virtio_vesper_index *index =
		index_of(slot, number, buffer < BUFFERS ? buffer : 0);

	return is_foreign(slot->channels[number]) &&
		index->begun - index->produced > 1;
}

static void lend_one(struct worker *w, struct slot *slot, enum call kind,
		     __u16 type, struct virtio_vesper_fragment *msg,
		     __u8 *addr)
{
	__u32 pages = msg->nr_pages;
	__u32 half = pages > 1 ? 1 + below(w, pages - 1) : pages;
	struct vesper_segment segments[2] = {
		{ (uintptr_t)addr, (__u64)half * PAGE },
		{ (uintptr_t)addr + (size_t)half * PAGE,
		  (__u64)(pages - half) * PAGE },
	};
	struct vesper_lend it = {
		.cookie = rng_next(w) | 1,
		.request = pointer(w, msg),
		.request_len = sizeof(*msg),
		.nr_segments = half < pages ? 2 : 1,
		.segments = pointer(w, segments),
	};

	head(w, msg, sizeof(*msg), type);
	mutate(w, &msg->channel, sizeof(*msg) - sizeof(msg->hdr), 20);
	mutate(w, segments, sizeof(segments), 20);
	if (one_in(w, 50))
		segments[0].addr = odd_number(w, segments[0].addr);
	mutate(w, &it.request_len, 8, 100);
	if (one_in(w, 500))
		mutate(w, &msg->hdr, sizeof(msg->hdr), 1);
	count(w, kind, ioctl(slot->fd, VESPER_IOC_LEND, pointer(w, &it)));
}

void lend(struct worker *w, struct slot *slot, __u32 number, __u32 buffer)
{
	struct channel c = slot->channels[number];
	__u32 pages = c.subbuf_size / PAGE * c.n_subbufs, at, n;
	__u8 *ring = ring_of(slot, number, buffer);
	struct virtio_vesper_index *index = index_of(slot, number, buffer);
	struct virtio_vesper_fragment msg;

	if (!pages)
		return;
	memset(index, 0, sizeof(*index));
	index->version = VIRTIO_VESPER_INDEX_VERSION;
	index->n_subbufs = c.n_subbufs;
	if (is_foreign(c)) {
		/* It was at work before. */
		index->produced = below(w, 3 * c.n_subbufs);
		index->begun = one_in(w, 3) ? index->produced + below(w, 2) :
			odd_number(w, index->produced);
	}
	for (at = 0; at <= pages; at += n) {
		bool last = at == pages;

		n = last ? 1 : one_in(w, 2) ? pages - at :
			1 + below(w, pages - at);
		msg = (struct virtio_vesper_fragment) {
			.channel = c.id,
			.buffer = buffer,
			.first = last ? VIRTIO_VESPER_INDEX_FRAGMENT : at,
			.nr_pages = n,
		};
		lend_one(w, slot, LEND, VIRTIO_VESPER_D_FRAGMENT, &msg,
			 last ? (void *)index : ring + at * PAGE);
	}
}

/* The page of a heartbeat, mostly as a guest would fill it in. */
void lend_beat(struct worker *w, struct slot *slot)
{
	__u8 *page = beat_of(slot);
	struct virtio_vesper_beat_head *first = (void *)page;
	struct virtio_vesper_beat *cpus = (void *)page;
	struct virtio_vesper_fragment msg = {
		.first = VIRTIO_VESPER_INDEX_FRAGMENT,
		.nr_pages = 1,
	};

	first->version = VIRTIO_VESPER_BEAT_VERSION;
	first->nr_cpus = slot->nr_cpus;
	first->state = below(w, 5);
	/* Line 0 is the head's. */
	for (__u32 i = 1; i <= slot->nr_cpus && i < PAGE / sizeof(*cpus); i++) {
		cpus[i].beats += below(w, 3);
		cpus[i].state = below(w, 4);
		cpus[i].period_ms = 1 << below(w, 14);
	}
	mutate(w, page, 5 * sizeof(*cpus), 8);
	lend_one(w, slot, LEND_BEAT, VIRTIO_VESPER_D_BEAT, &msg, page);
}

void notify(struct worker *w, struct slot *slot, __u32 number, __u32 buffer)
{
	struct channel c = slot->channels[number];
	struct virtio_vesper_index *index = index_of(slot, number, buffer);
	struct virtio_vesper_notify msg = {
		.channel = c.id,
		.buffer = buffer,
	};
	__u64 produced = index->produced;

	if (c.n_subbufs && (produced - index->consumed < c.n_subbufs ||
			    c.flags & ~VIRTIO_VESPER_CHAN_CTF)) {
		index->padding[produced % c.n_subbufs] =
			below(w, c.subbuf_size);
		__atomic_store_n(&index->produced, produced + 1,
				 __ATOMIC_RELEASE);
	}
	if (is_foreign(c))
		index->begun = one_in(w, 2) ? index->produced + below(w, 2) :
			odd_number(w, index->begun);
	if (one_in(w, 300))
		mutate(w, index, 48, 1);
	message(w, slot, INDEX, VIRTIO_VESPER_VQ_NOTIFY, &msg, sizeof(msg),
		VIRTIO_VESPER_N_INDEX, NULL);
}

void scribble(struct worker *w, struct slot *slot)
{
	__u8 *ring = ring_of(slot, below(w, CHANNELS), below(w, BUFFERS));

	switch (below(w, 5)) {
	case 0:
		madvise(ring, RING_PAGES * PAGE, MADV_DONTNEED);
		break;
	case 1:
		mmap(ring, (1 + below(w, RING_PAGES)) * PAGE,
		     PROT_READ | PROT_WRITE,
		     MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		break;
	case 2:
		mprotect(ring, RING_PAGES * PAGE, PROT_READ);
		sched_yield();
		mprotect(ring, RING_PAGES * PAGE, PROT_READ | PROT_WRITE);
		break;
	case 3:
		mutate(w, beat_of(slot), 5 * sizeof(struct virtio_vesper_beat),
		       1);
		break;
	default:
		mutate(w, ring + (RING_PAGES - 1) * PAGE, 200, 1);
		break;
	}
}
