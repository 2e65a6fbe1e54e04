// SPDX-License-Identifier: GPL-2.0
/*
 * A memory controller that is none, and reports the errors it is told to, through EDAC as
 * a driver of a real one does.
 *
 * insmod vesper_edac.ko
 * echo corrected >/sys/module/vesper_edac/parameters/error
 * echo uncorrected >/sys/module/vesper_edac/parameters/error
 */
#include <linux/edac.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/string.h>

#include "edac_mc.h"

static struct platform_device *device;
static struct mem_ctl_info *controller;

static int vesper_edac_error(const char *val, const struct kernel_param *param)
{
	enum hw_event_mc_err_type type;

	if (!controller)
		return -ENODEV;
	if (sysfs_streq(val, "corrected"))
		type = HW_EVENT_ERR_CORRECTED;
	else if (sysfs_streq(val, "uncorrected"))
		type = HW_EVENT_ERR_UNCORRECTED;
	else
		return -EINVAL;
	edac_mc_handle_error(type, controller, 1, 0, 0, 0, 0, 0, -1, "made up", "");
	return 0;
}

static const struct kernel_param_ops vesper_edac_ops = {
	.set = vesper_edac_error,
};
module_param_cb(error, &vesper_edac_ops, NULL, 0200);
MODULE_PARM_DESC(error, "an error to be reported: corrected, uncorrected");

static int __init vesper_edac_init(void)
{
	struct edac_mc_layer layers[] = {
		{ .type = EDAC_MC_LAYER_CHIP_SELECT, .size = 1, .is_virt_csrow = true },
		{ .type = EDAC_MC_LAYER_CHANNEL, .size = 1 },
	};
	struct mem_ctl_info *mci;
	int ret;

	device = platform_device_register_simple("vesper_edac", PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(device))
		return PTR_ERR(device);
	mci = edac_mc_alloc(0, ARRAY_SIZE(layers), layers, 0);
	if (!mci) {
		ret = -ENOMEM;
		goto no_controller;
	}
	mci->dimms[0]->nr_pages = 1;
	mci->dimms[0]->grain = 64;
	mci->pdev = &device->dev;
	mci->mtype_cap = MEM_FLAG_DDR4;
	mci->edac_ctl_cap = EDAC_FLAG_SECDED;
	mci->edac_cap = EDAC_FLAG_SECDED;
	mci->mod_name = KBUILD_MODNAME;
	mci->ctl_name = KBUILD_MODNAME;
	mci->dev_name = dev_name(&device->dev);
	ret = edac_mc_add_mc(mci);
	if (ret)
		goto not_added;
	controller = mci;
	return 0;

not_added:
	edac_mc_free(mci);
no_controller:
	platform_device_unregister(device);
	return ret;
}

static void __exit vesper_edac_exit(void)
{
	edac_mc_del_mc(&device->dev);
	edac_mc_free(controller);
	platform_device_unregister(device);
}

module_init(vesper_edac_init);
module_exit(vesper_edac_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("VESPER selftest: a memory controller with errors");
