/* SPDX-License-Identifier: GPL-2.0 */
/* Headers from which bindgen makes what the kernel crate does not have. */

#include <linux/netdevice.h>
#include <net/rstreason.h>
#include <net/tcp_states.h>

#include "fields.h"
