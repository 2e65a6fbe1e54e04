/* SPDX-License-Identifier: GPL-2.0 */
/* Headers from which bindgen makes what the kernel crate does not have. */

#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/irq_work.h>
#include <linux/mm.h>
#include <linux/relay.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include <linux/vesper.h>
#include <linux/virtio_vesper.h>

#include "carrier.h"
#include "helpers.h"
