// SPDX-License-Identifier: GPL-2.0

//! A function of another module, to be called with what it asked for.

use core::ptr::NonNull;
use kernel::ffi::c_void;

/// A C function and its argument.
///
/// # Invariants
///
/// The function may be called with this argument, from any thread, as long as this exists.
pub(crate) struct Callback {
    function: unsafe extern "C" fn(data: *mut c_void),
    data: NonNull<c_void>,
}

// SAFETY: By the type invariant it may be called from any thread.
unsafe impl Send for Callback {}
// SAFETY: As above.
unsafe impl Sync for Callback {}

impl Callback {
    /// Makes one.
    ///
    /// # Safety
    ///
    /// `function` may be called with `data`, from any thread in process context, until this is
    /// dropped.
    pub(crate) unsafe fn new(
        function: unsafe extern "C" fn(data: *mut c_void),
        data: NonNull<c_void>,
    ) -> Self {
        // INVARIANT: The caller's promise.
        Self { function, data }
    }

    /// Calls it. Process context.
    pub(crate) fn call(&self) {
        // SAFETY: By the type invariant.
        unsafe { (self.function)(self.data.as_ptr()) };
    }
}
