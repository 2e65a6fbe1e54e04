// SPDX-License-Identifier: GPL-2.0

//! Tracepoints found by name.
//!
//! C header: [`include/linux/tracepoint.h`](srctree/include/linux/tracepoint.h)

use crate::bindings;
use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    error::to_result,
    ffi::c_void,
    prelude::*, //
};

/// A handler at a tracepoint. Dropping it takes the handler off, and waits until it runs nowhere.
pub(crate) struct Attached {
    tracepoint: NonNull<bindings::tracepoint>,
    handler: NonNull<c_void>,
    data: *mut c_void,
}

struct Search<'a> {
    name: &'a CStr,
    found: *mut bindings::tracepoint,
}

/// # Safety
///
/// `data` is a valid `*mut Search`, `tracepoint` is one of the kernel's.
unsafe extern "C" fn compare(tracepoint: *mut bindings::tracepoint, data: *mut c_void) {
    // SAFETY: By the contract above; the name of a tracepoint is a string.
    unsafe {
        let search = &mut *data.cast::<Search<'_>>();
        if CStr::from_char_ptr((*tracepoint).name) == search.name {
            search.found = tracepoint;
        }
    }
}

impl Attached {
    /// Has `handler(data, ...)` called at the built-in tracepoint `name`. Process context.
    ///
    /// # Safety
    ///
    /// `handler` is a function whose parameters are a pointer and those of the tracepoint, which
    /// may be called in the tracepoint's context with `data` until the result is dropped.
    pub(crate) unsafe fn new(
        name: &CStr,
        handler: NonNull<c_void>,
        data: *mut c_void,
    ) -> Result<Self> {
        let mut search = Search {
            name,
            found: ptr::null_mut(),
        };
        // SAFETY: `compare` gets what it asks for, and nothing outlives the call.
        unsafe {
            bindings::for_each_kernel_tracepoint(Some(compare), ptr::from_mut(&mut search).cast())
        };
        let tracepoint = NonNull::new(search.found).ok_or(ENOENT)?;
        // SAFETY: Built-in tracepoints are there for ever; the handler fits by the contract above.
        to_result(unsafe {
            bindings::tracepoint_probe_register(tracepoint.as_ptr(), handler.as_ptr(), data)
        })?;
        Ok(Self {
            tracepoint,
            handler,
            data,
        })
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // SAFETY: Registered by `new` with these very values. When the second call returns, no CPU
        // is in the handler any more.
        unsafe {
            bindings::tracepoint_probe_unregister(
                self.tracepoint.as_ptr(),
                self.handler.as_ptr(),
                self.data,
            );
            bindings::vesper_helper_tracepoint_synchronize_unregister();
        }
    }
}
