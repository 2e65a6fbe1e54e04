// SPDX-License-Identifier: GPL-2.0
/*
 * Every limit, one step too far. vesper_host.ko has to be loaded with the
 * parameters that selftests/tests/94_limits.sh gives it.
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../attach/common.h"

#define MAX_DOMAINS	3
#define MAX_CHANNELS	2
#define MAX_PAGES	12	/* of a buffer */
#define MAX_LENT	32	/* pages */
#define MAX_REQUESTS	2
#define MAX_DEAD	2
#define MAX_KEPT	1048576	/* bytes, of a domain */
#define MAX_KEPT_TOTAL	2097152

static int test_domains(void)
{
	struct vmm vmms[MAX_DOMAINS], more;
	char name[16];

	for (int i = 0; i < MAX_DOMAINS; i++) {
		snprintf(name, sizeof(name), DOMAIN "%d", i);
		CHECK(!vmm_open(&vmms[i], name));
	}
	CHECK_ERR(vmm_open(&more, DOMAIN), ENOSPC);
	vmm_close(&vmms[1]);
	/* The name and the place are free again. */
	CHECK(gone(DEBUGFS "/" DOMAIN "1"));
	CHECK(!vmm_open(&vmms[1], DOMAIN));
	CHECK_ERR(vmm_open(&more, DOMAIN "1"), ENOSPC);
	for (int i = 0; i < MAX_DOMAINS; i++)
		vmm_close(&vmms[i]);
	return KSFT_PASS;
}

static int test_channels(void)
{
	struct vmm vmm;
	__u32 id, first;

	CHECK(!vmm_open(&vmm, DOMAIN));
	CHECK_EQ(vmm_hello(&vmm, 1), 0);
	CHECK_EQ(vmm_open_channel(&vmm, "a", "c", 0, PAGE, 1, 1, &first), 0);
	CHECK_EQ(vmm_open_channel(&vmm, "b", "c", 0, PAGE, 1, 1, &id), 0);
	CHECK_EQ(vmm_open_channel(&vmm, "c", "c", 0, PAGE, 1, 1, &id), ENOSPC);
	CHECK_EQ(vmm_buffer_msg(&vmm, VIRTIO_VESPER_C_CLOSE, first,
				VIRTIO_VESPER_ALL_BUFFERS), 0);
	CHECK_EQ(vmm_open_channel(&vmm, "c", "c", 0, PAGE, 1, 1, &id), 0);
	vmm_close(&vmm);
	return KSFT_PASS;
}

static int test_pages(void)
{
	struct ring rings[4];
	struct vmm vmm;
	__u32 id, other;

	CHECK(!vmm_open(&vmm, DOMAIN));
	CHECK_EQ(vmm_hello(&vmm, 4), 0);
	/* Of a buffer. */
	CHECK_EQ(vmm_open_channel(&vmm, "a", "c", 0, PAGE, MAX_PAGES + 1, 1,
				  &id), ENOSPC);
	CHECK_EQ(vmm_open_channel(&vmm, "a", "c", 0, PAGE, MAX_PAGES, 4, &id),
		 0);
	/* Sub-buffers, whatever their size. */
	CHECK_EQ(vmm_open_channel(&vmm, "b", "c", 0, PAGE, 961, 1, &other),
		 EINVAL);
	/* Of a guest: two buffers and their index pages, and six more. */
	for (int i = 0; i < 3; i++)
		CHECK(!ring_init(&rings[i], &vmm, id, i, PAGE, MAX_PAGES,
				 false));
	CHECK_EQ(ring_share(&rings[0]), 0);
	CHECK_EQ(ring_share(&rings[1]), 0);
	CHECK_ERR(ring_lend(&rings[2], MAX_PAGES), ENOSPC);
	/* What is given back can be lent again. */
	CHECK_EQ(vmm_buffer_msg(&vmm, VIRTIO_VESPER_C_UNSHARE, id, 0), 0);
	CHECK(!vmm_take_returns(&vmm, rings[0].loans));
	CHECK_EQ(ring_share(&rings[2]), 0);
	CHECK_EQ(locked_kb(), 2 * (MAX_PAGES + 1) * (PAGE / 1024));
	vmm_close(&vmm);
	for (int i = 0; i < 500 && locked_kb(); i++)
		usleep(10000);
	CHECK_EQ(locked_kb(), 0);
	return KSFT_PASS;
}

