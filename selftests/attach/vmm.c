// SPDX-License-Identifier: GPL-2.0
/* A VMM with its guest, both made up. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm.h"

int vmm_open(struct vmm *vmm, const char *name)
{
	struct vesper_attach attach = { .abi_version = VESPER_ABI_VERSION };

	memset(vmm, 0, sizeof(*vmm));
	vmm->next_id = 1;
	snprintf(vmm->name, sizeof(vmm->name), "%s", name);
	vmm->fd = open("/dev/vesper-attach", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (vmm->fd < 0)
		return -1;
	memcpy(attach.name, vmm->name, sizeof(attach.name));
	if (ioctl(vmm->fd, VESPER_IOC_ATTACH, &attach)) {
		int err = errno;

		vmm_close(vmm);
		errno = err;
		return -1;
	}
	return 0;
}

void vmm_close(struct vmm *vmm)
{
	if (vmm->fd >= 0)
		close(vmm->fd);
	vmm->fd = -1;
}

static void fill_head(struct vmm *vmm, void *msg, size_t len, __u16 type)
{
	struct virtio_vesper_hdr *hdr = msg;

	hdr->type = type;
	hdr->len = len;
	if (!hdr->id)
		hdr->id = vmm->next_id++;
}

static int control(struct vmm *vmm, void *msg, size_t len, __u16 type,
		   __u32 *value)
{
	struct virtio_vesper_reply reply = {};
	struct vesper_message m = {
		.queue = VIRTIO_VESPER_VQ_CONTROL,
		.request_len = len,
		.reply_cap = sizeof(reply),
		.request = (uintptr_t)msg,
		.reply = (uintptr_t)&reply,
	};

	if (ioctl(vmm->fd, VESPER_IOC_MESSAGE, &m))
		return -1;
	if (m.reply_len != sizeof(reply) || reply.hdr.type != type ||
	    reply.hdr.id != ((struct virtio_vesper_hdr *)msg)->id ||
	    reply.hdr.len != sizeof(reply)) {
		errno = EBADMSG;
		return -1;
	}
	if (value)
		*value = reply.value;
	return reply.status;
}

int vmm_control(struct vmm *vmm, void *msg, size_t len, __u16 type,
		__u32 *value)
{
	fill_head(vmm, msg, len, type);
	return control(vmm, msg, len, type, value);
}

int vmm_notify_raw(struct vmm *vmm, void *msg, size_t len, __u16 type)
{
	struct vesper_message m = {
		.queue = VIRTIO_VESPER_VQ_NOTIFY,
		.request_len = len,
		.request = (uintptr_t)msg,
	};

	fill_head(vmm, msg, len, type);
	return ioctl(vmm->fd, VESPER_IOC_MESSAGE, &m);
}

static int say_hello(struct vmm *vmm, __u32 nr_cpus, __u32 version,
		     __u32 features, __u32 *value)
{
	struct virtio_vesper_hello hello = {
		.abi_version = version,
		.nr_cpus = nr_cpus,
		.boot_id = { 1, 2, 3 },
		.tsc_khz = 1000000,
		.tsc_anchor = 42,
		.realtime_ns = 43,
		.features = features,
		.release = "7.3.4-test",
		.vermagic = "7.3.4-test SMP",
	};

	return vmm_control(vmm, &hello, sizeof(hello), VIRTIO_VESPER_C_HELLO,
			   value);
}

int vmm_hello_version(struct vmm *vmm, __u32 nr_cpus, __u32 version,
		      __u32 *value)
{
	return say_hello(vmm, nr_cpus, version, 0, value);
}

int vmm_hello_features(struct vmm *vmm, __u32 nr_cpus, __u32 features)
{
	return say_hello(vmm, nr_cpus, VIRTIO_VESPER_ABI_VERSION, features,
			 NULL);
}

int vmm_hello(struct vmm *vmm, __u32 nr_cpus)
{
	return vmm_hello_version(vmm, nr_cpus, VIRTIO_VESPER_ABI_VERSION, NULL);
}

int vmm_goodbye(struct vmm *vmm)
{
	struct virtio_vesper_hdr hdr = {};

	return vmm_control(vmm, &hdr, sizeof(hdr), VIRTIO_VESPER_C_GOODBYE,
			   NULL);
}

int vmm_open_channel(struct vmm *vmm, const char *module, const char *channel,
		     __u32 flags, __u32 subbuf_size, __u32 n_subbufs,
		     __u32 nr_buffers, __u32 *id)
{
	struct virtio_vesper_open msg = {
		.flags = flags,
		.subbuf_size = subbuf_size,
		.n_subbufs = n_subbufs,
		.nr_buffers = nr_buffers,
	};

	snprintf((char *)msg.module, sizeof(msg.module), "%s", module);
	snprintf((char *)msg.channel, sizeof(msg.channel), "%s", channel);
	return vmm_control(vmm, &msg, sizeof(msg), VIRTIO_VESPER_C_OPEN, id);
}

int vmm_metadata(struct vmm *vmm, __u32 channel, __u32 section,
		 const char *text)
{
	union {
		struct virtio_vesper_metadata head;
		__u8 bytes[VIRTIO_VESPER_MAX_CONTROL];
	} msg = { .head = { .channel = channel, .section = section } };
	size_t len = strlen(text);

	if (len > sizeof(msg) - sizeof(msg.head))
		len = sizeof(msg) - sizeof(msg.head);
	memcpy(msg.bytes + sizeof(msg.head), text, len);
	return vmm_control(vmm, &msg, sizeof(msg.head) + len,
			   VIRTIO_VESPER_C_METADATA, NULL);
}

int vmm_buffer_msg(struct vmm *vmm, __u16 type, __u32 channel,
		   __u32 buffer)
{
	struct virtio_vesper_buffer msg = {
		.channel = channel,
		.buffer = buffer,
	};

	return vmm_control(vmm, &msg, sizeof(msg), type, NULL);
}

int vmm_result(struct vmm *vmm, __u32 id, __u32 status, __u32 stage,
	       const char *module, const char *text)
{
	struct virtio_vesper_result msg = {
		.hdr.id = id,
		.status = status,
		.stage = stage,
	};

	snprintf((char *)msg.module, sizeof(msg.module), "%s", module);
	snprintf((char *)msg.text, sizeof(msg.text), "%s", text);
	return vmm_control(vmm, &msg, sizeof(msg), VIRTIO_VESPER_C_RESULT,
			   NULL);
}

int vmm_news(struct vmm *vmm, __u32 stage, const char *module, const char *text)
{
	struct virtio_vesper_result msg = {
		.hdr.type = VIRTIO_VESPER_C_RESULT,
		.hdr.len = sizeof(msg),
		.stage = stage,
	};

	snprintf((char *)msg.module, sizeof(msg.module), "%s", module);
	snprintf((char *)msg.text, sizeof(msg.text), "%s", text);
	return control(vmm, &msg, sizeof(msg), VIRTIO_VESPER_C_RESULT, NULL);
}

int vmm_notify(struct vmm *vmm, __u32 channel, __u32 buffer)
{
	struct virtio_vesper_notify msg = {
		.channel = channel,
		.buffer = buffer,
	};

	return vmm_notify_raw(vmm, &msg, sizeof(msg), VIRTIO_VESPER_N_INDEX);
}

int vmm_lend(struct vmm *vmm, __u64 cookie, __u32 channel,
	     __u32 buffer, __u32 first, __u32 nr_pages,
	     const struct vesper_segment *segments, __u32 nr_segments)
{
	struct virtio_vesper_fragment msg = {
		.channel = channel,
		.buffer = buffer,
		.first = first,
		.nr_pages = nr_pages,
	};
	struct vesper_lend lend = {
		.cookie = cookie,
		.request = (uintptr_t)&msg,
		.request_len = sizeof(msg),
		.nr_segments = nr_segments,
		.segments = (uintptr_t)segments,
	};

	fill_head(vmm, &msg, sizeof(msg), VIRTIO_VESPER_D_FRAGMENT);
	return ioctl(vmm->fd, VESPER_IOC_LEND, &lend);
}

int vmm_notice(struct vmm *vmm, __u32 what, __u32 value)
{
	struct vesper_notice notice = { .what = what, .value = value };

	return ioctl(vmm->fd, VESPER_IOC_NOTICE, &notice);
}

int vmm_post(struct vmm *vmm, __u32 count, __u32 size)
{
	struct vesper_buffers buffers = { .count = count, .size = size };

	return ioctl(vmm->fd, VESPER_IOC_BUFFERS, &buffers);
}

int vmm_event(struct vmm *vmm, struct vesper_event *head, void *body,
	      size_t room, int timeout_ms)
{
	__u8 bytes[sizeof(*head) + VESPER_MAX_MESSAGE];
	struct pollfd pfd = { .fd = vmm->fd, .events = POLLIN };
	ssize_t got;

	if (poll(&pfd, 1, timeout_ms) <= 0) {
		errno = ETIME;
		return -1;
	}
	got = read(vmm->fd, bytes, sizeof(bytes));
	if (got < 0)
		return -1;
	memcpy(head, bytes, sizeof(*head));
	if ((size_t)got != sizeof(*head) + head->len || head->len > room) {
		errno = EBADMSG;
		return -1;
	}
	if (head->len)
		memcpy(body, bytes + sizeof(*head), head->len);
	return 0;
}

int vmm_take_returns(struct vmm *vmm, unsigned int count)
{
	struct vesper_event head;

	while (count--) {
		if (vmm_event(vmm, &head, NULL, 0, 5000))
			return -1;
		if (head.type != VESPER_EVENT_RETURN || head.status) {
			errno = EBADMSG;
			return -1;
		}
	}
	return 0;
}

int ring_init(struct ring *ring, struct vmm *vmm, __u32 channel,
	      __u32 buffer, __u32 subbuf_size, __u32 n_subbufs,
	      bool ctf)
{
	size_t bytes = (size_t)subbuf_size * n_subbufs;
	void *mem = mmap(NULL, bytes + PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		return -1;
	memset(ring, 0, sizeof(*ring));
	ring->vmm = vmm;
	ring->channel = channel;
	ring->buffer = buffer;
	ring->subbuf_size = subbuf_size;
	ring->n_subbufs = n_subbufs;
	ring->ctf = ctf;
	ring->data = mem;
	ring->index = (void *)(ring->data + bytes);
	ring->index->version = VIRTIO_VESPER_INDEX_VERSION;
	ring->index->n_subbufs = n_subbufs;
	return 0;
}

void ring_free(struct ring *ring)
{
	munmap(ring->data, (size_t)ring->subbuf_size * ring->n_subbufs + PAGE);
}

static __u64 cookie(struct ring *ring)
{
	return ((__u64)(ring->buffer + 1) << 32) | ++ring->loans;
}

int ring_lend(struct ring *ring, __u32 pages)
{
	__u32 total = ring->subbuf_size / PAGE * ring->n_subbufs;
	struct vesper_segment segment = {
		.addr = (uintptr_t)ring->index,
		.len = PAGE,
	};

	for (__u32 first = 0; first < total; first += pages) {
		__u32 n = total - first < pages ? total - first : pages;
		/* In two segments where that can be. */
		struct vesper_segment two[2] = {
			{ (uintptr_t)ring->data + (size_t)first * PAGE, PAGE },
			{ (uintptr_t)ring->data + (size_t)(first + 1) * PAGE,
			  (__u64)(n - 1) * PAGE },
		};

		if (vmm_lend(ring->vmm, cookie(ring), ring->channel,
			     ring->buffer, first, n, two, n > 1 ? 2 : 1))
			return -1;
	}
	return vmm_lend(ring->vmm, cookie(ring), ring->channel, ring->buffer,
			VIRTIO_VESPER_INDEX_FRAGMENT, 1, &segment, 1);
}

