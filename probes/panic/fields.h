/* SPDX-License-Identifier: GPL-2.0 */
/* What only C can read, and the kernel's last words. */
#ifndef VESPER_PANIC_FIELDS_H
#define VESPER_PANIC_FIELDS_H

#include <linux/stdarg.h>
#include <linux/types.h>

struct notifier_block;

/* An oops, as the kernel tells those whom it notifies of it. */
struct panic_oops {
	const char *what;	/* "Oops", "general protection fault", … */
	u64 error;
	u64 ip;
	s32 trap;
};

bool panic_read_oops(unsigned long event, const void *info, struct panic_oops *oops);
u32 panic_format(char *text, u32 size, const char *format, va_list arguments);
u32 panic_last_words(char *text, u32 size);

#endif