/* Fragments, messages, lists of CPUs, posted buffers. */
static int test_sizes(void)
{
	static __u8 bytes[VIRTIO_VESPER_MAX_CONTROL + 1];
	static struct vesper_segment segments[VIRTIO_VESPER_MAX_FRAGMENT + 1];
	struct vesper_message message = {
		.queue = VIRTIO_VESPER_VQ_CONTROL,
		.request_len = sizeof(bytes),
		.reply_cap = sizeof(bytes),
		.request = (uintptr_t)bytes,
		.reply = (uintptr_t)bytes,
	};
	struct vesper_vcpus vcpus = { .count = VESPER_MAX_VCPUS + 1 };
	struct vesper_list list = { .entry_size = 4097 };
	struct vmm vmm;
	__u32 id;
	int fd;

	CHECK(!vmm_open(&vmm, DOMAIN));
	CHECK_EQ(vmm_hello(&vmm, 1), 0);
	CHECK_EQ(vmm_open_channel(&vmm, "a", "c", 0, PAGE, 1, 1, &id), 0);
	CHECK_ERR(ioctl(vmm.fd, VESPER_IOC_MESSAGE, &message), EMSGSIZE);
	CHECK_ERR(vmm_lend(&vmm, 1, id, 0, 0, 1, segments,
			   VIRTIO_VESPER_MAX_FRAGMENT + 1), EINVAL);
	CHECK_ERR(vmm_lend(&vmm, 1, id, 0, 0, VIRTIO_VESPER_MAX_FRAGMENT + 1,
			   segments, 1), EINVAL);
	CHECK_ERR(ioctl(vmm.fd, VESPER_IOC_VCPUS, &vcpus), EINVAL);
	CHECK_ERR(vmm_post(&vmm, 1, VESPER_MAX_MESSAGE + 1), EINVAL);
	CHECK_ERR(vmm_post(&vmm, 1, 511), EINVAL);
	CHECK_ERR(vmm_post(&vmm, 65537, 512), EINVAL);
	fd = open("/dev/vesper", O_RDWR | O_CLOEXEC);
	CHECK_ERR(ioctl(fd, VESPER_IOC_DOMAINS, &list), EINVAL);
	close(fd);
	vmm_close(&vmm);
	return KSFT_PASS;
}

static int test_metadata(void)
{
	static char text[VIRTIO_VESPER_MAX_CONTROL / 2];
	struct vmm vmm;
	int ret = 0, i;
	__u32 id;

	memset(text, 'm', sizeof(text) - 1);
	CHECK(!vmm_open(&vmm, DOMAIN));
	CHECK_EQ(vmm_hello(&vmm, 1), 0);
	CHECK_EQ(vmm_open_channel(&vmm, "a", "c", VIRTIO_VESPER_CHAN_CTF, PAGE,
				  1, 1, &id), 0);
	CHECK_EQ(vmm_metadata(&vmm, id, VIRTIO_VESPER_MAX_SECTIONS, "x"),
		 EINVAL);
	for (i = 0; !ret && i < 1000; i++)
		ret = vmm_metadata(&vmm, id, 0, text);
	CHECK_EQ(ret, ENOSPC);
	/* A MiB of it. */
	CHECK_EQ((i - 1) * (sizeof(text) - 1) >> 12, 255);
	vmm_close(&vmm);
	return KSFT_PASS;
}

