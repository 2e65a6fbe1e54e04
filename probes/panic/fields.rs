// SPDX-License-Identifier: GPL-2.0

//! What only C can read, and the kernel's last words.
//!
//! C header: `fields.h`

use core::{
    cell::UnsafeCell,
    ptr, //
};
use kernel::{
    bindings::__va_list_tag,
    ffi::{
        c_char,
        c_ulong,
        c_void, //
    },
    prelude::*,
    str::CStr,
    sync::atomic::{
        Acquire,
        Atomic,
        Release, //
    }, //
};

/// Fence around the bindings that bindgen made.
#[allow(
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]
pub(crate) mod bindings {
    include!("bindings_generated.rs");
}

pub(crate) use bindings::panic_oops as Oops;

impl Oops {
    /// Reads an oops; `None` if the kernel notifies of something else.
    ///
    /// # Safety
    ///
    /// In a call of the die notifiers, with what they get.
    pub(crate) unsafe fn read(event: c_ulong, info: *const c_void) -> Option<Self> {
        let mut oops = Self {
            what: c"".as_char_ptr(),
            error: 0,
            ip: 0,
            trap: 0,
        };
        // SAFETY: By the contract above; the other is a local.
        unsafe { bindings::panic_read_oops(event, info, ptr::from_mut(&mut oops)) }.then_some(oops)
    }

    /// What the kernel calls it.
    pub(crate) fn what(&self) -> &[u8] {
        // SAFETY: A string of the kernel's, which is there for ever.
        unsafe { CStr::from_char_ptr(self.what) }.to_bytes()
    }
}

/// Puts arguments into a format; returns how long it is. Any context.
///
/// # Safety
///
/// The arguments are those that the format asks for, and used by nobody meanwhile.
pub(crate) unsafe fn format(
    text: &mut [u8],
    format: *const c_char,
    arguments: *mut __va_list_tag,
) -> usize {
    // SAFETY: By the contract above; the text is as long as said.
    unsafe {
        bindings::panic_format(text.as_mut_ptr(), text.len() as u32, format, arguments) as usize
    }
}

/// Room for what the kernel said last.
///
/// # Invariants
///
/// Who has set `busy` has `text` for itself.
pub(crate) struct Words {
    busy: Atomic<bool>,
    text: UnsafeCell<KVec<u8>>,
}

// SAFETY: The text is one user's at a time, by the type's invariants.
unsafe impl Sync for Words {}

impl Words {
    /// Makes room for `len` bytes. Process context.
    pub(crate) fn new(len: usize) -> Result<Self> {
        Ok(Self {
            busy: Atomic::new(false),
            text: UnsafeCell::new(KVec::from_elem(0, len, GFP_KERNEL)?),
        })
    }

    /// Calls `f` with the newest lines that fit; with none if somebody else is at it. Any context.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        if self.busy.cmpxchg(false, true, Acquire).is_err() {
            return f(&[]);
        }
        // SAFETY: Ours, as `busy` was not set before.
        let text = unsafe { &mut *self.text.get() };
        // SAFETY: The text is as long as said.
        let len = unsafe { bindings::panic_last_words(text.as_mut_ptr(), text.len() as u32) };
        let result = f(text.get(..len as usize).unwrap_or(&[]));
        self.busy.store(false, Release);
        result
    }
}
