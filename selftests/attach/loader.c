// SPDX-License-Identifier: GPL-2.0
/* Load and unload requests. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

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

static void *unload_thread(void *arg)
{
	struct request *r = arg;

	r->ret = unload("mod", 0);
	r->err = errno;
	return NULL;
}

int test_load(void)
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
int test_load_abandoned(void)
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
	CHECK(!modules[0].text[0]);

	/* What it has to say later, and no more. */
	CHECK_EQ(vmm_news(&vmm, VIRTIO_VESPER_STAGE_PROBE, "mod", "a point"),
		 0);
	CHECK_EQ(list_modules(modules, 4), 1);
	CHECK(!strcmp((char *)modules[0].text, "a point"));
	CHECK_EQ(vmm_news(&vmm, VIRTIO_VESPER_STAGE_KERNEL, "mod", ""), 0);
	CHECK_EQ(list_modules(modules, 4), 1);
	CHECK(!modules[0].text[0]);
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

/* Requests that are too late: the driver goes while they are copied in, or is heard no more. */
int test_load_late(void)
{
	__u8 image[100] = { 1 }, msg[VESPER_MAX_MESSAGE];
	struct vesper_module modules[4];
	struct vesper_event event;
	struct request r;
	struct trap trap;
	struct setup s;
	struct vmm vmm;
	int ret;

	ret = trap_init(&trap);
	if (ret)
		return ret;
	CHECK(!vmm_open(&vmm, DOMAIN));
	CHECK_EQ(vmm_hello(&vmm, 1), 0);
	start_load(&r, "late", trap.mem, PAGE, "", 0);
	usleep(300000);
	CHECK(!vmm_notice(&vmm, VESPER_NOTICE_RESET, 0));
	CHECK_EQ(vmm_hello(&vmm, 1), 0);
	CHECK(!vmm_post(&vmm, 10, 4096));
	CHECK(!trap_release(&trap));
	pthread_join(r.thread, NULL);
	CHECK_EQ(r.err, EPIPE);
	CHECK_EQ(list_modules(modules, 4), 0);
	CHECK_ERR(vmm_event(&vmm, &event, msg, sizeof(msg), 100), ETIME);
	vmm_close(&vmm);
	CHECK(gone(DEBUGFS "/" DOMAIN));

	if (setup(&s))
		return KSFT_FAIL;
	CHECK(!vmm_post(&s.vmm, 10, 4096));
	start_load(&r, "more", image, sizeof(image), "", 0);
	CHECK(loader_message(&s.vmm, VIRTIO_VESPER_L_LOAD, msg, sizeof(msg),
			     NULL) >= 0);
	s.ring.index->produced += N_SUBBUFS + 1;
	CHECK_ERR(vmm_notify(&s.vmm, s.channel, 1), EPROTO);
	pthread_join(r.thread, NULL);
	CHECK_EQ(r.err, EPIPE);
	teardown(&s);
	return KSFT_PASS;
}

/* Takes the next event, when there is one, to @mem, at which it may have to wait. */
struct taker {
	struct vmm *vmm;
	void *mem;
	ssize_t got;
	int err;
	pthread_t thread;
};

static void *taker_thread(void *arg)
{
	struct taker *t = arg;

	poll_fd(t->vmm->fd, 20000);
	t->got = read(t->vmm->fd, t->mem, PAGE);
	t->err = errno;
	return NULL;
}

/* Has a load given up while the VMM takes its first message to @trap. */
static int give_up_leaving(struct vmm *vmm, struct trap *trap,
			   struct taker *taker)
{
	__u8 image[100] = { 1 };
	struct request r;

	*taker = (struct taker){ .vmm = vmm, .mem = trap->mem };
	pthread_create(&taker->thread, NULL, taker_thread, taker);
	start_load(&r, "mod", image, sizeof(image), "", 3000);
	pthread_join(r.thread, NULL);
	CHECK_EQ(r.err, ETIMEDOUT);
	return KSFT_PASS;
}

/* Requests that are given up while the VMM is taking the first message of them. */
int test_load_leaving(void)
{
	__u8 msg[VESPER_MAX_MESSAGE];
	struct vesper_module modules[4];
	struct virtio_vesper_hdr hdr;
	struct vesper_event event;
	struct taker taker;
	struct trap trap;
	struct vmm vmm;
	int ret;

	ret = trap_init(&trap);
	if (ret)
		return ret;
	CHECK(!vmm_open(&vmm, DOMAIN));
	CHECK_EQ(vmm_hello(&vmm, 1), 0);
	CHECK(!vmm_post(&vmm, 10, 4096));
	if (give_up_leaving(&vmm, &trap, &taker))
		return KSFT_FAIL;
	/* For all that is known the guest gets it. */
	CHECK_EQ(list_modules(modules, 4), 1);
	CHECK_EQ(modules[0].state, VESPER_MODULE_LOADING);
	CHECK(!trap_release(&trap));
	pthread_join(taker.thread, NULL);
	CHECK(taker.got > (ssize_t)(sizeof(event) + sizeof(hdr)));
	memcpy(&hdr, trap.mem + sizeof(event), sizeof(hdr));
	CHECK_EQ(hdr.type, VIRTIO_VESPER_L_LOAD);
	CHECK_EQ(loader_message(&vmm, VIRTIO_VESPER_L_CANCEL, msg, sizeof(msg),
				NULL), hdr.id);
	CHECK_EQ(vmm_result(&vmm, hdr.id, ECANCELED, VIRTIO_VESPER_STAGE_KERNEL,
			    "", ""), 0);
	CHECK_EQ(list_modules(modules, 4), 0);
	close(trap.uffd);

	/* The VMM did not get it: it is as if it had never been. */
	CHECK(!trap_init(&trap));
	if (give_up_leaving(&vmm, &trap, &taker))
		return KSFT_FAIL;
	munmap(trap.mem, PAGE);
	close(trap.uffd);
	pthread_join(taker.thread, NULL);
	CHECK_EQ(taker.got, -1);
	CHECK_EQ(taker.err, EFAULT);
	CHECK_EQ(list_modules(modules, 4), 0);
	CHECK_ERR(vmm_event(&vmm, &event, msg, sizeof(msg), 100), ETIME);
	vmm_close(&vmm);
	CHECK(gone(DEBUGFS "/" DOMAIN));
	return KSFT_PASS;
}

static void on_signal(int nr)
{
	(void)nr;
}

int test_signal(void)
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
