// SPDX-License-Identifier: GPL-2.0
/* The operator's node, and relay files. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"

#define IMAGE	(64 << 10)

static void domain_name(struct worker *w, __u8 *name)
{
	snprintf((char *)name, VESPER_NAME_LEN, "%s%u", fuzz.prefix,
		 below(w, SLOTS));
}

static void module_name(struct worker *w, __u8 *name)
{
	snprintf((char *)name, VESPER_NAME_LEN, "%s%u",
		 one_in(w, 4) ? "m" : "mod", below(w, 4));
}

static void list(struct worker *w, enum call kind, unsigned int cmd,
		 __u32 entry_size)
{
	static __thread __u8 entries[64 << 10];
	struct vesper_list it = {
		.capacity = below(w, sizeof(entries) / entry_size),
		.entry_size = entry_size,
		.entries = pointer(w, entries),
	};

	domain_name(w, it.domain);
	if (one_in(w, 10)) {
		/* Never more than there is room for here. */
		it.entry_size = one_in(w, 2) ? below(w, 4200) :
			odd_number(w, entry_size);
		it.capacity = sizeof(entries) / 4096;
	}
	if (one_in(w, 50))
		it.reserved = 1;
	mutate(w, it.domain, sizeof(it.domain), 20);
	count(w, kind, ioctl(fuzz.control, cmd, pointer(w, &it)));
}

static void unload(struct worker *w, const struct vesper_load *loaded)
{
	struct vesper_unload it = {};

	domain_name(w, it.domain);
	module_name(w, it.module);
	if (loaded) {
		memcpy(it.domain, loaded->domain, sizeof(it.domain));
		memcpy(it.module, loaded->module, sizeof(it.module));
	}
	mutate(w, &it, sizeof(it), 10);
	it.timeout_ms = 1 + below(w, one_in(w, 8) ? 20 : 3);
	if (loaded)
		it.timeout_ms = 50;
	count(w, UNLOAD,
	      ioctl(fuzz.control, VESPER_IOC_UNLOAD, pointer(w, &it)));
}

static void load(struct worker *w)
{
	static const char params[] = "a=1 b=2";
	struct vesper_load it = {
		.image = pointer(w, w->image),
		.image_len = 1 + below(w, one_in(w, 4) ? IMAGE : 400),
		.params = pointer(w, params),
		.params_len = below(w, sizeof(params)),
	};

	domain_name(w, it.domain);
	module_name(w, it.module);
	mutate(w, &it, sizeof(it), 10);
	/* Not for ever. */
	it.timeout_ms = 1 + below(w, one_in(w, 8) ? 20 : 3);
	if (!count(w, LOAD, ioctl(fuzz.control, VESPER_IOC_LOAD,
				  pointer(w, &it))) && !it.status)
		unload(w, &it);
}

/*
 * An entry of a list, whichever, of @size bytes that begin with a name; NULL if
 * there is none. Not counted: it only finds something to ask about.
 */
static const __u8 *any_entry(struct worker *w, unsigned int cmd, __u32 size,
			     const __u8 *domain, const char *prefix)
{
	static __thread __u8 entries[64 << 10];
	struct vesper_list it = {
		.capacity = sizeof(entries) / size,
		.entry_size = size,
		.entries = (uintptr_t)entries,
	};
	const __u8 *found = NULL;
	__u32 n = 0;

	memcpy(it.domain, domain, sizeof(it.domain));
	if (ioctl(fuzz.control, cmd, &it))
		return NULL;
	for (__u32 i = 0; i < it.count && i < it.capacity; i++) {
		const __u8 *entry = entries + i * size;

		if (!strncmp((const char *)entry, prefix, strlen(prefix)) &&
		    one_in(w, ++n))
			found = entry;
	}
	return found;
}

/* What is there, the living included, or what only may be. */
static void reap(struct worker *w)
{
	struct vesper_reap it = {};
	const __u8 *name;

	domain_name(w, it.domain);
	name = any_entry(w, VESPER_IOC_DOMAINS, sizeof(struct vesper_domain),
			 it.domain, fuzz.prefix);
	if (name && !one_in(w, 8))
		memcpy(it.domain, name, sizeof(it.domain));
	if (one_in(w, 2)) {
		module_name(w, it.module);
		name = any_entry(w, VESPER_IOC_MODULES,
				 sizeof(struct vesper_module), it.domain, "");
		if (name && !one_in(w, 8))
			memcpy(it.module, name, sizeof(it.module));
	}
	mutate(w, &it, sizeof(it), 10);
	count(w, REAP, ioctl(fuzz.control, VESPER_IOC_REAP, pointer(w, &it)));
}

