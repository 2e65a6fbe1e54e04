// SPDX-License-Identifier: GPL-2.0
/*
 * vesper_host.ko against a VMM that is made up: every ioctl, the relay files,
 * and what becomes of them when guest or VMM go away.
 *
 * usage: vesper_attach_test [TEST]
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/userfaultfd.h>

#include "ktap.h"
#include "vmm.h"

#define DOMAIN		"fake"
#define MODULE		"mod"
#define CHANNEL		"cpu"
#define SUBBUF		8192
#define N_SUBBUFS	4

/* Where nothing is; not static, so that the compiler cannot know. */
void *bad_address = (void *)8;

/* Attached, greeted, one channel of one buffer, shared. */
struct setup {
	struct vmm vmm;
	struct ring ring;
	__u32 channel;
	char path[PATH_MAX];
};

static int setup_with(struct setup *s, const char *name, __u32 flags,
		      __u32 subbuf_size, __u32 n_subbufs)
{
	CHECK(!vmm_open(&s->vmm, name));
	CHECK_EQ(vmm_hello(&s->vmm, 2), 0);
	CHECK_EQ(vmm_open_channel(&s->vmm, MODULE, CHANNEL, flags, subbuf_size,
				  n_subbufs, 2, &s->channel), 0);
	CHECK(!ring_init(&s->ring, &s->vmm, s->channel, 1, subbuf_size,
			 n_subbufs, flags & VIRTIO_VESPER_CHAN_CTF));
	CHECK_EQ(ring_share(&s->ring), 0);
	snprintf(s->path, sizeof(s->path), DEBUGFS "/%s/" MODULE "/" CHANNEL
		 "1", name);
	return KSFT_PASS;
}

static int setup(struct setup *s)
{
	return setup_with(s, DOMAIN, 0, SUBBUF, N_SUBBUFS);
}

static bool exists(const char *path)
{
	return !access(path, F_OK);
}

/* Waits for a worker of the module, for 5 s at most. */
static bool gone(const char *path)
{
	for (int i = 0; i < 500; i++) {
		if (!exists(path))
			return true;
		usleep(10000);
	}
	return false;
}

static void teardown(struct setup *s)
{
	/* All unread is thrown away by reading it. */
	char bytes[65536];
	int fd = open(s->path, O_RDONLY);

	vmm_close(&s->vmm);
	if (fd >= 0) {
		while (read(fd, bytes, sizeof(bytes)) > 0)
			;
		close(fd);
	}
	ring_free(&s->ring);
	gone(DEBUGFS "/" DOMAIN);
}

static int poll_fd(int fd, int timeout_ms)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	if (poll(&pfd, 1, timeout_ms) < 0)
		return -1;
	return pfd.revents;
}

/* Checks records numbered from @from on; returns the number after the last. */
static long long check_records(const __u8 *bytes, size_t len, __u32 size,
			       __u64 from)
{
	if (len % size)
		return -1;
	for (size_t at = 0; at < len; at += size) {
		__u64 number;

		memcpy(&number, bytes + at, sizeof(number));
		if (number != from)
			return -1;
		for (__u32 i = sizeof(number); i < size; i++)
			if (bytes[at + i] != (__u8)number)
				return -1;
		from++;
	}
	return from;
}

