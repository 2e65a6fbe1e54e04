// SPDX-License-Identifier: GPL-2.0
/*
 * What only C can read, and the kernel's last words. All of it is for any context,
 * NMI included.
 */
#include <linux/kdebug.h>
#include <linux/kmsg_dump.h>
#include <linux/minmax.h>
#include <linux/ptrace.h>
#include <linux/sprintf.h>
#include <linux/stdarg.h>
#include <trace/events/rcu.h>

#include "../prototypes.h"
#include "fields.h"

/* Messages that are looked through for the last ones that fit. */
#define MAX_MESSAGES	512

/* False if the event is another one, of which there are many. */
bool panic_read_oops(unsigned long event, const void *info, struct panic_oops *oops)
{
	const struct die_args *args = info;

	if (event != DIE_OOPS)
		return false;
	oops->what = args->str;
	oops->error = args->err;
	oops->ip = args->regs ? instruction_pointer(args->regs) : 0;
	oops->trap = args->trapnr;
	return true;
}

/* @arguments are left as they are, for the kernel is yet to use them. */
u32 panic_format(char *text, u32 size, const char *format, va_list arguments)
{
	va_list copy;
	u32 len;

	va_copy(copy, arguments);
	len = vscnprintf(text, size, format, copy);
	va_end(copy);
	return len;
}

/* The newest messages of the kernel, as many as fit, whole ones. */
u32 panic_last_words(char *text, u32 size)
{
	struct kmsg_dump_iter messages;
	size_t len = 0;

	kmsg_dump_rewind(&messages);
	if (messages.next_seq > MAX_MESSAGES)
		messages.cur_seq = max(messages.cur_seq, messages.next_seq - MAX_MESSAGES);
	kmsg_dump_get_buffer(&messages, false, text, size, &len);
	return len;
}

/* The tracepoint of panic_main.rs. */
PROTOTYPE(rcu_stall_warning, const char *, const char *);
