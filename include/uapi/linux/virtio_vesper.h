/* SPDX-License-Identifier: ((GPL-2.0-only WITH Linux-syscall-note) OR BSD-3-Clause) */
/*
 * VESPER virtio device: the ABI between the guest driver and the device.
 *
 * Everything on this page is little-endian, naturally aligned and of fixed
 * size. Reserved fields are written as zero by the sender and refused by the
 * receiver if they are not. The device itself forwards; the peer that reads
 * these structures is the VESPER module of the host kernel.
 *
 * Section numbers (A5, B2, §3.3.2, ...) are those of "Tracing the HA Cluster
 * of Guests with VESPER", Linux Symposium 2009.
 */
#ifndef _LINUX_VIRTIO_VESPER_H
#define _LINUX_VIRTIO_VESPER_H

#include <linux/types.h>

/* Unallocated at the time of writing; the largest a modern PCI id can carry. */
#define VIRTIO_ID_VESPER		63

/*
 * Version of this page. The major number changes when an old peer could
 * misread a new one; additions are announced by feature bits instead.
 */
#define VIRTIO_VESPER_ABI_MAJOR		1
#define VIRTIO_VESPER_ABI_MINOR		0
#define VIRTIO_VESPER_ABI_VERSION	((VIRTIO_VESPER_ABI_MAJOR << 16) | \
					 VIRTIO_VESPER_ABI_MINOR)

/* Feature bits. */
#define VIRTIO_VESPER_F_LOADER		0 /* the host may load modules */
#define VIRTIO_VESPER_F_DIRECT_INDEX	1 /* reserved: kicks bypass the VMM */
#define VIRTIO_VESPER_F_HEARTBEAT	2 /* the host watches beat pages */
#define VIRTIO_VESPER_F_SHARE		3 /* channels of others can be shared */

/* Queues. */
#define VIRTIO_VESPER_VQ_LOADER		0 /* host to guest: requests */
#define VIRTIO_VESPER_VQ_LEND		1 /* guest to host: pages on loan */
#define VIRTIO_VESPER_VQ_CONTROL	2 /* guest to host: request, reply */
#define VIRTIO_VESPER_VQ_NOTIFY		3 /* guest to host: index moved */
#define VIRTIO_VESPER_VQ_MAX		4

/* Sizes and limits that both sides know. */
#define VIRTIO_VESPER_NAME_LEN		64	/* with the terminating NUL */
#define VIRTIO_VESPER_RELEASE_LEN	128	/* kernel release, vermagic */
#define VIRTIO_VESPER_TEXT_LEN		256	/* a sentence for the operator */
#define VIRTIO_VESPER_PATTERN_LEN	128	/* with the terminating NUL */
#define VIRTIO_VESPER_PAGE_SIZE		4096	/* unit of every loan */
#define VIRTIO_VESPER_MAX_FRAGMENT	1022	/* pages in one lend element */
#define VIRTIO_VESPER_MAX_SUBBUFS	960	/* padding words in an index */
#define VIRTIO_VESPER_MAX_CONTROL	8192	/* bytes in a control message */
#define VIRTIO_VESPER_MAX_IMAGE		(64u << 20) /* bytes of a module image */
#define VIRTIO_VESPER_MAX_PARAMS	4096	/* bytes of a parameter string */

/**
 * struct virtio_vesper_config - configuration space, read-only to the driver
 * @abi_version: VIRTIO_VESPER_ABI_VERSION of the host's side
 * @max_fragment: pages that one lend element may carry
 * @max_buffer_pages: pages that one buffer may have
 * @max_channels: channels that this device may have open at once
 * @domain: name under which the host knows this guest, NUL-terminated
 */
struct virtio_vesper_config {
	__le32 abi_version;
	__le32 max_fragment;
	__le32 max_buffer_pages;
	__le32 max_channels;
	__u8 domain[VIRTIO_VESPER_NAME_LEN];
	__le32 reserved[12];
};

/**
 * struct virtio_vesper_hdr - first bytes of every message on every queue
 * @type: one of the message types below
 * @flags: VIRTIO_VESPER_MSG_*, by type
 * @len: bytes of the whole message, this header included
 * @id: chosen by the sender, repeated in the reply or result
 */
