/* SPDX-License-Identifier: GPL-2.0 */
/* Trace events for Rust, which cannot make their macros: see trace.h. */
#ifndef VESPER_GUEST_TRACE_CALLS_H
#define VESPER_GUEST_TRACE_CALLS_H

#include <linux/types.h>

void vesper_trace_load_request(u32 id, const char *module);
void vesper_trace_load_begin(u32 id, const char *module);
void vesper_trace_load_done(u32 id, const char *module, u32 status);
void vesper_trace_unload_request(u32 id, const char *module);
void vesper_trace_unload_begin(u32 id, const char *module);
void vesper_trace_unload_done(u32 id, const char *module, u32 status);
void vesper_trace_channel_open(u32 channel, const char *module,
			       const char *name);
void vesper_trace_lend(u32 channel, u32 buffer, u32 first, u32 nr_pages);
void vesper_trace_share(u32 channel, u32 buffer);
void vesper_trace_switch(u32 cpu, u64 produced);
void vesper_trace_notify(u32 channel, u32 buffer, u64 produced, bool urgent,
			 bool sent);
void vesper_trace_consumed(u32 cpu, u64 consumed);
void vesper_trace_unshare(u32 channel, u32 status);
void vesper_trace_returned(u32 channel, u32 status);
void vesper_trace_channel_close(u32 channel, u32 status);

#endif
