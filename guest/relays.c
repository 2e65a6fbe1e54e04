// SPDX-License-Identifier: GPL-2.0
/*
 * relay channels of others: found by relay's own list of them, and held as an
 * open file of theirs would hold them.
 *
 * The list and its mutex are static. But each channel is in the list, so one of
 * our own leads to it; and relay calls create_buf_file() with the mutex held, so
 * opening another one is the way to look at it. That one's callback says no in
 * the end, and so relay_open() fails, and nothing is left of it.
 */

#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/limits.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/relay.h>
#include <linux/slab.h>

#include "relays.h"

struct walk {
	struct rchan *anchor;
	vesper_relay_each_t each;
	void *data;
	bool done;
};

/* relay wants a dentry, keeps none without a file name, and looks at none. */
static struct dentry no_file;

static struct dentry *anchor_create(const char *name, struct dentry *parent,
				    umode_t mode, struct rchan_buf *buf,
				    int *is_global)
{
	*is_global = 1;
	return &no_file;
}

static int anchor_remove(struct dentry *dentry)
{
	return 0;
}

static const struct rchan_callbacks anchor_callbacks = {
	.create_buf_file = anchor_create,
	.remove_buf_file = anchor_remove,
};

/* The list's head is a variable of the kernel's; channels are allocated. */
static bool is_channel(struct list_head *node)
{
	return virt_addr_valid(node) && PageSlab(virt_to_head_page(node));
}

static void look(struct walk *walk)
{
	struct list_head *node;

	list_for_each(node, &walk->anchor->list) {
		struct rchan *chan = list_entry(node, struct rchan, list);

		/* Without a file name it has no name at all. */
		if (is_channel(node) && chan->version == RELAYFS_CHANNEL_VERSION &&
		    chan->has_base_filename)
			walk->each(walk->data, chan);
	}
}

static struct dentry *walk_create(const char *name, struct dentry *parent,
				  umode_t mode, struct rchan_buf *buf,
				  int *is_global)
{
	struct walk *walk = buf->chan->private_data;

	if (!walk->done)
		look(walk);
	walk->done = true;
	return NULL;
}

static const struct rchan_callbacks walk_callbacks = {
	.create_buf_file = walk_create,
	.remove_buf_file = anchor_remove,
};

struct rchan *vesper_helper_relay_anchor(void)
{
	return relay_open(NULL, NULL, PAGE_SIZE, 1, &anchor_callbacks, NULL);
}

/* Calls @each for every channel that has files, with none of them going away. */
int vesper_helper_relay_walk(struct rchan *anchor, vesper_relay_each_t each,
			     void *data)
{
	struct walk walk = {
		.anchor = anchor,
		.each = each,
		.data = data,
	};

	relay_open(NULL, NULL, PAGE_SIZE, 1, &walk_callbacks, &walk);
	return walk.done ? 0 : -ENOMEM;
}

/*
 * The path of a channel's files in their file system, less the number of the
 * CPU. For the callback of a walk, and a buffer of the channel.
 */
int vesper_helper_relay_path(struct rchan_buf *buf, char *text, size_t len)
{
	struct dentry *parent;
	char *page, *path;
	int ret;

	if (!buf->dentry)
		return -ENOENT;
	page = kmalloc(PATH_MAX, GFP_KERNEL);
	if (!page)
		return -ENOMEM;
	/* relay itself follows the pointer at every switch. */
	parent = dget_parent(buf->dentry);
	path = dentry_path_raw(parent, page, PATH_MAX);
	dput(parent);
	ret = PTR_ERR_OR_ZERO(path);
	if (!ret)
		ret = snprintf(text, len, "%s%s%s", path + 1,
			       path[1] ? "/" : "", buf->chan->base_filename);
	kfree(page);
	return ret < (int)len ? ret : -ENAMETOOLONG;
}

struct rchan_buf *vesper_helper_relay_buf_get(struct rchan *chan, u32 cpu)
{
	struct rchan_buf *buf = *per_cpu_ptr(chan->buf, cpu);

	if (buf)
		kref_get(&buf->kref);
	return buf;
}

/* What the last reference takes along only relay knows: a file gives one up. */
void vesper_helper_relay_buf_put(struct rchan_buf *buf)
{
	struct file file = { .private_data = buf };

	relay_file_operations.release(NULL, &file);
}
