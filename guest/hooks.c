// SPDX-License-Identifier: GPL-2.0
/*
 * Handlers at functions, by kprobe and fprobe. Both come down to a struct
 * vesper_regs here: what they pass is for inline functions and macros to read.
 *
 * Nothing in this file may be traced or probed itself: it is built without
 * function tracing, and what a kprobe runs is blacklisted.
 */

#include <linux/err.h>
#include <linux/fprobe.h>
#include <linux/ftrace_regs.h>
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/ptrace.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/tracepoint.h>
#include <linux/vmalloc.h>

#include <vesper/probe.h>

#include "calls.h"
#include "hooks.h"

struct vesper_function {
	union {
		struct kprobe kp;
		struct fprobe fp;
	};
	vesper_handler_t handler;
	vesper_handler_t exit;
	void *data;
	u64 generation;
};

/* What the entry of a call leaves for its return. */
struct vesper_entry {
	u64 generation;	/* of the function that was attached then */
	u64 state[VESPER_REGS_STATE];
};

/* Nothing is allocated and no lock is taken: any context will do. */
static __always_inline void call(vesper_handler_t handler, void *data,
				 struct pt_regs *regs, unsigned long function,
				 unsigned long caller, bool entry, u64 *state)
{
	struct vesper_regs call = {
		.function = function,
		.caller = caller,
		.regs = regs,
	};
	int i;

	if (entry) {
		for (i = 0; i < VESPER_REGS_ARGS; i++)
			call.arg[i] = regs_get_kernel_argument(regs, i);
	} else {
		call.ret = regs_return_value(regs);
		if (state)
			memcpy(call.state, state, sizeof(call.state));
	}
	handler(data, &call);
	if (entry && state)
		memcpy(state, call.state, sizeof(call.state));
}

static int kprobe_hit(struct kprobe *kp, struct pt_regs *regs)
{
	struct vesper_function *function =
		container_of(kp, struct vesper_function, kp);

	/* At its first instruction, the return address is on top. */
	call(function->handler, function->data, regs, (unsigned long)kp->addr,
	     regs_get_kernel_stack_nth(regs, 0), true, NULL);
	return 0;
}
NOKPROBE_SYMBOL(kprobe_hit);

static int fprobe_entered(struct fprobe *fp, unsigned long ip,
			  unsigned long caller, struct ftrace_regs *fregs,
			  void *data)
{
	struct vesper_function *function =
		container_of(fp, struct vesper_function, fp);
	struct vesper_entry *entry = data;

	if (entry) {
		memset(entry, 0, sizeof(*entry));
		entry->generation = function->generation;
	}
	if (function->handler)
		call(function->handler, function->data,
		     &arch_ftrace_regs(fregs)->regs, ip, caller, true,
		     entry ? entry->state : NULL);
	return 0;
}
NOKPROBE_SYMBOL(fprobe_entered);

static void fprobe_left(struct fprobe *fp, unsigned long ip,
			unsigned long caller, struct ftrace_regs *fregs,
			void *data)
{
	struct vesper_function *function =
		container_of(fp, struct vesper_function, fp);
	struct vesper_entry *entry = data;

	/* A call that began under another one, which was at this address before. */
	if (!entry || entry->generation != function->generation)
		return;
	call(function->exit, function->data, &arch_ftrace_regs(fregs)->regs, ip,
	     caller, false, entry->state);
}
NOKPROBE_SYMBOL(fprobe_left);

struct vesper_function *vesper_helper_kprobe_attach(const char *name,
						    vesper_handler_t handler,
						    void *data)
{
	struct vesper_function *function = kzalloc_obj(*function);
	int err;

	if (!function)
		return ERR_PTR(-ENOMEM);
	function->handler = handler;
	function->data = data;
	function->kp.symbol_name = name;
	function->kp.pre_handler = kprobe_hit;
	err = register_kprobe(&function->kp);
	if (err) {
		kfree(function);
		return ERR_PTR(err);
	}
	return function;
}

/* Waits until no CPU is in the handler. */
void vesper_helper_kprobe_detach(struct vesper_function *function)
{
	unregister_kprobe(&function->kp);
	kfree(function);
}

