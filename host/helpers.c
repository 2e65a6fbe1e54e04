// SPDX-License-Identifier: GPL-2.0
/* C that only a macro or an inline function of the kernel can provide. */

#include <linux/percpu.h>
#include <linux/relay.h>

#include "helpers.h"

/* struct rchan has a per-CPU array of buffer pointers. */
void *vesper_helper_alloc_percpu_buf(void)
{
	return (__force void *)(unsigned long)alloc_percpu(struct rchan_buf *);
}
