/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VESPER probe API, in C: tables of fields and points, parameters and filters.
 *
 * Each is written once; the table comes of it, and strings in the image's
 * .modinfo, by which "vesper probes" lists what the probe has. Included by
 * probe.h.
 */
#ifndef _VESPER_DESCRIBE_H
#define _VESPER_DESCRIBE_H

#include <linux/array_size.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sched.h>
#include <linux/string.h>

/**
 * VESPER_FIELDS() - describe the fields of an event
 * @_event: name of the event; makes an array _event_fields
 * @_list: a macro that calls its first argument for each field, in the order in
 *	   which the handler puts them, with (_event, type without VESPER_TYPE_,
 *	   name, struct vesper_labels * or NULL, "what it is")
 *
 *	#define EXIT_FIELDS(F, e) \
 *		F(e, S32, pid, NULL, "who ended") \
 *		F(e, STRING, comm, NULL, "its name")
 *	VESPER_FIELDS(exit, EXIT_FIELDS);
 */
#define VESPER_FIELDS(_event, _list)					\
	static const struct vesper_field _event##_fields[] = {		\
		_list(__VESPER_FIELD, _event)				\
	};								\
	__VESPER_INFO("vesper_event=" #_event "\0"			\
		      _list(__VESPER_FIELD_INFO, _event))

