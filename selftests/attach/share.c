// SPDX-License-Identifier: GPL-2.0
/* Channels that others opened in the guest. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common.h"

#define FOREIGN		VIRTIO_VESPER_CHAN_FOREIGN

struct asked {
	pthread_t thread;
	struct vesper_share share;
	int ret, err;
};

static int share(struct vesper_share *share)
{
	int fd = open("/dev/vesper", O_RDWR | O_CLOEXEC);
	int ret = ioctl(fd, VESPER_IOC_SHARE, share);
	int err = errno;

	close(fd);
	errno = err;
	return ret;
}

static struct vesper_share request(const char *pattern, __u32 flags)
{
	struct vesper_share it = { .timeout_ms = 5000, .flags = flags };

	snprintf((char *)it.domain, sizeof(it.domain), DOMAIN);
	snprintf((char *)it.pattern, sizeof(it.pattern), "%s", pattern);
	return it;
}

static void *share_thread(void *arg)
{
	struct asked *a = arg;

	a->ret = share(&a->share);
	a->err = errno;
	return NULL;
}

/* Asks, and answers as the guest; gives what the operator hears. */
static int ask(struct vmm *vmm, const char *pattern, __u32 flags, __u16 type,
	       __u32 status)
{
	struct asked a = { .share = request(pattern, flags) };
	struct virtio_vesper_share msg = {};
	struct vesper_event event;

	pthread_create(&a.thread, NULL, share_thread, &a);
	CHECK(!vmm_event(vmm, &event, &msg, sizeof(msg), 5000));
	CHECK_EQ(event.len, sizeof(msg));
	CHECK_EQ(msg.hdr.type, type);
	CHECK(!strcmp((char *)msg.pattern, pattern));
	CHECK_EQ(vmm_result(vmm, msg.hdr.id, status,
			    VIRTIO_VESPER_STAGE_FOREIGN, "", "said"), 0);
	pthread_join(a.thread, NULL);
	CHECK_EQ(a.ret, 0);
	CHECK_EQ(a.share.status, status);
	CHECK_EQ(a.share.stage, VIRTIO_VESPER_STAGE_FOREIGN);
	CHECK(!strcmp((char *)a.share.text, "said"));
	return KSFT_PASS;
}

static long long shared(struct vesper_shared *entries, __u32 capacity)
{
	struct vesper_list list = {
		.capacity = capacity,
		.entry_size = sizeof(*entries),
		.entries = (uintptr_t)entries,
		.domain = DOMAIN,
	};
	int fd = open("/dev/vesper", O_RDWR | O_CLOEXEC);
	int ret = ioctl(fd, VESPER_IOC_SHARED, &list);

	close(fd);
	return ret ? -1 : (long long)list.count;
}

