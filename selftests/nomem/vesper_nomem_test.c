// SPDX-License-Identifier: GPL-2.0
/*
 * Every operation of the attach node and the operator's, with its first
 * allocation failing, then its second, and so on, until one is through before
 * that many were made. What fails says ENOMEM, works when it is done again, and
 * takes no record with it.
 *
 * Wants a kernel with fault injection, told by selftests/debug/95_no_memory.sh
 * that only vesper_host's own allocations count.
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../attach/common.h"

#define RECORDS		150	/* one sub-buffer closed, one open */
#define LEN		100
#define MAX_NTH		2000

static int nth_fd = -1;
static unsigned int failed;

static void arm(unsigned int nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", nth);

	/* Each test is a process of its own. */
	if (nth_fd < 0)
		nth_fd = open("/proc/self/fail-nth", O_RDWR | O_CLOEXEC);

	if (pwrite(nth_fd, text, len, 0) != len) {
		perror("fail-nth");
		exit(KSFT_FAIL);
	}
}

/* Says whether the allocation came that was to fail. */
static bool disarm(void)
{
	int err = errno;
	char text[16] = {};

	if (pread(nth_fd, text, sizeof(text) - 1, 0) <= 0) {
		perror("fail-nth");
		exit(KSFT_FAIL);
	}
	arm(0);
	errno = err;
	if (atoi(text))
		return false;
	failed++;
	return true;
}

/* What an operation did whose nth allocation failed. */
enum outcome { UNHARMED, REFUSED, WRONG };

/* For calls that give -1 and errno. */
static enum outcome outcome(long long ret)
{
	if (ret >= 0)
		return UNHARMED;
	return errno == ENOMEM ? REFUSED : WRONG;
}

/* A domain whose VMM is there has nothing to reap. */
static enum outcome busy(long long ret)
{
	return ret == -1 && errno == EBUSY ? UNHARMED : outcome(ret);
}

/* For messages, which give the guest a status. */
static enum outcome status(int ret)
{
	if (ret == 0 || ret == ENOMEM)
		return ret ? REFUSED : UNHARMED;
	return outcome(ret) == REFUSED ? REFUSED : WRONG;
}

/*
 * Does @op with its @n-th allocation failing, and again if it was refused.
 * Leaves the loop over n when there was no such allocation.
 */
#define OP(nth, kind, op)						\
	({								\
		unsigned int nth_ = (nth);				\
		bool hit_ = false;					\
									\
		for (int try_ = 0; try_ < 2; try_++) {			\
			long long ret_;					\
			enum outcome o_;				\
									\
			arm(try_ ? 0 : nth_);				\
			ret_ = (op);					\
			o_ = kind(ret_);				\
			hit_ |= !try_ && disarm();			\
			if (o_ == WRONG || (o_ == REFUSED && (try_ || !hit_))) { \
				printf("# %s:%d: %s, %s allocation %u: %lld, %s\n", \
				       __FILE__, __LINE__, #op,		\
				       try_ ? "after" : "with", nth_,	\
				       ret_, ret_ < 0 ? strerror(errno) : "status"); \
				return KSFT_FAIL;			\
			}						\
			if (o_ == UNHARMED)				\
				break;					\
		}							\
		hit_;							\
	})

static int counted(unsigned int before, unsigned int least)
{
	printf("# %u allocations failed\n", failed - before);
	CHECK(failed - before >= least);
	return KSFT_PASS;
}

static int nomem_attach(void)
{
	struct vesper_domain domain;
	unsigned int before = failed;
	struct vmm vmm;

	for (unsigned int n = 1; n < MAX_NTH; n++) {
		bool hit = OP(n, outcome, vmm_open(&vmm, DOMAIN));

		CHECK_EQ(count_domain(DOMAIN, &domain), 1);
		vmm_close(&vmm);
		CHECK(gone(DEBUGFS "/" DOMAIN));
		if (!hit)
			break;
	}
	return counted(before, 3);
}

static int lend_data(struct vmm *vmm, struct ring *ring, __u32 channel)
{
	return vmm_lend(vmm, 1, channel, 1, 0, SUBBUF * N_SUBBUFS / PAGE,
			&(struct vesper_segment){ (uintptr_t)ring->data, SUBBUF * N_SUBBUFS }, 1);
}

