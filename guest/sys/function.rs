// SPDX-License-Identifier: GPL-2.0

//! Handlers at functions of the kernel, by kprobe and fprobe.
//!
//! C headers: [`include/linux/kprobes.h`](srctree/include/linux/kprobes.h),
//! [`include/linux/fprobe.h`](srctree/include/linux/fprobe.h), `guest/hooks.h`

use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    error::from_err_ptr,
    ffi::c_void,
    prelude::*,
    str::CString, //
};

/// What is called: `handler(data, regs)`.
pub(crate) type Handler = bindings::vesper_handler_t;

/// A handler at a function. Dropping it takes the handler off, and waits until it runs nowhere.
pub(crate) struct Function {
    raw: NonNull<bindings::vesper_function>,
    detach: unsafe extern "C" fn(*mut bindings::vesper_function),
    /// The kernel keeps a pointer to it, in a kprobe.
    _name: CString,
}

// SAFETY: A handler can be taken off by any thread.
unsafe impl Send for Function {}

impl Function {
    /// Has `handler` called where function `name` begins, by a kprobe. Process context. Fails with
    /// `EINVAL` where the kernel lets none be put.
    ///
    /// # Safety
    ///
    /// `handler` may be called in the function's context with `data` until the result is dropped.
    pub(crate) unsafe fn kprobe(
        name: CString,
        handler: Handler,
        data: *mut c_void,
    ) -> Result<Self> {
        // SAFETY: The name lives as long as the kprobe does; the handler by the contract above.
        let raw = from_err_ptr(unsafe {
            bindings::vesper_helper_kprobe_attach(name.as_char_ptr(), handler, data)
        })?;
        Ok(Self {
            raw: NonNull::new(raw).ok_or(EINVAL)?,
            detach: bindings::vesper_helper_kprobe_detach,
            _name: name,
        })
    }

    /// Has `handler` called where function `name` begins and `exit` where it returns, by an fprobe.
    /// Process context. Fails with `EINVAL` where the kernel can't trace the function.
    ///
    /// # Safety
    ///
    /// Both may be called in the function's context with `data` until the result is dropped.
    pub(crate) unsafe fn fprobe(
        name: CString,
        handler: Handler,
        exit: Handler,
        data: *mut c_void,
    ) -> Result<Self> {
        // SAFETY: The name is a string; the handlers by the contract above.
        let raw = from_err_ptr(unsafe {
            bindings::vesper_helper_fprobe_attach(name.as_char_ptr(), handler, exit, data)
        })
        .map_err(|e| {
            // The same for a function that is not there and one that has no place for a tracer.
            // SAFETY: The name is a string.
            let address = unsafe { bindings::vesper_helper_kprobe_address(name.as_char_ptr()) };
            match (e, address) {
                (ENOENT, 1..) => EINVAL,
                (e, _) => e,
            }
        })?;
        Ok(Self {
            raw: NonNull::new(raw).ok_or(EINVAL)?,
            detach: bindings::vesper_helper_fprobe_detach,
            _name: name,
        })
    }
}

/// Handlers for a function that may be there or not.
pub(crate) struct Handlers {
    kprobe: bool,
    entry: Handler,
    exit: Handler,
    data: *mut c_void,
}

// SAFETY: By the contract of `new` whoever calls may be any thread.
unsafe impl Send for Handlers {}

// SAFETY: As for `Send`; nothing is written.
unsafe impl Sync for Handlers {}

impl Handlers {
    /// As for [`Function::kprobe`], which has no `exit`, or else for [`Function::fprobe`].
    ///
    /// # Safety
    ///
    /// Both may be called in the context of whatever function they are attached to, with `data`,
    /// until this and all that came of it is dropped.
    pub(crate) unsafe fn new(
        kprobe: bool,
        entry: Handler,
        exit: Handler,
        data: *mut c_void,
    ) -> Self {
        Self {
            kprobe,
            entry,
            exit,
            data,
        }
    }

    /// Puts them at function `name` of `module`, or of the kernel proper if that is built in: a
    /// function of that name then counts as its. Process context. Errors as there.
    pub(crate) fn attach_in(&self, module: &CStr, name: &CStr) -> Result<Function> {
        let full = CString::try_from_fmt(fmt!("{module}:{name}"))?;
        match self.attach(&full) {
            Err(ENOENT) if matches!(module_of(name), Ok(None)) => self.attach(name),
            attached => attached,
        }
    }

    /// Puts them at function `name`, of whatever module if not of the kernel proper; or at
    /// `module:name`. Process context. Errors as there.
    pub(crate) fn attach(&self, name: &CStr) -> Result<Function> {
        let name = CString::try_from(name)?;
        // SAFETY: By the contract of `new`.
        unsafe {
            match self.kprobe {
                true => Function::kprobe(name, self.entry, self.data),
                false => Function::fprobe(name, self.entry, self.exit, self.data),
            }
        }
    }
}

/// The module that function `name` is of now, `None` if it is one of the kernel proper. Process
/// context. `ENOENT`: there is no such function.
pub(crate) fn module_of(name: &CStr) -> Result<Option<CString>> {
    let mut module = [0; bindings::VESPER_CONST_MODULE_NAME_LEN];
    // SAFETY: The name is a string, and there is as much room as it wants.
    if !unsafe { bindings::vesper_helper_module_of(name.as_char_ptr(), module.as_mut_ptr()) } {
        return Err(ENOENT);
    }
    let module = CStr::from_bytes_until_nul(&module).map_err(|_| EINVAL)?;
    match module.is_empty() {
        true => Ok(None),
        false => Ok(Some(CString::try_from(module)?)),
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        // SAFETY: Attached by the function that belongs to this one, and only here detached.
        unsafe { (self.detach)(self.raw.as_ptr()) };
    }
}
