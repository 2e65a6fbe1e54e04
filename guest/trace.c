// SPDX-License-Identifier: GPL-2.0
/* Trace events, and a function for each that Rust can call. */

#define CREATE_TRACE_POINTS
#include "trace.h"

#include "trace_calls.h"

void vesper_trace_load_request(u32 id, const char *module)
{
	trace_vesper_load_request(id, module);
}

void vesper_trace_load_begin(u32 id, const char *module)
{
	trace_vesper_load_begin(id, module);
}

void vesper_trace_load_done(u32 id, const char *module, u32 status)
{
	trace_vesper_load_done(id, module, status);
}

void vesper_trace_unload_request(u32 id, const char *module)
{
	trace_vesper_unload_request(id, module);
}

void vesper_trace_unload_begin(u32 id, const char *module)
{
	trace_vesper_unload_begin(id, module);
}

void vesper_trace_unload_done(u32 id, const char *module, u32 status)
{
	trace_vesper_unload_done(id, module, status);
}

void vesper_trace_channel_open(u32 channel, const char *module,
			       const char *name)
{
	trace_vesper_channel_open(channel, module, name);
}

void vesper_trace_lend(u32 channel, u32 buffer, u32 first, u32 nr_pages)
{
	trace_vesper_lend(channel, buffer, first, nr_pages);
}

void vesper_trace_share(u32 channel, u32 buffer)
{
	trace_vesper_share(channel, buffer);
}

void vesper_trace_switch(u32 cpu, u64 produced)
{
	trace_vesper_switch(cpu, produced);
}

void vesper_trace_notify(u32 channel, u32 buffer, u64 produced, bool urgent,
			 bool sent)
{
	trace_vesper_notify(channel, buffer, produced, urgent, sent);
}

void vesper_trace_consumed(u32 cpu, u64 consumed)
{
	trace_vesper_consumed(cpu, consumed);
}

void vesper_trace_unshare(u32 channel, u32 status)
{
	trace_vesper_unshare(channel, status);
}

void vesper_trace_returned(u32 channel, u32 status)
{
	trace_vesper_returned(channel, status);
}

void vesper_trace_channel_close(u32 channel, u32 status)
{
	trace_vesper_channel_close(channel, status);
}
