// SPDX-License-Identifier: GPL-2.0
/* Relay files of a guest that is alive. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common.h"

/* Where nothing is; not static, so that the compiler cannot know. */
void *bad_address = (void *)8;

int test_read(void)
{
	__u8 bytes[N_SUBBUFS * SUBBUF];
	struct setup s;
	ssize_t got;
	int fd;

	if (setup(&s))
		return KSFT_FAIL;
	CHECK(exists(s.path));
	fd = open(s.path, O_RDONLY | O_NONBLOCK);
	CHECK(fd >= 0);
	CHECK_EQ(read(fd, bytes, sizeof(bytes)), 0);
	CHECK_EQ(poll_fd(fd, 0), 0);
	CHECK_ERR(write(fd, bytes, 1), EBADF);

	/* 100 does not divide a sub-buffer: there is padding. */
	CHECK_EQ(ring_write_numbered(&s.ring, 100, 100), 100);
	ring_switch(&s.ring);
	CHECK(!vmm_notify(&s.vmm, s.channel, 1));
	CHECK_EQ(poll_fd(fd, 0), POLLIN);
	got = read(fd, bytes, sizeof(bytes));
	CHECK_EQ(got, 100 * 100);
	CHECK_EQ(check_records(bytes, got, 100, 0), 100);
	CHECK_EQ(read(fd, bytes, sizeof(bytes)), 0);
	CHECK_EQ(s.ring.index->consumed, 2);

	/* One byte at a time, and bad memory in between. */
	CHECK_EQ(ring_write_numbered(&s.ring, 100, 100), 100);
	ring_switch(&s.ring);
	CHECK_EQ(poll_fd(fd, 0), POLLIN);
	for (got = 0; got < 100 * 100; got++) {
		if (got == 5000)
			CHECK_ERR(read(fd, bad_address, 1), EFAULT);
		CHECK_EQ(read(fd, bytes + got, 1), 1);
	}
	CHECK_EQ(check_records(bytes, got, 100, 100), 200);
	CHECK_EQ(read(fd, bytes, 1), 0);
	CHECK_EQ(s.ring.index->consumed, 4);
	close(fd);
	teardown(&s);
	return KSFT_PASS;
}

int test_laps(void)
{
	__u8 bytes[3 * 5000];
	size_t have = 0;
	struct setup s;
	__u64 next = 0;
	int fd;

	if (setup(&s))
		return KSFT_FAIL;
	fd = open(s.path, O_RDONLY);
	CHECK(fd >= 0);
	for (int round = 0; round < 400; round++) {
		ssize_t got;

		CHECK_EQ(ring_write_numbered(&s.ring, 50, 96), 50);
		if (round % 3 == 0)
			ring_switch(&s.ring);
		do {
			/* An odd size, so that records are torn. */
			got = read(fd, bytes + have, 5000);
			CHECK(got >= 0);
			have += got;
			long long after = check_records(bytes, have / 96 * 96,
							96, next);
			CHECK(after >= 0);
			next = after;
			memmove(bytes, bytes + have / 96 * 96, have % 96);
			have %= 96;
		} while (got);
	}
	ring_switch(&s.ring);
	while (have || next < s.ring.written) {
		ssize_t got = read(fd, bytes + have, 5000);

		CHECK(got > 0);
		have += got;
		next = check_records(bytes, have / 96 * 96, 96, next);
		memmove(bytes, bytes + have / 96 * 96, have % 96);
		have %= 96;
	}
	CHECK_EQ(next, 400 * 50);
	CHECK_EQ(s.ring.index->lost, 0);
	close(fd);
	teardown(&s);
	return KSFT_PASS;
}

