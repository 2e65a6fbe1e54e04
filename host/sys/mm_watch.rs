// SPDX-License-Identifier: GPL-2.0

//! Learning that an address space is gone, whoever else still has files of its process.
//!
//! C header: [`include/linux/mmu_notifier.h`](srctree/include/linux/mmu_notifier.h)

use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    error::from_err_ptr,
    ffi::c_void,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
};

/// Is told.
pub(crate) trait Gone: Send + Sync + Sized + 'static {
    /// The address space is going. Called by the process that exits; anything that takes long is
    /// for others to do.
    fn gone(this: ArcBorrow<'_, Self>);
}

/// Has somebody told when the address space of a process goes, until it is dropped.
///
/// # Invariants
///
/// `watch` was made by `vesper_helper_watch_mm` for the data that `told` refers to.
pub(crate) struct MmWatch<T> {
    watch: NonNull<bindings::vesper_mm_watch>,
    _told: Arc<T>,
}

// SAFETY: What is watched, and who is told, belong to no thread.
unsafe impl<T: Send + Sync> Send for MmWatch<T> {}
// SAFETY: A shared watch gives access to nothing.
unsafe impl<T: Send + Sync> Sync for MmWatch<T> {}

/// # Safety
///
/// `data` is the pointer of an `Arc<T>` that is held meanwhile.
unsafe extern "C" fn gone<T: Gone>(data: *mut c_void) {
    // SAFETY: By the requirement of this function.
    T::gone(unsafe { ArcBorrow::from_raw(data.cast_const().cast::<T>()) });
}

impl<T: Gone> MmWatch<T> {
    /// Watches the calling process. `ENOMEM`, `EINTR`.
    pub(crate) fn current(told: Arc<T>) -> Result<Self> {
        let data = Arc::as_ptr(&told).cast_mut().cast();
        // SAFETY: `gone` expects this pointer, and the reference is held until nobody calls it any
        // more: see `drop`.
        let watch = unsafe { bindings::vesper_helper_watch_mm(Some(gone::<T>), data) };
        // INVARIANT: Just made.
        Ok(Self {
            watch: NonNull::new(from_err_ptr(watch)?).ok_or(ENOMEM)?,
            _told: told,
        })
    }
}

impl<T> MmWatch<T> {
    /// Says whether that is the calling process.
    pub(crate) fn is_of_current(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::vesper_helper_watches_current(self.watch.as_ptr()) }
    }
}

impl<T> Drop for MmWatch<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, and dropped once.
        unsafe { bindings::vesper_helper_unwatch_mm(self.watch.as_ptr()) };
    }
}