struct virtio_vesper_hdr {
	__le16 type;
	__le16 flags;
	__le32 len;
	__le32 id;
	__le32 reserved;
};

/* Control queue: one readable message, one writable reply. */
#define VIRTIO_VESPER_C_HELLO		0x0101
#define VIRTIO_VESPER_C_OPEN		0x0102	/* channel comes to be */
#define VIRTIO_VESPER_C_METADATA	0x0103	/* text for its metadata */
#define VIRTIO_VESPER_C_SHARE		0x0104	/* all fragments are lent */
#define VIRTIO_VESPER_C_UNSHARE		0x0105	/* C5: give a buffer back */
#define VIRTIO_VESPER_C_CLOSE		0x0106	/* C7: channel is gone */
#define VIRTIO_VESPER_C_RESULT		0x0107	/* outcome of a loader request */
#define VIRTIO_VESPER_C_GOODBYE		0x0108	/* driver goes, all is unshared */

/* Lend queue: one readable message, one writable reply, then the pages. */
#define VIRTIO_VESPER_D_FRAGMENT	0x0201
#define VIRTIO_VESPER_D_BEAT		0x0202	/* pages of the heartbeat */

/* Notify queue: one readable message. */
#define VIRTIO_VESPER_N_INDEX		0x0301	/* B2: sub-buffer switched */
#define VIRTIO_VESPER_N_PANIC		0x0302	/* last words, look at all */

/* Loader queue: one message in the buffers that the driver posted. */
#define VIRTIO_VESPER_L_LOAD		0x0401	/* announces an image */
#define VIRTIO_VESPER_L_DATA		0x0402	/* a piece of it, or of params */
#define VIRTIO_VESPER_L_UNLOAD		0x0403
#define VIRTIO_VESPER_L_CANCEL		0x0404	/* forget a load not yet begun */
#define VIRTIO_VESPER_L_FLUSH		0x0405	/* publish what waits for room */
#define VIRTIO_VESPER_L_SHARE		0x0406	/* show channels of others */
#define VIRTIO_VESPER_L_UNSHARE		0x0407	/* show them no more */

/**
 * struct virtio_vesper_reply - what the host answers on the control queue,
 * and what the device writes into the reply of a lend element
 * @hdr: @hdr.type and @hdr.id repeat the request's; @hdr.len is this size
 * @status: 0 or a positive errno value of Linux's generic numbering
 * @value: by request: HELLO, the host's ABI version; OPEN, the channel id
 */
struct virtio_vesper_reply {
	struct virtio_vesper_hdr hdr;
	__le32 status;
	__le32 value;
	__le64 reserved;
};

/**
 * struct virtio_vesper_hello - who the guest is; first message after a reset
 * @abi_version: VIRTIO_VESPER_ABI_VERSION of the driver
 * @nr_cpus: number of possible CPUs; buffers are numbered by CPU below it
 * @boot_id: random id of this boot, as in /proc/sys/kernel/random/boot_id
 * @tsc_khz: guest TSC frequency in kHz, 0 if records carry nanoseconds
 * @tsc_anchor: guest TSC at the moment of @realtime_ns
 * @realtime_ns: guest wall clock, nanoseconds since the epoch
 * @load_policy: VIRTIO_VESPER_POLICY_*
 * @features: which of the feature bits from VIRTIO_VESPER_F_SHARE on the driver
 *	      took, as (1 << bit); a host that offers none of them gets 0
 * @release: kernel release, as uname -r, NUL-terminated
 * @vermagic: module version magic of the guest kernel, NUL-terminated
 */
struct virtio_vesper_hello {
	struct virtio_vesper_hdr hdr;
	__le32 abi_version;
	__le32 nr_cpus;
	__u8 boot_id[16];
	__le64 tsc_khz;
	__le64 tsc_anchor;
	__le64 realtime_ns;
	__le32 load_policy;
	__le32 features;
	__le32 reserved[4];
	__u8 release[VIRTIO_VESPER_RELEASE_LEN];
	__u8 vermagic[VIRTIO_VESPER_RELEASE_LEN];
};

#define VIRTIO_VESPER_POLICY_ANY	0	/* any module the kernel takes */
#define VIRTIO_VESPER_POLICY_SIGNED	1	/* validly signed ones only */
#define VIRTIO_VESPER_POLICY_NONE	2	/* no loading from the host */

