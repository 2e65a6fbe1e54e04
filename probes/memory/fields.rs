// SPDX-License-Identifier: GPL-2.0

//! What only C can read of the structures that the probe points pass.
//!
//! C header: `fields.h`

use core::ptr;
use kernel::{
    bindings::task_struct,
    prelude::*, //
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

pub(crate) use bindings::{
    memory_oom as Oom,
    memory_victim as Victim,
    oom_control, //
};

impl Oom {
    /// Whether the kernel kills for it at all.
    ///
    /// # Safety
    ///
    /// As for [`Self::read`].
    pub(crate) unsafe fn kills(control: *const oom_control) -> bool {
        // SAFETY: By the contract above.
        unsafe { bindings::memory_oom_kills(control) }
    }

    /// Reads who ran out of what.
    ///
    /// # Safety
    ///
    /// `control` is what `out_of_memory()` was called with, and it has not returned.
    pub(crate) unsafe fn read(control: *const oom_control) -> Self {
        let mut oom = Self::zeroed();
        // SAFETY: By the contract above; the other is a local.
        unsafe { bindings::memory_read_oom(control, ptr::from_mut(&mut oom)) };
        oom
    }
}

impl Victim {
    /// Reads what a task has.
    ///
    /// # Safety
    ///
    /// `task` has memory, and keeps it as long as this takes.
    pub(crate) unsafe fn read(task: *mut task_struct) -> Self {
        let mut victim = Self::zeroed();
        // SAFETY: By the contract above; the other is a local.
        unsafe { bindings::memory_read_victim(task, ptr::from_mut(&mut victim)) };
        victim
    }
}

/// The running task is in a stall that the kernel accounts already.
pub(crate) fn in_stall() -> bool {
    // SAFETY: No requirements.
    unsafe { bindings::memory_in_stall() }
}

/// Whoever asks for memory with these flags gets it in the end.
pub(crate) fn tries_again(gfp: u32) -> bool {
    // SAFETY: No requirements.
    unsafe { bindings::memory_tries_again(gfp) }
}

/// Whoever asks for memory with these flags reckons with not getting it.
pub(crate) fn no_warning(gfp: u32) -> bool {
    // SAFETY: No requirements.
    unsafe { bindings::memory_no_warning(gfp) }
}
