/* SPDX-License-Identifier: GPL-2.0 */
/* Headers from which bindgen makes what the kernel crate does not have. */

#include <linux/irq_work.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <linux/workqueue.h>

#include <linux/vesper.h>
#include <linux/virtio_vesper.h>

#include "../host/carrier.h"
#include "helpers.h"
