// SPDX-License-Identifier: GPL-2.0
/* The attach node: a VMM and its guest, mostly right. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"

static struct slot *any_slot(struct worker *w)
{
	return &fuzz.slots[below(w, SLOTS)];
}

static void become(struct worker *w, struct slot *slot)
{
	struct vesper_attach it = { .abi_version = VESPER_ABI_VERSION };
	int fd, none = -1;

	fd = count(w, OPEN_ATTACH, open(one_in(w, 20) ? "/dev/vesper-attach/x" :
					"/dev/vesper-attach",
					O_RDWR | O_CLOEXEC | O_NONBLOCK));
	if (fd < 0)
		return;
	snprintf((char *)it.name, sizeof(it.name), "%s%zu", fuzz.prefix,
		 one_in(w, 10) ? below(w, SLOTS) : slot - fuzz.slots);
	mutate(w, &it, sizeof(it), 10);
	/* A file without a guest is worth something, too, but not much. */
	if ((count(w, ATTACH, ioctl(fd, VESPER_IOC_ATTACH, pointer(w, &it))) &&
	     !one_in(w, 8)) ||
	    !__atomic_compare_exchange_n(&slot->fd, &none, fd, false,
					 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		close(fd);
}

static void detach(struct slot *slot)
{
	int fd = __atomic_exchange_n(&slot->fd, -1, __ATOMIC_SEQ_CST);

	if (fd >= 0)
		close(fd);
}

void head(struct worker *w, void *msg, __u32 len, __u16 type)
{
	struct virtio_vesper_hdr *hdr = msg;

	hdr->type = type;
	hdr->len = len;
	if (!hdr->id)
		hdr->id = rng_next(w);
}

long message(struct worker *w, struct slot *slot, enum call kind, __u32 queue,
	     void *msg, __u32 len, __u16 type, __u32 *value)
{
	struct virtio_vesper_reply reply = {};
	struct vesper_message m = {
		.queue = queue,
		.request_len = len,
		.reply_cap = sizeof(reply),
		.request = pointer(w, msg),
		.reply = pointer(w, &reply),
	};
	long ret;

	head(w, msg, len, type);
	/* The head rarely: it ends the guest. */
	if (one_in(w, 200))
		mutate(w, msg, sizeof(struct virtio_vesper_hdr), 1);
	if (len > sizeof(struct virtio_vesper_hdr))
		mutate(w, (struct virtio_vesper_hdr *)msg + 1,
		       len - sizeof(struct virtio_vesper_hdr), 4);
	mutate(w, &m, offsetof(struct vesper_message, request), 100);
	if (one_in(w, 200))
		m.reserved[1] = 1;
	ret = ioctl(slot->fd, VESPER_IOC_MESSAGE, pointer(w, &m));
	slot->broken |= ret && errno == EPROTO;
	if (!ret && queue == VIRTIO_VESPER_VQ_CONTROL && reply.status) {
		errno = reply.status;
		ret = -1;
	}
	if (value)
		*value = reply.value;
	return count(w, kind, ret);
}

static void hello(struct worker *w, struct slot *slot)
{
	struct virtio_vesper_hello msg = {
		.abi_version = VIRTIO_VESPER_ABI_VERSION,
		.nr_cpus = 2 + below(w, 4),
		.features = one_in(w, 4) ? 0 : 1 << VIRTIO_VESPER_F_SHARE |
			    1 << VIRTIO_VESPER_F_HEARTBEAT,
		.release = "7.3.4-fuzz",
		.vermagic = "7.3.4-fuzz SMP",
	};

	if (message(w, slot, HELLO, VIRTIO_VESPER_VQ_CONTROL, &msg, sizeof(msg),
		    VIRTIO_VESPER_C_HELLO, NULL))
		return;
	slot->nr_cpus = msg.nr_cpus;
	if (one_in(w, 2))
		lend_beat(w, slot);
}

static void open_channel(struct worker *w, struct slot *slot, __u32 number)
{
	static const __u32 flags[] = {
		0, VIRTIO_VESPER_CHAN_CTF, VIRTIO_VESPER_CHAN_OVERWRITE,
		VIRTIO_VESPER_CHAN_CTF | VIRTIO_VESPER_CHAN_OVERWRITE,
		VIRTIO_VESPER_CHAN_FOREIGN,
	};
	struct channel c = {
		.flags = flags[below(w, sizeof(flags) / sizeof(*flags))],
		.subbuf_size = PAGE * (1 + below(w, 2)),
		.n_subbufs = 1 + below(w, 8),
	};
	struct virtio_vesper_open msg = {
		.flags = c.flags,
		.subbuf_size = c.subbuf_size,
		.n_subbufs = c.n_subbufs,
		.nr_buffers = BUFFERS,
	};

	snprintf((char *)msg.module, sizeof(msg.module), "m%u", number % 2);
	snprintf((char *)msg.channel, sizeof(msg.channel), "c%u-", number);
	if (!message(w, slot, c.flags & VIRTIO_VESPER_CHAN_FOREIGN ?
		     OPEN_FOREIGN :
		     c.flags & VIRTIO_VESPER_CHAN_OVERWRITE ?
		     OPEN_OVERWRITE : OPEN, VIRTIO_VESPER_VQ_CONTROL, &msg,
		     sizeof(msg), VIRTIO_VESPER_C_OPEN, &c.id))
		slot->channels[number] = c;
}

static void metadata(struct worker *w, struct slot *slot, __u32 number)
{
	union {
		struct virtio_vesper_metadata head;
		__u8 bytes[2048];
	} msg = { .head = { .channel = slot->channels[number].id,
			    .section = below(w, 4) } };

	message(w, slot, METADATA, VIRTIO_VESPER_VQ_CONTROL, &msg,
		sizeof(msg.head) + below(w, sizeof(msg) - sizeof(msg.head)),
		VIRTIO_VESPER_C_METADATA, NULL);
}

static void about_buffer(struct worker *w, struct slot *slot, enum call kind,
			 __u16 type, __u32 number, __u32 buffer)
{
	struct virtio_vesper_buffer msg = {
		.channel = slot->channels[number].id,
		.buffer = buffer,
	};

	if (kind == UNSHARE && one_in(w, 3))
		msg.hdr.flags = VIRTIO_VESPER_MSG_AGAIN;
	message(w, slot, kind, VIRTIO_VESPER_VQ_CONTROL, &msg, sizeof(msg),
		type, NULL);
}

static void share(struct worker *w, struct slot *slot, __u32 number,
		  __u32 buffer)
{
	about_buffer(w, slot, begun_absurd(slot, number, buffer) ? BEGUN :
		     SHARE, VIRTIO_VESPER_C_SHARE, number, buffer);
}

static void result(struct worker *w, struct slot *slot, __u32 id)
{
	struct virtio_vesper_result msg = {
		.hdr.id = id,
		.status = below(w, 3) ? 0 : below(w, 140),
		.stage = below(w, 4),
		.text = "because",
	};

	if (one_in(w, 8))
		snprintf((char *)msg.module, sizeof(msg.module), "m0");
	message(w, slot, RESULT, VIRTIO_VESPER_VQ_CONTROL, &msg, sizeof(msg),
		VIRTIO_VESPER_C_RESULT, NULL);
}

static void bare(struct worker *w, struct slot *slot, enum call kind,
		 __u32 queue, __u16 type)
{
	struct virtio_vesper_hdr msg = {};

	message(w, slot, kind, queue, &msg, sizeof(msg), type, NULL);
}

/* Returns the id of a request that now waits for its result, or 0. */
static __u32 read_event(struct worker *w, struct slot *slot)
{
	static const size_t sizes[] = { 0, 1, 23, 24, 100 };
	struct virtio_vesper_hdr *hdr;
	struct vesper_event event;
	__u8 bytes[sizeof(event) + VESPER_MAX_MESSAGE];
	size_t len = one_in(w, 10) ? sizes[below(w, 5)] : sizeof(bytes);
	long got;

	/* What is read may go elsewhere. */
	memset(bytes, 0, sizeof(event) + sizeof(*hdr));
	got = count(w, READ_EVENT,
		    read(slot->fd, (void *)pointer(w, bytes), len));

	if (got < (long)(sizeof(event) + sizeof(*hdr)))
		return 0;
	memcpy(&event, bytes, sizeof(event));
	hdr = (void *)(bytes + sizeof(event));
	if (event.type != VESPER_EVENT_LOADER)
		return 0;
	slot->ids[slot->nr_ids++ % IDS] = hdr->id;
	return hdr->type == VIRTIO_VESPER_L_LOAD ||
		hdr->type == VIRTIO_VESPER_L_UNLOAD ||
		hdr->type == VIRTIO_VESPER_L_SHARE ||
		hdr->type == VIRTIO_VESPER_L_UNSHARE ? hdr->id : 0;
}

static void serve(struct worker *w, struct slot *slot)
{
	__u32 id = read_event(w, slot);

	if (!id || one_in(w, 3))
		return;
	/* The image, or some of it; of no interest. */
	for (unsigned int i = below(w, 8); i; i--)
		read_event(w, slot);
	result(w, slot, id);
}

static void notice(struct worker *w, struct slot *slot)
{
	static const __u32 others[] = {
		VESPER_NOTICE_SHUTDOWN, VESPER_NOTICE_MIGRATION,
		VESPER_NOTICE_POWERDOWN,
	};
	struct vesper_notice it = {
		.what = VESPER_NOTICE_RUN_STATE,
		.value = 1 + below(w, 3),
	};

	if (one_in(w, 3))
		it.what = others[below(w, 3)];
	else if (one_in(w, 4))
		it.what = VESPER_NOTICE_RESET;
	mutate(w, &it, sizeof(it), 10);
	count(w, NOTICE, ioctl(slot->fd, VESPER_IOC_NOTICE, pointer(w, &it)));
}

static void vcpus(struct worker *w, struct slot *slot)
{
	__s32 tids[8] = { getpid(), gettid(), 0, -1, 1, INT_MAX };
	struct vesper_vcpus it = {
		.count = below(w, 8),
		.tids = pointer(w, tids),
	};

	mutate(w, &it, 8, 10);
	count(w, VCPUS, ioctl(slot->fd, VESPER_IOC_VCPUS, pointer(w, &it)));
}

static void post(struct worker *w, struct slot *slot)
{
	struct vesper_buffers it = { 1 + below(w, 4), 512 + below(w, 15000) };

	mutate(w, &it, sizeof(it), 10);
	count(w, BUFFERS_POSTED,
	      ioctl(slot->fd, VESPER_IOC_BUFFERS, pointer(w, &it)));
}

/* What no VMM would do with the file. */
static void odd(struct worker *w, struct slot *slot)
{
	__u8 bytes[64];
	void *map;

	switch (below(w, 6)) {
	case 0:
		count(w, ODD, write(slot->fd, bytes, sizeof(bytes)));
		break;
	case 1:
		map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, slot->fd, 0);
		if (map != MAP_FAILED)
			munmap(map, PAGE);
		count(w, ODD, map == MAP_FAILED ? -1 : 0);
		break;
	case 2:
		count(w, ODD, lseek(slot->fd, rng_next(w), SEEK_SET));
		break;
	case 3:
		count(w, ODD, ioctl(slot->fd, rng_next(w),
				    pointer(w, w->scratch)));
		break;
	case 4: /* Right magic, any number, any size. */
		count(w, ODD, ioctl(slot->fd,
				    _IOC(below(w, 4), VESPER_IOC_MAGIC,
					 below(w, 256), below(w, 400)),
				    pointer(w, w->scratch)));
		break;
	default:
		count(w, ODD, pread(slot->fd, bytes, sizeof(bytes), 1));
		break;
	}
}