/* Where ftrace can have a function called, 0 if nowhere; also of "module:name". */
static unsigned long ftrace_address(const char *name)
{
	u32 flags = 0;
	unsigned long address = vesper_kprobe_look_up(name, &flags);

	return flags & KPROBE_FLAG_FTRACE ? address : 0;
}

/*
 * Puts the name of the module that a function is of into @module, of the size
 * MODULE_NAME_LEN: "" if it is one of the kernel proper. %false if there is none of
 * that name.
 */
bool vesper_helper_module_of(const char *name, char *module)
{
	unsigned long address = vesper_helper_kprobe_address(name);
	char symbol[KSYM_SYMBOL_LEN];
	const char *at;

	if (!address)
		return false;
	/* Behind one of a module stands which, in brackets. */
	sprint_symbol(symbol, address);
	at = strchr(symbol, '[');
	strscpy(module, at ? at + 1 : "", MODULE_NAME_LEN);
	module[strcspn(module, "]")] = '\0';
	return true;
}

/*
 * A call that has been entered keeps the address of the fprobe until it returns,
 * however long after the fprobe is gone; when it does, the exit handler of whatever
 * fprobe is registered at that address is called, without a look whether it has
 * one. So those with an exit handler are in memory of another kind than all other
 * fprobes, and tell each other's calls apart.
 */
static struct vesper_function *fprobe_alloc(bool exit)
{
	struct vesper_function *function;

	if (!exit)
		return kzalloc_obj(*function);
	function = vzalloc(sizeof(*function));
	if (function)
		function->generation = ktime_get_ns();
	return function;
}

struct vesper_function *vesper_helper_fprobe_attach(const char *name,
						    vesper_handler_t handler,
						    vesper_handler_t exit,
						    void *data)
{
	struct vesper_function *function = fprobe_alloc(exit);
	unsigned long address;
	int err;

	if (!function)
		return ERR_PTR(-ENOMEM);
	function->handler = handler;
	function->exit = exit;
	function->data = data;
	function->fp.entry_handler = fprobe_entered;
	if (exit) {
		function->fp.exit_handler = fprobe_left;
		function->fp.entry_data_size = sizeof(struct vesper_entry);
	}
	if (strchr(name, ':')) {
		/* fprobe takes a name for that of any module. */
		address = ftrace_address(name);
		err = address ? register_fprobe_ips(&function->fp, &address, 1) : -ENOENT;
	} else {
		err = register_fprobe_syms(&function->fp, &name, 1);
	}
	if (err) {
		kvfree(function);
		return ERR_PTR(err);
	}
	return function;
}

/* Waits until no CPU is in the handlers; not for calls that have yet to return. */
void vesper_helper_fprobe_detach(struct vesper_function *function)
{
	unregister_fprobe(&function->fp);
	kvfree(function);
}

/* What the notifier of tracepoints in modules passes. */
const char *vesper_helper_tracepoint_module(void *tp_module)
{
	return ((struct tp_module *)tp_module)->mod->name;
}

struct tracepoint *vesper_helper_tracepoint_find(void *tp_module,
						 const char *name)
{
	struct module *mod = ((struct tp_module *)tp_module)->mod;
	unsigned int i;

	for (i = 0; i < mod->num_tracepoints; i++) {
		struct tracepoint *tp =
			tracepoint_ptr_deref(&mod->tracepoints_ptrs[i]);

		if (!strcmp(tp->name, name))
			return tp;
	}
	return NULL;
}

/* One buffer for the sentence: who formats it is in an init function. */
void vesper_remark(const struct module *owner, const char *fmt, ...)
{
	struct va_format vaf = { .fmt = fmt };
	char *text;
	va_list args;

	va_start(args, fmt);
	vaf.va = &args;
	text = kasprintf(GFP_KERNEL, "%pV", &vaf);
	va_end(args);
	if (!text)
		return;
	pr_warn("vesper: %s: %s\n", owner ? owner->name : "?", text);
	vesper_guest_remark(owner ? owner->name : "", text);
	kfree(text);
}
