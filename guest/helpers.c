// SPDX-License-Identifier: GPL-2.0
/* C that only a macro or an inline function of the kernel can provide. */

#include <asm/cpufeature.h>
#include <asm/tsc.h>
#include <linux/irqflags.h>
#include <linux/timekeeping.h>

#include "helpers.h"

/* Which clock is in use must not change under the records: decided once. */
static u32 clock_khz = U32_MAX;

u32 vesper_helper_clock_khz(void)
{
	u32 khz = READ_ONCE(clock_khz);

	if (unlikely(khz == U32_MAX)) {
		bool tsc = boot_cpu_has(X86_FEATURE_TSC) &&
			   boot_cpu_has(X86_FEATURE_CONSTANT_TSC) &&
			   !check_tsc_unstable();

		khz = cmpxchg(&clock_khz, U32_MAX, tsc ? tsc_khz : 0);
		if (khz == U32_MAX)
			khz = READ_ONCE(clock_khz);
	}
	return khz;
}

u64 vesper_helper_clock_now(void)
{
	return vesper_helper_clock_khz() ? rdtsc_ordered() :
					   ktime_get_mono_fast_ns();
}

void vesper_helper_clock_anchor(u64 *now, u64 *realtime_ns)
{
	unsigned long flags;

	local_irq_save(flags);
	*now = vesper_helper_clock_now();
	*realtime_ns = ktime_get_real_fast_ns();
	local_irq_restore(flags);
}