/**
 * struct virtio_vesper_open - a channel comes to be (A5, A6)
 * @flags: VIRTIO_VESPER_CHAN_*
 * @subbuf_size: bytes in a sub-buffer, a multiple of the page size
 * @n_subbufs: sub-buffers in a buffer, at most VIRTIO_VESPER_MAX_SUBBUFS
 * @nr_buffers: number of the highest buffer (CPU) plus one
 * @module: name of the module that owns it, NUL-terminated, one path component
 * @channel: base name of its files on the host, NUL-terminated; the buffer's
 *	     number is appended
 */
struct virtio_vesper_open {
	struct virtio_vesper_hdr hdr;
	__le32 flags;
	__le32 subbuf_size;
	__le32 n_subbufs;
	__le32 nr_buffers;
	__u8 uuid[16];
	__le32 reserved[4];
	__u8 module[VIRTIO_VESPER_NAME_LEN];
	__u8 channel[VIRTIO_VESPER_NAME_LEN];
};

#define VIRTIO_VESPER_CHAN_OVERWRITE	(1u << 0) /* flight recorder */
#define VIRTIO_VESPER_CHAN_CTF		(1u << 1) /* sub-buffers are packets */
/*
 * Opened by somebody else in the guest, who writes, switches and consumes as if
 * nobody looked: what the host has consumed holds nobody up, and @begun in the
 * index tells what was written over. Sub-buffers may be closed empty. With no
 * other flag, and only where VIRTIO_VESPER_F_SHARE was negotiated.
 */
#define VIRTIO_VESPER_CHAN_FOREIGN	(1u << 2)

/**
 * struct virtio_vesper_metadata - text for a channel's metadata file
 * @channel: channel id
 * @section: the file is the sections in order, each the texts sent for it in
 *	     order; below VIRTIO_VESPER_MAX_SECTIONS
 * @text: not terminated; its length follows from @hdr.len
 */
struct virtio_vesper_metadata {
	struct virtio_vesper_hdr hdr;
	__le32 channel;
	__le32 section;
	__u8 text[];
};

#define VIRTIO_VESPER_MAX_SECTIONS	4

/**
 * struct virtio_vesper_fragment - heads an element of the lend queue (§3.3.2)
 * @channel: channel id
 * @buffer: number of the buffer
 * @first: number of the first page in this fragment, counted from the start
 *	   of the buffer; VIRTIO_VESPER_INDEX_FRAGMENT for the index page
 * @nr_pages: pages in this fragment
 *
 * The writable part starts with one descriptor that holds a struct
 * virtio_vesper_reply; whole pages follow. Elements are returned as used when
 * the loan ends, or at once, with a status, if it is refused.
 */
struct virtio_vesper_fragment {
	struct virtio_vesper_hdr hdr;
	__le32 channel;
	__le32 buffer;
	__le32 first;
	__le32 nr_pages;
};

#define VIRTIO_VESPER_INDEX_FRAGMENT	0xffffffffu

/**
 * struct virtio_vesper_buffer - names a buffer: SHARE, UNSHARE, CLOSE
 * @channel: channel id
 * @buffer: number of the buffer; VIRTIO_VESPER_ALL_BUFFERS for each
 *
 * @hdr.flags of UNSHARE may have VIRTIO_VESPER_MSG_AGAIN: the guest will go on
 * writing and lend the buffer again. The host then leaves the open sub-buffer.
 */
struct virtio_vesper_buffer {
	struct virtio_vesper_hdr hdr;
	__le32 channel;
	__le32 buffer;
	__le64 reserved;
};

#define VIRTIO_VESPER_ALL_BUFFERS	0xffffffffu

/**
 * struct virtio_vesper_notify - a buffer's index has moved (B2 to B4)
 * @channel: channel id
 * @buffer: number of the buffer
 * @produced: hint only, the index page is the truth
 *
 * @hdr.flags may have VIRTIO_VESPER_MSG_URGENT.
 */
struct virtio_vesper_notify {
	struct virtio_vesper_hdr hdr;
	__le32 channel;
	__le32 buffer;
	__le64 produced;
};

#define VIRTIO_VESPER_MSG_URGENT	(1u << 0)
#define VIRTIO_VESPER_MSG_AGAIN		(1u << 1)

