/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Trace events of the host module. A step is one of the paper's (§3.2): A1 to
 * A7 of a load, C1 to C8 of an unload. A4 and C4 happen in the guest; A4 is
 * told of when its outcome arrives, of C4 the host learns by C5. C5 is told of
 * as it begins, and once more if it fails.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM vesper

#if !defined(_VESPER_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _VESPER_TRACE_H

#include <linux/tracepoint.h>
#include <linux/vesper.h>

/* Names come in fields of a fixed size, which vesper_copy_name() copies. */
#define vesper_name_field(field)	__array(char, field, VESPER_NAME_LEN)

TRACE_EVENT(vesper_attach,
	    TP_PROTO(const u8 *domain, pid_t pid),
	    TP_ARGS(domain, pid),
	    TP_STRUCT__entry(vesper_name_field(domain)
			     __field(pid_t, pid)),
	    TP_fast_assign(vesper_copy_name(__entry->domain, domain);
			   __entry->pid = pid;),
	    TP_printk("domain=%s pid=%d", __entry->domain, __entry->pid)
);

TRACE_EVENT(vesper_detach,
	    TP_PROTO(const u8 *domain, u64 kept),
	    TP_ARGS(domain, kept),
	    TP_STRUCT__entry(vesper_name_field(domain)
			     __field(u64, kept)),
	    TP_fast_assign(vesper_copy_name(__entry->domain, domain);
			   __entry->kept = kept;),
	    TP_printk("domain=%s kept=%llu", __entry->domain, __entry->kept)
);

TRACE_EVENT(vesper_step,
	    TP_PROTO(const char *step, const u8 *domain, const u8 *module,
		     int status),
	    TP_ARGS(step, domain, module, status),
	    TP_STRUCT__entry(__array(char, step, 4)
			     vesper_name_field(domain)
			     vesper_name_field(module)
			     __field(int, status)),
	    TP_fast_assign(strscpy_pad(__entry->step, step, 4);
			   vesper_copy_name(__entry->domain, domain);
			   vesper_copy_name(__entry->module, module);
			   __entry->status = status;),
	    TP_printk("%s domain=%s module=%s status=%d", __entry->step,
		      __entry->domain, __entry->module, __entry->status)
);

TRACE_EVENT(vesper_lend,
	    TP_PROTO(const u8 *domain, u32 channel, u32 buffer, u32 first,
		     u32 pages),
	    TP_ARGS(domain, channel, buffer, first, pages),
	    TP_STRUCT__entry(vesper_name_field(domain)
			     __field(u32, channel)
			     __field(u32, buffer)
			     __field(u32, first)
			     __field(u32, pages)),
	    TP_fast_assign(vesper_copy_name(__entry->domain, domain);
			   __entry->channel = channel;
			   __entry->buffer = buffer;
			   __entry->first = first;
			   __entry->pages = pages;),
	    TP_printk("domain=%s channel=%u buffer=%u first=%d pages=%u",
		      __entry->domain, __entry->channel, __entry->buffer,
		      (int)__entry->first, __entry->pages)
);

/* A buffer is shown, taken from its guest, given back. */
DECLARE_EVENT_CLASS(vesper_buffer,
		    TP_PROTO(const u8 *domain, const u8 *module,
			     const u8 *channel, u32 buffer, u64 produced,
			     u64 consumed),
		    TP_ARGS(domain, module, channel, buffer, produced,
			    consumed),
		    TP_STRUCT__entry(vesper_name_field(domain)
				     vesper_name_field(module)
				     vesper_name_field(channel)
				     __field(u32, buffer)
				     __field(u64, produced)
				     __field(u64, consumed)),
		    TP_fast_assign(vesper_copy_name(__entry->domain, domain);
				   vesper_copy_name(__entry->module, module);
				   vesper_copy_name(__entry->channel, channel);
				   __entry->buffer = buffer;
				   __entry->produced = produced;
				   __entry->consumed = consumed;),
		    TP_printk("domain=%s module=%s buffer=%s%u produced=%llu consumed=%llu",
			      __entry->domain, __entry->module,
			      __entry->channel, __entry->buffer,
			      __entry->produced, __entry->consumed)
);