static int test_attach(void)
{
	struct vesper_attach attach = { .abi_version = VESPER_ABI_VERSION };
	struct vesper_message message = {};
	struct vesper_event event;
	struct vmm vmm, other;
	static const char * const bad[] = { "", ".", "..", ".x", "a/b", "a b",
					    "host", "\xc3\xa4" };
	int fd = open("/dev/vesper-attach", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	CHECK(fd >= 0);
	CHECK_ERR(ioctl(fd, VESPER_IOC_MESSAGE, &message), ENOTCONN);
	CHECK_ERR(read(fd, &event, sizeof(event)), ENOTCONN);
	CHECK_EQ(poll_fd(fd, 0), POLLERR);
	CHECK_ERR(ioctl(fd, VESPER_IOC_INFO, &message), ENOTTY);
	CHECK_ERR(ioctl(fd, VESPER_IOC_ATTACH, (void *)8), EFAULT);

	attach.abi_version += 1 << 16;
	CHECK_ERR(ioctl(fd, VESPER_IOC_ATTACH, &attach), EPROTONOSUPPORT);
	CHECK_EQ(attach.abi_version, VESPER_ABI_VERSION);
	for (unsigned int i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		memset(attach.name, 0, sizeof(attach.name));
		snprintf((char *)attach.name, VESPER_NAME_LEN, "%s", bad[i]);
		CHECK_ERR(ioctl(fd, VESPER_IOC_ATTACH, &attach), EINVAL);
	}
	memset(attach.name, 'a', sizeof(attach.name));
	CHECK_ERR(ioctl(fd, VESPER_IOC_ATTACH, &attach), EINVAL);
	memset(attach.name, 0, sizeof(attach.name));
	snprintf((char *)attach.name, VESPER_NAME_LEN, DOMAIN);
	attach.flags = 1;
	CHECK_ERR(ioctl(fd, VESPER_IOC_ATTACH, &attach), EINVAL);
	attach.flags = 0;
	attach.reserved[3] = 1;
	CHECK_ERR(ioctl(fd, VESPER_IOC_ATTACH, &attach), EINVAL);
	attach.reserved[3] = 0;

	CHECK(!ioctl(fd, VESPER_IOC_ATTACH, &attach));
	CHECK_EQ(attach.device_abi, VIRTIO_VESPER_ABI_VERSION);
	CHECK_EQ(attach.features, 1 << VIRTIO_VESPER_F_LOADER);
	CHECK(attach.max_fragment && attach.max_buffer_pages &&
	      attach.max_channels);
	CHECK(exists(DEBUGFS "/" DOMAIN));
	CHECK_ERR(ioctl(fd, VESPER_IOC_ATTACH, &attach), EBUSY);
	CHECK_ERR(vmm_open(&vmm, DOMAIN), EEXIST);
	CHECK(!vmm_open(&other, DOMAIN "2"));
	vmm_close(&other);
	CHECK(gone(DEBUGFS "/" DOMAIN "2"));
	CHECK_ERR(read(fd, &event, sizeof(event)), EAGAIN);
	CHECK_EQ(poll_fd(fd, 0), 0);
	close(fd);
	CHECK(gone(DEBUGFS "/" DOMAIN));
	return KSFT_PASS;
}

static int test_read(void)
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

static int test_laps(void)
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

static int test_full(void)
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

static int test_map(void)
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

static int test_poll_wakes(void)
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

/* What is unread when a buffer is given back stays, for each kind of reader. */
static int test_unshare(void)
{
	size_t size = SUBBUF * N_SUBBUFS;
	__u8 bytes[N_SUBBUFS * SUBBUF], *map;
	struct vesper_position pos;
	struct vesper_event event;
	struct setup s;
	ssize_t got;
	int fd, later;

	if (setup(&s))
		return KSFT_FAIL;
	fd = open(s.path, O_RDONLY);
	CHECK(fd >= 0);
	map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(map != MAP_FAILED);
	CHECK_EQ(ring_write_numbered(&s.ring, 130, 100), 130);
	CHECK_EQ(read(fd, bytes, 150), 150);
	CHECK_EQ(vmm_buffer_msg(&s.vmm, VIRTIO_VESPER_C_UNSHARE, s.channel, 1),
		 0);
	CHECK(!vmm_take_returns(&s.vmm, s.ring.loans));
	CHECK_ERR(vmm_event(&s.vmm, &event, NULL, 0, 0), ETIME);
	/* Unsharing twice is refused, and harmless. */
	CHECK_EQ(vmm_buffer_msg(&s.vmm, VIRTIO_VESPER_C_UNSHARE, s.channel, 1),
		 ENOENT);
	/* The guest's memory is the guest's again. */
	memset(s.ring.data, 0xee, size + PAGE);
	CHECK_EQ(vmm_buffer_msg(&s.vmm, VIRTIO_VESPER_C_CLOSE, s.channel,
				VIRTIO_VESPER_ALL_BUFFERS), 0);

	CHECK(exists(s.path));
	later = open(s.path, O_RDONLY);
	CHECK(later >= 0);
	CHECK(!ioctl(fd, VESPER_IOC_POSITION, &pos));
	CHECK_EQ(pos.produced, 2);
	CHECK_EQ(pos.flags, VESPER_POSITION_ENDED);
	CHECK_EQ(check_records(map, SUBBUF - pos.padding, 100, 0),
		 SUBBUF / 100);
	CHECK_EQ(check_records(map + SUBBUF, (130 - SUBBUF / 100) * 100, 100,
			       SUBBUF / 100), 130);
	CHECK_EQ(poll_fd(later, 0), POLLIN);
	got = read(later, bytes + 150, sizeof(bytes) - 150);
	CHECK_EQ(got, 130 * 100 - 150);
	CHECK_EQ(check_records(bytes, 130 * 100, 100, 0), 130);
	CHECK_EQ(poll_fd(fd, 0), POLLERR);
	CHECK_EQ(read(fd, bytes, sizeof(bytes)), 0);
	CHECK(gone(DEBUGFS "/" DOMAIN "/" MODULE));
	CHECK(exists(DEBUGFS "/" DOMAIN));
	munmap(map, size);
	close(fd);
	close(later);
	teardown(&s);
	return KSFT_PASS;
}

static int test_unshare_empty(void)
{
	struct setup s;

	if (setup(&s))
		return KSFT_FAIL;
	CHECK_EQ(vmm_buffer_msg(&s.vmm, VIRTIO_VESPER_C_UNSHARE, s.channel,
				VIRTIO_VESPER_ALL_BUFFERS), 0);
	CHECK(!vmm_take_returns(&s.vmm, s.ring.loans));
	/* The file is gone before the pages come back. */
	CHECK(!exists(s.path));
	CHECK_EQ(vmm_buffer_msg(&s.vmm, VIRTIO_VESPER_C_CLOSE, s.channel,
				VIRTIO_VESPER_ALL_BUFFERS), 0);
	CHECK(!exists(DEBUGFS "/" DOMAIN "/" MODULE));
	CHECK_EQ(vmm_goodbye(&s.vmm), 0);
	teardown(&s);
	return KSFT_PASS;
}

static int count_domain(const char *name, struct vesper_domain *found)
{
	struct vesper_domain domains[64];
	struct vesper_list list = {
		.capacity = 64,
		.entry_size = sizeof(*domains),
		.entries = (uintptr_t)domains,
	};
	int fd = open("/dev/vesper", O_RDWR | O_CLOEXEC), count = 0;

	if (fd < 0 || ioctl(fd, VESPER_IOC_DOMAINS, &list))
		return -1;
	close(fd);
	for (__u32 i = 0; i < list.count; i++) {
		if (strcmp((char *)domains[i].name, name))
			continue;
		*found = domains[i];
		count++;
	}
	return count;
}

/* The VMM dies; a new one takes the name. */
static int test_death(void)
{
	__u8 bytes[N_SUBBUFS * SUBBUF];
	struct vesper_domain domain;
	struct setup s, next;
	char renamed[PATH_MAX];
	ssize_t got;
	int fd;

	if (setup(&s))
		return KSFT_FAIL;
	fd = open(s.path, O_RDONLY);
	CHECK(fd >= 0);
	CHECK_EQ(count_domain(DOMAIN, &domain), 1);
	CHECK_EQ(domain.state, VESPER_DOMAIN_READY);
	CHECK_EQ(domain.vmm_pid, getpid());
	CHECK_EQ(domain.lent_pages, SUBBUF * N_SUBBUFS / PAGE + 1);
	CHECK_EQ(domain.nr_cpus, 2);
	CHECK_EQ(domain.channels, 1);
	CHECK(!strcmp((char *)domain.release, "7.3.4-test"));
	CHECK_EQ(ring_write_numbered(&s.ring, 200, 100), 200);
	vmm_close(&s.vmm);
	memset(s.ring.data, 0xee, SUBBUF * N_SUBBUFS);
	CHECK_EQ(count_domain(DOMAIN, &domain), 1);
	CHECK_EQ(domain.state, VESPER_DOMAIN_DEAD);
	CHECK_EQ(read(fd, bytes, 1000), 1000);

	/* A new guest of the name does not hide it. */
	if (setup(&next))
		return KSFT_FAIL;
	snprintf(renamed, sizeof(renamed), "%s/%s", DEBUGFS,
		 DOMAIN "@1/" MODULE "/" CHANNEL "1");
	CHECK_EQ(count_domain(DOMAIN "@1", &domain), 1);
	CHECK_EQ(count_domain(DOMAIN, &domain), 1);
	CHECK_EQ(domain.state, VESPER_DOMAIN_READY);
	CHECK(exists(renamed));
	close(fd);
	fd = open(renamed, O_RDONLY);
	CHECK(fd >= 0);
	got = read(fd, bytes + 1000, sizeof(bytes) - 1000);
	CHECK_EQ(got, 200 * 100 - 1000);
	CHECK_EQ(check_records(bytes, 200 * 100, 100, 0), 200);
	CHECK_EQ(poll_fd(fd, 0), POLLERR);
	CHECK(gone(DEBUGFS "/" DOMAIN "@1"));
	CHECK_EQ(count_domain(DOMAIN "@1", &domain), 0);
	close(fd);
	ring_free(&s.ring);
	teardown(&next);
	return KSFT_PASS;
}

static int test_reset(void)
{
	__u8 bytes[N_SUBBUFS * SUBBUF];
	struct vesper_domain domain;
	struct vesper_event event;
	struct setup s;
	__u32 id;
	ssize_t got;
	int fd;

	if (setup(&s))
		return KSFT_FAIL;
	fd = open(s.path, O_RDONLY);
	CHECK(fd >= 0);
	CHECK_EQ(ring_write_numbered(&s.ring, 150, 100), 150);
	CHECK(!vmm_notice(&s.vmm, VESPER_NOTICE_RESET, 0));
	memset(s.ring.data, 0xee, SUBBUF * N_SUBBUFS + PAGE);
	CHECK_ERR(vmm_event(&s.vmm, &event, NULL, 0, 200), ETIME);
	CHECK_EQ(count_domain(DOMAIN, &domain), 1);
	CHECK_EQ(domain.lent_pages, 0);
	CHECK_EQ(domain.state, VESPER_DOMAIN_ATTACHED);

	/* The guest comes back, and opens the same channel. */
	CHECK_EQ(vmm_hello(&s.vmm, 2), 0);
	CHECK_EQ(vmm_open_channel(&s.vmm, MODULE, CHANNEL, 0, SUBBUF,
				  N_SUBBUFS, 2, &id), 0);
	CHECK(exists(DEBUGFS "/" DOMAIN "/" MODULE "@1/" CHANNEL "1"));
	CHECK(exists(DEBUGFS "/" DOMAIN "/" MODULE));
	got = read(fd, bytes, sizeof(bytes));
	CHECK_EQ(got, 150 * 100);
	CHECK_EQ(check_records(bytes, got, 100, 0), 150);
	CHECK(gone(DEBUGFS "/" DOMAIN "/" MODULE "@1"));
	close(fd);
	teardown(&s);
	return KSFT_PASS;
}

static int test_ctf_tail(void)
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

/* Takes messages for the guest's loader until @want; returns its id. */
static long long loader_message(struct vmm *vmm, __u16 want, void *body,
				size_t room, size_t *len)
{
	struct vesper_event event;
	struct virtio_vesper_hdr hdr;

	if (vmm_event(vmm, &event, body, room, 5000))
		return -1;
	memcpy(&hdr, body, sizeof(hdr));
	if (event.type != VESPER_EVENT_LOADER || hdr.type != want ||
	    hdr.len != event.len)
		return -1;
	if (len)
		*len = event.len;
	return hdr.id;
}

struct request {
	struct vesper_load load;
	int ret, err;
	pthread_t thread;
};

static void *request_thread(void *arg)
{
	struct request *r = arg;
	int fd = open("/dev/vesper", O_RDWR | O_CLOEXEC);

	r->ret = ioctl(fd, VESPER_IOC_LOAD, &r->load);
	r->err = errno;
	close(fd);
	return NULL;
}

static void start_load(struct request *r, const char *module, void *image,
		       __u32 len, const char *params, __u32 timeout_ms)
{
	memset(r, 0, sizeof(*r));
	r->load.image = (uintptr_t)image;
	r->load.image_len = len;
	r->load.params = (uintptr_t)params;
	r->load.params_len = strlen(params);
	r->load.timeout_ms = timeout_ms;
	snprintf((char *)r->load.domain, VESPER_NAME_LEN, DOMAIN);
	snprintf((char *)r->load.module, VESPER_NAME_LEN, "%s", module);
	pthread_create(&r->thread, NULL, request_thread, r);
}

static int list_modules(struct vesper_module *modules, __u32 capacity)
{
	struct vesper_list list = {
		.capacity = capacity,
		.entry_size = sizeof(*modules),
		.entries = (uintptr_t)modules,
		.domain = DOMAIN,
	};
	int fd = open("/dev/vesper", O_RDWR | O_CLOEXEC);
	int ret = ioctl(fd, VESPER_IOC_MODULES, &list);

	close(fd);
	return ret ? -1 : (int)list.count;
}

static int unload(const char *module, __u32 timeout_ms)
{
	struct vesper_unload unload = {
		.timeout_ms = timeout_ms,
		.domain = DOMAIN,
	};
	int fd = open("/dev/vesper", O_RDWR | O_CLOEXEC), ret, err;

	snprintf((char *)unload.module, VESPER_NAME_LEN, "%s", module);
	ret = ioctl(fd, VESPER_IOC_UNLOAD, &unload);
	err = errno;
	close(fd);
	errno = err;
	return ret ? -1 : (int)unload.status;
}

static void *unload_thread(void *arg)
{
	struct request *r = arg;

	r->ret = unload("mod", 0);
	r->err = errno;
	return NULL;
}

static int test_load(void)
{
	union {
		struct virtio_vesper_load load;
		struct virtio_vesper_data data;
		struct virtio_vesper_unload unload;
		__u8 bytes[VESPER_MAX_MESSAGE];
	} msg;
	static __u8 image[100000], got[sizeof(image) + 16];
	struct vesper_module modules[4];
	struct vesper_event event;
	struct request r, second;
	struct vmm vmm;
	size_t len, have = 0;
	long long id;

	for (size_t i = 0; i < sizeof(image); i++)
		image[i] = i * 7 + i / 256;
	CHECK(!vmm_open(&vmm, DOMAIN));
	/* No driver yet. */
	start_load(&r, "mod", image, sizeof(image), "a=1", 0);
	pthread_join(r.thread, NULL);
	CHECK_EQ(r.ret, -1);
	CHECK_EQ(r.err, ENOTCONN);
	CHECK_EQ(vmm_hello(&vmm, 1), 0);
	start_load(&r, "mod", image, sizeof(image), "a=1", 0);
	/* Nothing is given out before there is a buffer for it. */
	CHECK_ERR(vmm_event(&vmm, &event, &msg, sizeof(msg), 300), ETIME);
	CHECK_ERR(vmm_post(&vmm, 1, 511), EINVAL);
	CHECK(!vmm_post(&vmm, 1, 4096));
	id = loader_message(&vmm, VIRTIO_VESPER_L_LOAD, &msg, sizeof(msg), NULL);
	CHECK(id >= 0);
	CHECK_EQ(msg.load.image_len, sizeof(image));
	CHECK_EQ(msg.load.params_len, 3);
	CHECK(!strcmp((char *)msg.load.module, "mod"));
	CHECK_ERR(vmm_event(&vmm, &event, &msg, sizeof(msg), 0), ETIME);
	CHECK(!vmm_post(&vmm, 100, 4096));
	while (have < sizeof(image) + 3) {
		CHECK_EQ(loader_message(&vmm, VIRTIO_VESPER_L_DATA, &msg,
					sizeof(msg), &len), id);
		CHECK_EQ(msg.data.offset, have);
		len -= sizeof(msg.data);
		memcpy(got + have, msg.data.bytes, len);
		have += len;
	}
	CHECK_EQ(have, sizeof(image) + 3);
	CHECK(!memcmp(got, image, sizeof(image)));
	CHECK(!memcmp(got + sizeof(image), "a=1", 3));
	CHECK_EQ(list_modules(modules, 4), 1);
	CHECK_EQ(modules[0].state, VESPER_MODULE_LOADING);
	start_load(&second, "mod", image, 1, "", 0);
	pthread_join(second.thread, NULL);
	CHECK_EQ(second.err, EEXIST);
	/* A result nobody asked for. */
	CHECK_EQ(vmm_result(&vmm, id + 7, 0, VIRTIO_VESPER_STAGE_KERNEL, "x",
			    ""), 0);
	CHECK_EQ(vmm_result(&vmm, id, 0, VIRTIO_VESPER_STAGE_KERNEL, "mod",
			    "done"), 0);
	pthread_join(r.thread, NULL);
	CHECK_EQ(r.ret, 0);
	CHECK_EQ(r.load.status, 0);
	CHECK_EQ(r.load.stage, VIRTIO_VESPER_STAGE_KERNEL);
	CHECK(!strcmp((char *)r.load.text, "done"));
	CHECK_EQ(list_modules(modules, 4), 1);
	CHECK_EQ(modules[0].state, VESPER_MODULE_LIVE);
	CHECK_EQ(modules[0].image_len, sizeof(image));
	CHECK(modules[0].loaded_ns);

	/* A load that fails leaves nothing; the guest's errno arrives. */
	start_load(&second, "bad", image, 10, "", 0);
	id = loader_message(&vmm, VIRTIO_VESPER_L_LOAD, &msg, sizeof(msg), NULL);
	CHECK(id >= 0);
	CHECK_EQ(loader_message(&vmm, VIRTIO_VESPER_L_DATA, &msg, sizeof(msg),
				NULL), id);
	CHECK_EQ(vmm_result(&vmm, id, ENOEXEC, VIRTIO_VESPER_STAGE_KERNEL, "",
			    "not a module"), 0);
	pthread_join(second.thread, NULL);
	CHECK_EQ(second.ret, 0);
	CHECK_EQ(second.load.status, ENOEXEC);
	CHECK_EQ(list_modules(modules, 4), 1);

	/* Unload. */
	CHECK_ERR(unload("other", 0), ENOENT);
	pthread_create(&second.thread, NULL, unload_thread, &second);
	id = loader_message(&vmm, VIRTIO_VESPER_L_UNLOAD, &msg, sizeof(msg),
			    NULL);
	CHECK(id >= 0);
	CHECK(!strcmp((char *)msg.unload.module, "mod"));
	CHECK_EQ(vmm_result(&vmm, id, 0, VIRTIO_VESPER_STAGE_KERNEL, "mod", ""),
		 0);
	pthread_join(second.thread, NULL);
	CHECK_EQ(second.ret, 0);
	CHECK_EQ(list_modules(modules, 4), 0);
	vmm_close(&vmm);
	CHECK(gone(DEBUGFS "/" DOMAIN));
	return KSFT_PASS;
}

/* Requests given up, before and after they have begun; death of the VMM. */
static int test_load_abandoned(void)
{
	__u8 image[100] = { 1 }, msg[VESPER_MAX_MESSAGE];
	struct vesper_module modules[4];
	struct vesper_event event;
	struct request r;
	struct vmm vmm;
	long long id;

	CHECK(!vmm_open(&vmm, DOMAIN));
	CHECK_EQ(vmm_hello(&vmm, 1), 0);
	start_load(&r, "mod", image, sizeof(image), "", 100);
	pthread_join(r.thread, NULL);
	CHECK_EQ(r.err, ETIMEDOUT);
	CHECK_EQ(list_modules(modules, 4), 0);
	CHECK(!vmm_post(&vmm, 10, 4096));
	CHECK_ERR(vmm_event(&vmm, &event, msg, sizeof(msg), 100), ETIME);

	start_load(&r, "mod", image, sizeof(image), "", 300);
	id = loader_message(&vmm, VIRTIO_VESPER_L_LOAD, msg, sizeof(msg), NULL);
	CHECK(id >= 0);
	CHECK_EQ(loader_message(&vmm, VIRTIO_VESPER_L_DATA, msg, sizeof(msg),
				NULL), id);
	pthread_join(r.thread, NULL);
	CHECK_EQ(r.err, ETIMEDOUT);
	CHECK_EQ(list_modules(modules, 4), 1);
	CHECK_EQ(modules[0].state, VESPER_MODULE_LOADING);
	CHECK_EQ(loader_message(&vmm, VIRTIO_VESPER_L_CANCEL, msg, sizeof(msg),
				NULL), id);
	/* It had begun, and succeeds after all. */
	CHECK_EQ(vmm_result(&vmm, id, 0, VIRTIO_VESPER_STAGE_KERNEL, "mod", ""),
		 0);
	CHECK_EQ(list_modules(modules, 4), 1);
	CHECK_EQ(modules[0].state, VESPER_MODULE_LIVE);

	start_load(&r, "more", image, sizeof(image), "", 0);
	CHECK(loader_message(&vmm, VIRTIO_VESPER_L_LOAD, msg, sizeof(msg),
			     NULL) >= 0);
	CHECK(!vmm_notice(&vmm, VESPER_NOTICE_RESET, 0));
	pthread_join(r.thread, NULL);
	CHECK_EQ(r.err, EPIPE);
	CHECK_EQ(list_modules(modules, 4), 0);
	CHECK_EQ(vmm_hello(&vmm, 1), 0);
	start_load(&r, "more", image, sizeof(image), "", 0);
	usleep(100000);
	vmm_close(&vmm);
	pthread_join(r.thread, NULL);
	CHECK_EQ(r.err, EPIPE);
	CHECK(gone(DEBUGFS "/" DOMAIN));
	return KSFT_PASS;
}

static int expect_broken(struct vmm *vmm)
{
	struct vesper_domain domain;
	struct vesper_event event;

	do {
		CHECK(!vmm_event(vmm, &event, NULL, 0, 5000));
	} while (event.type == VESPER_EVENT_RETURN);
	CHECK_EQ(event.type, VESPER_EVENT_BROKEN);
	CHECK_EQ(count_domain(DOMAIN, &domain), 1);
	CHECK_EQ(domain.state, VESPER_DOMAIN_BROKEN);
	CHECK_ERR(vmm_hello(vmm, 2), EPROTO);
	/* A reset makes it good. */
	CHECK(!vmm_notice(vmm, VESPER_NOTICE_RESET, 0));
	CHECK_EQ(vmm_hello(vmm, 2), 0);
	return KSFT_PASS;
}

static int test_violations(void)
{
	__u8 bytes[N_SUBBUFS * SUBBUF];
	struct virtio_vesper_open msg = {};
	struct vesper_message m = { .queue = VIRTIO_VESPER_VQ_CONTROL };
	struct setup s;
	int fd;

	/* Produced goes too far; what came before is readable. */
	if (setup(&s))
		return KSFT_FAIL;
	fd = open(s.path, O_RDONLY);
	CHECK(fd >= 0);
	ring_write_numbered(&s.ring, 10, 100);
	ring_switch(&s.ring);
	CHECK(!vmm_notify(&s.vmm, s.channel, 1));
	s.ring.index->produced += N_SUBBUFS + 1;
	CHECK_ERR(vmm_notify(&s.vmm, s.channel, 1), EPROTO);
	if (expect_broken(&s.vmm))
		return KSFT_FAIL;
	CHECK_EQ(read(fd, bytes, sizeof(bytes)), 1000);
	CHECK_EQ(check_records(bytes, 1000, 100, 0), 10);
	CHECK_EQ(poll_fd(fd, 0), POLLERR);
	close(fd);
	teardown(&s);

	/* Padding that cannot be, found by a reader. */
	if (setup(&s))
		return KSFT_FAIL;
	fd = open(s.path, O_RDONLY);
	CHECK(fd >= 0);
	ring_write_numbered(&s.ring, 10, 100);
	ring_switch(&s.ring);
	s.ring.index->padding[0] = SUBBUF;
	CHECK_EQ(read(fd, bytes, sizeof(bytes)), 0);
	if (expect_broken(&s.vmm))
		return KSFT_FAIL;
	close(fd);
	teardown(&s);

	/* Produced goes back. */
	if (setup(&s))
		return KSFT_FAIL;
	ring_write_numbered(&s.ring, 10, 100);
	ring_switch(&s.ring);
	CHECK(!vmm_notify(&s.vmm, s.channel, 1));
	s.ring.index->produced = 0;
	CHECK_ERR(vmm_notify(&s.vmm, s.channel, 1), EPROTO);
	if (expect_broken(&s.vmm))
		return KSFT_FAIL;

	/* Heads. */
	m.request = (uintptr_t)&msg;
	m.request_len = sizeof(msg);
	m.reply = (uintptr_t)bytes;
	m.reply_cap = sizeof(bytes);
	msg.hdr.type = VIRTIO_VESPER_C_OPEN;
	msg.hdr.len = sizeof(msg) - 1;
	CHECK_ERR(ioctl(s.vmm.fd, VESPER_IOC_MESSAGE, &m), EPROTO);
	if (expect_broken(&s.vmm))
		return KSFT_FAIL;
	msg.hdr.len = sizeof(msg);
	msg.hdr.type = 0x777;
	CHECK_ERR(ioctl(s.vmm.fd, VESPER_IOC_MESSAGE, &m), EPROTO);
	if (expect_broken(&s.vmm))
		return KSFT_FAIL;
	msg.hdr.type = VIRTIO_VESPER_C_OPEN;
	m.reply_cap = 8;
	CHECK_ERR(ioctl(s.vmm.fd, VESPER_IOC_MESSAGE, &m), EPROTO);
	if (expect_broken(&s.vmm))
		return KSFT_FAIL;
	CHECK_ERR(vmm_hello(&s.vmm, 2), EPROTO);
	if (expect_broken(&s.vmm))
		return KSFT_FAIL;
	/* Not a fault of the guest. */
	m.request_len = VIRTIO_VESPER_MAX_CONTROL + 1;
	CHECK_ERR(ioctl(s.vmm.fd, VESPER_IOC_MESSAGE, &m), EMSGSIZE);
	teardown(&s);
	return KSFT_PASS;
}

static int test_open_refusals(void)
{
	struct vmm vmm;
	__u32 id;

#define OPEN(flags, size, n, bufs) \
	vmm_open_channel(&vmm, "m", "c", flags, size, n, bufs, NULL)
	CHECK(!vmm_open(&vmm, DOMAIN));
	CHECK_EQ(vmm_hello(&vmm, 2), 0);
	CHECK_EQ(OPEN(0, 4095, 2, 1), EINVAL);
	CHECK_EQ(OPEN(0, 4096, 0, 1), EINVAL);
	CHECK_EQ(OPEN(0, 4096, VIRTIO_VESPER_MAX_SUBBUFS + 1, 1), EINVAL);
	CHECK_EQ(OPEN(0, 0xfffff000, 960, 1), EINVAL);
	CHECK_EQ(OPEN(0, 4096, 2, 0), EINVAL);
	CHECK_EQ(OPEN(0, 4096, 2, 3), EINVAL);
	CHECK_EQ(OPEN(1 << 9, 4096, 2, 1), EINVAL);
	CHECK_EQ(OPEN(VIRTIO_VESPER_CHAN_FOREIGN, 4096, 2, 1), EOPNOTSUPP);
	CHECK_EQ(vmm_open_channel(&vmm, "../m", "c", 0, 4096, 2, 1, &id),
		 EINVAL);
	CHECK_EQ(vmm_open_channel(&vmm, "m", ".c", 0, 4096, 2, 1, &id), EINVAL);
	CHECK_EQ(vmm_open_channel(&vmm, "m", "c", 0, 4096, 2, 1, &id), 0);
	CHECK_EQ(OPEN(0, 4096, 2, 1), EEXIST);
	CHECK_EQ(vmm_buffer_msg(&vmm, VIRTIO_VESPER_C_SHARE, id, 0), EINVAL);
	CHECK_EQ(vmm_buffer_msg(&vmm, VIRTIO_VESPER_C_SHARE, id + 1, 0),
		 ENOENT);
	CHECK_EQ(vmm_buffer_msg(&vmm, VIRTIO_VESPER_C_CLOSE, id, 0), EINVAL);
	CHECK_EQ(vmm_buffer_msg(&vmm, VIRTIO_VESPER_C_CLOSE, id,
				VIRTIO_VESPER_ALL_BUFFERS), 0);
	CHECK_EQ(vmm_buffer_msg(&vmm, VIRTIO_VESPER_C_CLOSE, id,
				VIRTIO_VESPER_ALL_BUFFERS), ENOENT);
	/* A hundred channels are too many. */
	for (int i = 0;; i++) {
		char name[16];
		int status;

		CHECK(i < 100);
		snprintf(name, sizeof(name), "c%d.", i);
		status = vmm_open_channel(&vmm, "m", name, 0, 4096, 2, 1, &id);
		if (status == ENOSPC)
			break;
		CHECK_EQ(status, 0);
	}
	vmm_close(&vmm);
	CHECK(gone(DEBUGFS "/" DOMAIN));
	return KSFT_PASS;
}

static long locked_kb(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[256];
	long kb = -1;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmLck: %ld", &kb) == 1)
			break;
	if (f)
		fclose(f);
	return kb;
}

static int test_lend(void)
{
	struct vesper_segment seg, many[2];
	struct setup s;
	struct ring big;
	__u32 id;
	FILE *f;
	char *file;
	int fd;

	if (setup(&s))
		return KSFT_FAIL;
	CHECK_EQ(locked_kb(), (SUBBUF * N_SUBBUFS + PAGE) / 1024);
	seg.addr = (uintptr_t)s.ring.data;
	seg.len = PAGE;
	/* Shared already; no such buffer, no such channel. */
	CHECK_ERR(vmm_lend(&s.vmm, 1, s.channel, 1, 0, 1, &seg, 1), EEXIST);
	CHECK_ERR(vmm_lend(&s.vmm, 1, s.channel, 2, 0, 1, &seg, 1), EINVAL);
	CHECK_ERR(vmm_lend(&s.vmm, 1, s.channel + 1, 0, 0, 1, &seg, 1), ENOENT);
	/* Cookie, sizes, places. */
	CHECK_ERR(vmm_lend(&s.vmm, 0, s.channel, 0, 0, 1, &seg, 1), EINVAL);
	CHECK_ERR(vmm_lend(&s.vmm, 1, s.channel, 0, 0, 2, &seg, 1), EINVAL);
	CHECK_ERR(vmm_lend(&s.vmm, 1, s.channel, 0, 0, 0, &seg, 1), EINVAL);
	CHECK_ERR(vmm_lend(&s.vmm, 1, s.channel, 0, 0, 1, &seg, 0), EINVAL);
	CHECK_ERR(vmm_lend(&s.vmm, 1, s.channel, 0, 8, 1, &seg, 1), EINVAL);
	CHECK_ERR(vmm_lend(&s.vmm, 1, s.channel, 0, 0xfffffffe, 1, &seg, 1),
		  EINVAL);
	seg.addr++;
	CHECK_ERR(vmm_lend(&s.vmm, 1, s.channel, 0, 0, 1, &seg, 1), EINVAL);
	seg.addr--;
	seg.len = PAGE - 1;
	CHECK_ERR(vmm_lend(&s.vmm, 1, s.channel, 0, 0, 1, &seg, 1), EINVAL);
	seg.addr = 0;
	seg.len = PAGE;
	CHECK_ERR(vmm_lend(&s.vmm, 1, s.channel, 0, 0, 1, &seg, 1), EFAULT);
	seg.addr = 0xffffffff80000000;
	CHECK_ERR(vmm_lend(&s.vmm, 1, s.channel, 0, 0, 1, &seg, 1), EFAULT);
	/* Fragments in any order, none twice. */
	seg.addr = (uintptr_t)s.ring.data;
	CHECK(!vmm_lend(&s.vmm, 1, s.channel, 0, 5, 1, &seg, 1));
	CHECK_ERR(vmm_lend(&s.vmm, 2, s.channel, 0, 5, 1, &seg, 1), EEXIST);
	many[0] = seg;
	many[1].addr = seg.addr + 3 * PAGE;
	many[1].len = 2 * PAGE;
	CHECK_ERR(vmm_lend(&s.vmm, 2, s.channel, 0, 3, 3, many, 2), EEXIST);
	CHECK(!vmm_lend(&s.vmm, 2, s.channel, 0, 2, 3, many, 2));
	CHECK_ERR(vmm_lend(&s.vmm, 3, s.channel, 0, 4, 1, &seg, 1), EEXIST);
	/* A buffer that is not whole is not shared; its loans are over. */
	CHECK_EQ(vmm_buffer_msg(&s.vmm, VIRTIO_VESPER_C_SHARE, s.channel, 0),
		 EINVAL);
	CHECK(!vmm_take_returns(&s.vmm, 2));
	CHECK_EQ(locked_kb(), (SUBBUF * N_SUBBUFS + PAGE) / 1024);

	/* A file on a real file system cannot be pinned, if there is one. */
	f = tmpfile();
	fd = f ? fileno(f) : -1;
	if (fd >= 0 && !ftruncate(fd, PAGE)) {
		file = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			    0);
		CHECK(file != MAP_FAILED);
		*file = 1;
		seg.addr = (uintptr_t)file;
		int ret = vmm_lend(&s.vmm, 9, s.channel, 0, 0, 1, &seg, 1);

		CHECK(!ret || errno == EOPNOTSUPP);
		munmap(file, PAGE);
	}
	if (f)
		fclose(f);

	/* The largest there is, in as many fragments as can be. */
	CHECK_EQ(vmm_open_channel(&s.vmm, MODULE, "big", 0, 1 << 20, 16, 1,
				  &id), 0);
	CHECK(!ring_init(&big, &s.vmm, id, 0, 1 << 20, 16, false));
	CHECK(!ring_lend(&big, 7));
	CHECK_EQ(vmm_buffer_msg(&s.vmm, VIRTIO_VESPER_C_SHARE, id, 0), 0);
	CHECK_EQ(vmm_buffer_msg(&s.vmm, VIRTIO_VESPER_C_UNSHARE, id, 0), 0);
	CHECK(!vmm_take_returns(&s.vmm, big.loans));
	ring_free(&big);
	CHECK_EQ(vmm_open_channel(&s.vmm, MODULE, "huge", 0, 1 << 20, 17, 1,
				  &id), EINVAL);
	teardown(&s);
	CHECK_EQ(locked_kb(), 0);
	return KSFT_PASS;
}

