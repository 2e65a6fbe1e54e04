// SPDX-License-Identifier: GPL-2.0
/* What is unread of the dead, until somebody throws it away. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "common.h"

int test_reap(void)
{
	__u8 bytes[SUBBUF];
	struct vesper_module modules[4];
	struct vesper_domain domain;
	struct setup s;
	int fd;

	CHECK_ERR(reap(DOMAIN, NULL), ENODEV);
	if (setup(&s))
		return KSFT_FAIL;
	CHECK_EQ(ring_write_numbered(&s.ring, 200, 100), 200);
	CHECK_ERR(reap(DOMAIN, NULL), EBUSY);
	CHECK_ERR(reap(DOMAIN, MODULE), EBUSY);
	CHECK_ERR(reap(DOMAIN, "nosuch"), ENOENT);

	/* A module that is gone, under the eyes of a reader. */
	fd = open(s.path, O_RDONLY);
	CHECK(fd >= 0);
	CHECK_EQ(read(fd, bytes, 50), 50);
	ring_switch(&s.ring);
	CHECK_EQ(vmm_buffer_msg(&s.vmm, VIRTIO_VESPER_C_CLOSE, s.channel,
				VIRTIO_VESPER_ALL_BUFFERS), 0);
	CHECK(!vmm_take_returns(&s.vmm, s.ring.loans));
	CHECK_EQ(list_modules(modules, 4), 1);
	CHECK_EQ(modules[0].state, VESPER_MODULE_DRAINING);
	CHECK_ERR(reap(DOMAIN, NULL), EBUSY);
	/* And what it takes to keep that. */
	CHECK_EQ(reap(DOMAIN, MODULE), 3 * SUBBUF + 4 * PAGE);
	CHECK(!exists(s.path));
	CHECK(gone(DEBUGFS "/" DOMAIN "/" MODULE));
	CHECK_EQ(count_domain(DOMAIN, &domain), 1);
	CHECK_EQ(domain.kept_bytes, 0);
	CHECK_EQ(read(fd, bytes, sizeof(bytes)), 0);
	CHECK_EQ(poll_fd(fd, 0), POLLERR);
	CHECK_EQ(list_modules(modules, 4), 0);
	CHECK_ERR(reap(DOMAIN, MODULE), ENOENT);
	close(fd);
	teardown(&s);

	/* A domain that is dead, by its module and as a whole. */
	for (int whole = 0; whole < 2; whole++) {
		if (setup_with(&s, DOMAIN, VIRTIO_VESPER_CHAN_CTF, SUBBUF,
			       N_SUBBUFS))
			return KSFT_FAIL;
		CHECK_EQ(vmm_metadata(&s.vmm, s.channel, 0, "text"), 0);
		CHECK_EQ(ring_write_numbered(&s.ring, 10, 100), 10);
		vmm_close(&s.vmm);
		CHECK_EQ(count_domain(DOMAIN, &domain), 1);
		CHECK_EQ(domain.state, VESPER_DOMAIN_DEAD);
		CHECK(domain.kept_bytes >= SUBBUF);
		CHECK(reap(DOMAIN, whole ? NULL : MODULE) >= SUBBUF);
		CHECK(gone(DEBUGFS "/" DOMAIN));
		CHECK_EQ(count_domain(DOMAIN, &domain), 0);
		ring_free(&s.ring);
	}
	return KSFT_PASS;
}

#define DEAD	16	/* as many are kept unless the module is told otherwise */
#define EXTRA	3

/* The dead of whom too many are kept go, in the order in which they died. */
int test_dead_limit(void)
{
	struct setup s[DEAD + EXTRA];
	struct vesper_domain domain;
	char name[VESPER_NAME_LEN];

	/* Attached in one order, dead in the other. */
	for (int i = 0; i < DEAD + EXTRA; i++) {
		snprintf(name, sizeof(name), DOMAIN "-%d", i);
		if (setup_with(&s[i], name, 0, SUBBUF, N_SUBBUFS))
			return KSFT_FAIL;
		CHECK_EQ(ring_write_numbered(&s[i].ring, 10, 100), 10);
	}
	for (int i = DEAD + EXTRA - 1; i >= 0; i--) {
		vmm_close(&s[i].vmm);
		ring_free(&s[i].ring);
	}
	for (int i = DEAD + EXTRA - 1; i >= 0; i--) {
		snprintf(name, sizeof(name), DEBUGFS "/" DOMAIN "-%d", i);
		if (i >= DEAD)
			CHECK(gone(name));
		else
			CHECK(exists(name));
		snprintf(name, sizeof(name), DOMAIN "-%d", i);
		CHECK_EQ(count_domain(name, &domain), i < DEAD);
		if (i < DEAD)
			CHECK(reap(name, NULL) > 0);
	}
	return KSFT_PASS;
}

/* How many of DOMAIN, DOMAIN@1, DOMAIN@2, ... are listed; throws them away if told so. */
static int listed(int count, bool throw_away)
{
	struct vesper_domain domain;
	char name[VESPER_NAME_LEN];
	int left = 0;

	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof(name), i ? DOMAIN "@%d" : DOMAIN, i);
		if (!count_domain(name, &domain))
			continue;
		if (throw_away && reap(name, NULL) <= 0)
			return -1;
		left++;
	}
	return left;
}

/* Who dies again and again takes no other's place. */
int test_dead_name(void)
{
	struct vesper_domain domain;
	struct setup s;

	for (int i = 0; i < 1 + DEAD + EXTRA; i++) {
		if (setup_with(&s, i ? DOMAIN : DOMAIN "-first", 0, SUBBUF,
			       N_SUBBUFS))
			return KSFT_FAIL;
		CHECK_EQ(ring_write_numbered(&s.ring, 10, 100), 10);
		vmm_close(&s.vmm);
		ring_free(&s.ring);
	}
	CHECK_EQ(count_domain(DOMAIN "-first", &domain), 1);
	CHECK(reap(DOMAIN "-first", NULL) > 0);
	/* One that was thrown away is listed until a worker has seen to it. */
	for (int i = 0; i < 500 && listed(DEAD + EXTRA, false) > DEAD - 1; i++)
		usleep(10000);
	CHECK_EQ(listed(DEAD + EXTRA, true), DEAD - 1);
	return KSFT_PASS;
}