int ring_share(struct ring *ring)
{
	if (ring_lend(ring, VIRTIO_VESPER_MAX_FRAGMENT))
		return -1;
	return vmm_buffer_msg(ring->vmm, VIRTIO_VESPER_C_SHARE, ring->channel,
			      ring->buffer);
}

static __u8 *open_subbuf(struct ring *ring)
{
	__u64 slot = ring->index->produced % ring->n_subbufs;

	return ring->data + slot * ring->subbuf_size;
}

void ring_switch(struct ring *ring)
{
	struct virtio_vesper_index *index = ring->index;
	__u64 number = index->produced;

	if (!ring->used)
		return;
	if (ring->ctf) {
		struct virtio_vesper_packet *head = (void *)open_subbuf(ring);

		head->tsc_end = index->last_tsc;
		head->content_bits = ring->used * 8ull;
		head->packet_bits = head->content_bits;
		head->sequence = number;
		head->discarded = index->lost;
	}
	index->padding[number % ring->n_subbufs] =
		ring->subbuf_size - ring->used;
	ring->used = 0;
	__atomic_store_n(&index->produced, number + 1, __ATOMIC_RELEASE);
	/* Who overwrites says so first. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

bool ring_write(struct ring *ring, const void *record, __u32 len)
{
	struct virtio_vesper_index *index = ring->index;
	__u64 consumed;

	if (ring->used + len > ring->subbuf_size)
		ring_switch(ring);
	consumed = __atomic_load_n(&index->consumed, __ATOMIC_ACQUIRE);
	if (!ring->overwrite &&
	    index->produced - consumed >= ring->n_subbufs) {
		index->lost++;
		return false;
	}
	if (!ring->used && ring->ctf) {
		struct virtio_vesper_packet head = {
			.magic = VIRTIO_VESPER_PACKET_MAGIC,
			.cpu = ring->buffer,
			.tsc_begin = ring->written + 1,
		};

		memcpy(open_subbuf(ring), &head, sizeof(head));
		ring->used = sizeof(head);
	}
	memcpy(open_subbuf(ring) + ring->used, record, len);
	ring->used += len;
	ring->written++;
	index->last_tsc = ring->written;
	__atomic_store_n(&index->open, index->produced << 32 | ring->used,
			 __ATOMIC_RELEASE);
	return true;
}

unsigned int ring_write_numbered(struct ring *ring, unsigned int count,
				 __u32 len)
{
	__u8 record[4096] = {};
	unsigned int done = 0;

	while (done < count) {
		__u64 number = ring->written;

		memset(record, (__u8)number, len);
		memcpy(record, &number, sizeof(number));
		if (!ring_write(ring, record, len))
			break;
		done++;
	}
	return done;
}