static int test_queue(void)
{
	struct request requests[MAX_REQUESTS], more;
	char name[16];
	static __u8 image[64];
	struct vmm vmm;

	CHECK(!vmm_open(&vmm, DOMAIN));
	CHECK_EQ(vmm_hello(&vmm, 1), 0);
	/* The guest posts no buffers: they wait. */
	for (int i = 0; i < MAX_REQUESTS; i++) {
		struct vesper_module modules[8];

		snprintf(name, sizeof(name), "queued%d", i);
		start_load(&requests[i], name, image, sizeof(image), "", 20000);
		for (int n = 0; n < 500; n++) {
			if (list_modules(modules, 8) == i + 1)
				break;
			usleep(10000);
		}
		CHECK_EQ(list_modules(modules, 8), i + 1);
	}
	start_load(&more, "more", image, sizeof(image), "", 20000);
	pthread_join(more.thread, NULL);
	CHECK_EQ(more.ret, -1);
	CHECK_EQ(more.err, EBUSY);
	/* The VMM's death ends their wait. */
	vmm_close(&vmm);
	for (int i = 0; i < MAX_REQUESTS; i++) {
		pthread_join(requests[i].thread, NULL);
		CHECK_EQ(requests[i].ret, -1);
		CHECK_EQ(requests[i].err, EPIPE);
	}
	return KSFT_PASS;
}

static int test_image(void)
{
	size_t len = VIRTIO_VESPER_MAX_IMAGE + 1;
	static char params[VIRTIO_VESPER_MAX_PARAMS + 2];
	struct request r;
	struct vmm vmm;
	void *image;

	image = mmap(NULL, len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(image != MAP_FAILED);
	CHECK(!vmm_open(&vmm, DOMAIN));
	CHECK_EQ(vmm_hello(&vmm, 1), 0);
	start_load(&r, "image", image, len, "", 100);
	pthread_join(r.thread, NULL);
	CHECK_EQ(r.err, EFBIG);
	start_load(&r, "image", image, len - 1, "", 100);
	pthread_join(r.thread, NULL);
	CHECK_EQ(r.err, ETIMEDOUT);
	start_load(&r, "image", image, 0, "", 100);
	pthread_join(r.thread, NULL);
	CHECK_EQ(r.err, EINVAL);
	memset(params, 'p', VIRTIO_VESPER_MAX_PARAMS + 1);
	start_load(&r, "image", image, 10, params, 100);
	pthread_join(r.thread, NULL);
	CHECK_EQ(r.err, EINVAL);
	params[VIRTIO_VESPER_MAX_PARAMS] = 0;
	start_load(&r, "image", image, 10, params, 100);
	pthread_join(r.thread, NULL);
	CHECK_EQ(r.err, ETIMEDOUT);
	vmm_close(&vmm);
	return KSFT_PASS;
}

/* Attaches as @uid; from then on root does what is to be done. */
static int open_as(uid_t uid, struct vmm *vmm, const char *name)
{
	int ret;

	if (seteuid(uid))
		return -1;
	/* The node stays root's. */
	setfsuid(0);
	ret = vmm_open(vmm, name);
	return seteuid(0) ? -1 : ret;
}

static int leave_one(uid_t uid, const char *name)
{
	struct ring ring;
	struct vmm vmm;
	__u32 id;

	CHECK(!open_as(uid, &vmm, name));
	CHECK_EQ(vmm_hello(&vmm, 1), 0);
	CHECK_EQ(vmm_open_channel(&vmm, "m", "c", 0, PAGE, 4, 1, &id), 0);
	CHECK(!ring_init(&ring, &vmm, id, 0, PAGE, 4, false));
	CHECK_EQ(ring_share(&ring), 0);
	CHECK_EQ(ring_write_numbered(&ring, 10, 100), 10);
	vmm_close(&vmm);
	ring_free(&ring);
	return KSFT_PASS;
}

/* No user takes the place of another's, however many names they think of. */
static int test_dead_of_users(void)
{
	struct vesper_domain domain;
	char name[16];

	if (leave_one(1234, DOMAIN "other"))
		return KSFT_FAIL;
	for (int i = 0; i < MAX_DEAD + 2; i++) {
		snprintf(name, sizeof(name), DOMAIN "%d", i);
		if (leave_one(0, name))
			return KSFT_FAIL;
	}
	CHECK(gone(DEBUGFS "/" DOMAIN "2"));
	CHECK_EQ(count_domain(DOMAIN "3", &domain), 1);
	CHECK_EQ(count_domain(DOMAIN "other", &domain), 1);
	CHECK_EQ(domain.state, VESPER_DOMAIN_DEAD);
	drain();
	CHECK(gone(DEBUGFS "/" DOMAIN "3"));
	CHECK(gone(DEBUGFS "/" DOMAIN "other"));
	return KSFT_PASS;
}

/* A VMM that does not fetch what waits for it. */
static int test_notices(void)
{
	struct vmm vmm;
	void *page;
	__u32 id;
	int i;

	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page != MAP_FAILED);
	CHECK(!vmm_open(&vmm, DOMAIN));
	CHECK_EQ(vmm_hello(&vmm, 1), 0);
	/* One more than may wait, and that one again when they were fetched. */
	for (i = 1; i <= MAX_LENT + 1; i++) {
		struct vesper_segment segment = { (uintptr_t)page, PAGE };

		CHECK_EQ(vmm_open_channel(&vmm, "a", "c", 0, PAGE, 2, 1, &id),
			 0);
		if (i > MAX_LENT) {
			CHECK_ERR(vmm_lend(&vmm, i, id, 0, 0, 1, &segment, 1),
				  ENOSPC);
			CHECK(!vmm_take_returns(&vmm, MAX_LENT));
		}
		CHECK_EQ(vmm_lend(&vmm, i, id, 0, 0, 1, &segment, 1), 0);
		CHECK_EQ(vmm_buffer_msg(&vmm, VIRTIO_VESPER_C_CLOSE, id,
					VIRTIO_VESPER_ALL_BUFFERS), 0);
	}
	vmm_close(&vmm);
	munmap(page, PAGE);
	return KSFT_PASS;
}