#define __VESPER_FIELD(_event, _type, _name, _labels, _text)		\
	{ #_name, VESPER_TYPE_##_type, _labels },
#define __VESPER_FIELD_INFO(_event, _type, _name, _labels, _text)	\
	"vesper_field=" #_event "." #_name ":" #_type ":" _text "\0"

/* In one piece, as MODULE_INFO() has none: compilers turn the order around. */
#define __VESPER_INFO(_strings)						\
	static const char __UNIQUE_ID(vesper_info)[]			\
		__used __section(".modinfo") __aligned(1) = _strings

/**
 * VESPER_EVENT() - an entry of the table of events
 * @_event: a name that VESPER_FIELDS() was given
 */
#define VESPER_EVENT(_event)						\
	{ #_event, _event##_fields, ARRAY_SIZE(_event##_fields) }

/**
 * VESPER_TRACEPOINT() - a hook at a tracepoint, for VESPER_POINTS()
 * @_names: as in struct vesper_hook_spec
 * @_handler: void (*)(void *data, ...), with the tracepoint's own arguments
 */
#define VESPER_TRACEPOINT(_names, _handler)				\
	__VESPER_HOOK_TRACEPOINT(0, _names, _handler)

/**
 * VESPER_KPROBE() - a hook where a function begins, for VESPER_POINTS()
 * @_names: as in struct vesper_hook_spec
 * @_handler: void (*)(void *data, struct vesper_regs *regs)
 */
#define VESPER_KPROBE(_names, _handler)					\
	__VESPER_HOOK_KPROBE(0, _names, _handler)

/**
 * VESPER_FPROBE() - a hook where a function begins and where it returns, for
 *		     VESPER_POINTS()
 * @_names: as in struct vesper_hook_spec
 * @_handler: void (*)(void *data, struct vesper_regs *regs), or %NULL
 * @_exit: the same, where it returns
 */
#define VESPER_FPROBE(_names, _handler, _exit)				\
	__VESPER_HOOK_FPROBE(0, _names, _handler, _exit)

/**
 * VESPER_SOURCE() - something of the probe's own, for VESPER_POINTS()
 * @_begin: int (*)(void *data): 0, or a negative errno. Process context
 * @_end: void (*)(void *data). Process context
 */
#define VESPER_SOURCE(_begin, _end)					\
	__VESPER_HOOK_SOURCE(0, _begin, _end)

/**
 * VESPER_ELSE() - a hook that stands in for the one before it, where this kernel
 *		   does not have that, for VESPER_POINTS()
 * @_kind: TRACEPOINT, KPROBE, FPROBE or SOURCE
 * @...: as for the macro of that kind
 *
 *	VESPER_FPROBE("out_of_memory", on_oom, NULL),
 *	VESPER_ELSE(KPROBE, "out_of_memory", on_oom)
 */
#define VESPER_ELSE(_kind, ...)						\
	__VESPER_HOOK_##_kind(VESPER_HOOK_ELSE, __VA_ARGS__)

#define __VESPER_HOOK_TRACEPOINT(_flags, _names, _handler)		\
	{ VESPER_HOOK_TRACEPOINT, _flags, _names, _handler, NULL }
#define __VESPER_HOOK_KPROBE(_flags, _names, _handler)			\
	{ VESPER_HOOK_KPROBE, _flags, _names, _handler, NULL }
#define __VESPER_HOOK_FPROBE(_flags, _names, _handler, _exit)		\
	{ VESPER_HOOK_FPROBE, _flags, _names, _handler, _exit }
#define __VESPER_HOOK_SOURCE(_flags, _begin, _end)			\
	{ VESPER_HOOK_SOURCE, _flags, NULL, _begin, _end }

/**
 * VESPER_POINTS() - declare the points of a probe, and the parameter "points"
 * @_table: name of the table
 * @_list: a macro that calls its argument for each point, with (name, ON or OFF,
 *	   "what it is", hooks...)
 *
 *	#define EXIT_POINTS(P) \
 *		P(exit, ON, "a task ends", \
 *		  VESPER_TRACEPOINT("sched_process_exit", on_exit))
 *	VESPER_POINTS(exit_points, EXIT_POINTS);
 */
#define VESPER_POINTS(_table, _list)					\
	_list(__VESPER_HOOKS)						\
	static const struct vesper_point _table[] = {			\
		_list(__VESPER_POINT)					\
	};								\
	__VESPER_INFO(_list(__VESPER_POINT_INFO));			\
	static char *vesper_chosen = "";				\
	module_param_named(points, vesper_chosen, charp, 0);		\
	MODULE_PARM_DESC(points, __VESPER_POINTS_TEXT);			\
	MODULE_INFO(vesper_default, "points:default")

#define __VESPER_POINTS_TEXT \
	"points to attach, by commas; 'default' and 'all' stand for several"
#define __VESPER_STATE_ON	0
#define __VESPER_STATE_OFF	VESPER_POINT_OFF
#define __VESPER_HOOKS(_name, _state, _text, ...)			\
	static const struct vesper_hook_spec __vesper_hooks_##_name[] = { \
		__VA_ARGS__						\
	};
#define __VESPER_POINT_INFO(_name, _state, _text, ...)			\
	"vesper_point=" #_name ":" #_state ":" _text "\0"
#define __VESPER_POINT(_name, _state, _text, ...)			\
	{ #_name, __vesper_hooks_##_name,				\
	  ARRAY_SIZE(__vesper_hooks_##_name), __VESPER_STATE_##_state },

/**
 * vesper_attach() - attach those points of a table that the operator chose
 * @_table: from VESPER_POINTS()
 * @_data: passed to the handlers
 *
 * vesper_points_attach() for it. Process context, in the module's init function.
 *
 * Return: as of vesper_points_attach().
 */
#define vesper_attach(_table, _data)					\
	vesper_points_attach(THIS_MODULE, _table, ARRAY_SIZE(_table),	\
			     vesper_chosen, _data)

/**
 * VESPER_PARAM() - a parameter of the module, with its default
 * @_name: of the parameter and of its variable
 * @_type: as for module_param()
 * @_ctype: type of the variable
 * @_default: its value if none is given
 * @_text: what it is
 */
#define VESPER_PARAM(_name, _type, _ctype, _default, _text)		\
	static _ctype _name = _default;					\
	module_param(_name, _type, 0);					\
	MODULE_PARM_DESC(_name, _text);					\
	MODULE_INFO(vesper_default, #_name ":" #_default)

/**
 * VESPER_FILTERS() - the parameters "pid" and "comm", and vesper_wanted()
 *
 * vesper_wanted(task) says whether the operator wants to hear of a task. Any
 * context.
 */
#define VESPER_FILTERS()						\
	VESPER_PARAM(pid, int, int, 0, "only this process (0: all)");	\
	static char comm[TASK_COMM_LEN];				\
	module_param_string(comm, comm, sizeof(comm), 0);		\
	MODULE_PARM_DESC(comm, "only tasks of this name (empty: all)");	\
	static inline bool vesper_wanted(const struct task_struct *task) \
	{								\
		return (!pid || pid == task->tgid) &&			\
		       (!comm[0] || !strncmp(comm, task->comm,		\
					     TASK_COMM_LEN));		\
	}								\
	struct __vesper_semicolon

#endif /* _VESPER_DESCRIBE_H */