int test_full(void)
{
	__u8 bytes[N_SUBBUFS * SUBBUF];
	struct vesper_position pos;
	unsigned int room;
	struct setup s;
	ssize_t got;
	int fd;

	if (setup(&s))
		return KSFT_FAIL;
	room = SUBBUF / 128 * N_SUBBUFS;
	CHECK_EQ(ring_write_numbered(&s.ring, room + 10, 128), room);
	for (int i = 0; i < 9; i++)
		CHECK_EQ(ring_write_numbered(&s.ring, 1, 128), 0);
	CHECK_EQ(s.ring.index->lost, 10);
	fd = open(s.path, O_RDONLY);
	CHECK(fd >= 0);
	CHECK(!ioctl(fd, VESPER_IOC_POSITION, &pos));
	CHECK_EQ(pos.produced, N_SUBBUFS);
	CHECK_EQ(pos.consumed, 0);
	CHECK_EQ(pos.lost, 10);
	CHECK_EQ(pos.flags, 0);
	got = read(fd, bytes, sizeof(bytes));
	CHECK_EQ(got, sizeof(bytes));
	CHECK_EQ(check_records(bytes, got, 128, 0), room);
	/* There is room again. */
	CHECK_EQ(ring_write_numbered(&s.ring, 3, 128), 3);
	ring_switch(&s.ring);
	got = read(fd, bytes, sizeof(bytes));
	CHECK_EQ(got, 3 * 128);
	CHECK_EQ(check_records(bytes, got, 128, room), room + 3);
	close(fd);
	teardown(&s);
	return KSFT_PASS;
}

int test_map(void)
{
	size_t size = SUBBUF * N_SUBBUFS;
	struct vesper_position pos;
	__u8 *map;
	struct setup s;
	int fd;

	if (setup(&s))
		return KSFT_FAIL;
	fd = open(s.path, O_RDWR);
	CHECK(fd >= 0);
	CHECK_ERR((intptr_t)mmap(NULL, size, PROT_READ | PROT_WRITE,
				 MAP_SHARED, fd, 0), EACCES);
	CHECK_ERR((intptr_t)mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0),
		  EINVAL);
	CHECK_ERR((intptr_t)mmap(NULL, size - PAGE, PROT_READ, MAP_SHARED, fd,
				 0), EINVAL);
	CHECK_ERR((intptr_t)mmap(NULL, size, PROT_READ, MAP_SHARED, fd, PAGE),
		  EINVAL);
	map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(map != MAP_FAILED);
	CHECK_ERR(mprotect(map, size, PROT_READ | PROT_WRITE), EACCES);
	CHECK_ERR((intptr_t)mremap(map, size, size * 2, MREMAP_MAYMOVE),
		  EFAULT);

	/* The pages are the same: no message, no system call in between. */
	memset(s.ring.data, 0x5a, size);
	for (size_t i = 0; i < size; i++)
		CHECK_EQ(map[i], 0x5a);
	s.ring.data[SUBBUF + 7] = 1;
	CHECK_EQ(map[SUBBUF + 7], 1);

	CHECK_EQ(ring_write_numbered(&s.ring, 100, 100), 100);
	ring_switch(&s.ring);
	CHECK(!ioctl(fd, VESPER_IOC_POSITION, &pos));
	CHECK_EQ(pos.produced, 2);
	CHECK_EQ(pos.consumed, 0);
	CHECK_EQ(pos.padding, SUBBUF % 100);
	CHECK_EQ(pos.subbuf_size, SUBBUF);
	CHECK_EQ(pos.n_subbufs, N_SUBBUFS);
	CHECK_EQ(check_records(map, SUBBUF - pos.padding, 100, 0),
		 SUBBUF / 100);
	pos.consumed = 3;
	CHECK_ERR(ioctl(fd, VESPER_IOC_CONSUME, &pos), EINVAL);
	pos.consumed = 1;
	CHECK(!ioctl(fd, VESPER_IOC_CONSUME, &pos));
	CHECK_EQ(s.ring.index->consumed, 1);
	CHECK_EQ(pos.consumed, 1);
	CHECK_EQ(check_records(map + SUBBUF, SUBBUF - pos.padding, 100,
			       SUBBUF / 100), 100);
	pos.consumed = 0;
	CHECK_ERR(ioctl(fd, VESPER_IOC_CONSUME, &pos), EINVAL);
	pos.consumed = 2;
	CHECK(!ioctl(fd, VESPER_IOC_CONSUME, &pos));
	CHECK_EQ(poll_fd(fd, 0), 0);
	CHECK_ERR(ioctl(fd, VESPER_IOC_INFO, &pos), ENOTTY);
	munmap(map, size);
	close(fd);
	teardown(&s);
	return KSFT_PASS;
}