/* Of the dead, the oldest go first. */
static int test_dead(void)
{
	struct vesper_domain domain;
	struct setup s;
	char name[16];

	for (int i = 0; i < MAX_DEAD + 2; i++) {
		snprintf(name, sizeof(name), DOMAIN "%d", i);
		if (setup_with(&s, name, 0, PAGE, 4))
			return KSFT_FAIL;
		CHECK_EQ(ring_write_numbered(&s.ring, 10, 100), 10);
		vmm_close(&s.vmm);
		ring_free(&s.ring);
	}
	CHECK(gone(DEBUGFS "/" DOMAIN "0"));
	CHECK(gone(DEBUGFS "/" DOMAIN "1"));
	CHECK_EQ(count_domain(DOMAIN "2", &domain), 1);
	CHECK_EQ(domain.state, VESPER_DOMAIN_DEAD);
	CHECK_EQ(count_domain(DOMAIN "3", &domain), 1);
	drain();
	CHECK(gone(DEBUGFS "/" DOMAIN "2"));
	CHECK(gone(DEBUGFS "/" DOMAIN "3"));
	return KSFT_PASS;
}

#define KEPT_EACH	(MAX_PAGES * PAGE)
#define KEPT_TAKES	(KEPT_EACH + 4 * PAGE)	/* with what it takes to keep it */
#define KEPT_FIT	(MAX_KEPT / KEPT_TAKES)
#define KEPT_MORE	2	/* as many as can be lent at a time */
#define RECORD		128
#define PER_BUFFER	(KEPT_EACH / RECORD)

/* A module of its own, whose only buffer is full of records. */
static int fill(struct vmm *vmm, struct ring *ring, int number)
{
	char name[16];
	__u32 id;

	snprintf(name, sizeof(name), "m%d", number);
	CHECK_EQ(vmm_open_channel(vmm, name, "c", 0, PAGE, MAX_PAGES, 1, &id),
		 0);
	CHECK(!ring_init(ring, vmm, id, 0, PAGE, MAX_PAGES, false));
	CHECK_EQ(ring_share(ring), 0);
	CHECK_EQ(ring_write_numbered(ring, PER_BUFFER, RECORD), PER_BUFFER);
	ring_switch(ring);
	return KSFT_PASS;
}

