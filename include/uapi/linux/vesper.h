/* SPDX-License-Identifier: ((GPL-2.0-only WITH Linux-syscall-note) OR BSD-3-Clause) */
/*
 * VESPER host module: the ABI of its two device nodes.
 *
 * /dev/vesper-attach is for a VMM: one open file is one attached guest, for as
 * long as the file is open. /dev/vesper is for the operator. Integers have the
 * machine's byte order. Reserved fields and unknown flags must be zero
 * (EINVAL); an unknown ioctl gets ENOTTY.
 */
#ifndef _LINUX_VESPER_H
#define _LINUX_VESPER_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define VESPER_ABI_MAJOR	1
#define VESPER_ABI_MINOR	0
#define VESPER_ABI_VERSION	((VESPER_ABI_MAJOR << 16) | VESPER_ABI_MINOR)

#define VESPER_NAME_LEN		64	/* with the terminating NUL */
#define VESPER_RELEASE_LEN	128
#define VESPER_TEXT_LEN		256
#define VESPER_PATTERN_LEN	128	/* with the terminating NUL */
#define VESPER_MAX_VCPUS	4096
#define VESPER_MAX_MESSAGE	16384	/* bytes of a loader message */

#define VESPER_IOC_MAGIC	0xb5

/* ---- /dev/vesper-attach ------------------------------------------------- */

/**
 * struct vesper_attach - take a name and become a domain
 * @abi_version: in: VESPER_ABI_VERSION of the caller; out: the module's, also
 *		 when the call fails with EPROTONOSUPPORT because the major
 *		 numbers differ
 * @flags: 0
 * @device_abi: out: version of the device ABI the module speaks, for the
 *		device's configuration space
 * @max_fragment: out: as in struct virtio_vesper_config
 * @max_buffer_pages: out: likewise
 * @max_channels: out: likewise
 * @features: out: device feature bits the module can serve
 * @name: in: domain name, NUL-terminated: [A-Za-z0-9_.-], no leading dot, one
 *	  path component, not "host"
 *
 * Errors: EEXIST (name attached already), EINVAL (name), ENOSPC (limit on
 * domains), EBUSY (this file has attached already), EPROTONOSUPPORT.
 */
struct vesper_attach {
	__u32 abi_version;
	__u32 flags;
	__u32 device_abi;
	__u32 max_fragment;
	__u32 max_buffer_pages;
	__u32 max_channels;
	__u64 features;
	__u64 reserved[4];
	__u8 name[VESPER_NAME_LEN];
};

/**
 * struct vesper_message - pass on one message from the guest
 * @queue: VIRTIO_VESPER_VQ_CONTROL or _NOTIFY
 * @request_len: bytes at @request
 * @reply_cap: room at @reply
 * @reply_len: out: bytes written at @reply, 0 on the notify queue
 * @request: address of the message as the guest sent it
 * @reply: address for the answer
 *
 * Returns 0 when the message was understood, whatever the answer says. EPROTO:
 * the guest broke the protocol; the VMM marks the device broken. EINTR means
 * that nothing was done. The queues are not ordered among each other: a
 * notification for a buffer that is gone is no error.
 */
struct vesper_message {
	__u32 queue;
	__u32 request_len;
	__u32 reply_cap;
	__u32 reply_len;
	__u64 request;
	__u64 reply;
	__u64 reserved[2];
};

/**
 * struct vesper_segment - a run of guest memory in the VMM's address space
 */
struct vesper_segment {
	__u64 addr;
	__u64 len;
};

/**
 * struct vesper_lend - pass on one element of the lend queue
 * @cookie: not 0; comes back in the VESPER_EVENT_RETURN that ends the loan
 * @request: address of the fragment message as the guest sent it
 * @request_len: its length
 * @nr_segments: number of segments, at most VIRTIO_VESPER_MAX_FRAGMENT
 * @segments: address of an array of struct vesper_segment: page-aligned whole
 *	      pages of guest RAM, nothing else
 *
 * Returns 0 when the pages are pinned; otherwise the VMM returns the element
 * to the guest with errno as its status. ENOMEM: the caller's RLIMIT_MEMLOCK
 * is too small. EFAULT/EINVAL: the segments. EOPNOTSUPP: memory that cannot be
 * pinned (guest RAM in a file on a real file system). ENOSPC: more pages than
 * the domain may lend, or as many RETURNs that were not fetched. EPERM: another
 * process has lent for this domain. EPROTO: as above.
 */
