// SPDX-License-Identifier: GPL-2.0

//! Kernel memory that may not be there.
//!
//! C header: [`include/linux/uaccess.h`](srctree/include/linux/uaccess.h)

use crate::bindings;
use kernel::prelude::*;

/// Bytes that are read at once of a string: a divisor of the size of a page, so that a piece that
/// begins at a multiple of it lies in one page.
const PIECE: usize = 32;

/// Copies what is at `from`. Fails with `EFAULT` if it can't be read whole, or if this is what a
/// fault of another read has led to. Any context.
pub(crate) fn read(to: &mut [u8], from: usize) -> Result {
    // SAFETY: There is room for as many bytes as are said; any address will do to read from, as a
    // fault is caught.
    let failed = unsafe {
        bindings::vesper_helper_read(
            to.as_mut_ptr().cast(),
            core::ptr::without_provenance(from),
            to.len(),
        )
    };
    if failed != 0 {
        return Err(EFAULT);
    }
    Ok(())
}

/// Copies the string at `from`, cut where `to` ends, and says how long it is. Fails with `EFAULT`
/// if it can't be read. Any context.
pub(crate) fn read_string(to: &mut [u8], from: usize) -> Result<usize> {
    let mut len = 0usize;
    while len < to.len() {
        let at = from.wrapping_add(len);
        let piece = PIECE
            .wrapping_sub(at % PIECE)
            .min(to.len().wrapping_sub(len));
        let Some(bytes) = to.get_mut(len..len.wrapping_add(piece)) else {
            break;
        };
        read(bytes, at)?;
        if let Some(end) = bytes.iter().position(|&byte| byte == 0) {
            return Ok(len.wrapping_add(end));
        }
        len = len.wrapping_add(piece);
    }
    Ok(len)
}
