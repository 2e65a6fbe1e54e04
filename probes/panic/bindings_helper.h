/* SPDX-License-Identifier: GPL-2.0 */
/* Headers from which bindgen makes what the kernel crate does not have. */

#include <linux/kdebug.h>
#include <linux/panic.h>

#include "fields.h"
