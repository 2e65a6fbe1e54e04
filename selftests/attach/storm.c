// SPDX-License-Identifier: GPL-2.0
/* Everything at once. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common.h"

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

int test_storm(void)
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
	vmm_close(&storm.s.vmm);
	ring_free(&storm.s.ring);
	CHECK(drain());
	return KSFT_PASS;
}
