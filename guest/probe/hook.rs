// SPDX-License-Identifier: GPL-2.0

//! Hooks of probes, of every kind, found by the names that a kernel may have for the place.

use super::{
    awaited::{
        self,
        Awaited, //
    },
    standing::Whose, //
};
use crate::{
    bindings,
    sys::{
        function::{
            module_of,
            Function,
            Handler,
            Handlers, //
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
    Module(#[allow(dead_code)] module_tracepoint::Attached),
    Function(#[allow(dead_code)] Function),
    Source(#[allow(dead_code)] Source),
    Awaited(Awaited),
}

impl Hook {
    /// Says that it waits for a module, if it does.
    pub(crate) fn say_if_waiting(&self) {
        if let Self::Awaited(hook) = self {
            hook.say_if_waiting();
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

    /// Attaches it, for the point `of` a module if it is one's. Process context. Errors as of
    /// `vesper_hook_attach()`.
    ///
    /// # Safety
    ///
    /// Its handlers fit what they are at, and may be called with `data` until the result is dropped.
    pub(crate) unsafe fn attach(
        &self,
        of: Option<(&CStr, &CStr)>,
        data: *mut c_void,
    ) -> Result<Hook> {
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
            match unsafe { self.attach_to(name, of, data) } {
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
    unsafe fn attach_to(
        &self,
        name: &[u8],
        of: Option<(&CStr, &CStr)>,
        data: *mut c_void,
    ) -> Result<Hook> {
        let in_module = match name.iter().position(|&c| c == b':') {
            Some(at) => {
                let (module, own) = name.split_at(at);
                Some((text(module)?, text(own.get(1..).ok_or(EINVAL)?)?))
            }
            None => self.found_in(name)?,
        };
        if let Some((module, own)) = in_module {
            let whose = match of {
                Some((of, point)) => Some(Whose::new(of, point, name)?),
                None => None,
            };
            let spec = awaited::Spec {
                module,
                name: own,
                whose,
            };
            // SAFETY: By the contract above.
            return unsafe { self.attach_in_module(spec, data) };
        }
        let name = text(name)?;
        if self.raw.kind == bindings::VESPER_HOOK_TRACEPOINT {
            let handler = NonNull::new(self.raw.handler).ok_or(EINVAL)?;
            // SAFETY: That the handlers fit is the contract above; the kind says their type.
            return unsafe {
                match tracepoint::Attached::new(&name, handler, data) {
                    Err(ENOENT) => module_tracepoint::Attached::new(None, name, handler, data)
                        .map(Hook::Module),
                    attached => attached.map(Hook::Tracepoint),
                }
            };
        }
        // SAFETY: By the contract above.
        unsafe { self.handlers(data) }?
            .attach(&name)
            .map(Hook::Function)
    }

    /// The module that a function is of which was named without one, and the function: it comes and
    /// goes with that.
    fn found_in(&self, name: &[u8]) -> Result<Option<(CString, CString)>> {
        if self.raw.kind == bindings::VESPER_HOOK_TRACEPOINT {
            return Ok(None);
        }
        let name = text(name)?;
        match module_of(&name) {
            Ok(Some(module)) => Ok(Some((module, name))),
            Ok(None) | Err(ENOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// At a tracepoint or function of the module that is named, which may be built in.
    ///
    /// # Safety
    ///
    /// As for [`attach`](Self::attach).
    unsafe fn attach_in_module(&self, spec: awaited::Spec, data: *mut c_void) -> Result<Hook> {
        if self.raw.kind != bindings::VESPER_HOOK_TRACEPOINT {
            // SAFETY: By the contract above.
            let handlers = unsafe { self.handlers(data) }?;
            return Awaited::function(spec, handlers).map(Hook::Awaited);
        }
        let handler = NonNull::new(self.raw.handler).ok_or(EINVAL)?;
        let (module, name) = (
            CString::try_from(&*spec.module)?,
            CString::try_from(&*spec.name)?, //
        );
        let waiting =
            // SAFETY: That the handler fits is the contract above, and the kind says its type.
            unsafe { module_tracepoint::Attached::new(Some(module), name, handler, data) }?;
        if !waiting.is_attached() {
            // What is built in never comes.
            // SAFETY: As above.
            match unsafe { tracepoint::Attached::new(&spec.name, handler, data) } {
                Err(ENOENT) => (),
                attached => return attached.map(Hook::Tracepoint),
            }
        }
        Awaited::tracepoint(spec, waiting).map(Hook::Awaited)
    }

    /// What is to be put at a function. Fails with `EINVAL` if it is not for one.
    ///
    /// # Safety
    ///
    /// As for [`attach`](Self::attach).
    unsafe fn handlers(&self, data: *mut c_void) -> Result<Handlers> {
        let (entry, exit) = (
            NonNull::new(self.raw.handler),
            NonNull::new(self.raw.exit), //
        );
        let kprobe = match self.raw.kind {
            bindings::VESPER_HOOK_KPROBE if entry.is_some() => true,
            bindings::VESPER_HOOK_FPROBE if entry.is_some() || exit.is_some() => false,
            _ => return Err(EINVAL),
        };
        // SAFETY: Of these kinds both are handlers of a function; that they fit, and may be called,
        // is the contract above.
        unsafe {
            Ok(Handlers::new(
                kprobe,
                entry.and_then(|entry| function(entry)),
                exit.filter(|_| !kprobe).and_then(|exit| function(exit)),
                data,
            ))
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

fn text(bytes: &[u8]) -> Result<CString> {
    CString::try_from_fmt(fmt!("{}", BStr::from_bytes(bytes)))
}

/// # Safety
///
/// `handler` is one of a function.
unsafe fn function(handler: NonNull<c_void>) -> Handler {
    // SAFETY: By the contract above.
    unsafe { core::mem::transmute::<*mut c_void, Handler>(handler.as_ptr()) }
}
