// SPDX-License-Identifier: GPL-2.0

//! Completions that can be waited for until a signal comes, or with a time limit.
//!
//! C header: [`include/linux/completion.h`](srctree/include/linux/completion.h)

use crate::bindings;
use kernel::{
    prelude::*,
    time::Jiffies,
    types::Opaque, //
};

/// A `struct completion`, done once and for all.
#[pin_data]
pub(crate) struct Completion {
    #[pin]
    inner: Opaque<bindings::completion>,
}

// SAFETY: A completion may be used from any thread.
unsafe impl Send for Completion {}
// SAFETY: The C functions called here synchronise by themselves.
unsafe impl Sync for Completion {}

impl Completion {
    /// Makes one that is not done.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `slot` is valid for writes and stays where it is.
            inner <- Opaque::ffi_init(|slot| unsafe { bindings::init_completion(slot) }),
        })
    }

    /// Lets everybody go who waits or ever will.
    pub(crate) fn complete_all(&self) {
        // SAFETY: The completion was initialised by `new`.
        unsafe { bindings::complete_all(self.inner.get()) };
    }

    /// Says whether it is done.
    pub(crate) fn is_done(&self) -> bool {
        // SAFETY: The completion was initialised by `new`.
        unsafe { bindings::completion_done(self.inner.get()) }
    }

    /// Waits; `ERESTARTSYS` if a signal comes first.
    pub(crate) fn wait(&self) -> Result {
        // SAFETY: The completion was initialised by `new`.
        match unsafe { bindings::wait_for_completion_interruptible(self.inner.get()) } {
            0 => Ok(()),
            _ => Err(ERESTARTSYS),
        }
    }

    /// Waits, signals notwithstanding, for at most `timeout` jiffies. Returns how many are left,
    /// 0 if it did not happen.
    pub(crate) fn wait_timeout(&self, timeout: Jiffies) -> Jiffies {
        // SAFETY: The completion was initialised by `new`.
        unsafe { bindings::wait_for_completion_timeout(self.inner.get(), timeout) }
    }
}
