// SPDX-License-Identifier: GPL-2.0
/* Buffers whose guest writes over what is not read in time. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common.h"

#define OVERWRITE	VIRTIO_VESPER_CHAN_OVERWRITE
#define PER_SUBBUF	(SUBBUF / 128)

static int position(int fd, struct vesper_position *pos)
{
	return ioctl(fd, VESPER_IOC_POSITION, pos);
}

int test_overwrite(void)
{
	size_t size = SUBBUF * N_SUBBUFS;
	__u8 bytes[N_SUBBUFS * SUBBUF], *map;
	struct vesper_position pos;
	struct setup s;
	__u32 id;
	int fd;

	if (setup_with(&s, DOMAIN, OVERWRITE, SUBBUF, N_SUBBUFS))
		return KSFT_FAIL;
	CHECK_EQ(vmm_open_channel(&s.vmm, MODULE, "one", OVERWRITE, SUBBUF, 1,
				  1, &id), EINVAL);
	fd = open(s.path, O_RDONLY);
	CHECK(fd >= 0);
	map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(map != MAP_FAILED);
	CHECK_EQ(poll_fd(fd, 0), 0);
	CHECK_EQ(read(fd, bytes, sizeof(bytes)), 0);

	/* Ten laps and a half, and nobody reads. */
	CHECK_EQ(ring_write_numbered(&s.ring, 42 * PER_SUBBUF + 5, 128),
		 42 * PER_SUBBUF + 5);
	CHECK_EQ(s.ring.index->lost, 0);
	CHECK_EQ(poll_fd(fd, 0), POLLIN);
	CHECK(!position(fd, &pos));
	CHECK_EQ(pos.produced, 42);
	CHECK_EQ(pos.consumed, 39);
	CHECK_EQ(pos.lapped, 39);
	CHECK_EQ(pos.padding, 0);
	CHECK_EQ(check_records(map + 39 % N_SUBBUFS * SUBBUF, SUBBUF, 128,
			       39 * PER_SUBBUF), 40 * PER_SUBBUF);

	/* What a reader has begun with it gets to the end. */
	CHECK_EQ(read(fd, bytes, 128), 128);
	CHECK_EQ(check_records(bytes, 128, 128, 39 * PER_SUBBUF),
		 39 * PER_SUBBUF + 1);
	CHECK_EQ(ring_write_numbered(&s.ring, 8 * PER_SUBBUF, 128),
		 8 * PER_SUBBUF);
	CHECK_EQ(read(fd, bytes, SUBBUF - 128), SUBBUF - 128);
	CHECK_EQ(check_records(bytes, SUBBUF - 128, 128, 39 * PER_SUBBUF + 1),
		 40 * PER_SUBBUF);
	CHECK(!position(fd, &pos));
	CHECK_EQ(pos.produced, 50);
	CHECK_EQ(pos.consumed, 47);
	CHECK_EQ(pos.lapped, 39 + 7);
	CHECK_EQ(read(fd, bytes, sizeof(bytes)), 3 * SUBBUF);
	CHECK_EQ(check_records(bytes, 3 * SUBBUF, 128, 47 * PER_SUBBUF),
		 50 * PER_SUBBUF);
	CHECK_EQ(s.ring.index->consumed, 50);
	CHECK_EQ(poll_fd(fd, 0), 0);

	/* A mapping: what is behind is no error, what is not there is. */
	CHECK_EQ(ring_write_numbered(&s.ring, 8 * PER_SUBBUF, 128),
		 8 * PER_SUBBUF);
	pos.consumed = 52;
	CHECK(!ioctl(fd, VESPER_IOC_CONSUME, &pos));
	CHECK_EQ(pos.consumed, 55);
	pos.consumed = 59;
	CHECK_ERR(ioctl(fd, VESPER_IOC_CONSUME, &pos), EINVAL);
	pos.consumed = 56;
	CHECK(!ioctl(fd, VESPER_IOC_CONSUME, &pos));
	CHECK_EQ(pos.lapped, 46 + 5);
	CHECK_EQ(read(fd, bytes, PAGE), PAGE);

	/* The VMM dies: all that is there, what is open included, in order. */
	vmm_close(&s.vmm);
	CHECK_EQ(read(fd, bytes + PAGE, sizeof(bytes) - PAGE),
		 2 * SUBBUF + 5 * 128 - PAGE);
	CHECK_EQ(check_records(bytes, 2 * SUBBUF + 5 * 128, 128,
			       56 * PER_SUBBUF), 58 * PER_SUBBUF + 5);
	CHECK_EQ(poll_fd(fd, 0), POLLERR);
	munmap(map, size);
	close(fd);
	CHECK(gone(DEBUGFS "/" DOMAIN));
	ring_free(&s.ring);
	return KSFT_PASS;
}

