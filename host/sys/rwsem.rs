// SPDX-License-Identifier: GPL-2.0

//! Reader/writer semaphores.
//!
//! C header: [`include/linux/rwsem.h`](srctree/include/linux/rwsem.h)

use crate::bindings;
use core::{
    cell::UnsafeCell,
    ops::Deref, //
};
use kernel::{
    prelude::*,
    str::CStr,
    sync::LockClassKey,
    types::{
        NotThreadSafe,
        Opaque, //
    },
};

/// A value that many may read or one may replace, behind a `struct rw_semaphore`.
#[pin_data]
pub(crate) struct RwSemaphore<T> {
    #[pin]
    sem: Opaque<bindings::rw_semaphore>,
    value: UnsafeCell<T>,
}

// SAFETY: The semaphore may be used from any thread, and so may the value.
unsafe impl<T: Send> Send for RwSemaphore<T> {}
// SAFETY: Shared access goes through `read`, exclusive access through `replace`.
unsafe impl<T: Send + Sync> Sync for RwSemaphore<T> {}

/// The value, held for reading.
pub(crate) struct ReadGuard<'a, T> {
    lock: &'a RwSemaphore<T>,
    _not_send: NotThreadSafe,
}

impl<T> RwSemaphore<T> {
    /// Makes one around `value`.
    pub(crate) fn new(
        value: T,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            sem <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes and stays where it is; name and key are
                // static.
                unsafe { bindings::__init_rwsem(slot, name.as_char_ptr(), key.as_ptr()) }
            }),
            value: UnsafeCell::new(value),
        })
    }

    /// Takes the semaphore for reading.
    pub(crate) fn read(&self) -> ReadGuard<'_, T> {
        // SAFETY: The semaphore was initialised by `new`.
        unsafe { bindings::down_read(self.sem.get()) };
        ReadGuard {
            lock: self,
            _not_send: NotThreadSafe,
        }
    }

    /// Puts `value` in and gives back what was there; every reader that saw the old one is gone.
    pub(crate) fn replace(&self, value: T) -> T {
        // SAFETY: The semaphore was initialised by `new`.
        unsafe { bindings::down_write(self.sem.get()) };
        // SAFETY: The semaphore is held for writing, so nobody else looks at the value.
        let old = core::mem::replace(unsafe { &mut *self.value.get() }, value);
        // SAFETY: Taken above.
        unsafe { bindings::up_write(self.sem.get()) };
        old
    }
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: The semaphore is held for reading, so nobody changes the value.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> Drop for ReadGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: The guard exists, so the semaphore is held for reading.
        unsafe { bindings::up_read(self.lock.sem.get()) };
    }
}
