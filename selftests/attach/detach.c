// SPDX-License-Identifier: GPL-2.0
/* What becomes of a relay file when its guest takes it back, breaks off or dies. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

/* What is unread when a buffer is given back stays, for each kind of reader. */
int test_unshare(void)
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

int test_unshare_empty(void)
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

/* A guest takes its buffer back, writes on, and shares it again. */
int test_reshare(void)
{
	struct virtio_vesper_buffer again = {
		.hdr.flags = VIRTIO_VESPER_MSG_AGAIN,
		.buffer = VIRTIO_VESPER_ALL_BUFFERS,
	};
	__u8 bytes[N_SUBBUFS * SUBBUF];
	struct vesper_module modules[4];
	struct setup s;
	ssize_t first, got;
	int old, fd;

	if (setup(&s))
		return KSFT_FAIL;
	old = open(s.path, O_RDONLY);
	CHECK(old >= 0);
	CHECK_EQ(ring_write_numbered(&s.ring, 200, 100), 200);
	CHECK_EQ(read(old, bytes, 150), 150);
	CHECK_EQ(s.ring.index->consumed, 0);
	again.channel = s.channel;
	CHECK_EQ(vmm_control(&s.vmm, &again, sizeof(again),
			     VIRTIO_VESPER_C_UNSHARE, NULL), 0);
	CHECK(!vmm_take_returns(&s.vmm, s.ring.loans));
	/* What the host has taken is done with; what is open it has not. */
	CHECK_EQ(s.ring.index->produced, 2);
	CHECK_EQ(s.ring.index->consumed, 2);
	CHECK_EQ(vmm_buffer_msg(&s.vmm, VIRTIO_VESPER_C_CLOSE, s.channel,
				VIRTIO_VESPER_ALL_BUFFERS), 0);
	CHECK_EQ(ring_write_numbered(&s.ring, 100, 100), 100);

	CHECK_EQ(vmm_open_channel(&s.vmm, MODULE, CHANNEL, 0, SUBBUF,
				  N_SUBBUFS, 2, &s.ring.channel), 0);
	s.ring.loans = 0;
	CHECK_EQ(ring_share(&s.ring), 0);
	CHECK_EQ(list_modules(modules, 4), 2);
	CHECK(!strcmp((char *)modules[0].name, MODULE "@1"));
	CHECK_EQ(modules[0].state, VESPER_MODULE_DRAINING);
	CHECK(!strcmp((char *)modules[1].name, MODULE));
	CHECK_EQ(modules[1].state, VESPER_MODULE_LIVE);
	CHECK(exists(DEBUGFS "/" DOMAIN "/" MODULE "@1/" CHANNEL "1"));

	CHECK_EQ(ring_write_numbered(&s.ring, 20, 100), 20);
	ring_switch(&s.ring);
	fd = open(s.path, O_RDONLY);
	CHECK(fd >= 0);
	first = read(old, bytes + 150, sizeof(bytes) - 150) + 150;
	CHECK_EQ(first, 2 * (SUBBUF / 100) * 100);
	CHECK_EQ(poll_fd(old, 0), POLLERR);
	CHECK_EQ(check_records(bytes, first, 100, 0), first / 100);
	got = read(fd, bytes, sizeof(bytes));
	CHECK_EQ(check_records(bytes, got, 100, first / 100), 320);
	CHECK_EQ(s.ring.index->lost, 0);
	close(old);
	close(fd);
	teardown(&s);
	return KSFT_PASS;
}

