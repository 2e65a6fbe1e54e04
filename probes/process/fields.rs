// SPDX-License-Identifier: GPL-2.0

//! What only C can read of the structures that the probe points pass.
//!
//! C header: `fields.h`

use kernel::{
    bindings::{
        kernel_siginfo,
        linux_binprm,
        task_struct, //
    },
    prelude::*,
    str::CStr, //
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
mod bindings {
    include!("bindings_generated.rs");
}

/// The file that is executed.
///
/// # Safety
///
/// It is being executed, as long as the result is used.
pub(crate) unsafe fn exec_file<'a>(bprm: *const linux_binprm) -> &'a CStr {
    // SAFETY: By the contract above; the name is a string that is there as long as that.
    unsafe { CStr::from_char_ptr(bindings::process_exec_file(bprm)) }
}

/// The address that caused a signal.
///
/// # Safety
///
/// `info` is of a signal that an exception caused.
pub(crate) unsafe fn fault_address(info: *const kernel_siginfo) -> usize {
    // SAFETY: By the contract above.
    unsafe { bindings::process_fault_address(info) }
}

/// Where the current task was in user space; 0 if it has none.
pub(crate) fn user_ip() -> usize {
    // SAFETY: No requirements.
    unsafe { bindings::process_user_ip() }
}

/// What a task leaves, or a process if `last` says that it is the last of one, as `wait(2)` gives it.
///
/// # Safety
///
/// `task` is ending, and is the one that runs.
pub(crate) unsafe fn exit_status(task: *const task_struct, last: bool) -> i32 {
    // SAFETY: By the contract above. The first thread of a process is there as long as others are.
    unsafe { bindings::process_exit_status(task, last) }
}
