// SPDX-License-Identifier: GPL-2.0

//! Addresses of functions that the kernel does not export.
//!
//! C header: [`include/linux/kprobes.h`](srctree/include/linux/kprobes.h)

use crate::{
    bindings,
    text, //
};
use kernel::prelude::*;

/// Longest text of `sprint_symbol()`.
const KSYM_SYMBOL_LEN: usize = 512 + 32 + 2 * 18 + 64;

/// Finds the first instruction of a function of the kernel proper. Process context.
///
/// A kprobe says where it would be put, which is behind the function's landing pad where there is
/// one.
pub(crate) fn entry_of(name: &'static CStr) -> Result<usize> {
    // SAFETY: `name` is a string.
    let address = unsafe { bindings::vesper_helper_kprobe_address(name.as_char_ptr()) };
    if address == 0 {
        return Err(ENOENT);
    }
    let mut buffer = KVec::from_elem(0, KSYM_SYMBOL_LEN, GFP_KERNEL)?;
    // SAFETY: The buffer is as large as the kernel's own for this, or larger.
    let len = unsafe { bindings::sprint_symbol(buffer.as_mut_ptr().cast(), address) };
    let symbol = buffer.get(..len as usize).unwrap_or(&[]);
    match text::symbol_offset(symbol, name.to_bytes()) {
        Some(offset @ (0 | 4)) => Ok(address.wrapping_sub(offset)),
        _ => Err(ENOENT),
    }
}