static int lend_index(struct vmm *vmm, struct ring *ring, __u32 channel)
{
	return vmm_lend(vmm, 2, channel, 1, VIRTIO_VESPER_INDEX_FRAGMENT, 1,
			&(struct vesper_segment){ (uintptr_t)ring->index, PAGE }, 1);
}

/* Refused by the host, it ends the loans; refused on its way there, it does not. */
static int share(struct vmm *vmm, struct ring *ring, __u32 channel, bool *ended)
{
	int ret;

	if (*ended && (lend_data(vmm, ring, channel) || lend_index(vmm, ring, channel))) {
		errno = EIO;
		return -1;
	}
	ret = vmm_buffer_msg(vmm, VIRTIO_VESPER_C_SHARE, channel, 1);
	*ended = ret > 0;
	return *ended && vmm_take_returns(vmm, 2) ? -1 : ret;
}

/* From the greeting to a shared buffer, and what readers do with it. */
static int nomem_share(void)
{
	__u8 bytes[N_SUBBUFS * SUBBUF];
	char path[] = DEBUGFS "/" DOMAIN "/" MODULE "/" CHANNEL "1";
	char text_path[] = DEBUGFS "/" DOMAIN "/described/metadata";
	static const char text[] = "some text";
	unsigned int before = failed;

	for (unsigned int n = 1; n < MAX_NTH; n++) {
		bool hit = false, ended = false;
		struct ring ring;
		struct vmm vmm;
		__u32 channel, described;
		void *map;
		int fd;

		CHECK(!vmm_open(&vmm, DOMAIN));
		hit |= OP(n, status, vmm_hello(&vmm, 2));
		hit |= OP(n, status, vmm_open_channel(&vmm, MODULE, CHANNEL, 0, SUBBUF,
						      N_SUBBUFS, 2, &channel));
		/* Only CTF channels have a text; what was refused did not become part of it. */
		hit |= OP(n, status, vmm_open_channel(&vmm, "described", CHANNEL,
						      VIRTIO_VESPER_CHAN_CTF, SUBBUF, N_SUBBUFS,
						      2, &described));
		hit |= OP(n, status, vmm_metadata(&vmm, described, 0, text));
		hit |= OP(n, outcome, fd = open(text_path, O_RDONLY));
		hit |= OP(n, outcome, read(fd, bytes, sizeof(bytes)));
		CHECK_EQ(pread(fd, bytes, sizeof(bytes), 0), strlen(text));
		CHECK(!memcmp(bytes, text, strlen(text)));
		CHECK_EQ(pread(fd, bytes, sizeof(bytes), strlen(text)), 0);
		close(fd);
		CHECK(!ring_init(&ring, &vmm, channel, 1, SUBBUF, N_SUBBUFS, false));
		/* What was lent before the refusal is lent: so piece by piece. */
		hit |= OP(n, status, lend_data(&vmm, &ring, channel));
		hit |= OP(n, status, lend_index(&vmm, &ring, channel));
		hit |= OP(n, status, share(&vmm, &ring, channel, &ended));
		CHECK_EQ(ring_write_numbered(&ring, RECORDS, LEN), RECORDS);
		ring_switch(&ring);

		hit |= OP(n, outcome, fd = open(path, O_RDONLY));
		hit |= OP(n, outcome, (long)(map = mmap(NULL, sizeof(bytes), PROT_READ,
							MAP_SHARED, fd, 0)) == -1 ? -1 : 0);
		hit |= OP(n, outcome, vmm_notify(&vmm, channel, 1));
		CHECK_EQ(read(fd, bytes, sizeof(bytes)), RECORDS * LEN);
		CHECK_EQ(check_records(bytes, RECORDS * LEN, LEN, 0), RECORDS);
		CHECK_EQ(ring.index->consumed, 2);
		hit |= OP(n, status, vmm_buffer_msg(&vmm, VIRTIO_VESPER_C_UNSHARE, channel, 1));
		CHECK(!vmm_take_returns(&vmm, 2));
		CHECK_EQ(locked_kb(), 0);
		munmap(map, sizeof(bytes));
		close(fd);
		hit |= OP(n, status, vmm_buffer_msg(&vmm, VIRTIO_VESPER_C_CLOSE, described,
						    VIRTIO_VESPER_ALL_BUFFERS));
		hit |= OP(n, status, vmm_buffer_msg(&vmm, VIRTIO_VESPER_C_CLOSE, channel,
						    VIRTIO_VESPER_ALL_BUFFERS));
		hit |= OP(n, status, vmm_goodbye(&vmm));
		vmm_close(&vmm);
		ring_free(&ring);
		CHECK(drain());
		if (!hit)
			break;
	}
	return counted(before, 10);
}

