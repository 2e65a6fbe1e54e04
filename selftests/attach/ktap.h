/* SPDX-License-Identifier: GPL-2.0 */
/* Test results in KTAP, as the kernel's own selftests print them. */
#ifndef VESPER_KTAP_H
#define VESPER_KTAP_H

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define KSFT_PASS	0
#define KSFT_FAIL	1
#define KSFT_SKIP	4

struct ktap_test {
	const char *name;
	int (*run)(void);
};

/*
 * Fails the test it stands in. The errno shown is the last one, and may have
 * nothing to do with it.
 */
#define CHECK(cond)							\
	do {								\
		int err_ = errno;					\
									\
		if (!(cond)) {						\
			printf("# %s:%d: not true: %s (errno: %s)\n",	\
			       __FILE__, __LINE__, #cond,		\
			       strerror(err_));				\
			return KSFT_FAIL;				\
		}							\
	} while (0)

/* The same for two numbers, which are shown. */
#define CHECK_EQ(a, b)							\
	do {								\
		long long a_ = (a), b_ = (b);				\
									\
		if (a_ != b_) {						\
			printf("# %s:%d: %s is %lld, not %lld (errno: %s)\n", \
			       __FILE__, __LINE__, #a, a_, b_,		\
			       strerror(errno));			\
			return KSFT_FAIL;				\
		}							\
	} while (0)

/* A call that fails with a certain errno. */
#define CHECK_ERR(call, err)						\
	do {								\
		errno = 0;						\
		long long ret_ = (call);				\
									\
		if (ret_ != -1 || errno != (err)) {			\
			printf("# %s:%d: %s gives %lld (%s), not %s\n",	\
			       __FILE__, __LINE__, #call, ret_,		\
			       strerror(errno), #err);			\
			return KSFT_FAIL;				\
		}							\
	} while (0)

/* In a process of its own: one that fails leaves nothing open behind it. */
static inline int ktap_run_one(const struct ktap_test *test)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		int ret = test->run();

		fflush(stdout);
		_exit(ret);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return KSFT_FAIL;
	if (!WIFEXITED(status)) {
		printf("# killed by signal %d\n", WTERMSIG(status));
		return KSFT_FAIL;
	}
	return WEXITSTATUS(status);
}

static inline int ktap_run(const struct ktap_test *tests, unsigned int count,
			   const char *only)
{
	unsigned int failed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n1..%u\n", count);
	for (unsigned int i = 0; i < count; i++) {
		int ret = KSFT_SKIP;

		if (!only || !strcmp(only, tests[i].name))
			ret = ktap_run_one(&tests[i]);
		printf("%sok %u %s%s\n", ret == KSFT_FAIL ? "not " : "",
		       i + 1, tests[i].name,
		       ret == KSFT_SKIP ? " # SKIP" : "");
		failed += ret == KSFT_FAIL;
	}
	printf("# %u passed or skipped, %u failed\n", count - failed, failed);
	return failed ? KSFT_FAIL : KSFT_PASS;
}

#endif
