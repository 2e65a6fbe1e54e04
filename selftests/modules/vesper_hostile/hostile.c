// SPDX-License-Identifier: GPL-2.0
/*
 * Test driver: a guest that means harm, or one that is broken. It takes the
 * VESPER device in place of vesper_guest and sends what vesper_guest never
 * would, mixed with what is right, so that each check behind the first is met
 * as well. A second thread changes index pages while the host looks at them.
 *
 * The order of messages follows from the seed, as far as the host's answers
 * are the same. When the device says that it is broken it is reset and the
 * work goes on.
 *
 * debugfs, vesper_hostile/report: "running" or "done" or "failed: ...", then
 * what was accepted and refused of each type, and what the device was given and never
 * looked at, or had no use for (loader buffers). A notification counts as accepted when
 * the device is done with it; whether it meant anything only the host can say.
 */

#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/virtio_config.h>

#include "hostile.h"

static ulong seed = 1;
module_param(seed, ulong, 0444);
MODULE_PARM_DESC(seed, "of the random numbers");

static ulong messages = 20000;
module_param(messages, ulong, 0444);
MODULE_PARM_DESC(messages, "how many to send");

static bool stay;
module_param(stay, bool, 0444);
MODULE_PARM_DESC(stay, "break the device once more at the end, and leave it so");

static const char * const kind_names[K_MAX] = {
	"hello", "open", "metadata", "share", "unshare", "close", "result",
	"goodbye", "fragment", "beat", "index", "panic", "loader", "ring",
};

static struct hostile *hostile;
static struct task_struct *sender, *scribbler;
static struct dentry *dir;
static bool done;

static bool go_on(struct hostile *h)
{
	return !kthread_should_stop() && !h->error && h->sent < messages;
}

static int send_all(void *data)
{
	struct hostile *h = data;

	while (go_on(h)) {
		hostile_step(h);
		hostile_reap(h);
		if (hostile_broken(h)) {
			h->resets++;
			hostile_down(h);
			if (hostile_up(h))
				h->error = "a device that does not come up again";
		}
		cond_resched();
	}
	hostile_down(h);
	/* All is as if nothing had been. */
	if (!h->error && hostile_up(h))
		h->error = "a device that does not come up again at the end";
	if (!h->error && stay)
		hostile_offend(h);
	WRITE_ONCE(done, true);
	while (!kthread_should_stop())
		msleep_interruptible(100);
	return 0;
}

static int scribble(void *data)
{
	struct hostile *h = data;
	struct rng rng = { .state = ~(u64)seed };

	while (!kthread_should_stop()) {
		memory_flip(h, &rng);
		if (rng_one_in(&rng, 6))
			msleep(5 + rng_below(&rng, 40));
	}
	return 0;
}

static int report_show(struct seq_file *m, void *unused)
{
	struct hostile *h = hostile;
	unsigned int i;

	if (h->error)
		seq_printf(m, "failed: %s\n", h->error);
	else
		seq_puts(m, READ_ONCE(done) ? "done\n" : "running\n");
	seq_printf(m, "sent %llu, resets %llu, heard %llu\n", h->sent,
		   h->resets, h->loader_messages);
	for (i = 0; i < K_MAX; i++)
		seq_printf(m, "%s accepted %llu refused %llu unseen %llu\n",
			   kind_names[i], h->accepted[i], h->refused[i],
			   h->unseen[i]);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(report);

static void hostile_config_changed(struct virtio_device *vdev)
{
	struct hostile *h = vdev->priv;

	WRITE_ONCE(h->config_changed, true);
	wake_up(&h->wait);
}

static void hostile_stop(struct hostile *h)
{
	if (!IS_ERR_OR_NULL(scribbler))
		kthread_stop(scribbler);
	if (!IS_ERR_OR_NULL(sender))
		kthread_stop(sender);
	hostile_down(h);
	memory_exit(h);
	kfree(h);
	hostile = NULL;
}

static int hostile_probe(struct virtio_device *vdev)
{
	struct hostile *h;
	int err;

	if (hostile)
		return -EBUSY;
	h = kzalloc_obj(*h, GFP_KERNEL);
	if (!h)
		return -ENOMEM;
	h->vdev = vdev;
	h->rng.state = seed;
	h->next_id = 1;
	init_waitqueue_head(&h->wait);
	vdev->priv = h;
	hostile = h;
	sender = NULL;
	scribbler = NULL;
	done = false;
	err = memory_init(h);
	if (err)
		goto err;
	/* The bus has reset the device and agreed on features: do it again. */
	hostile_down(h);
	err = hostile_up(h);
	if (err)
		goto err;
	scribbler = kthread_run(scribble, h, "vesper_scribble");
	sender = kthread_run(send_all, h, "vesper_hostile");
	if (IS_ERR(sender) || IS_ERR(scribbler)) {
		err = -ENOMEM;
		goto err;
	}
	debugfs_create_file("report", 0400, dir, NULL, &report_fops);
	return 0;
err:
	hostile_stop(h);
	return err;
}

static void hostile_remove(struct virtio_device *vdev)
{
	debugfs_lookup_and_remove("report", dir);
	hostile_stop(vdev->priv);
}

static const struct virtio_device_id id_table[] = {
	{ VIRTIO_ID_VESPER, VIRTIO_DEV_ANY_ID },
	{ },
};

static const unsigned int features[] = { VIRTIO_VESPER_F_LOADER };

/* No device table: it must never be loaded for a device by itself. */
static struct virtio_driver hostile_driver = {
	.driver.name = KBUILD_MODNAME,
	.id_table = id_table,
	.feature_table = features,
	.feature_table_size = ARRAY_SIZE(features),
	.probe = hostile_probe,
	.remove = hostile_remove,
	.config_changed = hostile_config_changed,
};

static int __init hostile_init(void)
{
	int err;

	dir = debugfs_create_dir("vesper_hostile", NULL);
	err = register_virtio_driver(&hostile_driver);
	if (err)
		debugfs_remove(dir);
	return err;
}

static void __exit hostile_exit(void)
{
	unregister_virtio_driver(&hostile_driver);
	debugfs_remove(dir);
}

module_init(hostile_init);
module_exit(hostile_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("VESPER selftest: a hostile guest");