/**
 * struct virtio_vesper_load - announces a module image (A3)
 * @image_len: bytes of the image that DATA messages of the same id will bring
 * @params_len: bytes of the parameter string that comes after the image
 * @module: name of the module, NUL-terminated
 */
struct virtio_vesper_load {
	struct virtio_vesper_hdr hdr;
	__le32 image_len;
	__le32 params_len;
	__le64 reserved;
	__u8 module[VIRTIO_VESPER_NAME_LEN];
};

/**
 * struct virtio_vesper_data - a piece of an announced image
 * @offset: of these bytes in image and parameter string taken as one
 */
struct virtio_vesper_data {
	struct virtio_vesper_hdr hdr;
	__le32 offset;
	__le32 reserved;
	__u8 bytes[];
};

/**
 * struct virtio_vesper_unload - unload a module that VESPER loaded (C3)
 * @module: its name, NUL-terminated
 */
struct virtio_vesper_unload {
	struct virtio_vesper_hdr hdr;
	__u8 module[VIRTIO_VESPER_NAME_LEN];
};

/**
 * struct virtio_vesper_share - relay channels that others open in the guest: show
 * them to the host (L_SHARE), or no more (L_UNSHARE)
 * @pattern: which, NUL-terminated, of [A-Za-z0-9_.:/@+,*?-]: compared with the
 *	     path of a channel's files in their file system less the CPU's number,
 *	     as "block/vda/trace". '*' is any number of characters but '/', '?' one.
 *
 * Answered by a RESULT. Shown are the channels that there are, and those that are
 * opened later, until the pattern is taken back or the driver says goodbye.
 */
struct virtio_vesper_share {
	struct virtio_vesper_hdr hdr;
	__u8 pattern[VIRTIO_VESPER_PATTERN_LEN];
};

/**
 * struct virtio_vesper_result - outcome of a loader request
 * @status: 0 or a positive errno value
 * @stage: VIRTIO_VESPER_STAGE_*, where it was decided; with a @status of 0 and
 *	   SHARE: the module is loaded and does without that channel; with PROBE:
 *	   it is loaded, and @text is what it has to say
 * @module: name the guest kernel knows the module by, NUL-terminated
 * @text: a sentence for the operator, NUL-terminated, may be empty
 *
 * @hdr.id repeats the request's, which is never 0. With 0 it answers none, but
 * tells what became of a module without the host's doing: @status 0, @module was
 * loaded for the host, is there, and has to say @text, or nothing, in place of
 * what it had to say before (once for each such module after a hello, and whenever
 * that changes); ENOENT, it went, by somebody in the guest.
 */
struct virtio_vesper_result {
	struct virtio_vesper_hdr hdr;
	__le32 status;
	__le32 stage;
	__le64 reserved;
	__u8 module[VIRTIO_VESPER_NAME_LEN];
	__u8 text[VIRTIO_VESPER_TEXT_LEN];
};

#define VIRTIO_VESPER_STAGE_TRANSFER	0	/* image did not arrive whole */
#define VIRTIO_VESPER_STAGE_POLICY	1	/* load_policy refused */
#define VIRTIO_VESPER_STAGE_KERNEL	2	/* the module loader's answer */
#define VIRTIO_VESPER_STAGE_SHARE	3	/* the host refused a channel */
#define VIRTIO_VESPER_STAGE_PROBE	4	/* the probe itself, in its own words */
#define VIRTIO_VESPER_STAGE_FOREIGN	5	/* channels of others */

/**
 * struct virtio_vesper_index - the index page of a buffer (§3.3.4)
 * @version: VIRTIO_VESPER_INDEX_VERSION
 * @n_subbufs: repeats the channel's
 * @produced: sub-buffers closed since the channel opened; stored with release
 *	      order after the padding of the sub-buffer and its contents
 * @open: the open sub-buffer: low half, bytes committed in it; high half, low
 *	  half of its number. Counts only while that number equals @produced;
 *	  stored with release order after each record
 * @last_tsc: timestamp of the record that @open covers
 * @lost: records dropped since the channel opened
 * @begun: of foreign channels only: @produced, and one more if a sub-buffer is
 *	   open; stored before anything is written to that one
 * @consumed: sub-buffers the host is done with; stored with release order
 * @armed: reserved: a reader waits, a kick is wanted
 * @padding: unused bytes at the end of each closed sub-buffer
 *
 * The first line is written by the guest, the second by the host; neither side
 * reads back what it wrote itself. The page is the truth; messages only say
 * that it is worth a look.
 */