static void show(struct worker *w)
{
	static const char * const patterns[] = { "a", "block/*", "*/?", "/", "" };
	struct vesper_share it = {
		.flags = one_in(w, 3) ? VESPER_SHARE_STOP : 0,
	};

	domain_name(w, it.domain);
	snprintf((char *)it.pattern, sizeof(it.pattern), "%s",
		 patterns[below(w, sizeof(patterns) / sizeof(*patterns))]);
	mutate(w, &it, sizeof(it), 10);
	/* Not for ever. */
	it.timeout_ms = 1 + below(w, one_in(w, 8) ? 20 : 3);
	count(w, SHOW, ioctl(fuzz.control, VESPER_IOC_SHARE, pointer(w, &it)));
}

static void beat(struct worker *w)
{
	struct vesper_heartbeat it = {
		.flags = below(w, 4),
		.threshold_ms = 1 << below(w, 24),
		.period_ms = 1 << below(w, 18),
	};

	domain_name(w, it.domain);
	mutate(w, &it, sizeof(it), 10);
	count(w, BEAT, ioctl(fuzz.control, VESPER_IOC_HEARTBEAT, pointer(w, &it)));
}

static void odd(struct worker *w, int fd, bool dangerous)
{
	__u8 bytes[64] = {};
	void *map;

	switch (below(w, 5)) {
	case 0:
		count(w, ODD, write(fd, bytes, sizeof(bytes)));
		break;
	case 1:
		map = mmap(NULL, PAGE * (1 + below(w, 8)),
			   PROT_READ | (one_in(w, 2) ? PROT_WRITE : 0),
			   one_in(w, 2) ? MAP_PRIVATE : MAP_SHARED, fd,
			   PAGE * below(w, 3));
		if (map != MAP_FAILED)
			munmap(map, PAGE);
		count(w, ODD, map == MAP_FAILED ? -1 : 0);
		break;
	case 2:
		count(w, ODD, ioctl(fd, rng_next(w), pointer(w, w->scratch)));
		break;
	case 3: /* Nothing that could wait for ever. */
		count(w, ODD, ioctl(fd, _IOC(below(w, 4), VESPER_IOC_MAGIC,
					     0x4a + below(w, 0x50),
					     below(w, 400)),
				    pointer(w, w->scratch)));
		break;
	default:
		if (dangerous)
			count(w, ODD, read(fd, bytes, sizeof(bytes)));
		break;
	}
}

void operator_step(struct worker *w)
{
	static struct vesper_info info;
	struct pollfd pfd = { .fd = fuzz.control, .events = POLLIN };
	int fd;

	switch (below(w, 26)) {
	case 24 ... 25:
		reap(w);
		break;
	case 23:
		beat(w);
		break;
	case 20 ... 21:
		show(w);
		break;
	case 22:
		list(w, SHOWN, VESPER_IOC_SHARED, sizeof(struct vesper_shared));
		break;
	case 0:
		fd = count(w, OPEN_CONTROL, open(one_in(w, 2) ? "/dev/vesper" :
						 "/dev/vesper/x",
						 O_RDWR | O_CLOEXEC));
		if (fd >= 0)
			close(fd);
		break;
	case 1:
		/* At times as another version of the interface would ask. */
		count(w, INFO, ioctl(fuzz.control, one_in(w, 8) ?
				     _IOR(VESPER_IOC_MAGIC, 0x40, __u64) :
				     VESPER_IOC_INFO, pointer(w, &info)));
		break;
	case 2 ... 3:
		list(w, DOMAINS, VESPER_IOC_DOMAINS,
		     sizeof(struct vesper_domain));
		break;
	case 4 ... 6:
		list(w, MODULES, VESPER_IOC_MODULES,
		     sizeof(struct vesper_module));
		break;
	case 7 ... 9:
		list(w, BUFFERS_OF, VESPER_IOC_BUFFERS_OF,
		     sizeof(struct vesper_buffer));
		break;
	case 10 ... 14:
		load(w);
		break;
	case 15 ... 17:
		unload(w, NULL);
		break;
	case 18:
		count(w, POLL, poll(&pfd, 1, 0) < 0 ? -1 : 0);
		break;
	default:
		odd(w, fuzz.control, true);
		break;
	}
}

static void relay_close(struct relay *relay)
{
	void *map = __atomic_exchange_n(&relay->map, NULL, __ATOMIC_SEQ_CST);
	int fd = __atomic_exchange_n(&relay->fd, -1, __ATOMIC_SEQ_CST);

	if (map)
		munmap(map, relay->len);
	if (fd >= 0)
		close(fd);
}

