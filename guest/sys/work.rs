// SPDX-License-Identifier: GPL-2.0

//! Work items that can be waited for, which those of the kernel crate cannot.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use crate::bindings;
use core::ops::Deref;
use kernel::{
    container_of,
    prelude::*,
    types::Opaque, //
};

/// What a [`Work`] calls.
pub(crate) trait Run: Sync {
    /// In process context, in a kworker, never twice at a time.
    fn run(&self);
}

/// A value with a work item. Dropping it takes the item back or waits until it is done.
#[pin_data(PinnedDrop)]
pub(crate) struct Work<T: Run> {
    #[pin]
    work: Opaque<bindings::work_struct>,
    value: T,
}

// SAFETY: A work item is made to be queued from any CPU; `T` is used as `&T` by its handler.
unsafe impl<T: Run + Send> Send for Work<T> {}

// SAFETY: As for `Send`.
unsafe impl<T: Run> Sync for Work<T> {}

impl<T: Run> Work<T> {
    /// Puts a work item beside `value`.
    pub(crate) fn new(value: T) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `work` is memory for a work item that nobody uses yet.
            work <- Opaque::ffi_init(|work| unsafe {
                bindings::vesper_helper_init_work(work, Some(Self::work_func))
            }),
            value,
        })
    }

    /// Has [`Run::run`] called soon, once for all calls until it starts. Any context but NMI and
    /// those that hold locks of scheduler or workqueue: so, from hard interrupt, not from a probe.
    pub(crate) fn queue(&self) {
        // SAFETY: Set up by `new`, and `drop` waits for it; the queue is the system's own.
        unsafe {
            bindings::queue_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as kernel::ffi::c_int,
                bindings::system_dfl_wq,
                self.work.get(),
            )
        };
    }

    /// The work item of `value`.
    ///
    /// # Safety
    ///
    /// `value` is that of a `Self`.
    pub(crate) unsafe fn of(value: &T) -> &Self {
        // SAFETY: By the contract above.
        unsafe { &*container_of!(core::ptr::from_ref(value), Self, value) }
    }

    /// # Safety
    ///
    /// `work` is the `work` of a pinned `Self`.
    unsafe extern "C" fn work_func(work: *mut bindings::work_struct) {
        // SAFETY: By the contract above; `drop` waits until this has returned.
        let this = unsafe { &*container_of!(Opaque::cast_from(work), Self, work) };
        this.value.run();
    }
}

impl<T: Run> Deref for Work<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

#[pinned_drop]
impl<T: Run> PinnedDrop for Work<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Set up by `new`; nobody can queue it any more, for that takes a reference.
        unsafe { bindings::cancel_work_sync(self.work.get()) };
    }
}
