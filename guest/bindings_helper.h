/* SPDX-License-Identifier: GPL-2.0 */
/* Headers from which bindgen makes what the kernel crate does not have. */

#include <linux/module.h>
#include <linux/panic_notifier.h>
#include <linux/relay.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include <linux/virtio_vesper.h>

#include "helpers.h"
