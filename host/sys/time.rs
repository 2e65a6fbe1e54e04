// SPDX-License-Identifier: GPL-2.0

//! Wall clock, and a brake for messages.

use crate::bindings;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

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

/// Most messages about what one guest has lost, in [`LOSSES_NS`].
const MAX_LOSSES: u32 = 10;

const LOSSES_NS: u64 = 5_000_000_000;

/// One guest's brake for messages that records are lost, so that it takes many to hide those about others.
pub(crate) struct Losses {
    began: Atomic<u64>,
    said: Atomic<u32>,
}

impl Losses {
    /// Nothing said yet.
    pub(crate) fn new() -> Self {
        Self {
            began: Atomic::new(0),
            said: Atomic::new(0),
        }
    }

    /// Says whether one more message may go into the log.
    pub(crate) fn may_log(&self) -> bool {
        let now = boot_ns();
        if now.wrapping_sub(self.began.load(Relaxed)) >= LOSSES_NS {
            // Of two who begin anew at a time each may say a few more.
            self.began.store(now, Relaxed);
            self.said.store(0, Relaxed);
        }
        if self.said.fetch_add(1u32, Relaxed) >= MAX_LOSSES {
            return false;
        }
        // SAFETY: Can be called from any context.
        unsafe { bindings::vesper_helper_ratelimit_losses() }
    }
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

/// `pr_warn!` that records of a guest, with these [`Losses`], are lost.
macro_rules! warn_lost {
    ($losses:expr, $($arg:tt)*) => {
        if $losses.may_log() {
            ::kernel::pr_warn!($($arg)*);
        }
    };
}
pub(crate) use warn_lost;
