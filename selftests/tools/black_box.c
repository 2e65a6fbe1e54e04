// SPDX-License-Identifier: GPL-2.0
/*
 * Reads a relay file of vesper_seq to its end and takes every record apart; and
 * holds what was read against the ledger that the writer kept.
 *
 * black_box read FILE CPU RESULT SEED MODE
 *                                         by poll() and read(), in blocks whose
 *                                         sizes SEED decides
 * black_box map FILE CPU RESULT SEED MODE by mmap() and the position ioctls
 * black_box account NAME RESULT LEDGER CPU [late]
 *                                         the line "blackbox: NAME: ..."; late:
 *                                         the guest went on to refuse records
 * black_box ledger FIELD LEDGER CPU       begun, written or lost, as it is now
 * black_box seen RESULT                   records read so far
 *
 * MODE is keep or overwrite: in the latter packets may be missing, where newer ones
 * were written over them.
 *
 * Exit status: 0; 1 records are lost, or the data are not what was written; 2 an
 * error.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/vesper.h>
#include <linux/virtio_vesper.h>

#include "../modules/vesper_seq/ledger.h"

#define HEAD	sizeof(struct virtio_vesper_packet)
#define MAX_READ	(96 << 10)
/* Seconds after which SIGALRM ends a reader that sees no end; a test fails then. */
#define PATIENCE	150

/* Of a record before the payload: id, time, number, CPU, context, length. */
#define RECORD_HEAD	(4 + 8 + 8 + 4 + 1 + 4)

/* What a reader found, kept in a file that others can look at meanwhile. */
struct result {
	__u64 records;
	__u64 packets;
	__u64 bytes;
	__u64 last_packet;	/* records in the packet that came last */
	__u64 last_room;	/* bytes that it had left */
	__u64 discarded;	/* as the last packet has it */
	__u64 lost;		/* as the end of the file has it */
	__u64 ended;		/* the file said that no more will come */
	__u64 n_subbufs;
	__u64 missing;		/* packets that are not there, by their numbers */
	__u64 lapped;		/* sub-buffers written over, as the host has it */
	__u64 map[LEDGER_WORDS];
	__u64 over[LEDGER_WORDS];	/* records that were in missing packets */
};

/* What is being read. */
static struct {
	__u32 cpu;
	__u32 subbuf_size;
	__u64 next;		/* lowest number that may come */
	__u64 time;		/* no record may be older */
	bool overwrite;
	bool gap;		/* packets are missing before this one */
	struct result *result;
} in;