struct vesper_lend {
	__u64 cookie;
	__u64 request;
	__u32 request_len;
	__u32 nr_segments;
	__u64 segments;
	__u64 reserved[2];
};

/**
 * struct vesper_buffers - the guest has posted buffers on the loader queue
 * @count: how many more
 * @size: bytes in each, at least 512, at most VESPER_MAX_MESSAGE
 *
 * The n-th LOADER event since the last RESET goes into the n-th buffer announced
 * since then, and is no longer than that one.
 */
struct vesper_buffers {
	__u32 count;
	__u32 size;
};

/**
 * struct vesper_notice - the VM changes state
 * @what: VESPER_NOTICE_*
 * @value: RUN_STATE: VESPER_RUN_*
 *
 * RESET returns only when nothing refers to guest memory any more and the host
 * has its copy of what was unread; every loan is over then without a RETURN,
 * and events that were not read yet are dropped.
 */
struct vesper_notice {
	__u32 what;
	__u32 value;
	__u64 reserved;
};

#define VESPER_NOTICE_RESET		1 /* device or machine reset */
#define VESPER_NOTICE_SHUTDOWN		2 /* the guest has powered itself off */
#define VESPER_NOTICE_RUN_STATE		3
#define VESPER_NOTICE_MIGRATION		4 /* @value: 1 begins, 0 ended */
#define VESPER_NOTICE_BROKEN		5 /* the VMM marked the device broken */
#define VESPER_NOTICE_POWERDOWN		6 /* the guest is asked to power off */

#define VESPER_RUN_RUNNING		1
#define VESPER_RUN_PAUSED		2
#define VESPER_RUN_STOPPED		3 /* any other reason not to run */
#define VESPER_RUN_FAILED		4 /* stopped for an error of the VM's */

/**
 * struct vesper_vcpus - thread ids of the virtual CPUs, by CPU index
 * @count: entries at @tids, at most VESPER_MAX_VCPUS
 * @tids: address of an array of __s32, in the caller's pid namespace; 0 where no
 *	  CPU has that index. Each call replaces what the last one said.
 */
struct vesper_vcpus {
	__u32 count;
	__u32 reserved;
	__u64 tids;
};

/*
 * read() gives one event each: this head, then @len bytes. EAGAIN when there is
 * none; poll() tells. A RETURN is never held up by LOADER messages, which are
 * only given out while the guest has buffers posted.
 */
struct vesper_event {
	__u32 type;
	__u32 len;
	__u64 cookie;
	__u32 status;
	__u32 reserved;
};

#define VESPER_EVENT_RETURN	1 /* loan @cookie is over, for @status */
#define VESPER_EVENT_LOADER	2 /* a message for the next loader buffer */
#define VESPER_EVENT_BROKEN	3 /* mark the device broken */

#define VESPER_IOC_ATTACH	_IOWR(VESPER_IOC_MAGIC, 0x00, struct vesper_attach)
#define VESPER_IOC_MESSAGE	_IOWR(VESPER_IOC_MAGIC, 0x01, struct vesper_message)
#define VESPER_IOC_LEND		_IOW(VESPER_IOC_MAGIC, 0x02, struct vesper_lend)
#define VESPER_IOC_BUFFERS	_IOW(VESPER_IOC_MAGIC, 0x03, struct vesper_buffers)
#define VESPER_IOC_NOTICE	_IOW(VESPER_IOC_MAGIC, 0x04, struct vesper_notice)
#define VESPER_IOC_VCPUS	_IOW(VESPER_IOC_MAGIC, 0x05, struct vesper_vcpus)

/* ---- /dev/vesper -------------------------------------------------------- */

