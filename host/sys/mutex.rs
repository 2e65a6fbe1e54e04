// SPDX-License-Identifier: GPL-2.0

//! A mutex for which a waiter can give up when a signal comes.
//!
//! C header: [`include/linux/mutex.h`](srctree/include/linux/mutex.h)

use crate::bindings;
use kernel::{
    prelude::*,
    str::CStr,
    sync::LockClassKey,
    types::{
        NotThreadSafe,
        Opaque, //
    },
};

/// A `struct mutex` that protects a course of action, not data.
#[pin_data]
pub(crate) struct Turn {
    #[pin]
    inner: Opaque<bindings::mutex>,
}

// SAFETY: A mutex may be used from any thread.
unsafe impl Send for Turn {}
// SAFETY: As above.
unsafe impl Sync for Turn {}

/// Somebody's turn; it ends when this is dropped.
pub(crate) struct TurnGuard<'a> {
    turn: &'a Turn,
    _not_send: NotThreadSafe,
}

impl Turn {
    /// Makes one that is free.
    pub(crate) fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            inner <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes and stays where it is; name and key are
                // static.
                unsafe { bindings::__mutex_init(slot, name.as_char_ptr(), key.as_ptr()) }
            }),
        })
    }

    /// Waits for the turn; `ERESTARTSYS` if a signal comes first.
    pub(crate) fn take(&self) -> Result<TurnGuard<'_>> {
        // SAFETY: The mutex was initialised by `new`.
        match unsafe { bindings::vesper_helper_lock_interruptible(self.inner.get()) } {
            0 => Ok(TurnGuard {
                turn: self,
                _not_send: NotThreadSafe,
            }),
            _ => Err(ERESTARTSYS),
        }
    }
}

impl Drop for TurnGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: The guard exists, so this thread holds the mutex.
        unsafe { bindings::vesper_helper_unlock(self.turn.inner.get()) };
    }
}