int test_share(void)
{
	static const char * const bad[] = { "", "/a", "a/", "a b", "a\\", "[a]" };
	struct vesper_shared entries[4];
	struct vesper_share it;
	struct vmm vmm;
	__u32 id;

	it = request("a", 0);
	CHECK_ERR(share(&it), ENODEV);
	CHECK(!vmm_open(&vmm, DOMAIN));
	CHECK_ERR(share(&it), ENOTCONN);

	/* A driver that knows nothing of it. */
	CHECK_EQ(vmm_hello(&vmm, 1), 0);
	CHECK_ERR(share(&it), EOPNOTSUPP);
	CHECK_EQ(vmm_open_channel(&vmm, MODULE, "a", FOREIGN, SUBBUF, 2, 1,
				  &id), EOPNOTSUPP);
	CHECK_EQ(vmm_goodbye(&vmm), 0);

	CHECK_EQ(vmm_hello_features(&vmm, 1, 1 << VIRTIO_VESPER_F_SHARE), 0);
	CHECK(!vmm_post(&vmm, 16, 4096));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		it = request(bad[i], 0);
		CHECK_ERR(share(&it), EINVAL);
	}
	it = request("a", 2);
	CHECK_ERR(share(&it), EINVAL);
	it = request("a", 0);
	it.reserved[3] = 1;
	CHECK_ERR(share(&it), EINVAL);
	it = request("a", 0);
	memset(it.pattern, 'a', sizeof(it.pattern));
	CHECK_ERR(share(&it), EINVAL);
	it = request("a", 0);
	it.pattern[100] = 'a';
	CHECK_ERR(share(&it), EINVAL);
	CHECK_EQ(shared(entries, 4), 0);

	CHECK(!ask(&vmm, "block/*", 0, VIRTIO_VESPER_L_SHARE, 0));
	CHECK(!ask(&vmm, "other", 0, VIRTIO_VESPER_L_SHARE, ENOSPC));
	CHECK(!ask(&vmm, "block/*", 0, VIRTIO_VESPER_L_SHARE, EEXIST));
	CHECK_EQ(shared(entries, 4), 1);
	CHECK(!strcmp((char *)entries[0].pattern, "block/*"));
	CHECK(!ask(&vmm, "b", 0, VIRTIO_VESPER_L_SHARE, 0));
	CHECK_EQ(shared(entries, 1), 2);
	CHECK(!ask(&vmm, "b", VESPER_SHARE_STOP, VIRTIO_VESPER_L_UNSHARE, 0));
	CHECK(!ask(&vmm, "b", VESPER_SHARE_STOP, VIRTIO_VESPER_L_UNSHARE,
		   ENOENT));
	CHECK_EQ(shared(entries, 4), 1);
	/* What goes with the driver. */
	CHECK_EQ(vmm_goodbye(&vmm), 0);
	CHECK_EQ(shared(entries, 4), 0);
	CHECK_ERR(share(&it), EINVAL);
	vmm_close(&vmm);
	return KSFT_PASS;
}

/* Closes the next sub-buffer, with @len bytes in it that say its number. */
static void close_subbuf(struct ring *ring, __u32 len)
{
	__u64 number = ring->index->produced;
	__u32 slot = number % ring->n_subbufs;

	memset(ring->data + slot * ring->subbuf_size, '0' + number % 10, len);
	ring->index->padding[slot] = ring->subbuf_size - len;
	__atomic_store_n(&ring->index->produced, number + 1, __ATOMIC_RELEASE);
}