/* The guest's last words: what is open is there at once, for each kind of reader. */
int test_panic(void)
{
	size_t size = SUBBUF * N_SUBBUFS;
	struct virtio_vesper_hdr words = {};
	__u8 bytes[N_SUBBUFS * SUBBUF], *map;
	struct vesper_domain domain;
	struct vesper_position pos;
	struct vesper_event event;
	struct setup s;
	int fd;

	for (int how = 0; how < 3; how++) {
		if (setup(&s))
			return KSFT_FAIL;
		fd = open(s.path, O_RDONLY);
		CHECK(fd >= 0);
		map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
		CHECK(map != MAP_FAILED);
		CHECK_EQ(ring_write_numbered(&s.ring, 30, 100), 30);
		CHECK_EQ(poll_fd(fd, 0), 0);
		words.id = 0;
		CHECK(!vmm_notify_raw(&s.vmm, &words, sizeof(words),
				      VIRTIO_VESPER_N_PANIC));
		CHECK_EQ(poll_fd(fd, 5000), POLLIN);
		if (how != 1) {
			CHECK_EQ(read(fd, bytes, sizeof(bytes)), 30 * 100);
			CHECK_EQ(check_records(bytes, 30 * 100, 100, 0), 30);
		}
		/* It is not to be bothered any more. */
		CHECK_ERR(vmm_event(&s.vmm, &event, NULL, 0, 100), ETIME);

		/* It may say what it likes now, and write what it likes. */
		CHECK_EQ(ring_write_numbered(&s.ring, 100, 100), 100);
		CHECK(!vmm_notify(&s.vmm, s.channel, 1));
		CHECK(!vmm_notify_raw(&s.vmm, &words, sizeof(words),
				      VIRTIO_VESPER_N_PANIC));
		if (how == 2)
			CHECK_EQ(vmm_buffer_msg(&s.vmm, VIRTIO_VESPER_C_UNSHARE,
						s.channel,
						VIRTIO_VESPER_ALL_BUFFERS), 0);
		if (how) {
			CHECK(!vmm_notice(&s.vmm, VESPER_NOTICE_RESET, 0));
			CHECK_EQ(count_domain(DOMAIN, &domain), 1);
			CHECK_EQ(domain.lent_pages, 0);
		} else {
			vmm_close(&s.vmm);
		}
		memset(s.ring.data, 0xee, size + PAGE);
		if (how == 1) {
			CHECK(!ioctl(fd, VESPER_IOC_POSITION, &pos));
			CHECK_EQ(pos.produced, 1);
			CHECK_EQ(check_records(map, SUBBUF - pos.padding, 100,
					       0), 30);
			CHECK_EQ(read(fd, bytes, sizeof(bytes)), 30 * 100);
			CHECK_EQ(check_records(bytes, 30 * 100, 100, 0), 30);
		}
		CHECK_EQ(read(fd, bytes, sizeof(bytes)), 0);
		CHECK_EQ(poll_fd(fd, 0), POLLERR);
		munmap(map, size);
		close(fd);
		teardown(&s);
	}
	return KSFT_PASS;
}

/* The VMM dies; a new one takes the name. */
int test_death(void)
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
	CHECK(!vmm_notice(&s.vmm, VESPER_NOTICE_RUN_STATE, VESPER_RUN_RUNNING));
	CHECK_EQ(count_domain(DOMAIN, &domain), 1);
	CHECK_EQ(domain.state, VESPER_DOMAIN_READY);
	CHECK_EQ(domain.run_state, VESPER_RUN_RUNNING);
	CHECK_EQ(domain.powerdowns, 0);
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
	CHECK_EQ(domain.run_state, VESPER_RUN_RUNNING);
	CHECK_EQ(domain.modules, 1);
	CHECK_EQ(domain.channels, 0);
	CHECK(domain.kept_bytes >= 200 * 100);
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

int test_reset(void)
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
	CHECK(!vmm_notice(&s.vmm, VESPER_NOTICE_POWERDOWN, 0));
	CHECK(!vmm_notice(&s.vmm, VESPER_NOTICE_POWERDOWN, 0));
	CHECK_EQ(count_domain(DOMAIN, &domain), 1);
	CHECK_EQ(domain.powerdowns, 2);
	CHECK(!vmm_notice(&s.vmm, VESPER_NOTICE_RESET, 0));
	memset(s.ring.data, 0xee, SUBBUF * N_SUBBUFS + PAGE);
	CHECK_ERR(vmm_event(&s.vmm, &event, NULL, 0, 200), ETIME);
	CHECK_EQ(count_domain(DOMAIN, &domain), 1);
	CHECK_EQ(domain.lent_pages, 0);
	CHECK_EQ(domain.state, VESPER_DOMAIN_ATTACHED);
	CHECK_EQ(domain.powerdowns, 0);
	/* The next guest has not been asked. */
	CHECK(!vmm_notice(&s.vmm, VESPER_NOTICE_POWERDOWN, 0));

	/* The guest comes back, and opens the same channel. */
	CHECK_EQ(vmm_hello(&s.vmm, 2), 0);
	CHECK_EQ(count_domain(DOMAIN, &domain), 1);
	CHECK_EQ(domain.powerdowns, 0);
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

