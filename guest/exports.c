// SPDX-License-Identifier: GPL-2.0
/* The symbols of the probe API: defined in Rust, exported here. */

#include <linux/export.h>

#include <vesper/probe.h>

EXPORT_SYMBOL_GPL(vesper_channel_close);
EXPORT_SYMBOL_GPL(vesper_channel_flush);
EXPORT_SYMBOL_GPL(vesper_channel_open);
EXPORT_SYMBOL_GPL(vesper_hook_detach);
EXPORT_SYMBOL_GPL(vesper_put_bytes);
EXPORT_SYMBOL_GPL(vesper_put_string);
EXPORT_SYMBOL_GPL(vesper_put_symbols);
EXPORT_SYMBOL_GPL(vesper_record_begin);
EXPORT_SYMBOL_GPL(vesper_record_commit);
EXPORT_SYMBOL_GPL(vesper_record_discard);
EXPORT_SYMBOL_GPL(vesper_stack_save);
EXPORT_SYMBOL_GPL(vesper_tracepoint_attach);

EXPORT_SYMBOL_NS_GPL(vesper_test_consume, "VESPER_TEST");