int test_foreign(void)
{
	struct vesper_position pos;
	__u8 bytes[4 * SUBBUF];
	struct ring ring;
	struct vmm vmm;
	__u32 id;
	int fd;

	CHECK(!vmm_open(&vmm, DOMAIN));
	CHECK_EQ(vmm_hello_features(&vmm, 1, 1 << VIRTIO_VESPER_F_SHARE), 0);
	CHECK_EQ(vmm_open_channel(&vmm, MODULE, CHANNEL,
				  FOREIGN | VIRTIO_VESPER_CHAN_CTF, SUBBUF, 4,
				  1, &id), EINVAL);
	CHECK_EQ(vmm_open_channel(&vmm, MODULE, CHANNEL,
				  FOREIGN | VIRTIO_VESPER_CHAN_OVERWRITE,
				  SUBBUF, 4, 1, &id), EINVAL);
	CHECK_EQ(vmm_open_channel(&vmm, MODULE, CHANNEL, FOREIGN, SUBBUF, 4, 1,
				  &id), 0);
	CHECK(!ring_init(&ring, &vmm, id, 0, SUBBUF, 4, false));
	CHECK_EQ(ring_share(&ring), 0);
	fd = open(DEBUGFS "/" DOMAIN "/" MODULE "/" CHANNEL "0", O_RDONLY);
	CHECK(fd >= 0);

	/* All are full, and the writer waits for its own reader: none is lost. */
	for (int i = 0; i < 4; i++)
		close_subbuf(&ring, 1 + i);
	ring.index->begun = 4;
	CHECK(!ioctl(fd, VESPER_IOC_POSITION, &pos));
	CHECK_EQ(pos.consumed, 0);
	CHECK_EQ(pos.produced, 4);
	CHECK_EQ(read(fd, bytes, 1), 1);
	CHECK_EQ(bytes[0], '0');

	/* It goes on in the place of number 0 without closing any, then of 1. */
	ring.index->begun = 5;
	CHECK(!ioctl(fd, VESPER_IOC_POSITION, &pos));
	CHECK_EQ(pos.consumed, 1);
	CHECK_EQ(pos.lapped, 0);
	close_subbuf(&ring, 0);
	ring.index->begun = 6;
	CHECK(!ioctl(fd, VESPER_IOC_POSITION, &pos));
	CHECK_EQ(pos.consumed, 2);
	CHECK_EQ(pos.lapped, 1);
	/* The last one was closed empty, which is no end of the file. */
	close_subbuf(&ring, 2);
	ring.index->begun = 6;
	CHECK_EQ(read(fd, bytes, sizeof(bytes)), 3 + 4 + 0 + 2);
	CHECK(!memcmp(bytes, "222333355", 9));
	/* The guest is not told, whatever it makes of it. */
	close_subbuf(&ring, 5);
	ring.index->begun = ~0ull;
	CHECK_EQ(read(fd, bytes, sizeof(bytes)), 0);
	CHECK(!ioctl(fd, VESPER_IOC_POSITION, &pos));
	CHECK_EQ(pos.lapped, 2);
	CHECK_EQ(pos.consumed, 7);
	ring.index->begun = 0;
	close_subbuf(&ring, 1);

	/* What is open when it is taken back counts. */
	ring.index->begun = 8;
	ring.index->open = 8ull << 32 | 3;
	memset(ring.data, 'x', 3);
	CHECK_EQ(vmm_buffer_msg(&vmm, VIRTIO_VESPER_C_UNSHARE, id,
				VIRTIO_VESPER_ALL_BUFFERS), 0);
	CHECK(!vmm_take_returns(&vmm, ring.loans));
	CHECK_EQ(read(fd, bytes, sizeof(bytes)), 1 + 3);
	CHECK(!memcmp(bytes, "7xxx", 4));
	close(fd);
	CHECK_EQ(vmm_buffer_msg(&vmm, VIRTIO_VESPER_C_CLOSE, id,
				VIRTIO_VESPER_ALL_BUFFERS), 0);

	/* What is produced was begun, whatever it says: there is one lap. */
	CHECK_EQ(vmm_open_channel(&vmm, MODULE "2", CHANNEL, FOREIGN, SUBBUF,
				  4, 1, &id), 0);
	ring_free(&ring);
	CHECK(!ring_init(&ring, &vmm, id, 0, SUBBUF, 4, false));
	CHECK_EQ(ring_share(&ring), 0);
	for (int i = 0; i < 4; i++)
		ring.index->padding[i] = SUBBUF - 1;
	ring.index->begun = 0;
	__atomic_store_n(&ring.index->produced, 1ull << 61, __ATOMIC_RELEASE);
	fd = open(DEBUGFS "/" DOMAIN "/" MODULE "2/" CHANNEL "0", O_RDONLY);
	CHECK(fd >= 0);
	CHECK_EQ(read(fd, bytes, sizeof(bytes)), 4);
	CHECK_EQ(read(fd, bytes, sizeof(bytes)), 0);
	CHECK(!ioctl(fd, VESPER_IOC_POSITION, &pos));
	CHECK_EQ(pos.consumed, 1ull << 61);
	CHECK_EQ(pos.lapped, (1ull << 61) - 4);
	close(fd);
	CHECK_EQ(vmm_buffer_msg(&vmm, VIRTIO_VESPER_C_CLOSE, id,
				VIRTIO_VESPER_ALL_BUFFERS), 0);
	CHECK(!vmm_take_returns(&vmm, ring.loans));

	/* More padding than there is room breaks the domain. */
	CHECK_EQ(vmm_open_channel(&vmm, MODULE "3", CHANNEL, FOREIGN, SUBBUF,
				  4, 1, &id), 0);
	ring_free(&ring);
	CHECK(!ring_init(&ring, &vmm, id, 0, SUBBUF, 4, false));
	ring.index->padding[0] = SUBBUF + 1;
	ring.index->produced = 1;
	CHECK_EQ(ring_share(&ring), 0);
	CHECK_ERR(vmm_hello(&vmm, 1), EPROTO);
	vmm_close(&vmm);
	ring_free(&ring);
	return KSFT_PASS;
}
