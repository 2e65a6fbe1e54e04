// SPDX-License-Identifier: GPL-2.0
/*
 * Relay files of others in debugfs, to be mapped: debugfs stands in front of the
 * files that blktrace makes, and lets nobody map those. Here the same buffers have
 * files without that, vesper_relaymap/0, 1, ..., with relay's own operations. Writing a
 * number to vesper_relaymap/reset resets the channel of the first.
 *
 * insmod vesper_relaymap.ko paths=/sys/kernel/debug/block/vda/trace0,...
 */

#include <linux/debugfs.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/relay.h>

#define MAX_PATHS	16

static char *paths[MAX_PATHS];
static unsigned int nr_paths;
module_param_array(paths, charp, &nr_paths, 0);
MODULE_PARM_DESC(paths, "Relay files in debugfs");

static struct dentry *dir;
static struct file *files[MAX_PATHS];

static int relaymap_reset(void *data, u64 value)
{
	struct rchan_buf *buf = file_inode(files[0])->i_private;

	relay_reset(buf->chan);
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(reset_fops, NULL, relaymap_reset, "%llu\n");

static void relaymap_end(void)
{
	unsigned int i;

	debugfs_remove(dir);
	for (i = 0; i < nr_paths; i++)
		if (!IS_ERR_OR_NULL(files[i]))
			filp_close(files[i], NULL);
}

static int __init relaymap_init(void)
{
	char name[12];
	unsigned int i;

	dir = debugfs_create_dir(KBUILD_MODNAME, NULL);
	for (i = 0; i < nr_paths; i++) {
		/* It holds the buffer as long as it is open. */
		files[i] = filp_open(paths[i], O_RDONLY, 0);
		if (IS_ERR(files[i])) {
			relaymap_end();
			return PTR_ERR(files[i]);
		}
		snprintf(name, sizeof(name), "%u", i);
		debugfs_create_file_unsafe(name, 0400, dir,
					   file_inode(files[i])->i_private,
					   &relay_file_operations);
	}
	if (nr_paths)
		debugfs_create_file("reset", 0200, dir, NULL, &reset_fops);
	return 0;
}
module_init(relaymap_init);

static void __exit relaymap_exit(void)
{
	relaymap_end();
}
module_exit(relaymap_exit);

MODULE_DESCRIPTION("VESPER: relay files of others, to be mapped by tests");
MODULE_AUTHOR("The VESPER developers");
MODULE_LICENSE("GPL");
