/* SPDX-License-Identifier: GPL-2.0 */
/* Headers from which bindgen makes what the kernel crate does not have. */

#include <linux/kallsyms.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/panic_notifier.h>
#include <linux/relay.h>
#include <linux/tracepoint.h>
#include <linux/uaccess.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <linux/xz.h>

#include <linux/virtio_vesper.h>

#include <vesper/probe.h>

#include "beat.h"
#include "calls.h"
#include "helpers.h"
#include "hooks.h"
#include "relays.h"
#include "trace_calls.h"

/* bindgen does not evaluate a sizeof in a macro. */
const size_t VESPER_CONST_KSYM_SYMBOL_LEN = KSYM_SYMBOL_LEN;
const size_t VESPER_CONST_MODULE_NAME_LEN = MODULE_NAME_LEN;
