/* SPDX-License-Identifier: GPL-2.0 */
/* What only C can read of the structures that the probe points pass. */
#ifndef VESPER_FS_FIELDS_H
#define VESPER_FS_FIELDS_H

#include <linux/types.h>

struct fs_context;
struct inode;
struct super_block;

/* A file system that is mounted. */
struct fs_volume {
	const char *type;	/* name of its kind, "ext4"; of a module that is in use */
	char name[32];		/* of the volume, as the kernel's messages have it */
	u32 major;
	u32 minor;
};

void fs_read_volume(const struct super_block *sb, struct fs_volume *volume);
u64 fs_inode_number(const struct inode *inode);
bool fs_is_within(unsigned long address, const char *function);
const struct super_block *fs_goes_readonly(const struct fs_context *context, bool *forced);

#endif
