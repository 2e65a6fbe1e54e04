// SPDX-License-Identifier: GPL-2.0

//! A completion that can be waited for with a time limit.
//!
//! C header: [`include/linux/completion.h`](srctree/include/linux/completion.h)

use crate::bindings;
use kernel::{
    prelude::*,
    types::Opaque, //
};

/// `struct completion`, done once and for good.
#[pin_data]
pub(crate) struct Completion {
    #[pin]
    inner: Opaque<bindings::completion>,
}

// SAFETY: A completion may be used from any task.
unsafe impl Send for Completion {}

// SAFETY: A completion does its own locking.
unsafe impl Sync for Completion {}

impl Completion {
    /// Initialiser of a completion that is not done.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            inner <- Opaque::ffi_init(|slot: *mut bindings::completion| {
                // SAFETY: `slot` is valid for writes and pinned from now on.
                unsafe { bindings::init_completion(slot) };
            }),
        })
    }

    /// Wakes all who wait and all who will. Any context.
    pub(crate) fn complete_all(&self) {
        // SAFETY: `inner` was initialised by `new`.
        unsafe { bindings::complete_all(self.inner.get()) };
    }

    /// Waits until it is done, at most `ms` milliseconds, not disturbed by signals. Returns whether
    /// it is done. Process context.
    pub(crate) fn wait_timeout(&self, ms: u32) -> bool {
        // SAFETY: No requirements.
        let jiffies = unsafe { bindings::__msecs_to_jiffies(ms) };
        // SAFETY: `inner` was initialised by `new`.
        unsafe { bindings::wait_for_completion_timeout(self.inner.get(), jiffies) != 0 }
    }
}
