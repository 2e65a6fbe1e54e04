/* SPDX-License-Identifier: GPL-2.0 */
/* Headers from which bindgen makes what the kernel crate does not have. */

#include <linux/jiffies.h>
#include <linux/sched/clock.h>
