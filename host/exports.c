// SPDX-License-Identifier: GPL-2.0
/* The symbols of the carrier interface: defined in Rust, exported here. */

#include <linux/export.h>

#include "carrier.h"

/* The functions themselves are in carrier.rs. */
#define EXPORT_RUST_GPL(sym)	EXPORT_SYMBOL_NS_GPL(sym, "VESPER_CARRIER")

EXPORT_RUST_GPL(vesper_carrier_attach);
EXPORT_RUST_GPL(vesper_carrier_broken);
EXPORT_RUST_GPL(vesper_carrier_buffers);
EXPORT_RUST_GPL(vesper_carrier_detach);
EXPORT_RUST_GPL(vesper_carrier_lend);
EXPORT_RUST_GPL(vesper_carrier_message);
EXPORT_RUST_GPL(vesper_carrier_read);
EXPORT_RUST_GPL(vesper_carrier_reset);