static void die(const char *what)
{
	fprintf(stderr, "black_box: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* What was read is not what vesper_seq wrote. */
#define wrong(...) do {							\
	fprintf(stderr, "black_box: CPU %u, packet %llu, after %llu records: ", \
		in.cpu, in.result->packets, in.result->records);	\
	fprintf(stderr, __VA_ARGS__);					\
	fputc('\n', stderr);						\
	exit(1);							\
} while (0)

static void *map_file(const char *name, size_t size, bool make)
{
	int fd = open(name, make ? O_RDWR | O_CREAT | O_TRUNC : O_RDONLY, 0600);
	void *map;

	if (fd < 0 || (make && ftruncate(fd, size)))
		die(name);
	map = mmap(NULL, size, make ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		die(name);
	close(fd);
	return map;
}

static bool has(const __u64 *map, __u64 n)
{
	return map[n / 64] >> (n % 64) & 1;
}

static void set(__u64 *map, __u64 n)
{
	map[n / 64] |= 1ULL << (n % 64);
}

/* The next @bytes bytes, a little-endian integer. */
static __u64 get(const unsigned char **at, size_t bytes)
{
	__u64 value = 0;
	size_t i;

	for (i = 0; i < bytes; i++)
		value |= (__u64)(*at)[i] << (8 * i);
	*at += bytes;
	return value;
}

/* One record of at most @room bytes; returns how many it takes. */
static size_t take_record(const unsigned char *at, size_t room, __u64 end)
{
	struct result *result = in.result;
	__u64 id, time, number, cpu, len, i;

	if (room < RECORD_HEAD)
		wrong("%zu bytes are no record", room);
	id = get(&at, 4);
	time = get(&at, 8);
	number = get(&at, 8);
	cpu = get(&at, 4);
	get(&at, 1);
	len = get(&at, 4);
	if (id || cpu != in.cpu || len > room - RECORD_HEAD)
		wrong("no record of this buffer: id %llu, cpu %llu, %llu bytes of %zu", id, cpu,
		      len, room);
	if (time < in.time || time > end)
		wrong("number %llu: time %llu not in %llu .. %llu", number, time, in.time, end);
	if (number < in.next)
		wrong("number %llu after %llu: twice, or out of order", number, in.next - 1);
	if (number >= LEDGER_RECORDS)
		wrong("number %llu is too high", number);
	for (i = 0; i < len; i++)
		if (at[i] != (unsigned char)(number + i))
			wrong("number %llu: byte %llu is %u", number, i, at[i]);
	for (; in.gap && in.next < number; in.next++)
		set(result->over, in.next);
	in.gap = false;
	in.next = number + 1;
	in.time = time;
	set(result->map, number);
	result->records++;
	return RECORD_HEAD + len;
}

/* One packet, if @len bytes hold a whole one; returns how many it takes. */
static size_t take_packet(const unsigned char *at, size_t len)
{
	struct result *result = in.result;
	struct virtio_vesper_packet head;
	size_t size, done = HEAD;
	__u64 before = result->records;

	if (len < HEAD)
		return 0;
	memcpy(&head, at, HEAD);
	size = head.content_bits / 8;
	if (head.magic != VIRTIO_VESPER_PACKET_MAGIC || head.stream_id || head.cpu != in.cpu ||
	    head.content_bits % 8 || head.packet_bits != head.content_bits ||
	    size <= HEAD || size > in.subbuf_size)
		wrong("no packet of this buffer: magic %x, cpu %u, %llu of %llu bits",
		      head.magic, head.cpu, head.content_bits, head.packet_bits);
	if (head.sequence < result->packets + result->missing ||
	    (!in.overwrite && head.sequence != result->packets))
		wrong("it bears number %llu", head.sequence);
	if (head.discarded < result->discarded)
		wrong("%llu records discarded, %llu before", head.discarded, result->discarded);
	if (len < size)
		return 0;
	if (head.tsc_begin < in.time || head.tsc_end < head.tsc_begin)
		wrong("times %llu .. %llu", head.tsc_begin, head.tsc_end);
	in.time = head.tsc_begin;
	in.gap = head.sequence != result->packets + result->missing;
	result->missing = head.sequence - result->packets;
	while (done < size)
		done += take_record(at + done, size - done, head.tsc_end);
	result->packets++;
	result->bytes += size;
	result->discarded = head.discarded;
	result->last_packet = result->records - before;
	result->last_room = in.subbuf_size - size;
	return size;
}

static struct vesper_position position(int fd)
{
	struct vesper_position pos;

	if (ioctl(fd, VESPER_IOC_POSITION, &pos))
		die("VESPER_IOC_POSITION");
	return pos;
}

/* Waits; returns false at the end of the file. */
static bool more(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	while (poll(&pfd, 1, -1) < 0)
		if (errno != EINTR)
			die("poll");
	return pfd.revents & POLLIN;
}

static void by_read(int fd, unsigned int seed)
{
	unsigned char *buf = malloc(in.subbuf_size + MAX_READ);
	size_t have = 0;

	if (!buf)
		die("malloc");
	while (more(fd)) {
		/* Seldom whole sub-buffers, so that the fault finds one half read. */
		size_t want = 1 + rand_r(&seed) % MAX_READ;
		ssize_t got = read(fd, buf + have, want);
		size_t done = 0, size;

		if (got < 0)
			die("read");
		have += got;
		while ((size = take_packet(buf + done, have - done)))
			done += size;
		have -= done;
		memmove(buf, buf + done, have);
	}
	if (have)
		wrong("the file ends %zu bytes into a packet", have);
	if (read(fd, buf, MAX_READ))
		wrong("there is something behind the end");
	free(buf);
}

static void by_map(int fd)
{
	struct vesper_position pos = position(fd);
	size_t size = (size_t)pos.subbuf_size * pos.n_subbufs;
	unsigned char *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	unsigned char *copy = malloc(pos.subbuf_size);

	if (map == MAP_FAILED || !copy)
		die("mmap");
	for (;;) {
		const unsigned char *at;
		size_t len;

		pos = position(fd);
		if (pos.consumed == pos.produced) {
			if (pos.flags & VESPER_POSITION_ENDED)
				break;
			more(fd);
			continue;
		}
		at = map + pos.consumed % pos.n_subbufs * pos.subbuf_size;
		len = pos.subbuf_size - pos.padding;
		if (in.overwrite) {
			memcpy(copy, at, len);
			/* Written over meanwhile? */
			if (position(fd).consumed != pos.consumed)
				continue;
			at = copy;
		}
		if (take_packet(at, len) != len)
			wrong("a sub-buffer is not one packet of %zu bytes", len);
		pos.consumed++;
		if (ioctl(fd, VESPER_IOC_CONSUME, &pos))
			die("VESPER_IOC_CONSUME");
	}
	free(copy);
	munmap(map, size);
}

static int reader(bool mapped, char **args)
{
	const char *scale = getenv("TIME_SCALE");
	int fd = open(args[0], O_RDONLY);
	struct vesper_position pos;

	if (fd < 0)
		die(args[0]);
	alarm(PATIENCE * (scale ? atoi(scale) : 1));
	in.cpu = atoi(args[1]);
	in.result = map_file(args[2], sizeof(struct result), true);
	in.overwrite = !strcmp(args[4], "overwrite");
	pos = position(fd);
	in.subbuf_size = pos.subbuf_size;
	in.result->n_subbufs = pos.n_subbufs;
	if (mapped)
		by_map(fd);
	else
		by_read(fd, atoi(args[3]));
	pos = position(fd);
	in.result->lost = pos.lost;
	in.result->lapped = pos.lapped;
	in.result->ended = 1;
	return 0;
}

static const struct ledger *ledger_of(const char *name, const char *cpu)
{
	const struct ledger *ledger =
		(struct ledger *)map_file(name, (atoi(cpu) + 1) * LEDGER_SIZE, false) + atoi(cpu);

	if (ledger->magic != LEDGER_MAGIC) {
		fprintf(stderr, "black_box: %s: no ledger of CPU %s\n", name, cpu);
		exit(2);
	}
	return ledger;
}

/* Says what is not right; returns whether it is. */
static bool check(bool right, const char *what, __u64 n)
{
	if (!right)
		printf("  not right: %s: %llu\n", what, n);
	return right;
}

static int account(const char *name, const char *file, const struct ledger *ledger, bool late)
{
	const struct result *result = map_file(file, sizeof(*result), false);
	__u64 produced = 0, read = 0, over = 0, lost = 0, unknown = 0, first = 0, n;
	/* Begun, and not entered any more: it is there or it is not. */
	bool open = ledger->begun == ledger->written + ledger->lost + 1;
	bool extra = false, fine = true;

	for (n = 0; n < LEDGER_RECORDS; n++) {
		if (has(ledger->map, n)) {
			produced++;
			if (has(result->map, n))
				read++;
			else if (has(result->over, n))
				over++;
			else if (!lost++)
				first = n;
		} else if (has(result->map, n)) {
			if (open && n == ledger->begun - 1)
				extra = true;
			else
				unknown++;
		}
	}
	printf("blackbox: %s: produced %llu, ", name, produced);
	if (over)
		printf("written over %llu, ", over);
	printf("read %llu, lost %llu\n", read, lost);
	printf("  %llu packets, %llu records in the last, which had %llu bytes left; ",
	       result->packets, result->last_packet, result->last_room);
	printf("%llu dropped in the guest%s\n", ledger->lost,
	       extra ? "; one more was committed and not entered" : "");
	fine &= check(produced, "records produced", produced);
	fine &= check(!lost, "the first that is lost has number", first);
	fine &= check(!unknown, "records read that were never written", unknown);
	fine &= check(produced == ledger->written, "the ledger's own count", ledger->written);
	fine &= check(ledger->begun == ledger->written + ledger->lost + open,
		      "numbers used up that became nothing",
		      ledger->begun - ledger->written - ledger->lost);
	fine &= check(result->ended, "end of file", 0);
	fine &= check(result->missing == result->lapped, "sub-buffers written over",
		      result->lapped);
	/* One is being written when the fault comes. */
	fine &= check(!result->missing || result->packets + 1 >= result->n_subbufs,
		      "packets where some were written over", result->packets);
	/* The guest counts what it drops in the index page, before the ledger. */
	fine &= check(result->lost == ledger->lost || (late && result->lost < ledger->lost) ||
		      (open && !extra && result->lost == ledger->lost + 1),
		      "records dropped, as the host has it", result->lost);
	return fine ? 0 : 1;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (argc == 7 && (!strcmp(what, "read") || !strcmp(what, "map")))
		return reader(*what == 'm', argv + 2);
	if ((argc == 6 || argc == 7) && !strcmp(what, "account"))
		return account(argv[2], argv[3], ledger_of(argv[4], argv[5]), argc == 7);
	if (argc == 5 && !strcmp(what, "ledger")) {
		const struct ledger *ledger = ledger_of(argv[3], argv[4]);

		printf("%llu\n", *argv[2] == 'b' ? ledger->begun :
				 *argv[2] == 'w' ? ledger->written : ledger->lost);
		return 0;
	}
	if (argc == 3 && !strcmp(what, "seen")) {
		const struct result *result = map_file(argv[2], sizeof(*result), false);

		printf("%llu\n", result->records);
		return 0;
	}
	fprintf(stderr, "usage: black_box read|map|account|ledger|seen ... (see its source)\n");
	return 2;
}
