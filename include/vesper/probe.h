/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VESPER probe API: what a probe module calls, in C. probe.rs beside it is the
 * same for Rust, built on this file.
 *
 * A probe describes the fields of its records in const tables, opens a channel,
 * hooks probe points, and in its handlers writes records: begin, put each field
 * in the order of the table, commit. Per-CPU relay buffers, timestamps, packets
 * and metadata (CTF 1.8), flushing, and sharing with the host are the API's.
 *
 * Everything here is exported GPL-only by vesper_guest.
 */
#ifndef _VESPER_PROBE_H
#define _VESPER_PROBE_H

#include <linux/string.h>
#include <linux/types.h>

#include <vesper/hook.h>

struct module;

/* Types of a field: how it is written, and how a reader shows it. */
#define VESPER_TYPE_U8		0
#define VESPER_TYPE_U16		1
#define VESPER_TYPE_U32		2
#define VESPER_TYPE_U64		3
#define VESPER_TYPE_S8		4
#define VESPER_TYPE_S16		5
#define VESPER_TYPE_S32		6
#define VESPER_TYPE_S64		7
#define VESPER_TYPE_X32		8	/* u32, shown in hexadecimal */
#define VESPER_TYPE_X64		9	/* u64, shown in hexadecimal */
#define VESPER_TYPE_STRING	10	/* vesper_put_string() */
#define VESPER_TYPE_BYTES	11	/* vesper_put_bytes() */
#define VESPER_TYPE_SYMBOL	12	/* vesper_put_symbols(), one address */
#define VESPER_TYPE_STACK	13	/* vesper_put_stack() */

/**
 * struct vesper_label - name of a value of an enumeration
 * @value: the value
 * @label: what a reader shows for it, at most 512 bytes
 */
struct vesper_label {
	s64 value;
	const char *label;
};

/**
 * struct vesper_labels - an enumeration
 * @name: an identifier, unique in the channel
 * @labels: names of the values that have one; others are shown as numbers
 * @nr_labels: entries in @labels, at least one
 */
struct vesper_labels {
	const char *name;
	const struct vesper_label *labels;
	u32 nr_labels;
};

/**
 * struct vesper_field - a field of a record
 * @name: an identifier that is no keyword of TSDL, unique in the event
 * @type: VESPER_TYPE_*
 * @labels: enumeration of an integer's values, %NULL for none. An enumeration
 *	    belongs to one type of integer.
 */
struct vesper_field {
	const char *name;
	u32 type;
	const struct vesper_labels *labels;
};

/**
 * struct vesper_event - a kind of record
 * @name: what a reader calls it
 * @fields: its fields, in the order in which the handler puts them
 * @nr_fields: entries in @fields, may be none
 */
struct vesper_event {
	const char *name;
	const struct vesper_field *fields;
	u32 nr_fields;
};

/* When full, write over the oldest sub-buffer instead of dropping records. */
#define VESPER_CHANNEL_OVERWRITE	0x1

/**
 * struct vesper_channel_spec - what vesper_channel_open() is to open
 * @owner: %THIS_MODULE; its name is the directory on the host
 * @name: base name of the files on the host, %NULL for "cpu"
 * @events: kinds of record; the number of each is its place here
 * @nr_events: entries in @events
 * @flags: VESPER_CHANNEL_*
 * @subbuf_size: bytes in a sub-buffer, a multiple of 4096, 0 for 8192. A record
 *		 is at most 92 bytes smaller.
 * @n_subbufs: sub-buffers in the buffer of each CPU, 0 for 8. Urgent records
 *	       take a sub-buffer each when the host is slow.
 * @switch_ms: milliseconds that an ordinary record waits at most before the
 *	       host is told of it, as long as there is a free sub-buffer; 0 for
 *	       100
 *
 * Nothing of it is used after vesper_channel_open() has returned.
 */
struct vesper_channel_spec {
	struct module *owner;
	const char *name;
	const struct vesper_event *events;
	u32 nr_events;
	u32 flags;
	u32 subbuf_size;
	u32 n_subbufs;
	u32 switch_ms;
};

struct vesper_channel;

/**
 * vesper_channel_open() - open a channel and share it with the host
 * @spec: what to open
 *
 * With no host there, the channel is open all the same, and shared when one
 * appears. Process context, may sleep.
 *
 * Return: the channel, or an ERR_PTR(): -EINVAL for a @spec that breaks a rule,
 * -EEXIST if the module has a channel of that name, -ENOMEM, or the host's
 * refusal (-ENOSPC: too large, or too many).
 */
struct vesper_channel *
vesper_channel_open(const struct vesper_channel_spec *spec);

/**
 * vesper_channel_close() - publish what lies waiting, end sharing, free
 * @channel: from vesper_channel_open(); nothing else may be using it, so hooks
 *	     are detached first
 *
 * Waits until the host has given the pages back. Process context.
 */
void vesper_channel_close(struct vesper_channel *channel);

/**
 * vesper_channel_flush() - publish what lies waiting, on all CPUs
 * @channel: an open channel
 *
 * Process context, may sleep.
 */
void vesper_channel_flush(struct vesper_channel *channel);

/**
 * struct vesper_record - a record that is being written
 * @pos: where the next field goes
 * @end: end of the space that was asked for
 * @start: private
 * @lane: private
 * @time: private
 * @irq_flags: private
 *
 * Lives on the handler's stack between begin and commit, during which local
 * interrupts are off: gather first, then begin.
 */
