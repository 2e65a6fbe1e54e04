// SPDX-License-Identifier: GPL-2.0

//! Hooks: where a probe is called, and how.
//!
//! C header: `include/vesper/hook.h`

use super::{
    bindings,
    this_module, //
};
use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    fmt,
    prelude::*,
    sync::Arc, //
};

/// A place in the kernel, and the handler for it. [`tracepoint!`], [`kprobe!`], [`fprobe!`] and
/// [`source!`] make these.
///
/// # Safety
///
/// `SPEC` is as `hook.h` wants it, and its handlers take a `Data` by pointer.
pub(crate) unsafe trait Attach {
    /// What the handler is a method of.
    type Data: Sync + Send + 'static;
    /// Where, and which.
    const SPEC: bindings::vesper_hook_spec;
}

/// A call of a function that a hook is at.
#[repr(transparent)]
pub(crate) struct Regs(bindings::vesper_regs);

impl Regs {
    /// # Safety
    ///
    /// `raw` is what a handler was passed, for all of `'a`.
    #[doc(hidden)]
    pub(crate) unsafe fn from_raw<'a>(raw: *mut bindings::vesper_regs) -> &'a mut Self {
        // SAFETY: By the contract above; `Regs` is transparent.
        unsafe { &mut *raw.cast() }
    }

    /// At entry, argument `n` of those that are integers or pointers, the first being 0; 0 beyond
    /// the sixth.
    #[inline]
    pub(crate) fn arg(&self, n: usize) -> usize {
        self.0.arg.get(n).copied().unwrap_or(0)
    }

    /// At return, what the function returns.
    #[inline]
    pub(crate) fn ret(&self) -> usize {
        self.0.ret
    }

    /// The function.
    #[inline]
    pub(crate) fn function(&self) -> usize {
        self.0.function
    }

    /// Where it returns to.
    #[inline]
    pub(crate) fn caller(&self) -> usize {
        self.0.caller
    }

    /// What the handler at entry leaves for the one at return.
    #[inline]
    pub(crate) fn state(&mut self) -> &mut [u64; bindings::VESPER_REGS_STATE as usize] {
        &mut self.0.state
    }

    /// The registers: all at a kprobe, at an fprobe those that have to do with the call.
    #[inline]
    pub(crate) fn pt_regs(&self) -> &kernel::bindings::pt_regs {
        // SAFETY: They are there as long as the call.
        unsafe { &*self.0.regs }
    }
}

/// Copies kernel memory that may not be there. Any context. Returns whether it could be read; if
/// not, `to` is zero.
#[inline]
pub(crate) fn read(to: &mut [u8], from: usize) -> bool {
    let len = u32::try_from(to.len()).unwrap_or(0);
    // SAFETY: There is room for `len` bytes; any address will do to read from.
    unsafe { bindings::vesper_read(to.as_mut_ptr().cast(), ptr::without_provenance(from), len) }
}

/// Copies a string of the kernel that may not be there, cut where `to` ends. Any context. Returns it
/// without its end.
#[inline]
pub(crate) fn read_string(to: &mut [u8], from: usize) -> Option<&[u8]> {
    let size = u32::try_from(to.len()).ok().filter(|&size| size != 0)?;
    // SAFETY: There is room for `size` bytes, one at least; any address will do to read from.
    let len = to_result(unsafe {
        bindings::vesper_read_string(to.as_mut_ptr().cast(), ptr::without_provenance(from), size)
    });
    len.ok()?;
    let end = to.iter().position(|&byte| byte == 0)?;
    to.get(..end)
}

/// Tells the operator something about this load: see `vesper_remark()`.
pub(crate) fn remark(text: fmt::Arguments<'_>) {
    if let Ok(text) = kernel::str::CString::try_from_fmt(text) {
        // SAFETY: The module is this one; both texts are strings.
        unsafe { bindings::vesper_remark(this_module(), c"%s".as_char_ptr(), text.as_char_ptr()) };
    }
}

/// The names of a place: those given, or that of the handler.
#[doc(hidden)]
macro_rules! __vesper_names {
    ($name:ident) => {
        concat!(stringify!($name), "\0").as_ptr().cast()
    };
    ($name:ident $names:literal) => {
        concat!($names, "\0").as_ptr().cast()
    };
}