/* From nothing to a buffer that is read, as a guest would do it. */
static void whole(struct worker *w, struct slot *slot)
{
	__u32 number = below(w, CHANNELS), buffer = below(w, BUFFERS), i;

	open_channel(w, slot, number);
	metadata(w, slot, number);
	lend(w, slot, number, buffer);
	share(w, slot, number, buffer);
	for (i = below(w, 8); i; i--)
		notify(w, slot, number, buffer);
}

static void reset(struct worker *w, struct slot *slot)
{
	struct vesper_notice it = { .what = VESPER_NOTICE_RESET };

	count(w, NOTICE, ioctl(slot->fd, VESPER_IOC_NOTICE, &it));
	hello(w, slot);
}

void attach_step(struct worker *w)
{
	struct slot *slot = any_slot(w);
	__u32 number = below(w, CHANNELS), buffer = below(w, BUFFERS);
	__u32 all = one_in(w, 3) ? VIRTIO_VESPER_ALL_BUFFERS : buffer;
	struct pollfd pfd = { .fd = slot->fd, .events = POLLIN };

	if (slot->fd < 0) {
		become(w, slot);
		hello(w, slot);
		return;
	}
	if (slot->broken && one_in(w, 4)) {
		slot->broken = false;
		reset(w, slot);
		return;
	}
	switch (below(w, 100)) {
	case 0:
		if (one_in(w, 4))
			detach(slot);
		break;
	case 1:
		become(w, slot);
		break;
	case 2 ... 3:
		if (one_in(w, 2))
			reset(w, slot);
		else
			hello(w, slot);
		break;
	case 4 ... 9:
		open_channel(w, slot, number);
		break;
	case 10 ... 13:
		metadata(w, slot, number);
		break;
	case 14 ... 21:
		lend(w, slot, number, buffer);
		break;
	case 22 ... 25:
		share(w, slot, number, all);
		break;
	case 26 ... 31:
		about_buffer(w, slot, UNSHARE, VIRTIO_VESPER_C_UNSHARE, number,
			     all);
		break;
	case 32 ... 35:
		about_buffer(w, slot, CLOSE, VIRTIO_VESPER_C_CLOSE, number,
			     one_in(w, 5) ? buffer : VIRTIO_VESPER_ALL_BUFFERS);
		break;
	case 36 ... 41:
		result(w, slot, slot->ids[below(w, IDS)]);
		break;
	case 42:
		bare(w, slot, GOODBYE, VIRTIO_VESPER_VQ_CONTROL,
		     VIRTIO_VESPER_C_GOODBYE);
		break;
	case 43 ... 57:
		notify(w, slot, number, buffer);
		break;
	case 58:
		bare(w, slot, PANIC, VIRTIO_VESPER_VQ_NOTIFY,
		     VIRTIO_VESPER_N_PANIC);
		break;
	case 59 ... 61:
		post(w, slot);
		break;
	case 62 ... 63:
		notice(w, slot);
		break;
	case 64:
		vcpus(w, slot);
		break;
	case 65 ... 79:
		serve(w, slot);
		break;
	case 80 ... 83:
		count(w, POLL, poll(&pfd, 1, 0) < 0 ||
		      (pfd.revents & (POLLERR | POLLNVAL)) ? -1 : 0);
		break;
	case 84:
		odd(w, slot);
		break;
	case 85:
		lend_beat(w, slot);
		break;
	case 86 ... 87:
		scribble(w, slot);
		break;
	default:
		whole(w, slot);
		break;
	}
}
