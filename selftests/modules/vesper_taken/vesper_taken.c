// SPDX-License-Identifier: GPL-2.0
/*
 * Takes the name of a misc device, so that nobody else can register it.
 *
 * insmod vesper_taken.ko name=vesper
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>

static char *name = "vesper_taken";
module_param(name, charp, 0444);
MODULE_PARM_DESC(name, "which");

static const struct file_operations vesper_taken_fops = {
	.owner = THIS_MODULE,
};

static struct miscdevice vesper_taken = {
	.minor = MISC_DYNAMIC_MINOR,
	.fops = &vesper_taken_fops,
	.mode = 0600,
};

static int __init vesper_taken_init(void)
{
	vesper_taken.name = name;
	return misc_register(&vesper_taken);
}

static void __exit vesper_taken_exit(void)
{
	misc_deregister(&vesper_taken);
}

module_init(vesper_taken_init);
module_exit(vesper_taken_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("VESPER selftest: a name that is taken");
