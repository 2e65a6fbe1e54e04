// SPDX-License-Identifier: GPL-2.0
/*
 * What only C can read of the structures that the probe points pass: macros,
 * types that the kernel crate does not have.
 */
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/kallsyms.h>
#include <linux/kdev_t.h>
#include <linux/string.h>

#include "fields.h"

void fs_read_volume(const struct super_block *sb, struct fs_volume *volume)
{
	volume->type = sb->s_type->name;
	strscpy(volume->name, sb->s_id, sizeof(volume->name));
	volume->major = MAJOR(sb->s_dev);
	volume->minor = MINOR(sb->s_dev);
}

u64 fs_inode_number(const struct inode *inode)
{
	return inode ? inode->i_ino : 0;
}

/* Whether @function, or a part of it that the compiler made, is where @address returns to. */
bool fs_is_within(unsigned long address, const char *function)
{
	char name[KSYM_SYMBOL_LEN];
	size_t len = strlen(function);

	/* A call may be the last instruction. */
	sprint_symbol(name, address - 1);
	return !strncmp(name, function, len) && (name[len] == '+' || name[len] == '.');
}

/*
 * The file system that a reconfiguration is to make read-only and that can be
 * written as yet, %NULL if it is about something else.
 */
const struct super_block *fs_goes_readonly(const struct fs_context *context, bool *forced)
{
	const struct super_block *sb = context->root->d_sb;

	*forced = context->sb_flags & SB_FORCE;
	if (context->sb_flags_mask & context->sb_flags & SB_RDONLY && !sb_rdonly(sb))
		return sb;
	return NULL;
}
