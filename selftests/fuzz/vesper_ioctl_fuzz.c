// SPDX-License-Identifier: GPL-2.0
/*
 * Fuzzes the device nodes of vesper_host.ko and its relay files: several
 * threads play VMMs with guests, operators and readers, all at once and on the
 * same files, mostly by the rules and now and then not.
 *
 * usage: vesper_ioctl_fuzz [-s SEED] [-n CALLS] [-t THREADS] [-p PREFIX] [-u]
 *   -u  may only open the attach node: everything else has to be refused
 *
 * Prints what became of each type of call. Fails if one never succeeded, if
 * memory stays locked, or if a domain stays once all is closed and read.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"

#define IMAGE	(64 << 10)

struct fuzz fuzz = {
	.prefix = "fz",
	.seed = 1,
	.calls = 10000,
	.threads = 4,
	.operator = true,
};

__thread sigjmp_buf fault_jump;
__thread bool fault_expected;

static const char * const names[KINDS] = {
	"open-attach", "attach", "hello", "open", "open-overwrite",
	"open-foreign", "metadata", "share", "begun", "unshare", "close",
	"result", "goodbye", "index", "panic", "lend", "lend-beat", "buffers",
	"notice", "vcpus", "read-event", "poll", "open-control", "info",
	"domains", "modules", "buffers-of", "load", "unload", "reap", "show",
	"shown", "heartbeat", "open-relay", "read-relay", "position", "consume",
	"map", "touch", "odd",
};

__u64 rng_next(struct worker *w)
{
	__u64 x = w->rng += 0x9e3779b97f4a7c15ull;	/* splitmix64 */

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

__u32 below(struct worker *w, __u32 n)
{
	return (rng_next(w) & UINT32_MAX) * n >> 32;
}

bool one_in(struct worker *w, __u32 n)
{
	return !below(w, n);
}

__u64 odd_number(struct worker *w, __u64 old)
{
	static const __u64 odd[] = {
		0, 1, 2, 3, 63, 64, 511, 512, 960, 961, 1022, 1023, 4095, 4096,
		4097, 8192, 8193, 16384, 16385, INT32_MAX, 1ull << 31,
		UINT32_MAX, 1ull << 32, 1ull << 47, INT64_MAX, 1ull << 63,
		UINT64_MAX - 4095, UINT64_MAX,
	};

	switch (below(w, 4)) {
	case 0:
		return old + 1;
	case 1:
		return old - 1;
	case 2:
		return old ^ (1ull << below(w, 64));
	default:
		return odd[below(w, sizeof(odd) / sizeof(*odd))];
	}
}

bool mutate(struct worker *w, void *bytes, size_t len, __u32 n)
{
	__u32 word;
	size_t at;

	if (len < sizeof(word) || !one_in(w, n))
		return false;
	at = below(w, len / sizeof(word)) * sizeof(word);
	if (one_in(w, 4))
		at = below(w, len - sizeof(word) + 1);
	memcpy(&word, (__u8 *)bytes + at, sizeof(word));
	word = odd_number(w, word);
	memcpy((__u8 *)bytes + at, &word, sizeof(word));
	return true;
}

__u64 pointer(struct worker *w, const void *good)
{
	if (!one_in(w, 200))
		return (uintptr_t)good;
	switch (below(w, 6)) {
	case 0:
		return 0;
	case 1:
		return (uintptr_t)w->scratch + 2 * PAGE - 1 - below(w, 64);
	case 2:
		return 0xffff888000000000ull;
	case 3:
		return UINT64_MAX - below(w, 64);
	case 4:
		return (uintptr_t)&names;	/* cannot be written */
	default:
		return odd_number(w, (uintptr_t)good);
	}
}

long count(struct worker *w, enum call kind, long ret)
{
	(ret < 0 ? w->failed : w->ok)[kind]++;
	__atomic_fetch_add(&fuzz.done, 1, __ATOMIC_RELAXED);
	return ret;
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	if (fault_expected)
		siglongjmp(fault_jump, 1);
	signal(sig, SIG_DFL);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	/*
	 * Memory of a guest changes hands under the thread that writes to it,
	 * so a fault can come anywhere; then the step is over.
	 */
	while (__atomic_load_n(&fuzz.done, __ATOMIC_RELAXED) < fuzz.calls) {
		if (!sigsetjmp(fault_jump, 1)) {
			expect_fault(true);
			switch (fuzz.operator ? below(w, 5) : 0) {
			case 3:
				operator_step(w);
				break;
			case 4:
				relay_step(w);
				break;
			default:
				attach_step(w);
				break;
			}
		}
		expect_fault(false);
	}
	return NULL;
}

static long locked_kb(void)
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