/* A guest that cannot have its buffer back for lack of memory goes on using it. */
static int nomem_unshare(void)
{
	__u8 bytes[N_SUBBUFS * SUBBUF];
	unsigned int before = failed;

	for (unsigned int n = 1; n < MAX_NTH; n++) {
		struct setup s;
		bool hit;
		int fd;

		if (setup(&s))
			return KSFT_FAIL;
		fd = open(s.path, O_RDONLY);
		CHECK(fd >= 0);
		CHECK_EQ(ring_write_numbered(&s.ring, RECORDS, LEN), RECORDS);
		hit = OP(n, status, vmm_buffer_msg(&s.vmm, VIRTIO_VESPER_C_UNSHARE, s.channel, 1));
		CHECK(!vmm_take_returns(&s.vmm, s.ring.loans));
		memset(s.ring.data, 0xee, sizeof(bytes));
		CHECK_EQ(read(fd, bytes, sizeof(bytes)), RECORDS * LEN);
		CHECK_EQ(check_records(bytes, RECORDS * LEN, LEN, 0), RECORDS);
		CHECK_EQ(read(fd, bytes, sizeof(bytes)), 0);
		close(fd);
		CHECK_EQ(locked_kb(), 0);
		teardown(&s);
		if (!hit)
			break;
	}
	return counted(before, 5);
}

/*
 * The VMM dies when there is no memory for a copy of what is unread: then its
 * pages stay pinned, and are what is read, by whoever has them mapped as well.
 */
static int nomem_death(void)
{
	__u8 bytes[N_SUBBUFS * SUBBUF], *map;
	unsigned int before = failed, pinned = 0;

	for (unsigned int n = 1; n < MAX_NTH; n++) {
		struct vesper_position pos;
		struct vesper_domain domain;
		struct setup s;
		bool hit;
		int fd;

		if (setup(&s))
			return KSFT_FAIL;
		fd = open(s.path, O_RDONLY);
		CHECK(fd >= 0);
		map = mmap(NULL, sizeof(bytes), PROT_READ, MAP_SHARED, fd, 0);
		CHECK(map != MAP_FAILED);
		CHECK_EQ(ring_write_numbered(&s.ring, RECORDS, LEN), RECORDS);
		arm(n);
		vmm_close(&s.vmm);
		hit = disarm();

		CHECK_EQ(poll_fd(fd, 5000) & POLLIN, POLLIN);
		do
			CHECK(!ioctl(fd, VESPER_IOC_POSITION, &pos));
		while (!(pos.flags & VESPER_POSITION_ENDED));
		CHECK_EQ(pos.produced, 2);
		CHECK_EQ(count_domain(DOMAIN, &domain), 1);
		CHECK_EQ(domain.state, VESPER_DOMAIN_DEAD);
		/* A copy is of two sub-buffers only. */
		if (domain.kept_bytes == sizeof(bytes)) {
			pinned++;
			CHECK(locked_kb() > 0);
		} else {
			CHECK_EQ(domain.kept_bytes, 2 * SUBBUF);
			CHECK_EQ(locked_kb(), 0);
		}
		CHECK_EQ(check_records(map, SUBBUF / LEN * LEN, LEN, 0), SUBBUF / LEN);
		CHECK_EQ(check_records(map + SUBBUF, (RECORDS - SUBBUF / LEN) * LEN, LEN,
				       SUBBUF / LEN), RECORDS);
		CHECK_EQ(read(fd, bytes, sizeof(bytes)), RECORDS * LEN);
		CHECK_EQ(check_records(bytes, RECORDS * LEN, LEN, 0), RECORDS);
		CHECK_EQ(read(fd, bytes, sizeof(bytes)), 0);
		munmap(map, sizeof(bytes));
		close(fd);
		teardown(&s);
		CHECK(gone(DEBUGFS "/" DOMAIN));
		/* A worker lets go of the pages. */
		for (int i = 0; i < 500 && locked_kb(); i++)
			usleep(10000);
		CHECK_EQ(locked_kb(), 0);
		if (!hit)
			break;
	}
	printf("# %u times the pages stayed pinned\n", pinned);
	CHECK(pinned >= 5);
	return counted(before, 5);
}