static void *write_later(void *arg)
{
	struct setup *s = arg;

	usleep(200000);
	ring_write_numbered(&s->ring, 1, 64);
	ring_switch(&s->ring);
	vmm_notify(&s->vmm, s->channel, 1);
	return NULL;
}

int test_poll_wakes(void)
{
	pthread_t thread;
	__u8 bytes[64];
	struct setup s;
	int fd;

	if (setup(&s))
		return KSFT_FAIL;
	fd = open(s.path, O_RDONLY);
	CHECK(fd >= 0);
	CHECK(!pthread_create(&thread, NULL, write_later, &s));
	CHECK_EQ(poll_fd(fd, 10000), POLLIN);
	CHECK_EQ(read(fd, bytes, sizeof(bytes)), 64);
	pthread_join(thread, NULL);
	close(fd);
	teardown(&s);
	return KSFT_PASS;
}

int test_ctf_tail(void)
{
	struct virtio_vesper_packet head;
	__u8 bytes[N_SUBBUFS * SUBBUF];
	struct setup s;
	ssize_t got;
	int fd;

	if (setup_with(&s, DOMAIN, VIRTIO_VESPER_CHAN_CTF, SUBBUF, N_SUBBUFS))
		return KSFT_FAIL;
	CHECK_EQ(vmm_metadata(&s.vmm, s.channel, 1, "two "), 0);
	CHECK_EQ(vmm_metadata(&s.vmm, s.channel, 0, "one "), 0);
	CHECK_EQ(vmm_metadata(&s.vmm, s.channel, 1, "three"), 0);
	CHECK_EQ(vmm_metadata(&s.vmm, s.channel, 4, "x"), EINVAL);
	fd = open(DEBUGFS "/" DOMAIN "/" MODULE "/metadata", O_RDONLY);
	CHECK(fd >= 0);
	CHECK_EQ(read(fd, bytes, sizeof(bytes)), 13);
	CHECK(!memcmp(bytes, "one two three", 13));
	CHECK_EQ(read(fd, bytes, sizeof(bytes)), 0);
	CHECK_EQ(lseek(fd, 4, SEEK_SET), 4);
	CHECK_EQ(read(fd, bytes, 3), 3);
	CHECK(!memcmp(bytes, "two", 3));

	CHECK_EQ(ring_write_numbered(&s.ring, 100, 100), 100);
	s.ring.index->lost = 77;
	vmm_close(&s.vmm);
	/* It stays as long as there is something to decode with it. */
	CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
	CHECK_EQ(read(fd, bytes, sizeof(bytes)), 13);
	close(fd);
	CHECK(exists(DEBUGFS "/" DOMAIN "/" MODULE "/metadata"));

	fd = open(s.path, O_RDONLY);
	CHECK(fd >= 0);
	got = read(fd, bytes, sizeof(bytes));
	CHECK_EQ(got, 100 * 100 + 2 * sizeof(head));
	memcpy(&head, bytes, sizeof(head));
	CHECK_EQ(head.content_bits, (sizeof(head) + 81 * 100) * 8);
	memcpy(&head, bytes + head.content_bits / 8, sizeof(head));
	CHECK_EQ(head.magic, VIRTIO_VESPER_PACKET_MAGIC);
	CHECK_EQ(head.sequence, 1);
	CHECK_EQ(head.content_bits, (sizeof(head) + 19 * 100) * 8);
	CHECK_EQ(head.packet_bits, head.content_bits);
	CHECK_EQ(head.tsc_begin, 82);
	CHECK_EQ(head.tsc_end, 100);
	CHECK_EQ(head.discarded, 77);
	close(fd);
	teardown(&s);
	return KSFT_PASS;
}
