/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of the ioctl fuzzer share. */
#ifndef VESPER_FUZZ_H
#define VESPER_FUZZ_H

#include <limits.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/vesper.h>
#include <linux/virtio_vesper.h>

#define PAGE		VIRTIO_VESPER_PAGE_SIZE
#define DEBUGFS		"/sys/kernel/debug/vesper"
#define SLOTS		6	/* VMMs */
#define CHANNELS	4	/* of each */
#define BUFFERS		2	/* of each */
#define RING_PAGES	17	/* at most 16 of data, and the index page */
#define RELAYS		8	/* relay files open at a time, and mapped */
#define IDS		8

enum call {
	OPEN_ATTACH, ATTACH, HELLO, OPEN, OPEN_OVERWRITE, OPEN_FOREIGN,
	METADATA, SHARE, BEGUN, UNSHARE, CLOSE, RESULT, GOODBYE, INDEX, PANIC,
	LEND, LEND_BEAT, BUFFERS_POSTED, NOTICE, VCPUS,
	READ_EVENT, POLL, OPEN_CONTROL, INFO, DOMAINS, MODULES, BUFFERS_OF,
	LOAD, UNLOAD, REAP, SHOW, SHOWN, BEAT, OPEN_RELAY, READ_RELAY, POSITION,
	CONSUME, MAP, TOUCH, ODD, KINDS
};

/* A channel as its guest would know it. Threads race for it on purpose. */
struct channel {
	__u32 id, flags, subbuf_size, n_subbufs;
};

struct slot {
	int fd;
	bool broken;
	__u32 nr_cpus;		/* as it said hello */
	struct channel channels[CHANNELS];
	__u32 ids[IDS];
	unsigned int nr_ids;
};

struct relay {
	int fd;
	void *map;
	size_t len;
};

struct fuzz {
	const char *prefix;
	__u64 seed;
	unsigned long calls;
	unsigned int threads;
	bool operator;		/* may open everything, not only attach */
	int control;
	__u8 *arena;
	size_t arena_len;
	struct slot slots[SLOTS];
	struct relay relays[RELAYS];
	unsigned long done;
};

struct worker {
	struct fuzz *f;
	__u64 rng;
	unsigned long ok[KINDS], failed[KINDS];
	__u8 *scratch;	/* two pages, and behind them none */
	__u8 *image;
};

extern struct fuzz fuzz;
/* Where a worker goes on after a fault that it has provoked. */
extern __thread sigjmp_buf fault_jump;
extern __thread bool fault_expected;

static inline void expect_fault(bool yes)
{
	__atomic_store_n(&fault_expected, yes, __ATOMIC_SEQ_CST);
}

__u64 rng_next(struct worker *w);
__u32 below(struct worker *w, __u32 n);
bool one_in(struct worker *w, __u32 n);
__u64 odd_number(struct worker *w, __u64 old);
/* Changes words of @len bytes, once in @n times; true if it did. */
bool mutate(struct worker *w, void *bytes, size_t len, __u32 n);
/* @good, or once in a while a pointer that is none. */
__u64 pointer(struct worker *w, const void *good);
/* Counts a call by its outcome, and returns that. */
long count(struct worker *w, enum call kind, long ret);

/* attach_node.c */
void attach_step(struct worker *w);
void head(struct worker *w, void *msg, __u32 len, __u16 type);
/* Passes a message on. Gives the guest's answer if there was a good one. */
long message(struct worker *w, struct slot *slot, enum call kind, __u32 queue,
	     void *msg, __u32 len, __u16 type, __u32 *value);
/* memory.c */
size_t memory_len(void);
void lend(struct worker *w, struct slot *slot, __u32 number, __u32 buffer);
void lend_beat(struct worker *w, struct slot *slot);
/* Whether the index page says what cannot be of where its writer is. */
bool begun_absurd(struct slot *slot, __u32 number, __u32 buffer);
/* Closes a sub-buffer, where there is room, and says so. */
void notify(struct worker *w, struct slot *slot, __u32 number, __u32 buffer);
/* Memory that changes while it is lent. */
void scribble(struct worker *w, struct slot *slot);
/* operator.c */
void operator_step(struct worker *w);
void relay_step(struct worker *w);
/* Closes and unmaps; reads all that is left below DEBUGFS with our prefix. */
void relay_close_all(void);
void drain(void);

#endif
