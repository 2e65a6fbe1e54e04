/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Trace events of the guest: the steps of a load (A), of an index update (B)
 * and of an unload (C), by the numbers of the paper.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM vesper_guest

#if !defined(VESPER_GUEST_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define VESPER_GUEST_TRACE_H

#include <linux/tracepoint.h>

DECLARE_EVENT_CLASS(vesper_request,
		    TP_PROTO(u32 id, const char *module),
		    TP_ARGS(id, module),
		    TP_STRUCT__entry(__field(u32, id)
				     __string(module, module)),
		    TP_fast_assign(__entry->id = id;
				   __assign_str(module);),
		    TP_printk("request=%u module=%s", __entry->id, __get_str(module))
);

/* A3: the host announces an image. */
DEFINE_EVENT(vesper_request, vesper_load_request,
	     TP_PROTO(u32 id, const char *module),
	     TP_ARGS(id, module)
);

/* A4: it is all there, and the kernel is to load it. */
DEFINE_EVENT(vesper_request, vesper_load_begin,
	     TP_PROTO(u32 id, const char *module),
	     TP_ARGS(id, module)
);

/* C3: the host wants a module to go. */
DEFINE_EVENT(vesper_request, vesper_unload_request,
	     TP_PROTO(u32 id, const char *module),
	     TP_ARGS(id, module)
);

/* C4: the kernel is to unload it, which begins with its exit function. */
DEFINE_EVENT(vesper_request, vesper_unload_begin,
	     TP_PROTO(u32 id, const char *module),
	     TP_ARGS(id, module)
);

DECLARE_EVENT_CLASS(vesper_outcome,
		    TP_PROTO(u32 id, const char *module, u32 status),
		    TP_ARGS(id, module, status),
		    TP_STRUCT__entry(__field(u32, id)
				     __field(u32, status)
				     __string(module, module)),
		    TP_fast_assign(__entry->id = id;
				   __entry->status = status;
				   __assign_str(module);),
		    TP_printk("request=%u module=%s errno=%u", __entry->id,
			      __get_str(module), __entry->status)
);

/* A8: what came of a load; the host is told next. */
DEFINE_EVENT(vesper_outcome, vesper_load_done,
	     TP_PROTO(u32 id, const char *module, u32 status),
	     TP_ARGS(id, module, status)
);

/* C8: what came of an unload; the host is told next. */
DEFINE_EVENT(vesper_outcome, vesper_unload_done,
	     TP_PROTO(u32 id, const char *module, u32 status),
	     TP_ARGS(id, module, status)
);

/* A5: the host knows of a channel. */
TRACE_EVENT(vesper_channel_open,
	    TP_PROTO(u32 channel, const char *module, const char *name),
	    TP_ARGS(channel, module, name),
	    TP_STRUCT__entry(__field(u32, channel)
			     __string(module, module)
			     __string(name, name)),
	    TP_fast_assign(__entry->channel = channel;
			   __assign_str(module);
			   __assign_str(name);),
	    TP_printk("channel=%u module=%s name=%s", __entry->channel,
		      __get_str(module), __get_str(name))
);

/* A6: pages are on loan; first=-1 is the index page. */
TRACE_EVENT(vesper_lend,
	    TP_PROTO(u32 channel, u32 buffer, u32 first, u32 nr_pages),
	    TP_ARGS(channel, buffer, first, nr_pages),
	    TP_STRUCT__entry(__field(u32, channel)
			     __field(u32, buffer)
			     __field(u32, first)
			     __field(u32, nr_pages)),
	    TP_fast_assign(__entry->channel = channel;
			   __entry->buffer = buffer;
			   __entry->first = first;
			   __entry->nr_pages = nr_pages;),
	    TP_printk("channel=%u buffer=%u first=%d pages=%u", __entry->channel,
		      __entry->buffer, (int)__entry->first, __entry->nr_pages)
);

/* A7: the host has made a file of them. */
TRACE_EVENT(vesper_share,
	    TP_PROTO(u32 channel, u32 buffer),
	    TP_ARGS(channel, buffer),
	    TP_STRUCT__entry(__field(u32, channel)
			     __field(u32, buffer)),
	    TP_fast_assign(__entry->channel = channel;
			   __entry->buffer = buffer;),
	    TP_printk("channel=%u buffer=%u", __entry->channel, __entry->buffer)
);

/* B1: a sub-buffer was closed and its index put up to date. Any context. */
TRACE_EVENT(vesper_switch,
	    TP_PROTO(u32 cpu, u64 produced),
	    TP_ARGS(cpu, produced),
	    TP_STRUCT__entry(__field(u32, buffer)
			     __field(u64, produced)),
	    TP_fast_assign(__entry->buffer = cpu;
			   __entry->produced = produced;),
	    TP_printk("buffer=%u produced=%llu", __entry->buffer, __entry->produced)
);

/* B2, B3: the host is told; sent=0, the queue is full and it will be later. */
TRACE_EVENT(vesper_notify,
	    TP_PROTO(u32 channel, u32 buffer, u64 produced, bool urgent, bool sent),
	    TP_ARGS(channel, buffer, produced, urgent, sent),
	    TP_STRUCT__entry(__field(u32, channel)
			     __field(u32, buffer)
			     __field(u64, produced)
			     __field(bool, urgent)
			     __field(bool, sent)),
	    TP_fast_assign(__entry->channel = channel;
			   __entry->buffer = buffer;
			   __entry->produced = produced;
			   __entry->urgent = urgent;
			   __entry->sent = sent;),
	    TP_printk("channel=%u buffer=%u produced=%llu urgent=%d sent=%d",
		      __entry->channel, __entry->buffer, __entry->produced,
		      __entry->urgent, __entry->sent)
);

/* B4, from here: the host was seen to have consumed so much. Any context. */
TRACE_EVENT(vesper_consumed,
	    TP_PROTO(u32 cpu, u64 consumed),
	    TP_ARGS(cpu, consumed),
	    TP_STRUCT__entry(__field(u32, buffer)
			     __field(u64, consumed)),
	    TP_fast_assign(__entry->buffer = cpu;
			   __entry->consumed = consumed;),
	    TP_printk("buffer=%u consumed=%llu", __entry->buffer, __entry->consumed)
);

DECLARE_EVENT_CLASS(vesper_channel,
		    TP_PROTO(u32 channel, u32 status),
		    TP_ARGS(channel, status),
		    TP_STRUCT__entry(__field(u32, channel)
				     __field(u32, status)),
		    TP_fast_assign(__entry->channel = channel;
				   __entry->status = status;),
		    TP_printk("channel=%u errno=%u", __entry->channel, __entry->status)
);

/* C5: the host has stopped sharing, and kept what was unread. */
DEFINE_EVENT(vesper_channel, vesper_unshare,
	     TP_PROTO(u32 channel, u32 status),
	     TP_ARGS(channel, status)
);

/* C6: all pages are back; or, ETIMEDOUT, they are not. */
DEFINE_EVENT(vesper_channel, vesper_returned,
	     TP_PROTO(u32 channel, u32 status),
	     TP_ARGS(channel, status)
);

/* C7: the host has forgotten the channel. */
DEFINE_EVENT(vesper_channel, vesper_channel_close,
	     TP_PROTO(u32 channel, u32 status),
	     TP_ARGS(channel, status)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