struct race {
	struct setup s;
	__u64 written;
	bool stop;
};

static void *race_guest(void *arg)
{
	struct race *race = arg;

	while (!__atomic_load_n(&race->stop, __ATOMIC_RELAXED))
		ring_write_numbered(&race->s.ring, 100, 128);
	return NULL;
}

/* A writer who never waits against readers of each kind: nothing is torn. */
int test_overwrite_race(void)
{
	size_t size = SUBBUF * N_SUBBUFS;
	__u8 bytes[2 * SUBBUF], *map;
	__u64 next = 0, whole = 0, mapped = 0;
	struct vesper_position pos, after;
	static struct race race;
	pthread_t thread;
	ssize_t got;
	int fd;

	if (setup_with(&race.s, DOMAIN, OVERWRITE, SUBBUF, N_SUBBUFS))
		return KSFT_FAIL;
	fd = open(race.s.path, O_RDONLY);
	CHECK(fd >= 0);
	map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(map != MAP_FAILED);
	pthread_create(&thread, NULL, race_guest, &race);
	for (int i = 0; i < 2000; i++) {
		__u64 first;

		got = read(fd, bytes, SUBBUF);
		CHECK(got == 0 || got == SUBBUF);
		if (got) {
			memcpy(&first, bytes, sizeof(first));
			CHECK(first >= next);
			CHECK_EQ(first % PER_SUBBUF, 0);
			next = check_records(bytes, got, 128, first);
			CHECK_EQ(next, first + PER_SUBBUF);
			whole++;
		}
		CHECK(!position(fd, &pos));
		if (pos.consumed == pos.produced)
			continue;
		memcpy(bytes, map + pos.consumed % N_SUBBUFS * SUBBUF, SUBBUF);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		CHECK(!position(fd, &after));
		if (after.consumed != pos.consumed)
			continue;
		CHECK_EQ(check_records(bytes, SUBBUF, 128,
				       pos.consumed * PER_SUBBUF),
			 (pos.consumed + 1) * PER_SUBBUF);
		mapped++;
	}
	/* In the middle of it all the guest dies. */
	vmm_close(&race.s.vmm);
	race.stop = true;
	pthread_join(thread, NULL);
	CHECK(!position(fd, &pos));
	CHECK(pos.flags & VESPER_POSITION_ENDED);
	for (;;) {
		__u64 first;

		got = read(fd, bytes, SUBBUF);
		CHECK(got >= 0);
		if (!got)
			break;
		memcpy(&first, bytes, sizeof(first));
		CHECK(first >= next);
		next = check_records(bytes, got / 128 * 128, 128, first);
		CHECK_EQ(next, first + got / 128);
	}
	CHECK(!position(fd, &pos));
	CHECK_EQ(pos.consumed, pos.produced);
	CHECK(pos.lapped + whole <= pos.produced);
	CHECK(whole > 0);
	CHECK(mapped > 0);
	munmap(map, size);
	close(fd);
	ring_free(&race.s.ring);
	CHECK(drain());
	return KSFT_PASS;
}