/* What was pinned by a process that dies is let go. */
static int test_kill(void)
{
	__u8 bytes[N_SUBBUFS * SUBBUF];
	struct vesper_domain domain;
	int pipes[2], fd, status;
	char byte;
	pid_t pid;

	CHECK(!pipe(pipes));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		struct setup s;

		close(pipes[0]);
		if (setup(&s))
			_exit(1);
		ring_write_numbered(&s.ring, 170, 100);
		if (write(pipes[1], "x", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	close(pipes[1]);
	CHECK_EQ(read(pipes[0], &byte, 1), 1);
	close(pipes[0]);
	kill(pid, SIGKILL);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(count_domain(DOMAIN, &domain), 1);
	CHECK_EQ(domain.state, VESPER_DOMAIN_DEAD);
	fd = open(DEBUGFS "/" DOMAIN "/" MODULE "/" CHANNEL "1", O_RDONLY);
	CHECK(fd >= 0);
	CHECK_EQ(read(fd, bytes, sizeof(bytes)), 170 * 100);
	CHECK_EQ(check_records(bytes, 170 * 100, 100, 0), 170);
	CHECK_EQ(poll_fd(fd, 0), POLLERR);
	close(fd);
	CHECK(gone(DEBUGFS "/" DOMAIN));
	return KSFT_PASS;
}

/* RLIMIT_MEMLOCK holds for whoever may not ignore it. */
static int test_memlock(void)
{
	struct vmm vmm;
	__u32 id;
	int status;
	pid_t pid;

	CHECK(!vmm_open(&vmm, DOMAIN));
	CHECK_EQ(vmm_hello(&vmm, 1), 0);
	CHECK_EQ(vmm_open_channel(&vmm, "m", "c", 0, PAGE, 16, 1, &id), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		struct rlimit limit = { 8 * PAGE, 8 * PAGE };
		struct vesper_segment seg = { 0, 16 * PAGE };
		int ret;

		seg.addr = (uintptr_t)mmap(NULL, seg.len,
					   PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		setrlimit(RLIMIT_MEMLOCK, &limit);
		if (setuid(65534))
			_exit(2);
		ret = vmm_lend(&vmm, 1, id, 0, 0, 16, &seg, 1);
		if (!ret || errno != ENOMEM)
			_exit(3);
		seg.len = 8 * PAGE;
		if (vmm_lend(&vmm, 1, id, 0, 0, 8, &seg, 1))
			_exit(4);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	vmm_close(&vmm);
	CHECK(gone(DEBUGFS "/" DOMAIN));
	return KSFT_PASS;
}

static int test_lists(void)
{
	struct vesper_info info;
	struct vesper_buffer buffers[2];
	__u8 small[3][16], large[300];
	struct vesper_list list = {
		.capacity = 2,
		.entry_size = sizeof(*buffers),
		.entries = (uintptr_t)buffers,
		.domain = DOMAIN,
	};
	struct setup s;
	int fd;

	if (setup(&s))
		return KSFT_FAIL;
	fd = open("/dev/vesper", O_RDWR);
	CHECK(fd >= 0);
	CHECK(!ioctl(fd, VESPER_IOC_INFO, &info));
	CHECK_EQ(info.abi_version, VESPER_ABI_VERSION);
	CHECK_EQ(info.device_abi, VIRTIO_VESPER_ABI_VERSION);
	CHECK_ERR(ioctl(fd, VESPER_IOC_ATTACH, &info), ENOTTY);
	ring_write_numbered(&s.ring, 100, 100);
	ring_switch(&s.ring);
	CHECK(!ioctl(fd, VESPER_IOC_BUFFERS_OF, &list));
	CHECK_EQ(list.count, 1);
	CHECK(!strcmp((char *)buffers[0].module, MODULE));
	CHECK(!strcmp((char *)buffers[0].channel, CHANNEL));
	CHECK_EQ(buffers[0].buffer, 1);
	CHECK_EQ(buffers[0].produced, 2);
	CHECK_EQ(buffers[0].unread_bytes, 100 * 100);
	/* Callers of other ages. */
	list.entry_size = 16;
	list.entries = (uintptr_t)small;
	memset(small, 0xaa, sizeof(small));
	CHECK(!ioctl(fd, VESPER_IOC_BUFFERS_OF, &list));
	CHECK(!memcmp(small[0], MODULE, sizeof(MODULE)));
	CHECK_EQ(small[1][0], 0xaa);
	list.entry_size = sizeof(large);
	list.entries = (uintptr_t)large;
	memset(large, 0xaa, sizeof(large));
	CHECK(!ioctl(fd, VESPER_IOC_BUFFERS_OF, &list));
	CHECK_EQ(large[sizeof(large) - 1], 0);
	list.capacity = 0;
	list.entries = 0;
	CHECK(!ioctl(fd, VESPER_IOC_BUFFERS_OF, &list));
	CHECK_EQ(list.count, 1);
	list.entry_size = 0;
	CHECK_ERR(ioctl(fd, VESPER_IOC_BUFFERS_OF, &list), EINVAL);
	list.entry_size = 16;
	snprintf((char *)list.domain, VESPER_NAME_LEN, "nobody");
	CHECK_ERR(ioctl(fd, VESPER_IOC_BUFFERS_OF, &list), ENODEV);
	CHECK_ERR(ioctl(fd, VESPER_IOC_MODULES, &list), ENODEV);
	close(fd);
	teardown(&s);
	return KSFT_PASS;
}

/* Memory in which every access waits until it is told otherwise. */
struct trap {
	int uffd;
	void *mem;
};

static int trap_init(struct trap *trap)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	trap->uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (trap->uffd < 0 || ioctl(trap->uffd, UFFDIO_API, &api))
		return KSFT_SKIP;
	trap->mem = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	reg.range.start = (uintptr_t)trap->mem;
	reg.range.len = PAGE;
	return ioctl(trap->uffd, UFFDIO_REGISTER, &reg) ? KSFT_SKIP : KSFT_PASS;
}

static int trap_release(struct trap *trap)
{
	struct uffdio_zeropage zero = {
		.range = { (uintptr_t)trap->mem, PAGE },
	};

	return ioctl(trap->uffd, UFFDIO_ZEROPAGE, &zero);
}

struct stuck {
	int fd;
	struct trap trap;
	ssize_t got;
	pthread_t thread;
};

static void *stuck_thread(void *arg)
{
	struct stuck *stuck = arg;

	stuck->got = read(stuck->fd, stuck->trap.mem, 100);
	return NULL;
}

static long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ll + ts.tv_nsec / 1000000;
}

/* A reader that is stuck holds up nobody: not a reset, not the guest's return. */
static int test_stuck_reader(void)
{
	__u8 bytes[N_SUBBUFS * SUBBUF];
	struct vesper_domain domain;
	struct vesper_event event;
	struct stuck stuck;
	struct setup s;
	long long start;
	ssize_t got;
	__u32 id;
	int ret;

	ret = trap_init(&stuck.trap);
	if (ret)
		return ret;
	if (setup(&s))
		return KSFT_FAIL;
	stuck.fd = open(s.path, O_RDONLY);
	CHECK(stuck.fd >= 0);
	CHECK_EQ(ring_write_numbered(&s.ring, 150, 100), 150);
	pthread_create(&stuck.thread, NULL, stuck_thread, &stuck);
	usleep(300000);

	start = now_ms();
	CHECK(!vmm_notice(&s.vmm, VESPER_NOTICE_RESET, 0));
	CHECK(now_ms() - start < 5000);
	CHECK_EQ(count_domain(DOMAIN, &domain), 1);
	/* The page being read stays pinned, and with it all of the buffer. */
	CHECK_EQ(domain.lent_pages, SUBBUF * N_SUBBUFS / PAGE + 1);
	memset(s.ring.data + 100, 0xee, SUBBUF * N_SUBBUFS - 100);
	CHECK_EQ(vmm_hello(&s.vmm, 2), 0);
	CHECK_EQ(vmm_open_channel(&s.vmm, MODULE, CHANNEL, 0, SUBBUF,
				  N_SUBBUFS, 2, &id), 0);
	CHECK(!trap_release(&stuck.trap));
	pthread_join(stuck.thread, NULL);
	CHECK_EQ(stuck.got, 100);
	for (int i = 0; i < 500 && domain.lent_pages; i++) {
		CHECK_EQ(count_domain(DOMAIN, &domain), 1);
		usleep(10000);
	}
	CHECK_EQ(domain.lent_pages, 0);
	/* No word of loans that the reset ended. */
	CHECK_ERR(vmm_event(&s.vmm, &event, NULL, 0, 100), ETIME);
	got = read(stuck.fd, bytes, sizeof(bytes));
	CHECK_EQ(got, 149 * 100);
	CHECK_EQ(check_records(bytes, got, 100, 1), 150);
	close(stuck.fd);
	teardown(&s);
	return KSFT_PASS;
}

/* Modules come and go, and nobody reads: what is kept stays within bounds. */
static int test_repeat_unread(void)
{
	struct vesper_module modules[300];
	struct setup s;
	int count;

	CHECK(!vmm_open(&s.vmm, DOMAIN));
	CHECK_EQ(vmm_hello(&s.vmm, 1), 0);
	CHECK(!ring_init(&s.ring, &s.vmm, 0, 0, 1 << 20, 4, false));
	/* 3 MiB each; 256 MiB is what the module keeps unless told otherwise. */
	for (int i = 0; i < 120; i++) {
		struct ring *r = &s.ring;

		CHECK_EQ(vmm_open_channel(&s.vmm, MODULE, CHANNEL, 0, 1 << 20,
					  4, 1, &r->channel), 0);
		memset(r->index, 0, PAGE);
		r->index->version = VIRTIO_VESPER_INDEX_VERSION;
		r->index->n_subbufs = 4;
		r->used = 0;
		r->loans = 0;
		CHECK_EQ(ring_share(r), 0);
		CHECK_EQ(ring_write_numbered(r, 5 << 19 >> 12, 4096),
			 5 << 19 >> 12);
		CHECK_EQ(vmm_buffer_msg(&s.vmm, VIRTIO_VESPER_C_UNSHARE,
					r->channel, 0), 0);
		CHECK(!vmm_take_returns(&s.vmm, r->loans));
		CHECK_EQ(vmm_buffer_msg(&s.vmm, VIRTIO_VESPER_C_CLOSE,
					r->channel,
					VIRTIO_VESPER_ALL_BUFFERS), 0);
	}
	for (int i = 0; i < 100; i++) {
		count = list_modules(modules, 300);
		if (count <= 85)
			break;
		usleep(50000);
	}
	CHECK_EQ(count, 85);
	CHECK_EQ(modules[0].state, VESPER_MODULE_DRAINING);
	CHECK(!exists(DEBUGFS "/" DOMAIN "/" MODULE "@1"));
	CHECK(exists(DEBUGFS "/" DOMAIN "/" MODULE "@119"));
	vmm_close(&s.vmm);
	ring_free(&s.ring);
	return KSFT_PASS;
}

static void on_signal(int nr)
{
	(void)nr;
}

static int test_signal(void)
{
	struct request r;
	struct vmm vmm;
	__u8 image[1] = {};
	int status, fd;
	pid_t pid;

	CHECK(!vmm_open(&vmm, DOMAIN));
	CHECK_EQ(vmm_hello(&vmm, 1), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		struct sigaction act = { .sa_handler = on_signal };

		sigaction(SIGALRM, &act, NULL);
		memset(&r, 0, sizeof(r));
		r.load.image = (uintptr_t)image;
		r.load.image_len = 1;
		snprintf((char *)r.load.domain, VESPER_NAME_LEN, DOMAIN);
		snprintf((char *)r.load.module, VESPER_NAME_LEN, "m");
		fd = open("/dev/vesper", O_RDWR);
		ualarm(200000, 0);
		if (ioctl(fd, VESPER_IOC_LOAD, &r.load) != -1 || errno != EINTR)
			_exit(1);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	vmm_close(&vmm);
	return KSFT_PASS;
}

/* Everything at once, for some seconds; the kernel must only survive it. */
struct storm {
	struct setup s;
	bool stop;
};

static bool stopped(struct storm *storm)
{
	return __atomic_load_n(&storm->stop, __ATOMIC_RELAXED);
}

static void *storm_reader(void *arg)
{
	struct storm *storm = arg;
	char bytes[3000];

	while (!stopped(storm)) {
		int fd = open(storm->s.path, O_RDONLY);
		void *map;

		if (fd < 0)
			continue;
		map = mmap(NULL, SUBBUF * N_SUBBUFS, PROT_READ, MAP_SHARED, fd,
			   0);
		for (int i = 0; i < 50; i++) {
			struct vesper_position pos;

			poll_fd(fd, 0);
			if (read(fd, bytes, sizeof(bytes)) < 0)
				break;
			if (map != MAP_FAILED)
				__atomic_load_n((char *)map, __ATOMIC_RELAXED);
			if (!ioctl(fd, VESPER_IOC_POSITION, &pos)) {
				pos.consumed = pos.produced;
				ioctl(fd, VESPER_IOC_CONSUME, &pos);
			}
		}
		if (map != MAP_FAILED)
			munmap(map, SUBBUF * N_SUBBUFS);
		close(fd);
	}
	return NULL;
}

static void *storm_guest(void *arg)
{
	struct storm *storm = arg;
	struct ring ring = storm->s.ring;

	for (unsigned int i = 0; !stopped(storm); i++) {
		ring_write_numbered(&ring, 50, 100);
		ring_switch(&ring);
		vmm_notify(&storm->s.vmm, storm->s.channel, 1);
	}
	return NULL;
}

static void *storm_sharer(void *arg)
{
	struct storm *storm = arg;
	struct setup *s = &storm->s;
	struct ring ring = s->ring;
	struct vesper_event event;

	while (!stopped(storm)) {
		vmm_buffer_msg(&s->vmm, VIRTIO_VESPER_C_UNSHARE, s->channel,
			       VIRTIO_VESPER_ALL_BUFFERS);
		ring_share(&ring);
		while (!vmm_event(&s->vmm, &event, NULL, 0, 0))
			;
	}
	return NULL;
}

static void *storm_resetter(void *arg)
{
	struct storm *storm = arg;
	struct setup *s = &storm->s;

	while (!stopped(storm)) {
		__u32 id;

		vmm_notice(&s->vmm, VESPER_NOTICE_RESET, 0);
		vmm_hello(&s->vmm, 2);
		if (!vmm_open_channel(&s->vmm, MODULE, CHANNEL, 0, SUBBUF,
				      N_SUBBUFS, 2, &id))
			s->channel = id;
		usleep(20000);
	}
	return NULL;
}

static void *storm_lister(void *arg)
{
	struct storm *storm = arg;
	struct vesper_module modules[16];
	struct vesper_domain domain;
	__u8 image[8] = {};

	while (!stopped(storm)) {
		struct request r;

		count_domain(DOMAIN, &domain);
		list_modules(modules, 16);
		start_load(&r, "x", image, sizeof(image), "", 1);
		pthread_join(r.thread, NULL);
	}
	return NULL;
}

static int test_storm(void)
{
	static void *(* const jobs[])(void *) = {
		storm_reader, storm_reader, storm_guest, storm_sharer,
		storm_sharer, storm_resetter, storm_lister, storm_guest,
	};
	pthread_t threads[sizeof(jobs) / sizeof(*jobs)];
	static struct storm storm;

	if (setup(&storm.s))
		return KSFT_FAIL;
	for (unsigned int i = 0; i < sizeof(jobs) / sizeof(*jobs); i++)
		pthread_create(&threads[i], NULL, jobs[i], &storm);
	sleep(8);
	__atomic_store_n(&storm.stop, true, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < sizeof(jobs) / sizeof(*jobs); i++)
		pthread_join(threads[i], NULL);
	/* No reader is in the way any more: a reset returns everything. */
	CHECK(!vmm_notice(&storm.s.vmm, VESPER_NOTICE_RESET, 0));
	CHECK_EQ(locked_kb(), 0);
	teardown(&storm.s);
	return KSFT_PASS;
}

static const struct ktap_test tests[] = {
	{ "attach", test_attach },
	{ "open_refusals", test_open_refusals },
	{ "lend", test_lend },
	{ "memlock", test_memlock },
	{ "read", test_read },
	{ "laps", test_laps },
	{ "full", test_full },
	{ "map", test_map },
	{ "poll_wakes", test_poll_wakes },
	{ "unshare", test_unshare },
	{ "unshare_empty", test_unshare_empty },
	{ "reset", test_reset },
	{ "death", test_death },
	{ "kill", test_kill },
	{ "ctf_tail", test_ctf_tail },
	{ "load", test_load },
	{ "load_abandoned", test_load_abandoned },
	{ "violations", test_violations },
	{ "lists", test_lists },
	{ "signal", test_signal },
	{ "stuck_reader", test_stuck_reader },
	{ "repeat_unread", test_repeat_unread },
	{ "storm", test_storm },
};

int main(int argc, char **argv)
{
	return ktap_run(tests, sizeof(tests) / sizeof(*tests),
			argc > 1 ? argv[1] : NULL);
}
