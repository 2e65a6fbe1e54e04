// SPDX-License-Identifier: GPL-2.0

//! Hooks of probes, of every kind, found by the names that a kernel may have for the place.

use crate::{
    bindings,
    sys::{
        function::{
            Function,
            Handler, //
        },
        module_tracepoint,
        tracepoint, //
    },
};
use core::ptr::NonNull;
use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    str::{
        BStr,
        CString, //
    },
};

/// Something that is attached. Dropping it detaches it, and waits until it runs nowhere.
pub(crate) enum Hook {
    Tracepoint(#[allow(dead_code)] tracepoint::Attached), // For its drop.
    Module(module_tracepoint::Attached),
    Function(#[allow(dead_code)] Function),
    Source(#[allow(dead_code)] Source),
}

impl Hook {
    /// The module that it waits for, if it does.
    pub(crate) fn awaited(&self) -> Option<&CStr> {
        match self {
            Self::Module(hook) => hook.awaited(),
            _ => None,
        }
    }
}

/// What a probe has begun itself. Dropping it has it end that.
pub(crate) struct Source {
    end: Option<unsafe extern "C" fn(*mut c_void)>,
    data: *mut c_void,
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Some(end) = self.end {
            // SAFETY: Begun with this data; by the contract of `attach` it can be ended in process
            // context.
            unsafe { end(self.data) };
        }
    }
}

/// A hook as the probe describes it.
#[derive(Clone, Copy)]
pub(crate) struct Spec<'a> {
    raw: &'a bindings::vesper_hook_spec,
}

impl<'a> Spec<'a> {
    /// # Safety
    ///
    /// `raw` is as `hook.h` wants it, for all of `'a`.
    pub(crate) unsafe fn new(raw: &'a bindings::vesper_hook_spec) -> Self {
        Self { raw }
    }

    /// Whether it stands in for the one before it.
    pub(crate) fn is_alternative(&self) -> bool {
        self.raw.flags & bindings::VESPER_HOOK_ELSE != 0
    }

    /// What it is at, as the operator may know it.
    pub(crate) fn what(&self) -> &'static str {
        match self.raw.kind {
            bindings::VESPER_HOOK_TRACEPOINT => "tracepoint",
            bindings::VESPER_HOOK_SOURCE => "source",
            _ => "function",
        }
    }

    /// Its names, `|` between them.
    pub(crate) fn names(&self) -> &'a BStr {
        if self.raw.names.is_null() {
            return BStr::from_bytes(b"");
        }
        // SAFETY: By the contract of `new`.
        BStr::from_bytes(unsafe { CStr::from_char_ptr(self.raw.names) }.to_bytes())
    }

    /// Attaches it. Process context. Errors as of `vesper_hook_attach()`.
    ///
    /// # Safety
    ///
    /// Its handlers fit what they are at, and may be called with `data` until the result is dropped.
    pub(crate) unsafe fn attach(&self, data: *mut c_void) -> Result<Hook> {
        if self.raw.flags & !bindings::VESPER_HOOK_ELSE != 0 {
            return Err(EINVAL);
        }
        if self.raw.kind == bindings::VESPER_HOOK_SOURCE {
            // SAFETY: By the contract above.
            return unsafe { self.begin(data) };
        }
        let mut error = ENOENT;
        for name in self.names().split(|&c| c == b'|') {
            // SAFETY: By the contract above.
            match unsafe { self.attach_to(name, data) } {
                Ok(hook) => return Ok(hook),
                // That a place is there and can't be probed says more than that another is not.
                Err(ENOENT) => (),
                Err(e) => error = e,
            }
        }
        Err(error)
    }

    /// # Safety
    ///
    /// As for [`attach`](Self::attach).
    unsafe fn attach_to(&self, name: &[u8], data: *mut c_void) -> Result<Hook> {
        let text = |bytes| CString::try_from_fmt(fmt!("{}", BStr::from_bytes(bytes)));
        let handler = NonNull::new(self.raw.handler);
        // SAFETY: That the handlers fit is the contract above; the kind says their type.
        unsafe {
            match self.raw.kind {
                bindings::VESPER_HOOK_TRACEPOINT => {
                    let handler = handler.ok_or(EINVAL)?;
                    if let Some(at) = name.iter().position(|&c| c == b':') {
                        let (module, name) = name.split_at(at);
                        let name = name.get(1..).ok_or(EINVAL)?;
                        let (module, name) = (text(module)?, text(name)?);
                        let waiting = module_tracepoint::Attached::new(
                            Some(module),
                            CString::try_from_fmt(fmt!("{}", &*name))?,
                            handler,
                            data,
                        )?;
                        if waiting.awaited().is_none() {
                            return Ok(Hook::Module(waiting));
                        }
                        // What is built in never comes.
                        return match tracepoint::Attached::new(&name, handler, data) {
                            Err(ENOENT) => Ok(Hook::Module(waiting)),
                            attached => attached.map(Hook::Tracepoint),
                        };
                    }
                    let name = text(name)?;
                    match tracepoint::Attached::new(&name, handler, data) {
                        Err(ENOENT) => module_tracepoint::Attached::new(None, name, handler, data)
                            .map(Hook::Module),
                        attached => attached.map(Hook::Tracepoint),
                    }
                }
                bindings::VESPER_HOOK_KPROBE => {
                    Function::kprobe(text(name)?, function(handler.ok_or(EINVAL)?), data)
                        .map(Hook::Function)
                }
                bindings::VESPER_HOOK_FPROBE => {
                    let exit = NonNull::new(self.raw.exit);
                    if handler.is_none() && exit.is_none() {
                        return Err(EINVAL);
                    }
                    Function::fprobe(
                        text(name)?,
                        handler.and_then(|handler| function(handler)),
                        exit.and_then(|exit| function(exit)),
                        data,
                    )
                    .map(Hook::Function)
                }
                _ => Err(EINVAL),
            }
        }
    }

    /// # Safety
    ///
    /// As for [`attach`](Self::attach).
    unsafe fn begin(&self, data: *mut c_void) -> Result<Hook> {
        type Begin = unsafe extern "C" fn(*mut c_void) -> c_int;
        type End = unsafe extern "C" fn(*mut c_void);
        let begin = NonNull::new(self.raw.handler).ok_or(EINVAL)?;
        // SAFETY: Of this kind the two are such functions, which may be called here.
        let (begin, end) = unsafe {
            (
                core::mem::transmute::<*mut c_void, Begin>(begin.as_ptr()),
                core::mem::transmute::<*mut c_void, Option<End>>(self.raw.exit),
            )
        };
        // SAFETY: As above.
        to_result(unsafe { begin(data) })?;
        Ok(Hook::Source(Source { end, data }))
    }
}

/// # Safety
///
/// `handler` is one of a function.
unsafe fn function(handler: NonNull<c_void>) -> Handler {
    // SAFETY: By the contract above.
    unsafe { core::mem::transmute::<*mut c_void, Handler>(handler.as_ptr()) }
}