/*
 * poll(): readable (EPOLLIN) when there is something new for this open file:
 * since its last VESPER_IOC_DOMAINS that had room for all of them, or since it
 * was opened and never called it, a domain, module, channel or buffer came or
 * went, or the state of one changed (loaded, draining, dead, reaped, run state,
 * ...). It stays so until the next such call. So: poll, list the domains, then
 * the modules and buffers of each, poll again; what changes meanwhile makes the
 * file readable once more. Data that arrive or are read are no such change;
 * relay files have a poll() of their own.
 */

/**
 * struct vesper_info - which module is this
 * @abi_version: VESPER_ABI_VERSION of the module
 * @device_abi: version of the device ABI it speaks
 */
struct vesper_info {
	__u32 abi_version;
	__u32 device_abi;
	__u32 domains;
	__u32 max_domains;
	__u64 reserved[6];
};

/**
 * struct vesper_domain - one entry of VESPER_IOC_DOMAINS
 * @state: VESPER_DOMAIN_*
 * @run_state: VESPER_RUN_*, 0 if the VMM never said; of a dead domain what it
 *	       said last
 * @vmm_pid: process that attached, in the caller's pid namespace; 0 for the
 *	     domain "host", which is this kernel
 * @guest_abi: device ABI version of the guest's driver, 0 before its hello; in
 *	       state ATTACHED, that of the driver that was turned away for it
 * @load_policy: VIRTIO_VESPER_POLICY_*
 * @modules: entries of VESPER_IOC_MODULES
 * @lent_pages: pages of the guest that are pinned now
 * @kept_bytes: memory that holds what is unread of buffers that the guest does
 *		not have any more
 * @heartbeat: VESPER_BEAT_*, what the heartbeat says of the guest
 * @powerdowns: times that the VMM has asked the guest to power off since the
 *		guest's driver came
 * @hangs: times that it was found hung
 */
struct vesper_domain {
	__u8 name[VESPER_NAME_LEN];
	__u32 state;
	__u32 run_state;
	__s32 vmm_pid;
	__u32 guest_abi;
	__u32 nr_cpus;
	__u32 load_policy;
	__u32 modules;
	__u32 channels;
	__u64 lent_pages;
	__u64 tsc_khz;
	__u64 tsc_anchor;
	__u64 realtime_ns;
	__u8 boot_id[16];
	__u8 release[VESPER_RELEASE_LEN];
	__u8 vermagic[VESPER_RELEASE_LEN];
	__u64 kept_bytes;
	__u32 heartbeat;
	__u32 powerdowns;
	__u64 hangs;
	__u64 reserved[5];
};

#define VESPER_DOMAIN_ATTACHED	1 /* a VMM, no word from a guest driver */
#define VESPER_DOMAIN_READY	2 /* the guest driver is there */
#define VESPER_DOMAIN_BROKEN	3 /* the guest broke the protocol */
#define VESPER_DOMAIN_DEAD	4 /* the VMM is gone, data is kept */

#define VESPER_BEAT_UNKNOWN	0 /* there is none, or nothing to judge by */
#define VESPER_BEAT_ALIVE	1
#define VESPER_BEAT_IDLE	2 /* all CPUs sleep, and say so */
#define VESPER_BEAT_PAUSED	3 /* the VMM does not run it, or is stopped */
#define VESPER_BEAT_STARVED	4 /* it is silent, and the host gives no time */
#define VESPER_BEAT_HUNG	5 /* no CPU that has work beats */
#define VESPER_BEAT_STUCK	6 /* a CPU does not beat, others do */
#define VESPER_BEAT_PANICKED	7 /* it said so itself */

/**
 * struct vesper_module - one entry of VESPER_IOC_MODULES
 * @name: name of its directory, too; a draining one that made room for a new
 *	  one is NAME@N in both
 * @state: VESPER_MODULE_*
 * @status: errno value of the last failed request on it, or 0
 * @text: what it has to say, in the guest's words, as long as it holds: a point
 *	  that is not attached, and why; empty if there is nothing
 */
