// SPDX-License-Identifier: GPL-2.0
/* The symbols of the probe API: defined in Rust, exported here. */

#include <linux/export.h>

#include <vesper/probe.h>

/* The functions themselves are in probe/capi.rs. */
#define EXPORT_RUST_GPL(sym)		EXPORT_SYMBOL_GPL(sym)
#define EXPORT_RUST_NS_GPL(sym, ns)	EXPORT_SYMBOL_NS_GPL(sym, ns)

EXPORT_RUST_GPL(vesper_channel_close);
EXPORT_RUST_GPL(vesper_channel_flush);
EXPORT_RUST_GPL(vesper_channel_open);
EXPORT_RUST_GPL(vesper_hook_attach);
EXPORT_RUST_GPL(vesper_hook_detach);
EXPORT_RUST_GPL(vesper_points_attach);
EXPORT_RUST_GPL(vesper_points_detach);
EXPORT_RUST_GPL(vesper_put_bytes);
EXPORT_RUST_GPL(vesper_put_names);
EXPORT_RUST_GPL(vesper_put_string);
EXPORT_RUST_GPL(vesper_put_symbols);
EXPORT_RUST_GPL(vesper_read);
EXPORT_RUST_GPL(vesper_read_string);
EXPORT_RUST_GPL(vesper_record_begin);
EXPORT_RUST_GPL(vesper_record_commit);
EXPORT_RUST_GPL(vesper_record_discard);
EXPORT_RUST_GPL(vesper_remark);
EXPORT_RUST_GPL(vesper_stack_save);
EXPORT_RUST_GPL(vesper_tracepoint_attach);

EXPORT_RUST_NS_GPL(vesper_test_consume, "VESPER_TEST");
