// SPDX-License-Identifier: GPL-2.0

//! Being told by one of the kernel's notifier chains.
//!
//! C header: [`include/linux/notifier.h`](srctree/include/linux/notifier.h)

use core::{
    cell::UnsafeCell,
    ptr, //
};
use kernel::{
    bindings::{
        notifier_block,
        NOTIFY_DONE, //
    },
    error::to_result,
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// Is told by a chain.
pub(crate) trait Notified: Send + Sync {
    /// Something happened: which, and what belongs to it, is as the chain has it. In the chain's
    /// context.
    fn notified(&self, event: c_ulong, info: *mut c_void);
}

/// Puts a block on a chain, or takes it off.
pub(crate) type Change = unsafe extern "C" fn(*mut notifier_block) -> c_int;

/// A place on a chain, on behalf of a `T`.
#[repr(C)]
pub(crate) struct Notifier<T> {
    // First, so that a pointer to it is one to the whole.
    block: UnsafeCell<notifier_block>,
    data: Atomic<*const T>,
}

// SAFETY: The chain sees to it that the block is changed by one at a time; `begin` and `end` are
// called one after the other.
unsafe impl<T: Send + Sync> Send for Notifier<T> {}

// SAFETY: As for `Send`.
unsafe impl<T: Send + Sync> Sync for Notifier<T> {}

impl<T: Notified> Notifier<T> {
    /// One that is on no chain.
    pub(crate) fn new() -> Self {
        Self {
            block: UnsafeCell::new(notifier_block {
                notifier_call: Some(call::<T>),
                ..Zeroable::zeroed()
            }),
            data: Atomic::new(ptr::null()),
        }
    }

    /// Has `data` told from here on. Process context.
    ///
    /// # Safety
    ///
    /// `register` puts a block on a chain. `self` and `data` stay where they are until `end` was
    /// called, which is the next that is called.
    pub(crate) unsafe fn begin(&self, data: &T, register: Change) -> Result {
        self.data.store(ptr::from_ref(data), Relaxed);
        // SAFETY: The block is set up, and stays by the contract above.
        to_result(unsafe { register(self.block.get()) })
    }

    /// Ends it. When this returns, `data` is not being told, nor will be. Process context.
    ///
    /// # Safety
    ///
    /// After `begin`, with the function that takes a block off the same chain and waits.
    pub(crate) unsafe fn end(&self, unregister: Change) {
        // SAFETY: By the contract above.
        unsafe { unregister(self.block.get()) };
    }
}

/// # Safety
///
/// Called by a chain, with the block of a [`Notifier`] between `begin` and `end`.
unsafe extern "C" fn call<T: Notified>(
    block: *mut notifier_block,
    event: c_ulong,
    info: *mut c_void,
) -> c_int {
    // SAFETY: The block is the first field of a notifier, which is `repr(C)`; both it and the data
    // are there by the contract of `begin`.
    let data = unsafe { &*(*block.cast::<Notifier<T>>()).data.load(Relaxed) };
    data.notified(event, info);
    NOTIFY_DONE as c_int
}