struct vesper_module {
	__u8 name[VESPER_NAME_LEN];
	__u32 state;
	__u32 status;
	__u32 channels;
	__u32 reserved0;
	__u64 image_len;
	__u64 loaded_ns;	/* wall clock of the load */
	__u64 reserved[4];
	__u8 text[VESPER_TEXT_LEN];
};

#define VESPER_MODULE_LOADING	1
#define VESPER_MODULE_LIVE	2
#define VESPER_MODULE_UNLOADING	3
#define VESPER_MODULE_DRAINING	4 /* gone in the guest, unread data here */

/**
 * struct vesper_buffer - one entry of VESPER_IOC_BUFFERS_OF
 * @module: as in struct vesper_module
 * @produced: sub-buffers closed by the guest
 * @consumed: sub-buffers read on the host
 * @lost: records dropped in the guest because the buffer was full
 * @unread_bytes: without padding
 * @lapped: sub-buffers that a channel in overwrite mode wrote over before they
 *	    were read; counted in @consumed
 */
struct vesper_buffer {
	__u8 module[VESPER_NAME_LEN];
	__u8 channel[VESPER_NAME_LEN];
	__u32 buffer;
	__u32 flags;		/* VIRTIO_VESPER_CHAN_* */
	__u32 subbuf_size;
	__u32 n_subbufs;
	__u64 produced;
	__u64 consumed;
	__u64 lost;
	__u64 unread_bytes;
	__u64 lapped;
	__u64 reserved[3];
};

/**
 * struct vesper_list - argument of the listing calls
 * @capacity: in: room at @entries, in entries
 * @count: out: how many there are; those beyond @capacity are not written
 * @entry_size: in: sizeof the entry, so that entries can grow
 * @entries: address of an array
 * @domain: which domain, where the call is about one; ENODEV if there is none
 */
struct vesper_list {
	__u32 capacity;
	__u32 count;
	__u32 entry_size;
	__u32 reserved;
	__u64 entries;
	__u8 domain[VESPER_NAME_LEN];
};

/**
 * struct vesper_load - load a module into a guest (A1 to A4)
 * @image: address of the image: a module file, plain or xz-compressed
 * @image_len: its bytes, at most VIRTIO_VESPER_MAX_IMAGE
 * @params: address of the parameter string, as insmod would pass it
 * @params_len: its bytes, without a terminator
 * @timeout_ms: give up waiting after so long; 0 waits for ever
 * @status: out: errno value the guest gave, 0 if it loaded
 * @stage: out: VIRTIO_VESPER_STAGE_*
 * @domain: which guest
 * @module: in: name by which it is listed and its files are found
 * @text: out: the guest's sentence, if it had one
 *
 * Returns 0 when the guest answered, whatever it said in @status. Errors: ENODEV
 * (no such domain), ENOTCONN (no driver in the guest), EEXIST (loaded already),
 * EFBIG, EINVAL, ETIMEDOUT and EINTR (a signal): a request not yet begun is
 * withdrawn, else the guest works on and the module shows as loading; EPIPE
 * (the guest went away), EBUSY (limit on queued requests).
 */
struct vesper_load {
	__u64 image;
	__u64 params;
	__u32 image_len;
	__u32 params_len;
	__u32 timeout_ms;
	__u32 status;
	__u32 stage;
	__u32 flags;
	__u8 domain[VESPER_NAME_LEN];
	__u8 module[VESPER_NAME_LEN];
	__u8 text[VESPER_TEXT_LEN];
	__u64 reserved[4];
};

/**
 * struct vesper_unload - unload a module that was loaded this way (C1 to C8)
 *
 * Fields and errors as in struct vesper_load; ENOENT: not loaded by VESPER.
 */
struct vesper_unload {
	__u32 timeout_ms;
	__u32 status;
	__u32 stage;
	__u32 flags;
	__u8 domain[VESPER_NAME_LEN];
	__u8 module[VESPER_NAME_LEN];
	__u8 text[VESPER_TEXT_LEN];
	__u64 reserved[4];
};

