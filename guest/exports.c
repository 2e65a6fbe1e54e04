// SPDX-License-Identifier: GPL-2.0
/* The symbols of the probe API: defined in Rust, exported here. */

#include <linux/export.h>
