// SPDX-License-Identifier: GPL-2.0
/* Trace events are C macros; these are functions that Rust can call. */

#include <linux/module.h>
#include <linux/string.h>
#include <linux/vesper.h>

/* What is copied is terminated, whatever comes. */
static void vesper_copy_name(char *to, const u8 *from)
{
	memcpy(to, from, VESPER_NAME_LEN);
	to[VESPER_NAME_LEN - 1] = '\0';
}

#define CREATE_TRACE_POINTS
#include "vesper_trace.h"

#include "helpers.h"

void vesper_helper_trace_attach(const u8 *domain, int pid)
{
	trace_vesper_attach(domain, pid);
}

void vesper_helper_trace_detach(const u8 *domain, u64 kept)
{
	trace_vesper_detach(domain, kept);
}

void vesper_helper_trace_step(const char *step, const u8 *domain,
			      const u8 *module, int status)
{
	trace_vesper_step(step, domain, module, status);
}

void vesper_helper_trace_lend(const u8 *domain, u32 channel, u32 buffer,
			      u32 first, u32 pages)
{
	trace_vesper_lend(domain, channel, buffer, first, pages);
}

void vesper_helper_trace_buffer(enum vesper_trace_buffer what,
				const u8 *domain, const u8 *module,
				const u8 *channel, u32 buffer, u64 produced,
				u64 consumed)
{
	switch (what) {
	case VESPER_TRACE_SHARE:
		trace_vesper_share(domain, module, channel, buffer, produced,
				   consumed);
		break;
	case VESPER_TRACE_UNSHARE:
		trace_vesper_unshare(domain, module, channel, buffer, produced,
				     consumed);
		break;
	case VESPER_TRACE_RETURN:
		trace_vesper_return(domain, module, channel, buffer, produced,
				    consumed);
		break;
	case VESPER_TRACE_SWITCH:
		trace_vesper_switch(domain, module, channel, buffer, produced,
				    consumed);
		break;
	}
}

void vesper_helper_trace_panic(const u8 *domain)
{
	trace_vesper_panic(domain);
}

void vesper_helper_trace_broken(const u8 *domain, const u8 *why, size_t len)
{
	trace_vesper_broken(domain, (const char *)why, len);
}

void vesper_helper_trace_heartbeat(const u8 *domain, u32 state, u32 reason,
				   u64 silent_ms)
{
	trace_vesper_heartbeat(domain, state, reason, silent_ms);
}

void vesper_helper_trace_reap(const u8 *domain, const u8 *module, u64 bytes)
{
	trace_vesper_reap(domain, module, bytes);
}
