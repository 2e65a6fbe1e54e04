/* SPDX-License-Identifier: GPL-2.0 */
/* What the tests of the attach interface have in common. */
#ifndef VESPER_ATTACH_COMMON_H
#define VESPER_ATTACH_COMMON_H

#include <limits.h>
#include <pthread.h>

#include "ktap.h"
#include "vmm.h"

#define DOMAIN		"fake"
#define MODULE		"mod"
#define CHANNEL		"cpu"
#define SUBBUF		8192
#define N_SUBBUFS	4

/* Attached, greeted, one channel of one buffer, shared. */
struct setup {
	struct vmm vmm;
	struct ring ring;
	__u32 channel;
	char path[PATH_MAX];
};

int setup(struct setup *s);
int setup_with(struct setup *s, const char *name, __u32 flags,
	       __u32 subbuf_size, __u32 n_subbufs);
/* Reads all that the domains of the tests have left; true if they are gone. */
bool drain(void);
void teardown(struct setup *s);

/* Memory in which every access waits until it is told otherwise. */
struct trap {
	int uffd;
	void *mem;
};

/* KSFT_SKIP where there is no such thing. */
int trap_init(struct trap *trap);
int trap_release(struct trap *trap);

long long now_ms(void);

bool exists(const char *path);
/* Waits for a worker of the module, for 5 s at most. */
bool gone(const char *path);
int poll_fd(int fd, int timeout_ms);
/* Checks records numbered from @from on; returns the number after the last. */
long long check_records(const __u8 *bytes, size_t len, __u32 size, __u64 from);
/* Locked memory of this process, in KiB. */
long locked_kb(void);

/* The operator. */
struct request {
	struct vesper_load load;
	int ret, err;
	pthread_t thread;
};

void start_load(struct request *r, const char *module, void *image, __u32 len,
		const char *params, __u32 timeout_ms);
int unload(const char *module, __u32 timeout_ms);
/* How many domains have that name; the last of them. */
int count_domain(const char *name, struct vesper_domain *found);
int list_modules(struct vesper_module *modules, __u32 capacity);
/* Gives the bytes thrown away; @module may be NULL. */
long long reap(const char *domain, const char *module);

int test_attach(void);
int test_hello_versions(void);
int test_loud(void);
int test_share(void);
int test_foreign(void);
int test_open_refusals(void);
int test_lend(void);
int test_memlock(void);
int test_read(void);
int test_laps(void);
int test_full(void);
int test_map(void);
int test_poll_wakes(void);
int test_unshare(void);
int test_unshare_empty(void);
int test_reshare(void);
int test_panic(void);
int test_reset(void);
int test_death(void);
int test_kill(void);
int test_inherited(void);
int test_ctf_tail(void);
int test_load(void);
int test_load_abandoned(void);
int test_load_late(void);
int test_load_leaving(void);
int test_violations(void);
int test_lists(void);
int test_signal(void);
int test_stuck_reader(void);
int test_stuck_dead(void);
int test_repeat_unread(void);
int test_overwrite(void);
int test_overwrite_race(void);
int test_reap(void);
int test_dead_limit(void);
int test_dead_name(void);
int test_changes(void);
int test_storm(void);

#endif