/// Declares the handler of a tracepoint: a method of the probe's own type.
///
/// The author vouches for the parameters: they must be those of the tracepoint's `TP_PROTO`. The
/// name is the tracepoint's; where another one is given in brackets, that. In brackets `|` separates
/// names that are tried in turn, and `module:name` is a tracepoint of a module, for which the hook
/// waits. The same goes for functions.
///
/// ```ignore
/// tracepoint! {
///     // SAFETY: As in include/trace/events/sched.h.
///     unsafe fn sched_process_exit(task: *const task_struct, group_dead: bool) => Probe::exit
///     // SAFETY: As in include/trace/events/ext4.h.
///     unsafe fn ext4_error["ext4:ext4_error"](
///         sb: *mut super_block, function: *const c_char, line: c_uint,
///     ) => Probe::ext4_error
/// }
/// ```
macro_rules! tracepoint {
    ($(
        $(#[$meta:meta])*
        unsafe fn $name:ident $([$names:literal])? ($($arg:ident: $type:ty),* $(,)?)
            => $data:ident::$method:ident
    )+) => {
        $(
            $(#[$meta])*
            #[allow(non_camel_case_types)]
            pub(crate) enum $name {}

            // SAFETY: The user of the macro vouches for the parameters, and the first is the data.
            unsafe impl $crate::vesper::Attach for $name {
                type Data = $data;
                const SPEC: $crate::vesper::bindings::vesper_hook_spec = {
                    /// # Safety
                    ///
                    /// Called by the tracepoint, with the data of a hook that is attached.
                    unsafe extern "C" fn handler(
                        data: *mut ::kernel::ffi::c_void,
                        $($arg: $type),*
                    ) {
                        // SAFETY: The hook holds a reference to the data until no handler runs.
                        let data = unsafe { &*data.cast::<$data>() };
                        // For any lifetime, so that the method keeps nothing of this one.
                        let method: fn(&$data, $($type),*) = $data::$method;
                        method(data, $($arg),*);
                    }
                    $crate::vesper::bindings::vesper_hook_spec {
                        kind: $crate::vesper::bindings::VESPER_HOOK_TRACEPOINT,
                        flags: 0,
                        names: __vesper_names!($name $($names)?),
                        handler: handler as *mut ::kernel::ffi::c_void,
                        exit: ::core::ptr::null_mut(),
                    }
                };
            }
        )+
    };
}

/// Makes a method that takes [`Regs`] what the kernel calls.
#[doc(hidden)]
macro_rules! __vesper_handler {
    ($data:ident::$method:ident) => {{
        /// # Safety
        ///
        /// Called by the hook, with its data and a call of the function it is at.
        unsafe extern "C" fn handler(
            data: *mut ::kernel::ffi::c_void,
            regs: *mut $crate::vesper::bindings::vesper_regs,
        ) {
            // SAFETY: The hook holds a reference to the data until no handler runs.
            let data = unsafe { &*data.cast::<$data>() };
            // SAFETY: The call is there as long as this one.
            let regs = unsafe { $crate::vesper::Regs::from_raw(regs) };
            // For any lifetime, so that the method keeps nothing of this one.
            let method: fn(&$data, &mut $crate::vesper::Regs) = $data::$method;
            method(data, regs);
        }
        handler as *mut ::kernel::ffi::c_void
    }};
}

/// Makes a type that stands for a hook at functions.
#[doc(hidden)]
macro_rules! __vesper_function {
    ($kind:ident, $name:ident, $names:expr, $data:ident, $handler:expr, $exit:expr) => {
        #[allow(non_camel_case_types)]
        pub(crate) enum $name {}

        // SAFETY: Both handlers take the data and what a hook of this kind passes.
        unsafe impl $crate::vesper::Attach for $name {
            type Data = $data;
            const SPEC: $crate::vesper::bindings::vesper_hook_spec =
                $crate::vesper::bindings::vesper_hook_spec {
                    kind: $crate::vesper::bindings::$kind,
                    flags: 0,
                    names: $names,
                    handler: $handler,
                    exit: $exit,
                };
        }
    };
}

/// Declares a handler where a function begins, by a kprobe: a method of the probe's own type that
/// takes [`Regs`]. Names as for [`tracepoint!`].
///
/// ```ignore
/// kprobe! { fn out_of_memory => Probe::out_of_memory }
/// ```
macro_rules! kprobe {
    ($( fn $name:ident $([$names:literal])? => $data:ident::$method:ident )+) => {$(
        __vesper_function! {
            VESPER_HOOK_KPROBE, $name, __vesper_names!($name $($names)?), $data,
            __vesper_handler!($data::$method), ::core::ptr::null_mut()
        }
    )+};
}

/// Declares handlers where a function begins, where it returns, or both, by an fprobe. Names as for
/// [`tracepoint!`].
///
/// ```ignore
/// fprobe! { fn vfs_read => Probe::begin, Probe::end }
/// fprobe! { fn warn_alloc => Probe::failed }
/// fprobe! { fn do_exit => _, Probe::end }
/// ```
macro_rules! fprobe {
    (fn $name:ident $([$names:literal])? => _, $data:ident::$exit:ident) => {
        __vesper_function! {
            VESPER_HOOK_FPROBE, $name, __vesper_names!($name $($names)?), $data,
            ::core::ptr::null_mut(), __vesper_handler!($data::$exit)
        }
    };
    (
        fn $name:ident $([$names:literal])?
            => $data:ident::$entry:ident, $same:ident::$exit:ident
    ) => {
        __vesper_function! {
            VESPER_HOOK_FPROBE, $name, __vesper_names!($name $($names)?), $data,
            __vesper_handler!($data::$entry), __vesper_handler!($same::$exit)
        }
    };
    (fn $name:ident $([$names:literal])? => $data:ident::$entry:ident) => {
        __vesper_function! {
            VESPER_HOOK_FPROBE, $name, __vesper_names!($name $($names)?), $data,
            __vesper_handler!($data::$entry), ::core::ptr::null_mut()
        }
    };
}

/// Declares a source of the probe's own, as a notifier: two methods, `fn(&self) -> Result` that
/// begins, and `fn(&self)` that ends it. Both in process context.
///
/// ```ignore
/// source! { fn links => Probe::watch, Probe::unwatch }
/// ```
macro_rules! source {
    (fn $name:ident => $data:ident::$begin:ident, $same:ident::$end:ident) => {
        #[allow(non_camel_case_types)]
        pub(crate) enum $name {}

        // SAFETY: Both functions take the data, as hooks of this kind want it.
        unsafe impl $crate::vesper::Attach for $name {
            type Data = $data;
            const SPEC: $crate::vesper::bindings::vesper_hook_spec = {
                /// # Safety
                ///
                /// Called with the data of a hook that is being attached.
                unsafe extern "C" fn begin(
                    data: *mut ::kernel::ffi::c_void,
                ) -> ::kernel::ffi::c_int {
                    // For any lifetime, so that the method keeps nothing of this one.
                    let method: fn(&$data) -> ::kernel::error::Result = $data::$begin;
                    // SAFETY: The hook holds a reference to the data.
                    match method(unsafe { &*data.cast::<$data>() }) {
                        Ok(()) => 0,
                        Err(e) => e.to_errno(),
                    }
                }

                /// # Safety
                ///
                /// Called with the data of a hook that is being detached.
                unsafe extern "C" fn end(data: *mut ::kernel::ffi::c_void) {
                    let method: fn(&$same) = $same::$end;
                    // SAFETY: As in `begin`.
                    method(unsafe { &*data.cast::<$same>() });
                }

                $crate::vesper::bindings::vesper_hook_spec {
                    kind: $crate::vesper::bindings::VESPER_HOOK_SOURCE,
                    flags: 0,
                    names: ::core::ptr::null(),
                    handler: begin as *mut ::kernel::ffi::c_void,
                    exit: end as *mut ::kernel::ffi::c_void,
                }
            };
        }
    };
}

/// A handler that is being called. Dropping it takes the handler off and waits until it runs
/// nowhere; then the reference to the data goes.
pub(crate) struct Hook<D> {
    raw: NonNull<bindings::vesper_hook>,
    _data: Arc<D>,
}

// SAFETY: A hook is only ever taken off, which may happen anywhere in process context.
unsafe impl<D: Send + Sync> Send for Hook<D> {}

// SAFETY: As for `Send`.
unsafe impl<D: Send + Sync> Sync for Hook<D> {}

impl<D: Send + Sync + 'static> Hook<D> {
    /// Attaches the handler of `T`, for a probe that has no points. Process context. Errors as of
    /// `vesper_hook_attach()`.
    pub(crate) fn attach<T: Attach<Data = D>>(data: Arc<D>) -> Result<Self> {
        // SAFETY: The handlers fit by the contract of `Attach`; the data lives as long as the hook,
        // and longer. The description is a constant.
        let raw = from_err_ptr(unsafe {
            bindings::vesper_hook_attach(
                const { &T::SPEC },
                ptr::from_ref(&*data).cast_mut().cast(),
            )
        })?;
        Ok(Self {
            raw: NonNull::new(raw).ok_or(EINVAL)?,
            _data: data,
        })
    }
}

impl<D> Drop for Hook<D> {
    fn drop(&mut self) {
        // SAFETY: Attached until here.
        unsafe { bindings::vesper_hook_detach(self.raw.as_ptr()) };
    }
}
