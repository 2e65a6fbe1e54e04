/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VESPER probe API: where a probe is called. Included by probe.h.
 *
 * A hook has a handler called at one place of the kernel. A point is what the
 * operator chooses: a name, and the hooks that it takes. A probe declares its
 * points in one table (describe.h makes it) and attaches those that were chosen.
 */
#ifndef _VESPER_HOOK_H
#define _VESPER_HOOK_H

#include <linux/compiler_attributes.h>
#include <linux/types.h>

struct module;
struct pt_regs;

/* Words that go from a function's entry to its return, and its arguments. */
#define VESPER_REGS_STATE	4
#define VESPER_REGS_ARGS	6

/**
 * struct vesper_regs - a call of a function that a hook is at
 * @function: address of the function
 * @caller: address that it returns to
 * @arg: at entry, its first arguments that are integers or pointers; at return,
 *	 zero
 * @ret: at return, the value that it returns; at entry, zero
 * @state: for a hook that has a handler at entry and one at return: what the
 *	   first leaves for the second, zero at first
 * @regs: at a kprobe, all registers; at an fprobe, those that arguments, return
 *	  value, stack and frame are in
 *
 * What a pointer among the arguments leads to may be gone while it is being
 * looked at: vesper_read() and vesper_read_string() can be used on any of them.
 */
struct vesper_regs {
	unsigned long function;
	unsigned long caller;
	unsigned long arg[VESPER_REGS_ARGS];
	unsigned long ret;
	u64 state[VESPER_REGS_STATE];
	const struct pt_regs *regs;
};

/* Kinds of hook, and what @handler and @exit of a hook are then. */

/* void (*handler)(void *data, ...): the tracepoint's own arguments; no exit */
#define VESPER_HOOK_TRACEPOINT	0
/* void (*handler)(void *data, struct vesper_regs *regs); no exit */
#define VESPER_HOOK_KPROBE	1
/* the same, either may be %NULL: a function is entered, and returns */
#define VESPER_HOOK_FPROBE	2
/*
 * Something of the probe's own, as a notifier: int (*handler)(void *data) begins
 * it and returns 0 or a negative errno, void (*exit)(void *data) ends it. Both
 * in process context.
 */
#define VESPER_HOOK_SOURCE	3

/* Only if the hook before it could not attach. */
#define VESPER_HOOK_ELSE	0x1

/**
 * struct vesper_hook_spec - a hook, before it is attached
 * @kind: VESPER_HOOK_*, first group
 * @flags: VESPER_HOOK_ELSE, heeded in a point
 * @names: of the tracepoint or function: several with '|' between them are tried
 *	   in turn. "module:name" is one of a module: the hook is attached
 *	   whenever that is loaded, and waits for it if it is not (unless it is
 *	   built in).
 * @handler: see the kinds
 * @exit: see the kinds
 */
struct vesper_hook_spec {
	u32 kind;
	u32 flags;
	const char *names;
	void *handler;
	void *exit;
};

struct vesper_hook;

/**
 * vesper_hook_attach() - have a handler called
 * @spec: where, and which; valid until the hook is detached
 * @data: passed to the handler
 *
 * Handlers run in whatever context the kernel is in there, NMIs included, and
 * from before this returns. Process context.
 *
 * Return: the hook, or an ERR_PTR(): -ENOENT, this kernel has nothing of these
 * names (a function may be inlined); -EINVAL, it has, but it can't be probed
 * (the kernel keeps probes out of it), or @spec breaks a rule.
 */
struct vesper_hook *vesper_hook_attach(const struct vesper_hook_spec *spec,
				       void *data);

/**
 * vesper_tracepoint_attach() - call a handler at a tracepoint
 * @name: name of the tracepoint, exported or not
 * @handler: void (*)(void *data, ...), with the tracepoint's own arguments
 * @data: passed to @handler
 *
 * vesper_hook_attach() for the simplest case. Process context.
 *
 * Return: the hook, or an ERR_PTR(): -ENOENT if there is none of that name.
 */
struct vesper_hook *vesper_tracepoint_attach(const char *name, void *handler,
					     void *data);

/**
 * vesper_hook_detach() - undo an attach
 * @hook: from vesper_hook_attach() or vesper_tracepoint_attach()
 *
 * When it returns no handler is running, nor will be. Process context.
 */
void vesper_hook_detach(struct vesper_hook *hook);

/* Attached only if the operator names it. */
#define VESPER_POINT_OFF	0x1

/**
 * struct vesper_point - something that a probe can watch
 * @name: what the operator calls it
 * @hooks: what it takes: all of them, or it is not attached
 * @nr_hooks: entries in @hooks
 * @flags: VESPER_POINT_*
 */
struct vesper_point {
	const char *name;
	const struct vesper_hook_spec *hooks;
	u32 nr_hooks;
	u32 flags;
};

struct vesper_points;

/**
 * vesper_points_attach() - attach the points that were chosen
 * @owner: %THIS_MODULE
 * @points: those that there are, at most 64; valid until they are detached
 * @nr_points: entries in @points
 * @chosen: names with commas between them; "default" stands for those that are
 *	    not %VESPER_POINT_OFF, "all" for all. Empty or %NULL: "default"
 * @data: passed to the handlers
 *
 * A point that can't be attached is reported to the operator, and the others
 * run; so is one that waits for a module, and one that can't be attached when that
 * has come: "vesper list" shows it. Process context, in the module's init function.
 *
 * Return: what is attached, or an ERR_PTR(), both reported: -EINVAL for a name in
 * @chosen that no point has, -ENOENT if none could be attached.
 */
struct vesper_points *vesper_points_attach(const struct module *owner,
					   const struct vesper_point *points,
					   u32 nr_points, const char *chosen,
					   void *data);

/**
 * vesper_points_detach() - undo vesper_points_attach()
 * @points: from vesper_points_attach()
 *
 * When it returns no handler is running, nor will be. Process context.
 */
void vesper_points_detach(struct vesper_points *points);

/**
 * vesper_remark() - tell the operator something about this load
 * @owner: %THIS_MODULE
 * @fmt: a sentence, as for printk() but without level and newline
 * @...: what @fmt wants
 *
 * Process context, in the module's init function: "vesper load" shows it, with the
 * result, and "vesper list" as long as the module is there; the kernel log has it in
 * any case. If init fails, it is the reason that is shown.
 */
__printf(2, 3)
void vesper_remark(const struct module *owner, const char *fmt, ...);

/**
 * vesper_read() - copy kernel memory that may not be there
 * @to: where to
 * @from: any address
 * @len: bytes
 *
 * Any context.
 *
 * Return: whether all of it could be read; if not, @to is zero.
 */
bool vesper_read(void *to, const void *from, u32 len);

/**
 * vesper_read_string() - copy a string of the kernel that may not be there
 * @to: where to; NUL-terminated in any case
 * @from: any address
 * @size: room at @to, at least 1; what is longer is cut
 *
 * Any context.
 *
 * Return: its length, or -EFAULT.
 */
int vesper_read_string(char *to, const char *from, u32 size);

#endif /* _VESPER_HOOK_H */
