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

/// Most messages of a kind about one guest, in [`PERIOD_NS`].
const MAX_MESSAGES: u32 = 10;

/// As in `helpers.c`, where those about all guests are counted.
const PERIOD_NS: u64 = 5_000_000_000;

struct Budget {
    began: Atomic<u64>,
    said: Atomic<u32>,
}

impl Budget {
    fn new() -> Self {
        Self {
            began: Atomic::new(0),
            said: Atomic::new(0),
        }
    }

    fn spend(&self) -> bool {
        let now = boot_ns();
        if now.wrapping_sub(self.began.load(Relaxed)) >= PERIOD_NS {
            // Of two who begin anew at a time each may say a few more.
            self.began.store(now, Relaxed);
            self.said.store(0, Relaxed);
        }
        self.said.fetch_add(1u32, Relaxed) < MAX_MESSAGES
    }
}

/// One guest's brake for the messages that it or its VMM can provoke, so that it takes many to
/// hide those about others. What is said of lost records is counted on its own.
pub(crate) struct Brake {
    events: Budget,
    losses: Budget,
}

impl Brake {
    /// Nothing said yet.
    pub(crate) fn new() -> Self {
        Self {
            events: Budget::new(),
            losses: Budget::new(),
        }
    }

    /// Says whether one more message may go into the log.
    pub(crate) fn may_log(&self) -> bool {
        // SAFETY: Can be called from any context.
        self.events.spend() && unsafe { bindings::vesper_helper_ratelimit() }
    }

    /// Says whether one more message that records are lost may go into the log.
    pub(crate) fn may_log_loss(&self) -> bool {
        // SAFETY: Can be called from any context.
        self.losses.spend() && unsafe { bindings::vesper_helper_ratelimit_losses() }
    }
}

/// `pr_warn!` for what a guest, with this [`Brake`], or its VMM can provoke.
macro_rules! warn_limited {
    ($brake:expr, $($arg:tt)*) => {
        if $brake.may_log() {
            ::kernel::pr_warn!($($arg)*);
        }
    };
}
pub(crate) use warn_limited;

/// `pr_warn!` that records of a guest, with this [`Brake`], are lost.
macro_rules! warn_lost {
    ($brake:expr, $($arg:tt)*) => {
        if $brake.may_log_loss() {
            ::kernel::pr_warn!($($arg)*);
        }
    };
}
pub(crate) use warn_lost;