/* A guest that is reset gets its memory in any case; what fits is kept, oldest first. */
static int nomem_reset(void)
{
	__u8 bytes[N_SUBBUFS * SUBBUF], *map;
	unsigned int before = failed, less = 0;

	for (unsigned int n = 1; n < MAX_NTH; n++) {
		struct vesper_domain domain;
		struct setup s;
		long long got;
		bool hit;
		int fd;

		if (setup(&s))
			return KSFT_FAIL;
		fd = open(s.path, O_RDONLY);
		CHECK(fd >= 0);
		map = mmap(NULL, sizeof(bytes), PROT_READ, MAP_SHARED, fd, 0);
		CHECK(map != MAP_FAILED);
		CHECK_EQ(ring_write_numbered(&s.ring, RECORDS, LEN), RECORDS);
		arm(n);
		CHECK(!vmm_notice(&s.vmm, VESPER_NOTICE_RESET, 0));
		hit = disarm();
		memset(s.ring.data, 0xee, sizeof(bytes) + PAGE);
		CHECK_EQ(count_domain(DOMAIN, &domain), 1);
		CHECK_EQ(domain.lent_pages, 0);
		CHECK_EQ(locked_kb(), 0);
		/* The copy or zeros, also where there is none. */
		for (size_t at = 0; at < sizeof(bytes); at += PAGE)
			CHECK(map[at] != 0xee);
		munmap(map, sizeof(bytes));
		got = read(fd, bytes, sizeof(bytes));
		CHECK(got >= 0);
		CHECK_EQ(check_records(bytes, got, LEN, 0), got / LEN);
		less += got < RECORDS * LEN;
		CHECK_EQ(read(fd, bytes, sizeof(bytes)), 0);
		close(fd);
		teardown(&s);
		if (!hit) {
			CHECK_EQ(got, RECORDS * LEN);
			break;
		}
	}
	printf("# %u times something was lost\n", less);
	return counted(before, 5);
}

/* The operator's questions, and a load that a guest answers. */
static int nomem_operator(void)
{
	static __u8 image[10000] = "\177ELF";
	unsigned int before = failed;
	struct vesper_module modules[4];
	struct vesper_domain domain;
	struct setup s;

	if (setup(&s))
		return KSFT_FAIL;
	for (unsigned int n = 1; n < MAX_NTH; n++) {
		bool hit = false;

		hit |= OP(n, outcome, count_domain(DOMAIN, &domain));
		hit |= OP(n, outcome, list_modules(modules, 4));
		hit |= OP(n, busy, reap(DOMAIN, NULL));
		if (!hit)
			break;
	}
	/* Nobody answers: so it ends with that, or with ENOMEM. */
	for (unsigned int n = 1; n < MAX_NTH; n++) {
		struct vesper_load load = {
			.image = (uintptr_t)image,
			.image_len = sizeof(image),
			.timeout_ms = 1,
			.domain = DOMAIN,
			.module = "other",
		};
		int fd = open("/dev/vesper", O_RDWR | O_CLOEXEC), ret, err;
		bool hit;

		CHECK(fd >= 0);
		arm(n);
		ret = ioctl(fd, VESPER_IOC_LOAD, &load);
		err = errno;
		hit = disarm();
		close(fd);
		CHECK_EQ(ret, -1);
		CHECK(err == ETIME || err == ETIMEDOUT || (hit && err == ENOMEM));
		CHECK_EQ(list_modules(modules, 4), 1);
		if (!hit)
			break;
	}
	teardown(&s);
	return counted(before, 3);
}

static const struct ktap_test tests[] = {
	{ "attach", nomem_attach },
	{ "share", nomem_share },
	{ "unshare", nomem_unshare },
	{ "death", nomem_death },
	{ "reset", nomem_reset },
	{ "operator", nomem_operator },
};

int main(int argc, char **argv)
{
	return ktap_run(tests, sizeof(tests) / sizeof(*tests),
			argc > 1 ? argv[1] : NULL);
}
