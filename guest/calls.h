/* SPDX-License-Identifier: GPL-2.0 */
/* Functions of the kernel that it does not export to modules. */
#ifndef VESPER_GUEST_CALLS_H
#define VESPER_GUEST_CALLS_H

#include <linux/types.h>

struct mm_struct;

long vesper_helper_delete_module(unsigned long name, unsigned int flags);
long vesper_helper_init_module(unsigned long image, unsigned long len,
			       unsigned long params);
unsigned long vesper_kprobe_look_up(const char *name, u32 *flags);
unsigned long vesper_helper_kprobe_address(const char *name);
struct mm_struct *vesper_helper_mm_create(void);
void vesper_helper_set_calls(unsigned long delete_module,
			     unsigned long init_module, unsigned long mm_alloc,
			     unsigned long pick_mmap_layout);

#endif
