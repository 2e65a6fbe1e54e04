// SPDX-License-Identifier: GPL-2.0

//! Addresses of the kernel: their names, and those on the stack.
//!
//! C headers: [`include/linux/kallsyms.h`](srctree/include/linux/kallsyms.h),
//! [`include/linux/stacktrace.h`](srctree/include/linux/stacktrace.h)

use crate::bindings;
use kernel::ffi::c_ulong;

/// Bytes of the longest name, its offset, module and terminator included.
const NAME_MAX: usize = bindings::VESPER_CONST_KSYM_SYMBOL_LEN;

/// Calls `f` with the name of `address`, as `name+0x4f/0x90 [module]`, or in hexadecimal if it has
/// none. Any context.
pub(crate) fn with_name<R>(address: u64, f: impl FnOnce(&[u8]) -> R) -> R {
    let mut name = [0u8; NAME_MAX];
    // SAFETY: The buffer is as long as the function wants it.
    let len = unsafe { bindings::sprint_symbol(name.as_mut_ptr(), address as c_ulong) };
    let len = usize::try_from(len).unwrap_or(0).min(NAME_MAX);
    f(name.get(..len).unwrap_or(&[]))
}

/// Takes the call stack of this CPU, innermost first, leaving `skip` functions out beside this one.
/// Returns how many addresses it took: none if this is what taking one has led to. Any context.
#[inline(never)]
pub(crate) fn save_stack(entries: &mut [c_ulong], skip: u32) -> usize {
    // SAFETY: The array has room for as many entries as are asked for.
    let taken = unsafe {
        bindings::vesper_helper_stack_save(
            entries.as_mut_ptr(),
            u32::try_from(entries.len()).unwrap_or(u32::MAX),
            // And the helper.
            skip.wrapping_add(2),
        )
    };
    (taken as usize).min(entries.len())
}

/// Says whether `address` is in the code or data of `module`.
///
/// # Safety
///
/// `module` is null or a module that is not being freed.
pub(crate) unsafe fn within_module(address: c_ulong, module: *const bindings::module) -> bool {
    // SAFETY: By the contract above.
    !module.is_null() && unsafe { bindings::vesper_helper_within_module(address, module) }
}
