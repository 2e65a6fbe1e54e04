// SPDX-License-Identifier: GPL-2.0

//! A kernel thread of our own, and what can be seen of the threads of others.
//!
//! C headers: [`include/linux/kthread.h`](srctree/include/linux/kthread.h),
//! [`include/linux/sched.h`](srctree/include/linux/sched.h)

use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    error::from_err_ptr,
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    sync::Arc, //
};

/// Works in rounds.
pub(crate) trait Rounds: Send + Sync + 'static {
    /// Does one round, the sleep before the next included.
    fn round(&self);

    /// Has the sleep end, and further ones be short: the thread is to end.
    fn end(&self);
}

/// A thread that does its rounds, ahead of all ordinary ones, until it is dropped.
///
/// # Invariants
///
/// `task` was made by `vesper_helper_thread_start` for `of`, and is not stopped.
pub(crate) struct Thread<T: Rounds> {
    task: NonNull<bindings::task_struct>,
    of: Arc<T>,
}

// SAFETY: A thread may be stopped from any other one.
unsafe impl<T: Rounds> Send for Thread<T> {}
// SAFETY: There are no methods.
unsafe impl<T: Rounds> Sync for Thread<T> {}

/// # Safety
///
/// `data` is the pointer of an `Arc<T>` that is held until the thread has ended.
unsafe extern "C" fn run<T: Rounds>(data: *mut c_void) -> c_int {
    // SAFETY: By the requirement of this function.
    let of = unsafe { &*data.cast_const().cast::<T>() };
    // SAFETY: This is a kernel thread.
    while !unsafe { bindings::vesper_helper_thread_should_stop() } {
        of.round();
    }
    0
}

impl<T: Rounds> Thread<T> {
    /// Starts it. `ENOMEM`, `EINTR`.
    pub(crate) fn start(of: Arc<T>) -> Result<Self> {
        let data = Arc::as_ptr(&of).cast_mut().cast();
        // SAFETY: `run` expects this pointer, and `of` is held until the thread has ended.
        let task = unsafe { bindings::vesper_helper_thread_start(Some(run::<T>), data) };
        // INVARIANT: Just started.
        Ok(Self {
            task: NonNull::new(from_err_ptr(task)?).ok_or(ENOMEM)?,
            of,
        })
    }
}

impl<T: Rounds> Drop for Thread<T> {
    fn drop(&mut self) {
        self.of.end();
        // SAFETY: By the type invariant; it does not end by itself.
        unsafe { bindings::vesper_helper_thread_stop(self.task.as_ptr()) };
    }
}