static const char *kept_path(int number)
{
	static char path[64];

	snprintf(path, sizeof(path), DEBUGFS "/" DOMAIN "/m%d/c0", number);
	return path;
}

/* All of it, and nothing else. */
static int read_whole(const char *path)
{
	static __u8 bytes[KEPT_EACH + 1];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got, len = 0;

	CHECK(fd >= 0);
	while ((got = read(fd, bytes + len, sizeof(bytes) - len)) > 0)
		len += got;
	close(fd);
	CHECK_EQ(len, KEPT_EACH);
	CHECK_EQ(check_records(bytes, len, RECORD, 0), PER_BUFFER);
	return KSFT_PASS;
}

/* Modules @from to @to - 1, of which all is kept: the guest does not have them any more. */
static int leave(struct vmm *vmm, int from, int to)
{
	for (int i = from; i < to; i++) {
		struct ring ring;

		if (fill(vmm, &ring, i))
			return KSFT_FAIL;
		CHECK_EQ(vmm_buffer_msg(vmm, VIRTIO_VESPER_C_CLOSE,
					ring.channel,
					VIRTIO_VESPER_ALL_BUFFERS), 0);
		CHECK(!vmm_take_returns(vmm, ring.loans));
		ring_free(&ring);
	}
	return KSFT_PASS;
}

static __u64 kept_of(const char *name)
{
	struct vesper_domain domain;

	return count_domain(name, &domain) == 1 ? domain.kept_bytes : 0;
}

/* What is thrown away goes a little later than what makes it too much. */
static int kept_become(__u64 other, __u64 dead, __u64 living, __u64 more)
{
	for (int i = 0; i < 500; i++) {
		if (kept_of(DOMAIN "other") == other &&
		    kept_of(DOMAIN "dead") == dead &&
		    kept_of(DOMAIN "living") == living &&
		    kept_of(DOMAIN "more") == more)
			return KSFT_PASS;
		usleep(10000);
	}
	CHECK_EQ(kept_of(DOMAIN "other"), other);
	CHECK_EQ(kept_of(DOMAIN "dead"), dead);
	CHECK_EQ(kept_of(DOMAIN "living"), living);
	CHECK_EQ(kept_of(DOMAIN "more"), more);
	return KSFT_PASS;
}

/*
 * Of all guests: of the user of whose most is kept, the guest of which most is
 * kept, and of equals the dead one.
 */
static int test_kept_total(void)
{
	const __u64 half = MAX_KEPT / 2, quarter = MAX_KEPT / 4;
	struct vmm other, dead, living, more;

	CHECK(!open_as(1234, &other, DOMAIN "other"));
	CHECK(!vmm_open(&dead, DOMAIN "dead"));
	CHECK(!vmm_open(&living, DOMAIN "living"));
	CHECK_EQ(vmm_hello(&other, 1), 0);
	CHECK_EQ(vmm_hello(&dead, 1), 0);
	CHECK_EQ(vmm_hello(&living, 1), 0);
	if (leave(&other, 0, KEPT_FIT / 2) || leave(&dead, 0, KEPT_FIT))
		return KSFT_FAIL;
	vmm_close(&other);
	vmm_close(&dead);
	if (leave(&living, 0, KEPT_FIT / 2))
		return KSFT_FAIL;
	/* As much as may be. */
	if (kept_become(half, MAX_KEPT, half, 0))
		return KSFT_FAIL;

	/* The oldest of the one with most. */
	if (leave(&living, KEPT_FIT / 2, KEPT_FIT / 4 * 3))
		return KSFT_FAIL;
	if (kept_become(half, half + quarter, half + quarter, 0))
		return KSFT_FAIL;
	CHECK(gone(DEBUGFS "/" DOMAIN "dead/m0"));
	CHECK(exists(DEBUGFS "/" DOMAIN "living/m0"));

	/* Of equals the dead one. */
	CHECK(!vmm_open(&more, DOMAIN "more"));
	CHECK_EQ(vmm_hello(&more, 1), 0);
	if (leave(&more, 0, 1))
		return KSFT_FAIL;
	if (kept_become(half, half + quarter - KEPT_TAKES, half + quarter,
			KEPT_TAKES))
		return KSFT_FAIL;
	vmm_close(&living);
	vmm_close(&more);
	drain();
	CHECK(gone(DEBUGFS "/" DOMAIN "other"));
	CHECK(gone(DEBUGFS "/" DOMAIN "dead"));
	CHECK(gone(DEBUGFS "/" DOMAIN "living"));
	CHECK(gone(DEBUGFS "/" DOMAIN "more"));
	return KSFT_PASS;
}