struct virtio_vesper_index {
	__le32 version;
	__le32 n_subbufs;
	__le64 produced;
	__le64 open;
	__le64 last_tsc;
	__le64 lost;
	__le64 begun;
	__le64 guest_reserved[10];

	__le64 consumed;
	__le32 armed;
	__le32 host_reserved0;
	__le64 host_reserved[14];

	__le32 padding[VIRTIO_VESPER_MAX_SUBBUFS];
};

#define VIRTIO_VESPER_INDEX_VERSION	1

/**
 * struct virtio_vesper_beat_head - first line of the heartbeat's pages
 * @version: VIRTIO_VESPER_BEAT_VERSION
 * @nr_cpus: slots that follow, as many as the hello said
 * @state: VIRTIO_VESPER_BEAT_*, of the guest as a whole
 * @period_ms: written by the host: how often a CPU shall beat; 0 leaves it to
 *	       the guest. A CPU finds it at its next beat
 *
 * Lent with VIRTIO_VESPER_D_BEAT, which has the shape of a fragment: @channel
 * and @buffer 0, @first VIRTIO_VESPER_INDEX_FRAGMENT. Once between hello and
 * goodbye, and only if VIRTIO_VESPER_F_HEARTBEAT was negotiated. The loan ends
 * with goodbye or a reset. There is no message about a beat, in either
 * direction: the host looks.
 */
struct virtio_vesper_beat_head {
	__le32 version;
	__le32 nr_cpus;
	__le32 state;
	__le32 guest_reserved;
	__le32 period_ms;
	__le32 host_reserved[11];
};

#define VIRTIO_VESPER_BEAT_VERSION	1

#define VIRTIO_VESPER_BEAT_STARTING	0 /* no word yet */
#define VIRTIO_VESPER_BEAT_ALIVE	1 /* beats are to be expected */
#define VIRTIO_VESPER_BEAT_STOPPED	2 /* none will come: shutdown, unbind */
#define VIRTIO_VESPER_BEAT_PANICKED	3 /* none need come */

/**
 * struct virtio_vesper_beat - a CPU's line; line 1 + n is that of CPU n
 * @beats: counts up when the timer's hard interrupt runs, and when the CPU
 *	   stops being idle
 * @state: VIRTIO_VESPER_CPU_*
 * @period_ms: the next beat comes so long after the last at the latest, if
 *	       the CPU is neither idle nor offline by then
 */
struct virtio_vesper_beat {
	__le64 beats;
	__le32 state;
	__le32 period_ms;
	__le64 reserved[6];
};

#define VIRTIO_VESPER_CPU_OFFLINE	0
#define VIRTIO_VESPER_CPU_RUNNING	1
#define VIRTIO_VESPER_CPU_IDLE		2 /* halted until an interrupt comes */

/**
 * struct virtio_vesper_packet - head of each sub-buffer of a CTF channel
 * @magic: VIRTIO_VESPER_PACKET_MAGIC, as CTF 1.8 has it
 * @uuid: of the trace
 * @stream_id: 0
 * @cpu: the CPU that wrote it
 * @tsc_begin: time of the first record
 * @tsc_end: time of the last record
 * @content_bits: used bits of the packet, this head included
 * @packet_bits: equal to @content_bits: relay's read() strips the padding
 * @sequence: number of the sub-buffer since the channel opened
 * @discarded: records dropped since the channel opened, at the packet's end
 *
 * The guest fills the last five in when it closes the sub-buffer. When a guest
 * dies with one open, the host fills them in, in its own copy, from the index.
 */
struct virtio_vesper_packet {
	__le32 magic;
	__u8 uuid[16];
	__le32 stream_id;
	__le32 cpu;
	__le32 reserved;
	__le64 tsc_begin;
	__le64 tsc_end;
	__le64 content_bits;
	__le64 packet_bits;
	__le64 sequence;
	__le64 discarded;
};

#define VIRTIO_VESPER_PACKET_MAGIC	0xc1fc1fc1u

#endif /* _LINUX_VIRTIO_VESPER_H */
