// SPDX-License-Identifier: GPL-2.0

//! Pages that are passed on by reference.
//!
//! C header: [`include/linux/mm_types.h`](srctree/include/linux/mm_types.h)

use crate::bindings;
use core::ptr::NonNull;

/// A page of kernel memory that somebody else owns.
///
/// # Invariants
///
/// The pointer is to the `struct page` of a whole page of normal memory, which stays allocated as
/// long as the object that handed it out says.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct PagePtr(NonNull<bindings::page>);

// SAFETY: A `struct page` may be named from any context; access to its contents is not given.
unsafe impl Send for PagePtr {}

// SAFETY: As for `Send`.
unsafe impl Sync for PagePtr {}

impl PagePtr {
    /// Names a page.
    ///
    /// # Safety
    ///
    /// `page` is a whole page of normal memory, and stays allocated as long as the caller promises
    /// to those it passes the result on to.
    pub(crate) unsafe fn new(page: NonNull<bindings::page>) -> Self {
        // INVARIANT: The caller's promise.
        Self(page)
    }

    /// The `struct page`.
    pub(crate) fn as_raw(self) -> *mut bindings::page {
        self.0.as_ptr()
    }
}
