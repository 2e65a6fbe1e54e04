// SPDX-License-Identifier: GPL-2.0

//! A work queue of our own, which can be emptied before the module goes.
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

/// An unbound work queue; dropping it waits for everything queued.
pub(crate) struct OwnedQueue(NonNull<bindings::workqueue_struct>);

// SAFETY: A work queue may be used from any thread.
unsafe impl Send for OwnedQueue {}
// SAFETY: As above.
unsafe impl Sync for OwnedQueue {}

impl OwnedQueue {
    /// Allocates the queue; `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: No requirements.
        let queue = unsafe { bindings::vesper_helper_alloc_workqueue() };
        NonNull::new(queue).map(Self).ok_or(ENOMEM)
    }

    /// Waits for what is queued now, and for what that queues.
    pub(crate) fn drain(&self) {
        // SAFETY: The queue is valid until it is dropped.
        unsafe { bindings::drain_workqueue(self.0.as_ptr()) };
    }
}

impl Deref for OwnedQueue {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        // SAFETY: The queue is valid for as long as `self` is.
        unsafe { Queue::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for OwnedQueue {
    fn drop(&mut self) {
        // SAFETY: Nobody else has the pointer; destroying drains.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}