static void relay_open(struct worker *w, struct relay *relay)
{
	__u32 channel = below(w, CHANNELS);
	char path[128];
	int fd, none = -1;

	snprintf(path, sizeof(path), DEBUGFS "/%s%u/m%u/%s", fuzz.prefix,
		 below(w, SLOTS), channel % 2, "metadata");
	if (!one_in(w, 8))
		snprintf(path, sizeof(path), DEBUGFS "/%s%u/m%u/c%u-%u",
			 fuzz.prefix, below(w, SLOTS), channel % 2, channel,
			 below(w, BUFFERS));
	fd = count(w, OPEN_RELAY, open(path, O_CLOEXEC |
				       (one_in(w, 4) ? O_RDWR : O_RDONLY)));
	if (fd >= 0 && !__atomic_compare_exchange_n(&relay->fd, &none, fd,
						    false, __ATOMIC_SEQ_CST,
						    __ATOMIC_SEQ_CST))
		close(fd);
}

static void relay_map(struct worker *w, struct relay *relay)
{
	struct vesper_position pos = {};
	void *map, *none = NULL;
	size_t len;

	ioctl(relay->fd, VESPER_IOC_POSITION, &pos);
	len = (size_t)pos.subbuf_size * pos.n_subbufs;
	if (one_in(w, 5))
		len = PAGE * (1 + below(w, 40));
	map = mmap(NULL, len, PROT_READ | (one_in(w, 10) ? PROT_WRITE : 0),
		   one_in(w, 10) ? MAP_PRIVATE : MAP_SHARED, relay->fd,
		   one_in(w, 10) ? PAGE : 0);
	count(w, MAP, map == MAP_FAILED ? -1 : 0);
	if (map == MAP_FAILED)
		return;
	if (__atomic_compare_exchange_n(&relay->map, &none, map, false,
					__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		relay->len = len;
	else
		munmap(map, len);
}

/* Looks at a page that may be gone, or tries to make it writable. */
static void relay_touch(struct worker *w, struct relay *relay)
{
	__u8 *map = relay->map;
	size_t len = relay->len;

	if (!map || !len)
		return;
	if (one_in(w, 20)) {
		count(w, TOUCH, mprotect(map, PAGE,
					 PROT_READ | PROT_WRITE));
		return;
	}
	if (sigsetjmp(fault_jump, 1)) {
		expect_fault(false);
		errno = EFAULT;
		count(w, TOUCH, -1);
		return;
	}
	expect_fault(true);
	__atomic_load_n(&map[below(w, len)], __ATOMIC_RELAXED);
	expect_fault(false);
	count(w, TOUCH, 0);
}

static void relay_position(struct worker *w, struct relay *relay)
{
	struct vesper_position pos = {};

	if (count(w, POSITION, ioctl(relay->fd, VESPER_IOC_POSITION,
				     pointer(w, &pos))))
		return;
	if (one_in(w, 2))
		return;
	pos.consumed = one_in(w, 5) ? odd_number(w, pos.consumed) :
		pos.consumed + below(w, pos.produced - pos.consumed + 1);
	mutate(w, &pos, sizeof(pos), 20);
	count(w, CONSUME, ioctl(relay->fd, VESPER_IOC_CONSUME,
				pointer(w, &pos)));
}

void relay_step(struct worker *w)
{
	static __thread __u8 bytes[128 << 10];
	struct relay *relay = &fuzz.relays[below(w, RELAYS)];
	struct pollfd pfd = { .fd = relay->fd, .events = POLLIN };

	if (relay->fd < 0) {
		relay_open(w, relay);
		return;
	}
	switch (below(w, 20)) {
	case 0:
		relay_close(relay);
		break;
	case 1 ... 5:
		/* A bad address is not noticed where there is nothing to read. */
		count(w, READ_RELAY, read(relay->fd, one_in(w, 20) ?
					  (void *)~0ul : (void *)pointer(w, bytes),
					  below(w, one_in(w, 2) ? 100 :
						sizeof(bytes))));
		break;
	case 6 ... 9:
		relay_position(w, relay);
		break;
	case 10 ... 12:
		relay_map(w, relay);
		break;
	case 13 ... 17:
		relay_touch(w, relay);
		break;
	case 18:
		count(w, POLL, poll(&pfd, 1, 0) < 0 ? -1 : 0);
		break;
	default:
		odd(w, relay->fd, false);
		break;
	}
}

void relay_close_all(void)
{
	for (unsigned int i = 0; i < RELAYS; i++)
		relay_close(&fuzz.relays[i]);
}

static int drain_file(const char *path, const struct stat *st, int type,
		      struct FTW *ftw)
{
	static char bytes[1 << 20];
	size_t root = strlen(DEBUGFS "/");
	int fd;

	(void)st;
	(void)ftw;
	if (type != FTW_F || strncmp(path + root, fuzz.prefix,
				     strlen(fuzz.prefix)))
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	while (read(fd, bytes, sizeof(bytes)) > 0)
		;
	close(fd);
	return 0;
}

void drain(void)
{
	nftw(DEBUGFS, drain_file, 16, FTW_PHYS);
}
