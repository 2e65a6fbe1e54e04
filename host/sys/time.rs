// SPDX-License-Identifier: GPL-2.0

//! Wall clock, and a brake for messages.

use crate::bindings;

/// Nanoseconds since the epoch.
pub(crate) fn real_ns() -> u64 {
    // SAFETY: Can be called from any context.
    unsafe { bindings::vesper_helper_real_ns() }
}

/// Nanoseconds since this machine was booted, the time that it slept included.
pub(crate) fn boot_ns() -> u64 {
    // SAFETY: Can be called from any context.
    unsafe { bindings::vesper_helper_boot_ns() }
}

/// Says whether one more message that a guest or a VMM provoked may go into the log.
pub(crate) fn may_log() -> bool {
    // SAFETY: Can be called from any context.
    unsafe { bindings::vesper_helper_ratelimit() }
}

/// `pr_warn!` for what a guest or a VMM can provoke.
macro_rules! warn_limited {
    ($($arg:tt)*) => {
        if $crate::sys::time::may_log() {
            ::kernel::pr_warn!($($arg)*);
        }
    };
}
pub(crate) use warn_limited;
