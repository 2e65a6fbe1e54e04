// SPDX-License-Identifier: GPL-2.0

//! The clock of all records, and its relation to wall clock time.
//!
//! The TSC where it is the same on all CPUs, so that the host, which knows the guest's offset and
//! scaling, can put its own records on the same line; nanoseconds of the monotonic clock elsewhere.

use crate::bindings;

/// A moment, on both clocks.
pub(crate) struct Anchor {
    /// As [`now`] has it.
    pub(crate) now: u64,
    /// Wall clock, nanoseconds since the epoch.
    pub(crate) realtime_ns: u64,
}

/// Time, in units of [`frequency_khz`]. Any context, NMI included.
#[inline]
pub(crate) fn now() -> u64 {
    // SAFETY: No requirements; made for any context.
    unsafe { bindings::vesper_helper_clock_now() }
}

/// TSC frequency in kHz, 0 if [`now`] counts nanoseconds. Does not change.
pub(crate) fn frequency_khz() -> u32 {
    // SAFETY: No requirements.
    unsafe { bindings::vesper_helper_clock_khz() }
}

/// Number of the tick of the kernel's timer, if this is a hard interrupt. Any context.
#[inline]
pub(crate) fn interrupt_tick() -> Option<usize> {
    // SAFETY: No requirements.
    match unsafe { bindings::vesper_helper_interrupt_tick() } {
        0 => None,
        tick => Some(tick),
    }
}

/// Reads both clocks in one go, interrupts off. Any context but NMI.
pub(crate) fn anchor() -> Anchor {
    let (mut now, mut realtime_ns) = (0, 0);
    // SAFETY: Both pointers are to locals.
    unsafe { bindings::vesper_helper_clock_anchor(&mut now, &mut realtime_ns) };
    Anchor { now, realtime_ns }
}