static int domains_left(void)
{
	static struct vesper_domain domains[256];
	struct vesper_list list = {
		.capacity = 256,
		.entry_size = sizeof(*domains),
		.entries = (uintptr_t)domains,
	};
	int left = 0;

	if (ioctl(fuzz.control, VESPER_IOC_DOMAINS, &list))
		return -1;
	for (__u32 i = 0; i < list.count && i < 256; i++)
		left += !strncmp((char *)domains[i].name, fuzz.prefix,
				 strlen(fuzz.prefix));
	return left;
}

/* What the threads held is given back, and leaves nothing behind. */
static int check_clean(void)
{
	long locked = -1;
	int left = 0;

	relay_close_all();
	for (unsigned int i = 0; i < SLOTS; i++)
		if (fuzz.slots[i].fd >= 0)
			close(fuzz.slots[i].fd);
	/* Pages go back on a worker's time. */
	for (int i = 0; i < 1000; i++) {
		locked = locked_kb();
		if (fuzz.operator) {
			drain();
			left = domains_left();
		}
		if (!locked && !left)
			return 0;
		usleep(10000);
	}
	printf("FAIL: %ld KiB stay locked, %d domains stay\n", locked, left);
	return 1;
}

static bool is_operators(enum call kind)
{
	return kind >= OPEN_CONTROL && kind != ODD;
}

static int report(struct worker *workers)
{
	int ret = 0;

	for (unsigned int k = 0; k < KINDS; k++) {
		unsigned long ok = 0, failed = 0;

		if (!fuzz.operator && is_operators(k))
			continue;
		for (unsigned int i = 0; i < fuzz.threads; i++) {
			ok += workers[i].ok[k];
			failed += workers[i].failed[k];
		}
		printf("%-14s done %lu, refused %lu\n", names[k], ok, failed);
		/* Opening depends on files only, and nothing odd need work. */
		if (k == ODD || k == OPEN_ATTACH || k == OPEN_CONTROL)
			continue;
		/* A few calls prove nothing. */
		if (fuzz.calls >= 10000 && (!ok || (!failed && k != POLL))) {
			printf("FAIL: never %s: %s\n", ok ? "refused" : "done",
			       names[k]);
			ret = 1;
		}
	}
	printf("fuzz: ioctl %lu calls, seed %llu\n", fuzz.done,
	       (unsigned long long)fuzz.seed);
	return ret;
}

static int set_up(void)
{
	fuzz.arena_len = memory_len();
	fuzz.arena = mmap(NULL, fuzz.arena_len, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (fuzz.arena == MAP_FAILED)
		return -1;
	for (unsigned int i = 0; i < SLOTS; i++)
		fuzz.slots[i].fd = -1;
	for (unsigned int i = 0; i < RELAYS; i++)
		fuzz.relays[i].fd = -1;
	fuzz.control = open("/dev/vesper", O_RDWR | O_CLOEXEC);
	if (fuzz.operator)
		return fuzz.control;
	if (fuzz.control >= 0) {
		printf("FAIL: a VMM can be an operator\n");
		return -1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct sigaction fault = {
		.sa_sigaction = on_fault,
		.sa_flags = SA_SIGINFO | SA_NODEFER,
	};
	struct worker workers[64] = {};
	pthread_t threads[64];
	int opt, failed;

	while ((opt = getopt(argc, argv, "s:n:t:p:u")) != -1) {
		switch (opt) {
		case 's':
			fuzz.seed = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			fuzz.calls = strtoul(optarg, NULL, 0);
			break;
		case 't':
			fuzz.threads = strtoul(optarg, NULL, 0);
			break;
		case 'p':
			fuzz.prefix = optarg;
			break;
		case 'u':
			fuzz.operator = false;
			break;
		default:
			return 2;
		}
	}
	if (!fuzz.threads || fuzz.threads > 64 || set_up() < 0) {
		perror("cannot start");
		return 2;
	}
	sigaction(SIGBUS, &fault, NULL);
	sigaction(SIGSEGV, &fault, NULL);
	for (unsigned int i = 0; i < fuzz.threads; i++) {
		struct worker *w = &workers[i];

		w->f = &fuzz;
		w->rng = fuzz.seed * 1000003 + i;
		w->scratch = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		w->image = calloc(1, IMAGE);
		if (w->scratch == MAP_FAILED || !w->image)
			return 2;
		munmap(w->scratch + 2 * PAGE, PAGE);
		pthread_create(&threads[i], NULL, work, w);
	}
	for (unsigned int i = 0; i < fuzz.threads; i++)
		pthread_join(threads[i], NULL);
	failed = report(workers);
	return check_clean() || failed;
}