/**
 * struct vesper_reap - throw away what is kept and unread
 * @bytes: out: how many bytes of memory that was
 * @domain: a dead one, or one whose module is named
 * @module: one that is draining; all zero for the whole domain
 *
 * The files go at once; one that a reader is in the middle of goes, with its
 * memory, when it is done. Errors:
 * ENODEV, ENOENT (no such domain, module), EBUSY (it is live).
 */
struct vesper_reap {
	__u32 flags;
	__u32 reserved0;
	__u64 bytes;
	__u8 domain[VESPER_NAME_LEN];
	__u8 module[VESPER_NAME_LEN];
	__u64 reserved[4];
};

/**
 * struct vesper_share - show relay channels that others open in a guest
 * @timeout_ms: give up waiting after so long; 0 waits for ever
 * @status: out: errno value the guest gave. EEXIST: the pattern is shared already;
 *	    ENOENT, with STOP: it is not; ENOSPC: the guest takes no more patterns
 * @stage: out: VIRTIO_VESPER_STAGE_*
 * @flags: VESPER_SHARE_*
 * @domain: which guest
 * @pattern: which channels, see struct virtio_vesper_share
 * @text: out: the guest's sentence
 *
 * Returns and errors as in struct vesper_load; EOPNOTSUPP: the guest's driver, or
 * its VMM, does not know the request.
 */
struct vesper_share {
	__u32 timeout_ms;
	__u32 status;
	__u32 stage;
	__u32 flags;
	__u8 domain[VESPER_NAME_LEN];
	__u8 pattern[VESPER_PATTERN_LEN];
	__u8 text[VESPER_TEXT_LEN];
	__u64 reserved[4];
};

#define VESPER_SHARE_STOP	(1u << 0) /* no more */

/**
 * struct vesper_shared - one entry of VESPER_IOC_SHARED
 * @pattern: what the guest was asked to show, and does
 */
struct vesper_shared {
	__u8 pattern[VESPER_PATTERN_LEN];
	__u64 reserved[4];
};

/**
 * struct vesper_heartbeat - ask about a guest's heartbeat, and set it up
 * @flags: in: VESPER_HEARTBEAT_SET_*; out: 0
 * @threshold_ms: how long a CPU may have had time to run without a beat: in with
 *		  SET_THRESHOLD; out: what holds
 * @period_ms: time between the beats of a CPU that is not idle: in with
 *	       SET_PERIOD; out: what holds
 * @state: out: VESPER_BEAT_*
 * @reason: out: VESPER_BEAT_BY_*, the evidence for that state
 * @cpus: out: CPUs that are online
 * @idle_cpus: out: of these, those that say that they are idle
 * @hung_cpus: out: of these, those that are silent beyond the threshold
 * @beats: out: of all CPUs together
 * @age_ms: out: time since a beat was last seen
 * @silent_ms: out: of the CPU for which this is longest, the time that it had to
 *	       run since its last beat
 * @since_ns: out: wall clock when @state began
 * @hangs: out: times that HUNG was entered
 * @stucks: out: times that STUCK was entered
 * @recoveries: out: times that one of both was left with CPUs that beat again
 * @last_hang_ns: out: wall clock when HUNG was last entered, 0 if never
 * @run_delay_ms: out: time that its virtual CPUs have waited for a processor
 * @domain: in: which
 *
 * HUNG, STUCK and PANICKED, beginning and end, make /dev/vesper readable.
 * Errors: ENODEV; EINVAL: a value out of range, or a threshold of less than
 * VESPER_BEAT_MIN_PERIODS periods.
 */
struct vesper_heartbeat {
	__u32 flags;
	__u32 threshold_ms;
	__u32 period_ms;
	__u32 state;
	__u32 reason;
	__u32 cpus;
	__u32 idle_cpus;
	__u32 hung_cpus;
	__u64 beats;
	__u64 age_ms;
	__u64 silent_ms;
	__u64 since_ns;
	__u64 hangs;
	__u64 stucks;
	__u64 recoveries;
	__u64 last_hang_ns;
	__u64 run_delay_ms;
	__u64 reserved[7];
	__u8 domain[VESPER_NAME_LEN];
};

