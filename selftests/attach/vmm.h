/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A VMM with its guest, both made up: what a test needs to talk to
 * vesper_host.ko without any virtual machine.
 */
#ifndef VESPER_VMM_H
#define VESPER_VMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/vesper.h>
#include <linux/virtio_vesper.h>

#define PAGE		VIRTIO_VESPER_PAGE_SIZE
#define DEBUGFS		"/sys/kernel/debug/vesper"

struct vmm {
	int fd;
	__u32 next_id;
	char name[VESPER_NAME_LEN];
};

/* All functions return -1 and set errno when the kernel says so. */
int vmm_open(struct vmm *vmm, const char *name);
void vmm_close(struct vmm *vmm);

/* Gives the status that the host answers with, a positive errno value. */
int vmm_control(struct vmm *vmm, void *msg, size_t len, __u16 type,
		__u32 *value);
int vmm_notify_raw(struct vmm *vmm, void *msg, size_t len, __u16 type);
int vmm_hello(struct vmm *vmm, __u32 nr_cpus);
int vmm_hello_features(struct vmm *vmm, __u32 nr_cpus, __u32 features);
int vmm_hello_version(struct vmm *vmm, __u32 nr_cpus, __u32 version,
		      __u32 *value);
int vmm_goodbye(struct vmm *vmm);
int vmm_open_channel(struct vmm *vmm, const char *module, const char *channel,
		     __u32 flags, __u32 subbuf_size, __u32 n_subbufs,
		     __u32 nr_buffers, __u32 *id);
int vmm_metadata(struct vmm *vmm, __u32 channel, __u32 section,
		 const char *text);
int vmm_buffer_msg(struct vmm *vmm, __u16 type, __u32 channel,
		   __u32 buffer);
int vmm_result(struct vmm *vmm, __u32 id, __u32 status, __u32 stage,
	       const char *module, const char *text);
/* A result that answers none: the module is there, and says @text. */
int vmm_news(struct vmm *vmm, __u32 stage, const char *module, const char *text);
int vmm_notify(struct vmm *vmm, __u32 channel, __u32 buffer);
int vmm_lend(struct vmm *vmm, __u64 cookie, __u32 channel,
	     __u32 buffer, __u32 first, __u32 nr_pages,
	     const struct vesper_segment *segments, __u32 nr_segments);
int vmm_notice(struct vmm *vmm, __u32 what, __u32 value);
int vmm_post(struct vmm *vmm, __u32 count, __u32 size);
/* Waits for an event; -1 and ETIME if none comes. */
int vmm_event(struct vmm *vmm, struct vesper_event *head, void *body,
	      size_t room, int timeout_ms);
/* Takes @count RETURN events and nothing else. */
int vmm_take_returns(struct vmm *vmm, unsigned int count);

/* A buffer in the memory of the guest. */
struct ring {
	struct vmm *vmm;
	__u32 channel, buffer;
	__u32 subbuf_size, n_subbufs;
	bool ctf, overwrite;
	__u8 *data;
	struct virtio_vesper_index *index;
	__u32 used;		/* bytes in the open sub-buffer */
	__u64 written;	/* records */
	unsigned int loans;
};

int ring_init(struct ring *ring, struct vmm *vmm, __u32 channel,
	      __u32 buffer, __u32 subbuf_size, __u32 n_subbufs,
	      bool ctf);
void ring_free(struct ring *ring);
/* Lends all pages, in fragments of @pages. */
int ring_lend(struct ring *ring, __u32 pages);
/* Lends in one piece and shares. */
int ring_share(struct ring *ring);
/* Appends a record; false and a count in the index if there is no room. */
bool ring_write(struct ring *ring, const void *record, __u32 len);
/* Appends @count records of @len bytes, numbered on from ring->written. */
unsigned int ring_write_numbered(struct ring *ring, unsigned int count,
				 __u32 len);
/* Closes the open sub-buffer if there is something in it. */
void ring_switch(struct ring *ring);

#endif