/* What was pinned by a process that dies is let go. */
int test_kill(void)
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

/* A process that has inherited the descriptor does not hide the death of the VMM. */
int test_inherited(void)
{
	__u8 bytes[N_SUBBUFS * SUBBUF];
	struct vesper_domain domain;
	int pipes[2], fd, status;
	pid_t pid, heir;
	struct vmm next;

	CHECK(!pipe(pipes));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		struct setup s;

		if (setup(&s))
			_exit(1);
		heir = fork();
		if (!heir) {
			pause();
			_exit(0);
		}
		ring_write_numbered(&s.ring, 170, 100);
		if (write(pipes[1], &heir, sizeof(heir)) != sizeof(heir))
			_exit(1);
		pause();
		_exit(0);
	}
	CHECK_EQ(read(pipes[0], &heir, sizeof(heir)), sizeof(heir));
	CHECK_EQ(count_domain(DOMAIN, &domain), 1);
	CHECK_EQ(domain.state, VESPER_DOMAIN_READY);
	kill(pid, SIGKILL);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	/* A worker sees to it. */
	for (int i = 0; i < 500; i++) {
		CHECK_EQ(count_domain(DOMAIN, &domain), 1);
		if (domain.state == VESPER_DOMAIN_DEAD && !domain.lent_pages)
			break;
		usleep(10000);
	}
	CHECK_EQ(domain.state, VESPER_DOMAIN_DEAD);
	fd = open(DEBUGFS "/" DOMAIN "/" MODULE "/" CHANNEL "1", O_RDONLY);
	CHECK(fd >= 0);
	CHECK_EQ(read(fd, bytes, sizeof(bytes)), 170 * 100);
	CHECK_EQ(check_records(bytes, 170 * 100, 100, 0), 170);
	CHECK_EQ(poll_fd(fd, 0), POLLERR);
	close(fd);
	CHECK(gone(DEBUGFS "/" DOMAIN));
	/* The name is free, whatever the heir has. */
	CHECK(!vmm_open(&next, DOMAIN));
	kill(heir, SIGKILL);
	usleep(100000);
	CHECK_EQ(count_domain(DOMAIN, &domain), 1);
	CHECK_EQ(domain.state, VESPER_DOMAIN_ATTACHED);
	vmm_close(&next);
	CHECK(gone(DEBUGFS "/" DOMAIN));
	close(pipes[0]);
	close(pipes[1]);
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

int test_violations(void)
{
	__u8 bytes[N_SUBBUFS * SUBBUF];
	struct virtio_vesper_open msg = {};
	struct vesper_message m = { .queue = VIRTIO_VESPER_VQ_CONTROL };
	const unsigned int per_subbuf = SUBBUF / 128;
	struct vesper_position pos;
	struct vesper_event event;
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

	/* In a flight recorder: what came before is passed over as far as it is gone. */
	if (setup_with(&s, DOMAIN, VIRTIO_VESPER_CHAN_OVERWRITE, SUBBUF,
		       N_SUBBUFS))
		return KSFT_FAIL;
	fd = open(s.path, O_RDONLY);
	CHECK(fd >= 0);
	CHECK_EQ(ring_write_numbered(&s.ring, 42 * per_subbuf + 5, 128),
		 42 * per_subbuf + 5);
	s.ring.index->padding[41 % N_SUBBUFS] = SUBBUF;
	CHECK_ERR(vmm_notify(&s.vmm, s.channel, 1), EPROTO);
	CHECK(!ioctl(fd, VESPER_IOC_POSITION, &pos));
	CHECK_EQ(pos.produced, 41);
	CHECK_EQ(pos.consumed, 39);
	CHECK_EQ(pos.lapped, 39);
	if (expect_broken(&s.vmm))
		return KSFT_FAIL;
	CHECK_EQ(read(fd, bytes, sizeof(bytes)), 2 * SUBBUF);
	CHECK_EQ(check_records(bytes, 2 * SUBBUF, 128, 39 * per_subbuf),
		 41 * per_subbuf);
	CHECK_EQ(poll_fd(fd, 0), POLLERR);
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
	teardown(&s);

	/* The same, met by the reset: the next driver hears nothing of it. */
	if (setup(&s))
		return KSFT_FAIL;
	ring_write_numbered(&s.ring, 10, 100);
	ring_switch(&s.ring);
	s.ring.index->produced += N_SUBBUFS + 1;
	CHECK(!vmm_notice(&s.vmm, VESPER_NOTICE_RESET, 0));
	CHECK_ERR(vmm_event(&s.vmm, &event, NULL, 0, 0), ETIME);
	CHECK_EQ(vmm_hello(&s.vmm, 2), 0);

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

/* A reader that is stuck holds up nobody: not a reset, not the guest's return. */
int test_stuck_reader(void)
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
	/* At once, with the pages perhaps still there: what comes is the copy. */
	got = read(stuck.fd, bytes, sizeof(bytes));
	CHECK_EQ(got, 149 * 100);
	CHECK_EQ(check_records(bytes, got, 100, 1), 150);
	for (int i = 0; i < 500 && domain.lent_pages; i++) {
		CHECK_EQ(count_domain(DOMAIN, &domain), 1);
		usleep(10000);
	}
	CHECK_EQ(domain.lent_pages, 0);
	/* No word of loans that the reset ended. */
	CHECK_ERR(vmm_event(&s.vmm, &event, NULL, 0, 100), ETIME);
	close(stuck.fd);
	teardown(&s);
	return KSFT_PASS;
}