#define VESPER_HEARTBEAT_SET_THRESHOLD	(1u << 0)
#define VESPER_HEARTBEAT_SET_PERIOD	(1u << 1)

#define VESPER_BEAT_MIN_PERIODS		2
#define VESPER_BEAT_MIN_PERIOD_MS	10
#define VESPER_BEAT_MAX_PERIOD_MS	60000
#define VESPER_BEAT_MAX_THRESHOLD_MS	3600000

#define VESPER_BEAT_BY_NOTHING		0
#define VESPER_BEAT_BY_BEATS		1 /* counters move */
#define VESPER_BEAT_BY_IDLE		2 /* the guest's word, and no time used */
#define VESPER_BEAT_BY_RUN_STATE	3 /* the VMM's word */
#define VESPER_BEAT_BY_STOPPED		4 /* threads stopped, traced or frozen */
#define VESPER_BEAT_BY_WAITING		5 /* threads wait for a processor */
#define VESPER_BEAT_BY_BLOCKED		6 /* threads wait in the host */
#define VESPER_BEAT_BY_EXECUTED		7 /* threads had their time */
#define VESPER_BEAT_BY_HALTED		8 /* threads sleep, no idle guest */
#define VESPER_BEAT_BY_GUEST		9 /* the guest's word */

#define VESPER_IOC_INFO		_IOR(VESPER_IOC_MAGIC, 0x40, struct vesper_info)
#define VESPER_IOC_DOMAINS	_IOWR(VESPER_IOC_MAGIC, 0x41, struct vesper_list)
#define VESPER_IOC_MODULES	_IOWR(VESPER_IOC_MAGIC, 0x42, struct vesper_list)
#define VESPER_IOC_BUFFERS_OF	_IOWR(VESPER_IOC_MAGIC, 0x43, struct vesper_list)
#define VESPER_IOC_LOAD		_IOWR(VESPER_IOC_MAGIC, 0x44, struct vesper_load)
#define VESPER_IOC_UNLOAD	_IOWR(VESPER_IOC_MAGIC, 0x45, struct vesper_unload)
#define VESPER_IOC_REAP		_IOWR(VESPER_IOC_MAGIC, 0x46, struct vesper_reap)
#define VESPER_IOC_SHARE	_IOWR(VESPER_IOC_MAGIC, 0x47, struct vesper_share)
#define VESPER_IOC_SHARED	_IOWR(VESPER_IOC_MAGIC, 0x48, struct vesper_list)
#define VESPER_IOC_HEARTBEAT	_IOWR(VESPER_IOC_MAGIC, 0x49, struct vesper_heartbeat)

/* ---- relay files -------------------------------------------------------- */

/**
 * struct vesper_position - for consumers that map a relay file
 * @produced: out: sub-buffers there to be read, since the channel opened
 * @consumed: GET, out: sub-buffers done with; CONSUME, in: take it this far
 * @lost: out: records dropped in the guest
 * @subbuf_size: out
 * @n_subbufs: out
 * @padding: out: unused bytes at the end of sub-buffer number @consumed
 * @flags: out: VESPER_POSITION_ENDED
 * @lapped: out: sub-buffers written over before they were read
 *
 * In overwrite mode @consumed moves on without the reader when sub-buffers are
 * written over. What was copied out of a mapping is whole if a position asked
 * for afterwards still has @consumed at or before it. CONSUME then takes what
 * is behind for what is there.
 */
struct vesper_position {
	__u64 produced;
	__u64 consumed;
	__u64 lost;
	__u32 subbuf_size;
	__u32 n_subbufs;
	__u32 padding;
	__u32 flags;
	__u64 lapped;
	__u64 reserved[2];
};

#define VESPER_POSITION_ENDED	(1u << 0) /* no more will ever come */

#define VESPER_IOC_POSITION	_IOR(VESPER_IOC_MAGIC, 0x80, struct vesper_position)
#define VESPER_IOC_CONSUME	_IOWR(VESPER_IOC_MAGIC, 0x81, struct vesper_position)

#endif /* _LINUX_VESPER_H */