struct vesper_record {
	u8 *pos;
	u8 *end;
	u8 *start;
	const void *lane;
	u64 time;
	unsigned long irq_flags;
};

/**
 * vesper_record_begin() - begin a record on this CPU
 * @channel: an open channel
 * @event: place of the event in the channel's table
 * @len: bytes that the fields take at most
 * @record: set up if there is room
 *
 * Any context, NMI included; never waits, takes no lock. A begin inside another
 * record on the same CPU (from an NMI, or a probe point hit while writing) is
 * refused.
 *
 * Return: whether there is room. If not, the record is counted as lost.
 */
bool vesper_record_begin(struct vesper_channel *channel, u32 event, u32 len,
			 struct vesper_record *record);

/* The record reaches the host at once: its sub-buffer is closed behind it. */
#define VESPER_RECORD_URGENT	0x1

/**
 * vesper_record_commit() - end a record that vesper_record_begin() set up
 * @record: the record, no longer valid afterwards
 * @flags: VESPER_RECORD_*
 *
 * The context in which it was begun. A record of which more was put than had been
 * asked for is dropped and counted as lost.
 */
void vesper_record_commit(struct vesper_record *record, u32 flags);

/**
 * vesper_record_discard() - take a begun record back; it is not counted as lost
 * @record: the record, no longer valid afterwards
 *
 * The context in which it was begun.
 */
void vesper_record_discard(struct vesper_record *record);

/**
 * vesper_put_bytes() - put a field of %VESPER_TYPE_BYTES
 * @record: a begun record
 * @data: the bytes
 * @len: their number; the field takes 4 bytes more
 *
 * Any context, as for all that put a field: between begin and commit. What does not
 * fit in the length that was asked for is left out, and commit drops the record.
 */
void vesper_put_bytes(struct vesper_record *record, const void *data, u32 len);

/**
 * vesper_put_string() - put a field of %VESPER_TYPE_STRING
 * @record: a begun record
 * @text: ends at a NUL or after @max bytes
 * @max: most bytes to take; the field takes up to @max + 1
 *
 * Any context.
 */
void vesper_put_string(struct vesper_record *record, const char *text, u32 max);

/**
 * vesper_put_symbols() - put addresses whose names the reader is to see
 * @record: a begun record
 * @addresses: of code or data of the kernel
 * @nr: their number, 8 bytes each
 *
 * The name of each address is sent once for the channel, shortly afterwards. Any
 * context.
 */
void vesper_put_symbols(struct vesper_record *record,
			const unsigned long *addresses, u32 nr);

/**
 * vesper_put_names() - put the names of addresses, as a field of
 *			%VESPER_TYPE_STRING
 * @record: a begun record
 * @addresses: of code or data of the kernel
 * @nr: their number
 * @max: most bytes to take; the field takes up to @max + 1
 *
 * One name a line, as many as fit, whole ones. It takes longer than
 * vesper_put_symbols(): for records behind which nothing may come, as that of a
 * panic, when the kernel can't send names any more. Any context.
 */
void vesper_put_names(struct vesper_record *record,
		      const unsigned long *addresses, u32 nr, u32 max);

/**
 * vesper_stack_save() - take this CPU's call stack
 * @owner: the probe's module, whose own frames and the API's at the top are left
 *	   out
 * @entries: room for the return addresses, innermost first
 * @max: how many there is room for
 *
 * Any context.
 *
 * Return: how many were taken; 0 if this is what taking a call stack has led to.
 */
u32 vesper_stack_save(const struct module *owner, unsigned long *entries,
		      u32 max);

/**
 * vesper_put_int() - put an integer field
 * @record: a begun record
 * @value: where the integer is
 * @len: its size in bytes
 *
 * Any context. What does not fit in the length that was asked for is left out, and the
 * record then dropped and counted at commit: @pos goes past @end.
 */
static inline void vesper_put_int(struct vesper_record *record,
				  const void *value, u32 len)
{
	if (record->pos <= record->end && record->end - record->pos >= len)
		memcpy(record->pos, value, len);
	record->pos += len;
}

/**
 * vesper_put() - put an integer field of a type
 * @record: a begun record
 * @type: its type, as u32: as wide as that of the table
 * @val: its value
 *
 * vesper_put_int() for it. Any context.
 */
#define vesper_put(record, type, val)				\
	do {							\
		type __vesper_v = (val);			\
								\
		vesper_put_int(record, &__vesper_v, sizeof(type)); \
	} while (0)

/**
 * vesper_put_stack() - put a field of %VESPER_TYPE_STACK
 * @record: a begun record
 * @entries: return addresses
 * @nr: their number; the field takes 4 + 8 * @nr bytes
 *
 * Any context.
 */
static inline void vesper_put_stack(struct vesper_record *record,
				    const unsigned long *entries, u32 nr)
{
	vesper_put_int(record, &nr, sizeof(nr));
	vesper_put_symbols(record, entries, nr);
}

/**
 * vesper_test_consume() - say about a buffer what the host would, in tests
 * @channel: an open channel
 * @cpu: whose buffer
 * @count: sub-buffers that are read
 *
 * Of namespace VESPER_TEST, for tests without a host. Process context.
 *
 * Return: 0, or -ENOENT if that CPU has no buffer.
 */
int vesper_test_consume(struct vesper_channel *channel, u32 cpu, u32 count);

/* Macros that make the tables, and describe them in the image. */
#ifndef __BINDGEN__
#include <vesper/describe.h>
#endif

#endif /* _VESPER_PROBE_H */
