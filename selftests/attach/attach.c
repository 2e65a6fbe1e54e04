// SPDX-License-Identifier: GPL-2.0
/* Attaching, opening, lending, listing: what is taken and what is refused. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

int test_attach(void)
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
	CHECK_EQ(attach.features, 1 << VIRTIO_VESPER_F_LOADER |
		 1 << VIRTIO_VESPER_F_SHARE |
		 1 << VIRTIO_VESPER_F_HEARTBEAT);
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

/* A driver of another age: told so, with our version, and no harm done. */
int test_hello_versions(void)
{
	static const __u32 others[] = {
		VIRTIO_VESPER_ABI_VERSION + (1 << 16),
		VIRTIO_VESPER_ABI_VERSION - (1 << 16),
	};
	struct vesper_domain domain;
	struct vmm vmm;
	__u32 value;

	CHECK(!vmm_open(&vmm, DOMAIN));
	for (unsigned int i = 0; i < sizeof(others) / sizeof(*others); i++) {
		value = 0;
		CHECK_EQ(vmm_hello_version(&vmm, 2, others[i], &value),
			 EPROTONOSUPPORT);
		CHECK_EQ(value, VIRTIO_VESPER_ABI_VERSION);
		CHECK_EQ(count_domain(DOMAIN, &domain), 1);
		CHECK_EQ(domain.state, VESPER_DOMAIN_ATTACHED);
	}
	/* Minor numbers may differ. */
	CHECK_EQ(vmm_hello_version(&vmm, 2, VIRTIO_VESPER_ABI_VERSION + 1,
				   &value), 0);
	CHECK_EQ(value, VIRTIO_VESPER_ABI_VERSION);
	vmm_close(&vmm);
	CHECK(gone(DEBUGFS "/" DOMAIN));
	return KSFT_PASS;
}

/* One guest has many messages in the log: there is room for one about another. */
int test_loud(void)
{
	const __u32 newer = VIRTIO_VESPER_ABI_VERSION + (1 << 16);
	struct vmm loud, quiet;

	CHECK(!vmm_open(&loud, DOMAIN "-loud"));
	CHECK(!vmm_open(&quiet, DOMAIN "-quiet"));
	for (unsigned int i = 0; i < 50; i++)
		CHECK_EQ(vmm_hello_version(&loud, 1, newer, NULL),
			 EPROTONOSUPPORT);
	CHECK_EQ(vmm_hello_version(&quiet, 1, newer, NULL), EPROTONOSUPPORT);
	vmm_close(&loud);
	vmm_close(&quiet);
	return KSFT_PASS;
}

int test_open_refusals(void)
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

static int lend_as_another(struct setup *s, struct vesper_segment *seg)
{
	CHECK_ERR(vmm_lend(&s->vmm, 1, s->channel, 0, 5, 1, seg, 1), EPERM);
	return KSFT_PASS;
}

int test_lend(void)
{
	struct vesper_segment seg, many[2];
	struct setup s;
	struct ring big;
	__u32 id;
	FILE *f;
	char *file;
	int fd, status;
	pid_t pid;

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
	/* Another process, which has the descriptor, too. */
	seg.addr = (uintptr_t)s.ring.data;
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		_exit(lend_as_another(&s, &seg));
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
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

/* RLIMIT_MEMLOCK holds for whoever may not ignore it. */
int test_memlock(void)
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

int test_lists(void)
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
