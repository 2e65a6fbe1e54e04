/* SPDX-License-Identifier: GPL-2.0 */
/* Headers from which bindgen makes what the kernel crate does not have. */

#include <linux/errno.h>
#include <linux/fs.h>
#include <linux/workqueue.h>

#include <linux/fserror.h>

#include "fields.h"