/* Of the bytes that a guest leaves, the oldest go first. */
static int test_kept(void)
{
	struct ring rings[KEPT_FIT + KEPT_MORE];
	struct vesper_domain domain;
	struct setup other;
	struct vmm vmm;
	int i;

	/* Each guest has a limit of its own. */
	if (setup_with(&other, DOMAIN "1", 0, PAGE, 4))
		return KSFT_FAIL;
	CHECK_EQ(ring_write_numbered(&other.ring, 10, 100), 10);
	vmm_close(&other.vmm);

	CHECK(!vmm_open(&vmm, DOMAIN));
	CHECK_EQ(vmm_hello(&vmm, 1), 0);
	for (i = 0; i < KEPT_FIT; i++) {
		if (fill(&vmm, &rings[i], i))
			return KSFT_FAIL;
		CHECK_EQ(vmm_buffer_msg(&vmm, VIRTIO_VESPER_C_CLOSE,
					rings[i].channel,
					VIRTIO_VESPER_ALL_BUFFERS), 0);
		CHECK(!vmm_take_returns(&vmm, rings[i].loans));
	}
	/* As much as may be. */
	CHECK_EQ(count_domain(DOMAIN, &domain), 1);
	CHECK_EQ(domain.kept_bytes, MAX_KEPT);

	/* What the VMM's death adds is more than that. */
	for (; i < KEPT_FIT + KEPT_MORE; i++)
		if (fill(&vmm, &rings[i], i))
			return KSFT_FAIL;
	for (i = 0; i < KEPT_FIT + KEPT_MORE; i++)
		CHECK(exists(kept_path(i)));
	vmm_close(&vmm);
	for (i = 0; i < KEPT_MORE; i++)
		CHECK(gone(kept_path(i)));
	CHECK_EQ(count_domain(DOMAIN, &domain), 1);
	CHECK_EQ(domain.state, VESPER_DOMAIN_DEAD);
	CHECK_EQ(domain.kept_bytes, MAX_KEPT);
	for (; i < KEPT_FIT + KEPT_MORE; i++)
		if (read_whole(kept_path(i)))
			return KSFT_FAIL;
	CHECK(gone(DEBUGFS "/" DOMAIN));
	CHECK_EQ(count_domain(DOMAIN "1", &domain), 1);
	CHECK(domain.kept_bytes > 0);
	CHECK(drain());
	CHECK(gone(DEBUGFS "/" DOMAIN "1"));

	ring_free(&other.ring);
	for (i = 0; i < KEPT_FIT + KEPT_MORE; i++)
		ring_free(&rings[i]);
	return KSFT_PASS;
}

static const struct ktap_test tests[] = {
	{ "domains", test_domains },
	{ "channels", test_channels },
	{ "pages", test_pages },
	{ "sizes", test_sizes },
	{ "metadata", test_metadata },
	{ "queue", test_queue },
	{ "image", test_image },
	{ "notices", test_notices },
	{ "dead", test_dead },
	{ "dead_of_users", test_dead_of_users },
	{ "kept", test_kept },
	{ "kept_total", test_kept_total },
};

int main(int argc, char **argv)
{
	return ktap_run(tests, sizeof(tests) / sizeof(*tests),
			argc > 1 ? argv[1] : NULL);
}
