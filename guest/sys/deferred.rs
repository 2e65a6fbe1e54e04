// SPDX-License-Identifier: GPL-2.0

//! Work that is put off to hard interrupt context, from contexts where next to nothing is allowed.
//!
//! C headers: [`include/linux/irq_work.h`](srctree/include/linux/irq_work.h),
//! [`include/linux/hrtimer.h`](srctree/include/linux/hrtimer.h)

use crate::{
    bindings,
    later::HRTIMER_NORESTART, //
};
use core::ops::Deref;
use kernel::{
    container_of,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::Opaque,
};

/// What a [`Deferred`] calls, in hard interrupt context, on PREEMPT_RT too.
pub(crate) trait Handler: Sized + Sync {
    /// After a [`kick`](Deferred::kick), on the CPU that kicked.
    fn kicked(this: &Deferred<Self>);

    /// After the time given to [`start_timer`](Deferred::start_timer), on the same CPU, unless that
    /// has gone offline. Returns the nanoseconds after which to come again, if it is to.
    fn expired(this: &Deferred<Self>) -> Option<u64>;
}

/// A value with an irq_work and a timer that is pinned to the CPU that starts it.
///
/// Dropping it waits until neither runs any more, and so needs process context.
#[pin_data(PinnedDrop)]
pub(crate) struct Deferred<T: Handler> {
    #[pin]
    work: Opaque<bindings::irq_work>,
    #[pin]
    timer: Opaque<bindings::hrtimer>,
    closed: Atomic<bool>,
    value: T,
}

// SAFETY: irq_work and hrtimer are made to be used from any CPU; the rest follows `T`, which its
// handlers use as `&T` from anywhere.
unsafe impl<T: Handler + Send> Send for Deferred<T> {}

// SAFETY: As for `Send`.
unsafe impl<T: Handler> Sync for Deferred<T> {}

impl<T: Handler> Deferred<T> {
    /// Puts irq_work and timer beside `value`.
    pub(crate) fn new(value: T) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `work` is memory for an irq_work that nobody uses yet.
            work <- Opaque::ffi_init(|work| unsafe {
                bindings::vesper_helper_init_irq_work_hard(work, Some(Self::work_func))
            }),
            // SAFETY: `timer` is memory for an hrtimer that nobody uses yet.
            timer <- Opaque::ffi_init(|timer| unsafe {
                bindings::hrtimer_setup(
                    timer,
                    Some(Self::timer_func),
                    bindings::CLOCK_MONOTONIC as bindings::clockid_t,
                    bindings::hrtimer_mode_HRTIMER_MODE_REL_PINNED_HARD,
                )
            }),
            closed: Atomic::new(false),
            value,
        })
    }

    /// Has [`Handler::kicked`] called soon, once for all kicks until then. Any context, NMI
    /// included. On a CPU that is on its way out nothing comes of it.
    #[inline]
    pub(crate) fn kick(&self) {
        if !self.closed.load(Relaxed) {
            // SAFETY: Set up by `new`, and `drop` waits for it.
            unsafe { bindings::vesper_helper_irq_work_queue(self.work.get()) };
        }
    }

    /// Has [`Handler::expired`] called after `ns` nanoseconds. For [`Handler::kicked`], which is
    /// where no lock of the timer code can be held.
    pub(crate) fn start_timer(&self, ns: u64) {
        if !self.closed.load(Relaxed) {
            // SAFETY: Set up by `new`, and `drop` cancels it.
            unsafe {
                bindings::hrtimer_start_range_ns(
                    self.timer.get(),
                    ns.min(i64::MAX as u64) as bindings::ktime_t,
                    0,
                    bindings::hrtimer_mode_HRTIMER_MODE_REL_PINNED_HARD,
                )
            };
        }
    }

    /// # Safety
    ///
    /// `work` is the `work` of a pinned `Self`.
    unsafe extern "C" fn work_func(work: *mut bindings::irq_work) {
        // SAFETY: By the contract above; `drop` waits until this has returned.
        let this = unsafe { &*container_of!(Opaque::cast_from(work), Self, work) };
        T::kicked(this);
    }

    /// # Safety
    ///
    /// `timer` is the `timer` of a pinned `Self`.
    unsafe extern "C" fn timer_func(timer: *mut bindings::hrtimer) -> bindings::hrtimer_restart {
        // SAFETY: By the contract above; `drop` waits until this has returned.
        let this = unsafe { &*container_of!(Opaque::cast_from(timer), Self, timer) };
        if let Some(ns) = T::expired(this) {
            this.start_timer(ns);
        }
        HRTIMER_NORESTART
    }
}

impl<T: Handler> Deref for Deferred<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

#[pinned_drop]
impl<T: Handler> PinnedDrop for Deferred<T> {
    fn drop(self: Pin<&mut Self>) {
        // No kick and no start from here on, so that one round of waiting is enough: the irq_work
        // first, which may have been about to start the timer.
        self.closed.store(true, Relaxed);
        // SAFETY: Set up by `new`; process context by the type's own rule.
        unsafe {
            bindings::irq_work_sync(self.work.get());
            bindings::hrtimer_cancel(self.timer.get());
            // A handler that had looked at `closed` before it was set may have kicked since.
            bindings::irq_work_sync(self.work.get());
            bindings::hrtimer_cancel(self.timer.get());
        }
    }
}
