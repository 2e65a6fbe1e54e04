/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The attach interface for a carrier inside this kernel: what the ioctls of
 * /dev/vesper-attach are for a VMM, for the domain "host". The functions are
 * those of the ioctls of the same name in include/uapi/linux/vesper.h, and so
 * are errors, which come as negative errno values. Process context, all of it.
 */
#ifndef VESPER_HOST_CARRIER_H
#define VESPER_HOST_CARRIER_H

#include <linux/types.h>

struct page;
struct vesper_attach;
struct vesper_carrier;
struct virtio_vesper_reply;

/**
 * vesper_carrier_attach() - become the domain "host"
 * @attach: out: all fields, but for @flags and @reserved
 * @wake: called when there may be something to read, with a lock held: it hands
 *	  on and returns
 * @data: its argument
 *
 * Returns an error pointer on failure: EEXIST, if there is one already.
 */
struct vesper_carrier *vesper_carrier_attach(struct vesper_attach *attach,
					     void (*wake)(void *data),
					     void *data);

/**
 * vesper_carrier_detach() - the opposite, as the death of a VMM
 *
 * Nothing refers to lent pages after this, unless a reader sits on them; for
 * that case there are references to the pages. @wake is not called any more.
 */
void vesper_carrier_detach(struct vesper_carrier *carrier);

/**
 * vesper_carrier_message() - pass on a message
 * @reply: written for the control queue
 */
int vesper_carrier_message(struct vesper_carrier *carrier, u32 queue,
			   const void *request, size_t len,
			   struct virtio_vesper_reply *reply);

/**
 * vesper_carrier_lend() - pass on an element of the lend queue
 * @pages: whole pages, no compound ones, to which the host takes references
 */
int vesper_carrier_lend(struct vesper_carrier *carrier, u64 cookie,
			const void *request, size_t len, struct page **pages,
			size_t nr_pages);

int vesper_carrier_buffers(struct vesper_carrier *carrier, u32 count, u32 size);

/**
 * vesper_carrier_read() - take an event, as read() gives it
 *
 * Returns its bytes, or -EAGAIN.
 */
ssize_t vesper_carrier_read(struct vesper_carrier *carrier, void *to,
			    size_t room);

/* VESPER_NOTICE_RESET and VESPER_NOTICE_BROKEN. */
void vesper_carrier_reset(struct vesper_carrier *carrier);
void vesper_carrier_broken(struct vesper_carrier *carrier);

#endif
