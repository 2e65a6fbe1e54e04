// SPDX-License-Identifier: GPL-2.0

//! A workqueue of one's own.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use crate::bindings;
use core::{
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    prelude::*,
    workqueue::Queue, //
};

/// A workqueue that runs its items on any CPU, different items side by side. Dropping it waits for
/// all of them.
///
/// # Invariants
///
/// The pointer is to a live workqueue that nobody else destroys.
pub(crate) struct Workqueue(NonNull<bindings::workqueue_struct>);

// SAFETY: Workqueues may be used and destroyed by any thread.
unsafe impl Send for Workqueue {}
// SAFETY: Workqueues do their own locking.
unsafe impl Sync for Workqueue {}

impl Workqueue {
    /// Makes a workqueue.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: No requirements.
        let wq = unsafe { bindings::vesper_helper_alloc_workqueue() };
        // INVARIANT: Just made.
        Ok(Self(NonNull::new(wq).ok_or(ENOMEM)?))
    }

    /// Waits until nothing is queued and nothing runs. Process context.
    pub(crate) fn drain(&self) {
        // SAFETY: The queue lives, by the type's invariants.
        unsafe { bindings::drain_workqueue(self.0.as_ptr()) };
    }
}

impl Deref for Workqueue {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        // SAFETY: The queue lives as long as `self`, by the type's invariants.
        unsafe { Queue::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for Workqueue {
    fn drop(&mut self) {
        // SAFETY: The queue lives, by the type's invariants, and this is the last use.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}
