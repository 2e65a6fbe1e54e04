// SPDX-License-Identifier: GPL-2.0

//! The clock that probes measure with.

/// Nanoseconds of the monotonic clock. Any context, NMI included.
pub(crate) fn now() -> u64 {
    // SAFETY: No requirements; made for any context.
    unsafe { kernel::bindings::ktime_get_mono_fast_ns() }
}
