// SPDX-License-Identifier: GPL-2.0
/* poll() on the control node: who waits there hears of what is listed. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common.h"

#define READABLE	POLLIN

static int list(int fd, unsigned long request, __u32 capacity)
{
	union {
		struct vesper_domain domain;
		struct vesper_module module;
		struct vesper_buffer buffer;
	} entries[32];
	struct vesper_list list = {
		.capacity = capacity,
		.entry_size = sizeof(*entries),
		.entries = (uintptr_t)entries,
		.domain = DOMAIN,
	};

	return ioctl(fd, request, &list) ? -1 : (int)list.count;
}

/* Lists until a worker that still was at it has come to its end. */
static bool quiet(int fd)
{
	for (int i = 0; i < 50; i++) {
		if (list(fd, VESPER_IOC_DOMAINS, 32) < 0)
			return false;
		if (poll_fd(fd, 100) == 0)
			return true;
	}
	return false;
}

struct waiter {
	int fd, revents;
	pthread_t thread;
};

static void *waiter_thread(void *arg)
{
	struct waiter *waiter = arg;

	waiter->revents = poll_fd(waiter->fd, 10000);
	return NULL;
}

/* Does @what while somebody waits, who hears of it. */
#define WAKES(file, what)						\
	do {								\
		struct waiter waiter_ = { .fd = (file) };		\
									\
		CHECK(quiet(waiter_.fd));				\
		CHECK(!pthread_create(&waiter_.thread, NULL,		\
				      waiter_thread, &waiter_));	\
		usleep(50000);						\
		CHECK_EQ(what, 0);					\
		pthread_join(waiter_.thread, NULL);			\
		CHECK_EQ(waiter_.revents, READABLE);			\
		/* It stays so, also for who comes later. */		\
		CHECK_EQ(poll_fd(waiter_.fd, 0), READABLE);		\
	} while (0)

static int ask(struct request *r, __u8 *image)
{
	start_load(r, "mod", image, 1, "", 0);
	return 0;
}

/* The module is loaded: the guest's part of it. */
static int answer(struct vmm *vmm, struct request *r)
{
	__u8 msg[VESPER_MAX_MESSAGE];
	struct virtio_vesper_hdr hdr;
	struct vesper_event event;

	if (vmm_post(vmm, 4, 4096))
		return -1;
	for (int i = 0; i < 2; i++)
		if (vmm_event(vmm, &event, msg, sizeof(msg), 5000))
			return -1;
	memcpy(&hdr, msg, sizeof(hdr));
	if (vmm_result(vmm, hdr.id, 0, VIRTIO_VESPER_STAGE_KERNEL, "mod", ""))
		return -1;
	pthread_join(r->thread, NULL);
	return r->ret;
}

static void *unload_thread(void *arg)
{
	struct request *r = arg;

	r->ret = unload("mod", 0);
	return NULL;
}

static int ask_unload(struct request *r)
{
	return pthread_create(&r->thread, NULL, unload_thread, r);
}

static int answer_unload(struct vmm *vmm, struct request *r)
{
	struct virtio_vesper_unload msg;
	struct vesper_event event;

	if (vmm_event(vmm, &event, &msg, sizeof(msg), 5000) ||
	    vmm_result(vmm, msg.hdr.id, 0, VIRTIO_VESPER_STAGE_KERNEL, "mod",
		       ""))
		return -1;
	pthread_join(r->thread, NULL);
	return r->ret;
}

static int close_vmm(struct vmm *vmm)
{
	vmm_close(vmm);
	return 0;
}

int test_changes(void)
{
	__u8 image[1] = { 1 };
	struct vesper_domain domain;
	struct request r;
	struct ring ring;
	struct vmm vmm;
	__u32 channel;
	int fd = open("/dev/vesper", O_RDWR | O_CLOEXEC), other, i;

	/* Who has not listed yet has something to list. */
	CHECK(fd >= 0);
	CHECK_EQ(poll_fd(fd, 0), READABLE);
	CHECK(quiet(fd));

	WAKES(fd, vmm_open(&vmm, DOMAIN));
	/* Only a whole list of the domains counts, and only for who got it. */
	CHECK(list(fd, VESPER_IOC_DOMAINS, 0) >= 1);
	CHECK_EQ(list(fd, VESPER_IOC_MODULES, 32), 0);
	CHECK_EQ(list(fd, VESPER_IOC_BUFFERS_OF, 32), 0);
	CHECK_EQ(poll_fd(fd, 0), READABLE);
	other = open("/dev/vesper", O_RDWR | O_CLOEXEC);
	CHECK(other >= 0);
	CHECK(quiet(other));
	CHECK_EQ(poll_fd(fd, 0), READABLE);

	WAKES(fd, vmm_notice(&vmm, VESPER_NOTICE_RUN_STATE, VESPER_RUN_PAUSED));
	WAKES(fd, vmm_notice(&vmm, VESPER_NOTICE_POWERDOWN, 0));
	WAKES(fd, vmm_hello(&vmm, 1));
	WAKES(fd, ask(&r, image));
	WAKES(fd, answer(&vmm, &r));
	WAKES(fd, vmm_open_channel(&vmm, MODULE, CHANNEL, 0, SUBBUF, N_SUBBUFS,
				   1, &channel));
	CHECK(!ring_init(&ring, &vmm, channel, 0, SUBBUF, N_SUBBUFS, false));
	WAKES(fd, ring_share(&ring));

	/* Data are no change, nor is a read of them. */
	CHECK(quiet(fd));
	CHECK_EQ(ring_write_numbered(&ring, 200, 100), 200);
	CHECK(!vmm_notify(&vmm, channel, 0));
	i = open(DEBUGFS "/" DOMAIN "/" MODULE "/" CHANNEL "0", O_RDONLY);
	CHECK(i >= 0);
	CHECK_EQ(read(i, image, 1), 1);
	close(i);
	CHECK_EQ(poll_fd(fd, 200), 0);

	WAKES(fd, vmm_buffer_msg(&vmm, VIRTIO_VESPER_C_UNSHARE, channel, 0));
	CHECK(!vmm_take_returns(&vmm, ring.loans));
	WAKES(fd, vmm_buffer_msg(&vmm, VIRTIO_VESPER_C_CLOSE, channel,
				 VIRTIO_VESPER_ALL_BUFFERS));
	WAKES(fd, ask_unload(&r));
	WAKES(fd, answer_unload(&vmm, &r));
	WAKES(fd, vmm_notice(&vmm, VESPER_NOTICE_RESET, 0));
	WAKES(fd, close_vmm(&vmm));
	CHECK_EQ(count_domain(DOMAIN, &domain), 1);
	CHECK_EQ(domain.state, VESPER_DOMAIN_DEAD);
	WAKES(fd, reap(DOMAIN, NULL) > 0 ? 0 : -1);
	CHECK(gone(DEBUGFS "/" DOMAIN));
	CHECK_EQ(count_domain(DOMAIN, &domain), 0);
	close(other);
	close(fd);
	ring_free(&ring);
	return KSFT_PASS;
}
