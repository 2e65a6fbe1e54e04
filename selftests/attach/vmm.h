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
	uint32_t next_id;
	char name[VESPER_NAME_LEN];
};

/* All functions return -1 and set errno when the kernel says so. */
int vmm_open(struct vmm *vmm, const char *name);
void vmm_close(struct vmm *vmm);

/* Gives the status that the host answers with, a positive errno value. */
int vmm_control(struct vmm *vmm, void *msg, size_t len, uint16_t type,
		uint32_t *value);
int vmm_notify_raw(struct vmm *vmm, void *msg, size_t len, uint16_t type);
int vmm_hello(struct vmm *vmm, uint32_t nr_cpus);
int vmm_goodbye(struct vmm *vmm);
int vmm_open_channel(struct vmm *vmm, const char *module, const char *channel,
		     uint32_t flags, uint32_t subbuf_size, uint32_t n_subbufs,
		     uint32_t nr_buffers, uint32_t *id);
int vmm_metadata(struct vmm *vmm, uint32_t channel, uint32_t section,
		 const char *text);
int vmm_buffer_msg(struct vmm *vmm, uint16_t type, uint32_t channel,
		   uint32_t buffer);
int vmm_result(struct vmm *vmm, uint32_t id, uint32_t status, uint32_t stage,
	       const char *module, const char *text);
int vmm_notify(struct vmm *vmm, uint32_t channel, uint32_t buffer);
int vmm_lend(struct vmm *vmm, uint64_t cookie, uint32_t channel,
	     uint32_t buffer, uint32_t first, uint32_t nr_pages,
	     const struct vesper_segment *segments, uint32_t nr_segments);
int vmm_notice(struct vmm *vmm, uint32_t what, uint32_t value);
int vmm_post(struct vmm *vmm, uint32_t count, uint32_t size);
/* Waits for an event; -1 and ETIME if none comes. */
int vmm_event(struct vmm *vmm, struct vesper_event *head, void *body,
	      size_t room, int timeout_ms);
/* Takes @count RETURN events and nothing else. */
int vmm_take_returns(struct vmm *vmm, unsigned int count);

/* A buffer in the memory of the guest. */
struct ring {
	struct vmm *vmm;
	uint32_t channel, buffer;
	uint32_t subbuf_size, n_subbufs;
	bool ctf;
	uint8_t *data;
	struct virtio_vesper_index *index;
	uint32_t used;		/* bytes in the open sub-buffer */
	uint64_t written;	/* records */
	unsigned int loans;
};

int ring_init(struct ring *ring, struct vmm *vmm, uint32_t channel,
	      uint32_t buffer, uint32_t subbuf_size, uint32_t n_subbufs,
	      bool ctf);
void ring_free(struct ring *ring);
/* Lends all pages, in fragments of @pages. */
int ring_lend(struct ring *ring, uint32_t pages);
/* Lends in one piece and shares. */
int ring_share(struct ring *ring);
/* Appends a record; false and a count in the index if there is no room. */
bool ring_write(struct ring *ring, const void *record, uint32_t len);
/* Appends @count records of @len bytes, numbered on from ring->written. */
unsigned int ring_write_numbered(struct ring *ring, unsigned int count,
				 uint32_t len);
/* Closes the open sub-buffer if there is something in it. */
void ring_switch(struct ring *ring);

#endif