DEFINE_EVENT(vesper_buffer, vesper_share,
	     TP_PROTO(const u8 *domain, const u8 *module, const u8 *channel,
		      u32 buffer, u64 produced, u64 consumed),
	     TP_ARGS(domain, module, channel, buffer, produced, consumed)
);

DEFINE_EVENT(vesper_buffer, vesper_unshare,
	     TP_PROTO(const u8 *domain, const u8 *module, const u8 *channel,
		      u32 buffer, u64 produced, u64 consumed),
	     TP_ARGS(domain, module, channel, buffer, produced, consumed)
);

DEFINE_EVENT(vesper_buffer, vesper_return,
	     TP_PROTO(const u8 *domain, const u8 *module, const u8 *channel,
		      u32 buffer, u64 produced, u64 consumed),
	     TP_ARGS(domain, module, channel, buffer, produced, consumed)
);

/* The guest's word that a sub-buffer was closed (B3). */
DEFINE_EVENT(vesper_buffer, vesper_switch,
	     TP_PROTO(const u8 *domain, const u8 *module, const u8 *channel,
		      u32 buffer, u64 produced, u64 consumed),
	     TP_ARGS(domain, module, channel, buffer, produced, consumed)
);

TRACE_EVENT(vesper_panic,
	    TP_PROTO(const u8 *domain),
	    TP_ARGS(domain),
	    TP_STRUCT__entry(vesper_name_field(domain)),
	    TP_fast_assign(vesper_copy_name(__entry->domain, domain);),
	    TP_printk("domain=%s", __entry->domain)
);

TRACE_EVENT(vesper_broken,
	    TP_PROTO(const u8 *domain, const char *why, size_t len),
	    TP_ARGS(domain, why, len),
	    TP_STRUCT__entry(vesper_name_field(domain)
			     __array(char, why, 96)),
	    TP_fast_assign(vesper_copy_name(__entry->domain, domain);
			   len = min(len, sizeof(__entry->why) - 1);
			   memcpy(__entry->why, why, len);
			   __entry->why[len] = '\0';),
	    TP_printk("domain=%s why='%s'", __entry->domain, __entry->why)
);

/* What the heartbeat says of a guest has changed. */
TRACE_EVENT(vesper_heartbeat,
	    TP_PROTO(const u8 *domain, u32 state, u32 reason, u64 silent_ms),
	    TP_ARGS(domain, state, reason, silent_ms),
	    TP_STRUCT__entry(vesper_name_field(domain)
			     __field(u32, state)
			     __field(u32, reason)
			     __field(u64, silent_ms)),
	    TP_fast_assign(vesper_copy_name(__entry->domain, domain);
			   __entry->state = state;
			   __entry->reason = reason;
			   __entry->silent_ms = silent_ms;),
	    TP_printk("domain=%s state=%s reason=%u silent_ms=%llu",
		      __entry->domain,
		      __print_symbolic(__entry->state,
				       { VESPER_BEAT_UNKNOWN, "unknown" },
				       { VESPER_BEAT_ALIVE, "alive" },
				       { VESPER_BEAT_IDLE, "idle" },
				       { VESPER_BEAT_PAUSED, "paused" },
				       { VESPER_BEAT_STARVED, "starved" },
				       { VESPER_BEAT_HUNG, "hung" },
				       { VESPER_BEAT_STUCK, "stuck" },
				       { VESPER_BEAT_PANICKED, "panicked" }),
		      __entry->reason, __entry->silent_ms)
);

TRACE_EVENT(vesper_reap,
	    TP_PROTO(const u8 *domain, const u8 *module, u64 bytes),
	    TP_ARGS(domain, module, bytes),
	    TP_STRUCT__entry(vesper_name_field(domain)
			     vesper_name_field(module)
			     __field(u64, bytes)),
	    TP_fast_assign(vesper_copy_name(__entry->domain, domain);
			   vesper_copy_name(__entry->module, module);
			   __entry->bytes = bytes;),
	    TP_printk("domain=%s module=%s bytes=%llu", __entry->domain,
		      __entry->module, __entry->bytes)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE vesper_trace
#include <trace/define_trace.h>
