/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Handlers of tracepoints are declared in Rust, where nobody compares them with the
 * kernel's own declarations. Here that is done, by what they are declared as there: a
 * kernel in which a tracepoint has other arguments does not build the group.
 */
#ifndef VESPER_PROTOTYPES_H
#define VESPER_PROTOTYPES_H

#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/tracepoint.h>

#define PROTOTYPE(_name, ...)						\
	static_assert(__same_type(check_trace_callback_type_##_name,	\
				  void (void (*)(void *, __VA_ARGS__))),	\
		      "tracepoint " #_name " has other arguments")

#endif
