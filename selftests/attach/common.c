// SPDX-License-Identifier: GPL-2.0
/* What the tests of the attach interface have in common. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <linux/userfaultfd.h>

#include "common.h"

int setup_with(struct setup *s, const char *name, __u32 flags,
	       __u32 subbuf_size, __u32 n_subbufs)
{
	CHECK(!vmm_open(&s->vmm, name));
	CHECK_EQ(vmm_hello(&s->vmm, 2), 0);
	CHECK_EQ(vmm_open_channel(&s->vmm, MODULE, CHANNEL, flags, subbuf_size,
				  n_subbufs, 2, &s->channel), 0);
	CHECK(!ring_init(&s->ring, &s->vmm, s->channel, 1, subbuf_size,
			 n_subbufs, flags & VIRTIO_VESPER_CHAN_CTF));
	s->ring.overwrite = flags & VIRTIO_VESPER_CHAN_OVERWRITE;
	CHECK_EQ(ring_share(&s->ring), 0);
	snprintf(s->path, sizeof(s->path), DEBUGFS "/%s/" MODULE "/" CHANNEL
		 "1", name);
	return KSFT_PASS;
}

int setup(struct setup *s)
{
	return setup_with(s, DOMAIN, 0, SUBBUF, N_SUBBUFS);
}

int trap_init(struct trap *trap)
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

int trap_release(struct trap *trap)
{
	struct uffdio_zeropage zero = {
		.range = { (uintptr_t)trap->mem, PAGE },
	};

	return ioctl(trap->uffd, UFFDIO_ZEROPAGE, &zero);
}

long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ll + ts.tv_nsec / 1000000;
}

bool exists(const char *path)
{
	return !access(path, F_OK);
}

static int drain_file(const char *path, const struct stat *st, int type,
		      struct FTW *ftw)
{
	static char bytes[1 << 20];
	int fd;

	(void)st;
	if (type != FTW_F || strncmp(path, DEBUGFS "/" DOMAIN,
				     strlen(DEBUGFS "/" DOMAIN)) ||
	    !strcmp(path + ftw->base, "metadata"))
		return 0;
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return 0;
	while (read(fd, bytes, sizeof(bytes)) > 0)
		;
	close(fd);
	return 0;
}

bool drain(void)
{
	/* Directories that go under the walk's feet end it. */
	while (nftw(DEBUGFS, drain_file, 16, FTW_PHYS) && errno == ENOENT)
		;
	return gone(DEBUGFS "/" DOMAIN);
}

void teardown(struct setup *s)
{
	vmm_close(&s->vmm);
	ring_free(&s->ring);
	drain();
}

int poll_fd(int fd, int timeout_ms)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	if (poll(&pfd, 1, timeout_ms) < 0)
		return -1;
	return pfd.revents;
}

bool gone(const char *path)
{
	for (int i = 0; i < 500; i++) {
		if (!exists(path))
			return true;
		usleep(10000);
	}
	return false;
}

long long check_records(const __u8 *bytes, size_t len, __u32 size, __u64 from)
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

int count_domain(const char *name, struct vesper_domain *found)
{
	struct vesper_domain domains[64];
	struct vesper_list list = {
		.capacity = 64,
		.entry_size = sizeof(*domains),
		.entries = (uintptr_t)domains,
	};
	int fd = open("/dev/vesper", O_RDWR | O_CLOEXEC), count = 0, ret, err;

	if (fd < 0)
		return -1;
	ret = ioctl(fd, VESPER_IOC_DOMAINS, &list);
	err = errno;
	close(fd);
	errno = err;
	if (ret)
		return -1;
	for (__u32 i = 0; i < list.count; i++) {
		if (strcmp((char *)domains[i].name, name))
			continue;
		*found = domains[i];
		count++;
	}
	return count;
}

long locked_kb(void)
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

static void *request_thread(void *arg)
{
	struct request *r = arg;
	int fd = open("/dev/vesper", O_RDWR | O_CLOEXEC);

	r->ret = ioctl(fd, VESPER_IOC_LOAD, &r->load);
	r->err = errno;
	close(fd);
	return NULL;
}

void start_load(struct request *r, const char *module, void *image,
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

int list_modules(struct vesper_module *modules, __u32 capacity)
{
	struct vesper_list list = {
		.capacity = capacity,
		.entry_size = sizeof(*modules),
		.entries = (uintptr_t)modules,
		.domain = DOMAIN,
	};
	int fd = open("/dev/vesper", O_RDWR | O_CLOEXEC), ret, err;

	if (fd < 0)
		return -1;
	ret = ioctl(fd, VESPER_IOC_MODULES, &list);
	err = errno;
	close(fd);
	errno = err;
	return ret ? -1 : (int)list.count;
}

long long reap(const char *domain, const char *module)
{
	struct vesper_reap reap = {};
	int fd = open("/dev/vesper", O_RDWR | O_CLOEXEC), ret, err;

	if (fd < 0)
		return -1;
	snprintf((char *)reap.domain, VESPER_NAME_LEN, "%s", domain);
	if (module)
		snprintf((char *)reap.module, VESPER_NAME_LEN, "%s", module);
	ret = ioctl(fd, VESPER_IOC_REAP, &reap);
	err = errno;
	close(fd);
	errno = err;
	return ret ? -1 : (long long)reap.bytes;
}

int unload(const char *module, __u32 timeout_ms)
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
