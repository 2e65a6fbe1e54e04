// SPDX-License-Identifier: GPL-2.0

//! A way out of contexts in which next to nothing is allowed.
//!
//! C header: [`include/linux/irq_work.h`](srctree/include/linux/irq_work.h)

use crate::bindings;
use core::marker::PhantomData;
use kernel::{
    prelude::*,
    sync::ArcBorrow,
    types::Opaque, //
};

/// An object with a [`Kick`] in it.
///
/// # Safety
///
/// `OFFSET` is that of a field of type `Kick<Self>`, and objects of the type only ever are in an
/// [`Arc`](kernel::sync::Arc).
pub(crate) unsafe trait HasKick: Send + Sync + Sized + 'static {
    /// Where it is.
    const OFFSET: usize;

    /// Somebody kicked. Hard interrupt context.
    fn kicked(this: ArcBorrow<'_, Self>);
}

/// An irq_work.
///
/// Who drops the object that it is in has waited with [`Kick::wait`].
#[pin_data]
#[repr(transparent)]
pub(crate) struct Kick<T: HasKick> {
    #[pin]
    work: Opaque<bindings::irq_work>,
    _object: PhantomData<fn(&T)>,
}

// SAFETY: An irq_work is made to be used from any CPU.
unsafe impl<T: HasKick> Send for Kick<T> {}
// SAFETY: As above.
unsafe impl<T: HasKick> Sync for Kick<T> {}

impl<T: HasKick> Kick<T> {
    /// One that nobody has kicked yet.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `work` is memory for an irq_work that nobody uses yet.
            work <- Opaque::ffi_init(|work| unsafe {
                bindings::vesper_helper_init_irq_work(work, Some(kicked::<T>))
            }),
            _object: PhantomData,
        })
    }

    /// Has [`HasKick::kicked`] called soon, once for all kicks until then. Any context.
    pub(crate) fn kick(&self) {
        // SAFETY: Set up by `new`; who drops it has waited for it.
        unsafe { bindings::irq_work_queue(self.work.get()) };
    }

    /// Waits until nobody is called any more, if nobody kicks any more. Process context.
    pub(crate) fn wait(&self) {
        // SAFETY: Set up by `new`.
        unsafe { bindings::irq_work_sync(self.work.get()) };
    }
}

/// # Safety
///
/// `work` is that of a `Kick<T>` in a `T`.
unsafe extern "C" fn kicked<T: HasKick>(work: *mut bindings::irq_work) {
    // SAFETY: `Kick` is transparent, and so lies where the field does. The object is in an `Arc`,
    // both by the contract of the trait, and lives: who drops it has waited.
    T::kicked(unsafe { ArcBorrow::from_raw(work.byte_sub(T::OFFSET).cast_const().cast::<T>()) });
}
