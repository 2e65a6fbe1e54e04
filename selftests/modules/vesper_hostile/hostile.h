/* SPDX-License-Identifier: GPL-2.0 */
/* A guest that means harm: what its parts share. */
#ifndef VESPER_HOSTILE_H
#define VESPER_HOSTILE_H

#include <linux/scatterlist.h>
#include <linux/types.h>
#include <linux/virtio.h>
#include <linux/wait.h>

#include <linux/virtio_vesper.h>

#define MAX_CHANNELS	6
#define MAX_BUFFERS	2
#define MAX_IDS		16
#define DATA_PAGES	2048
#define INDEX_PAGES	32
#define MAX_SGS		(VIRTIO_VESPER_MAX_FRAGMENT + 2)

/* What is counted apart. */
enum message {
	K_HELLO, K_OPEN, K_METADATA, K_SHARE, K_UNSHARE, K_CLOSE, K_RESULT,
	K_GOODBYE, K_FRAGMENT, K_BEAT, K_INDEX, K_PANIC, K_LOADER, K_RING, K_MAX
};

struct rng {
	u64 state;
};

static inline u64 rng_next(struct rng *rng)
{
	u64 x = rng->state += 0x9e3779b97f4a7c15ull;	/* splitmix64 */

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

/* Below @n. */
static inline u32 rng_below(struct rng *rng, u32 n)
{
	return (u32)((rng_next(rng) & U32_MAX) * n >> 32);
}

static inline bool rng_one_in(struct rng *rng, u32 n)
{
	return !rng_below(rng, n);
}

/* Something on a queue. */
struct element {
	enum message kind;
	unsigned int queue;
	bool waited;		/* whoever waits frees it */
	bool done;
	bool mutated;
	u16 at;			/* its place in the ring, which counts on */
	u32 len;		/* of what the device has written */
	u32 out_len;
	u8 *out;
	u8 *reply;		/* REPLY_ROOM bytes */
};

#define REPLY_ROOM	64
#define LOADER_ROOM	1024

struct buffer {
	bool lent, shared;
	u32 first;		/* number of its first page in the pool */
	u32 index;		/* number of its index page */
};

struct channel {
	bool open;
	u32 id, subbuf_size, n_subbufs, nr_buffers, flags;
	struct buffer buffers[MAX_BUFFERS];
};

struct hostile {
	struct virtio_device *vdev;
	struct virtqueue *vq[VIRTIO_VESPER_VQ_MAX];
	wait_queue_head_t wait;
	struct rng rng;
	bool up;
	bool config_changed;
	bool broken;		/* it has said so since it came up */

	struct page *data[DATA_PAGES];
	struct page *index[INDEX_PAGES];
	struct scatterlist *sgs;	/* MAX_SGS */
	struct scatterlist **sg_list;

	/* What the host should know of us. */
	bool greeted;
	struct channel channels[MAX_CHANNELS];
	u32 nr_cpus;
	u32 next_id;
	u32 ids[MAX_IDS];		/* requests of the host's loader */
	unsigned int nr_ids;
	bool owed;			/* the last one has had no answer */
	unsigned int posted;		/* loader buffers */

	u64 sent, resets, loader_messages;
	u64 accepted[K_MAX], refused[K_MAX], unseen[K_MAX];
	const char *error;
};

/* queue.c */
int hostile_up(struct hostile *h);
void hostile_down(struct hostile *h);
bool hostile_broken(struct hostile *h);
struct element *element_new(enum message kind, unsigned int queue, u32 out_len);
void element_free(struct element *e);
/* Puts @e on its queue; false if that is full. */
bool hostile_post(struct hostile *h, struct element *e, unsigned int out_sgs,
		  unsigned int in_sgs);
void hostile_kick(struct hostile *h, unsigned int queue);
/* Takes what the device is done with. */
void hostile_reap(struct hostile *h);
/* Waits until @e is done or the device broken. */
bool hostile_wait(struct hostile *h, struct element *e);
void hostile_scribble_ring(struct hostile *h);

/* message.c */
/* One message, or one burst; the device may be broken after it. */
void hostile_step(struct hostile *h);
bool hostile_hello(struct hostile *h);
/* One message, whole and in order but for this: it comes before any hello. */
void hostile_offend(struct hostile *h);
void hostile_mutate(struct hostile *h, struct element *e);

/* memory.c */
int memory_init(struct hostile *h);
void memory_exit(struct hostile *h);
struct virtio_vesper_index *memory_index(struct hostile *h, u32 number);
/* An address that is no memory of ours to give. */
u64 memory_absurd(struct hostile *h);
void memory_set_phys(struct scatterlist *sg, u64 addr, u32 len);
/* Changes an index page and changes it back. */
void memory_flip(struct hostile *h, struct rng *rng);

#endif
