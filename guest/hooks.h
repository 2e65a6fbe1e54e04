/* SPDX-License-Identifier: GPL-2.0 */
/* Handlers at functions, and at tracepoints of modules. */
#ifndef VESPER_GUEST_HOOKS_H
#define VESPER_GUEST_HOOKS_H

#include <linux/types.h>

struct tracepoint;
struct vesper_function;
struct vesper_regs;

typedef void (*vesper_handler_t)(void *data, struct vesper_regs *regs);

struct vesper_function *vesper_helper_kprobe_attach(const char *name,
						    vesper_handler_t handler,
						    void *data);
void vesper_helper_kprobe_detach(struct vesper_function *function);
bool vesper_helper_module_of(const char *name, char *module);
struct vesper_function *vesper_helper_fprobe_attach(const char *name,
						    vesper_handler_t handler,
						    vesper_handler_t exit,
						    void *data);
void vesper_helper_fprobe_detach(struct vesper_function *function);
const char *vesper_helper_tracepoint_module(void *tp_module);
struct tracepoint *vesper_helper_tracepoint_find(void *tp_module,
						 const char *name);

/* In probe/remark.rs. */
void vesper_guest_remark(const char *owner, const char *text);

#endif
