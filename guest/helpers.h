/* SPDX-License-Identifier: GPL-2.0 */
/* C that only a macro or an inline function of the kernel can provide. */
#ifndef VESPER_GUEST_HELPERS_H
#define VESPER_GUEST_HELPERS_H

#include <linux/types.h>

void vesper_helper_clock_anchor(u64 *now, u64 *realtime_ns);
u32 vesper_helper_clock_khz(void);
u64 vesper_helper_clock_now(void);

#endif
