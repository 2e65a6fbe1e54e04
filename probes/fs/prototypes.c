// SPDX-License-Identifier: GPL-2.0
/* The tracepoints of fs_main.rs. */
#include <linux/fs.h>
#include <linux/jbd2.h>

/*
 * Ext4's own header is not installed. Its tracepoints want these types for arguments
 * of others than those below, so that any will do.
 */
#define ext4_fsblk_t u64
#define ext4_group_t u32
#define ext4_grpblk_t int
#define ext4_lblk_t u32

#include <trace/events/ext4.h>

#include "../prototypes.h"

PROTOTYPE(ext4_error, struct super_block *, const char *, unsigned int);
PROTOTYPE(ext4_shutdown, struct super_block *, unsigned long);