/*
 * The same when the VMM dies: not the VMM, not who throws away what it reads, not who asks
 * what there is, not the next of the dead.
 */
int test_stuck_dead(void)
{
	__u8 bytes[SUBBUF];
	struct vesper_domain domain;
	struct setup s, next;
	struct stuck stuck;
	long long start;
	int ret;

	ret = trap_init(&stuck.trap);
	if (ret)
		return ret;
	if (setup(&s) || setup_with(&next, DOMAIN "-next", 0, SUBBUF, N_SUBBUFS))
		return KSFT_FAIL;
	stuck.fd = open(s.path, O_RDONLY);
	CHECK(stuck.fd >= 0);
	CHECK_EQ(ring_write_numbered(&s.ring, 150, 100), 150);
	CHECK_EQ(ring_write_numbered(&next.ring, 10, 100), 10);
	pthread_create(&stuck.thread, NULL, stuck_thread, &stuck);
	usleep(300000);

	start = now_ms();
	vmm_close(&s.vmm);
	CHECK(now_ms() - start < 5000);
	CHECK(reap(DOMAIN, NULL) >= 0);
	CHECK_EQ(count_domain(DOMAIN, &domain), 1);
	CHECK_EQ(domain.state, VESPER_DOMAIN_DEAD);
	CHECK(reap(DOMAIN, MODULE) >= 0);
	vmm_close(&next.vmm);
	CHECK(reap(DOMAIN "-next", NULL) > 0);
	CHECK(gone(DEBUGFS "/" DOMAIN "-next"));
	CHECK(now_ms() - start < 15000);

	CHECK(!trap_release(&stuck.trap));
	pthread_join(stuck.thread, NULL);
	CHECK_EQ(stuck.got, 100);
	CHECK_EQ(read(stuck.fd, bytes, sizeof(bytes)), 0);
	CHECK(gone(DEBUGFS "/" DOMAIN));
	CHECK_EQ(count_domain(DOMAIN, &domain), 0);
	close(stuck.fd);
	ring_free(&s.ring);
	ring_free(&next.ring);
	return KSFT_PASS;
}

/* Modules come and go, and nobody reads: what is kept stays within bounds. */
int test_repeat_unread(void)
{
	struct vesper_module modules[300];
	struct setup s;
	int count;

	CHECK(!vmm_open(&s.vmm, DOMAIN));
	CHECK_EQ(vmm_hello(&s.vmm, 1), 0);
	CHECK(!ring_init(&s.ring, &s.vmm, 0, 0, 1 << 20, 4, false));
	/*
	 * 3 MiB each, and 36 KiB that it takes to keep them; 256 MiB is what the
	 * module keeps unless told otherwise.
	 */
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
		if (count <= 84)
			break;
		usleep(50000);
	}
	CHECK_EQ(count, 84);
	CHECK_EQ(modules[0].state, VESPER_MODULE_DRAINING);
	CHECK(!exists(DEBUGFS "/" DOMAIN "/" MODULE "@1"));
	CHECK(exists(DEBUGFS "/" DOMAIN "/" MODULE "@119"));
	vmm_close(&s.vmm);
	ring_free(&s.ring);
	CHECK(drain());
	return KSFT_PASS;
}
