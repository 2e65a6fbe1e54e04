// SPDX-License-Identifier: GPL-2.0

//! Decompression of xz.
//!
//! C header: [`include/linux/xz.h`](srctree/include/linux/xz.h)

use crate::{
    bindings,
    later::{
        EBADMSG,
        EOPNOTSUPP, //
    },
};
use core::ptr::NonNull;
use kernel::prelude::*;

/// Largest dictionary that is accepted: that of `xz -9`.
const MAX_DICT: u32 = 64 << 20;

/// Room that is made for output at a time, at least.
const STEP: usize = 1 << 20;

/// A decoder, freed when it is dropped.
struct Decoder(NonNull<bindings::xz_dec>);

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: Made by `xz_dec_init`, and this is the last use.
        unsafe { bindings::xz_dec_end(self.0.as_ptr()) };
    }
}

/// Decompresses one stream, which must be all there is, to at most `max` bytes. `EFBIG` if it is
/// larger, `EBADMSG` if it is damaged, `EOPNOTSUPP` if it is of a kind that this kernel can't
/// decompress. Process context.
pub(crate) fn decompress(input: &[u8], max: usize) -> Result<KVVec<u8>> {
    // SAFETY: No requirements.
    let decoder = unsafe { bindings::xz_dec_init(bindings::xz_mode_XZ_DYNALLOC, MAX_DICT) };
    let decoder = Decoder(NonNull::new(decoder).ok_or(ENOMEM)?);
    let mut output = KVVec::new();
    let mut taken = 0;
    loop {
        if output.len() >= max {
            return Err(EFBIG);
        }
        // Twice as much each time, so that little is copied.
        let room = output.len().max(STEP).min(max.wrapping_sub(output.len()));
        output.reserve(room, GFP_KERNEL | __GFP_NOWARN)?;
        let spare = output.spare_capacity_mut();
        let mut buffer = bindings::xz_buf {
            in_: input.as_ptr(),
            in_pos: taken,
            in_size: input.len(),
            out: spare.as_mut_ptr().cast(),
            out_pos: 0,
            out_size: spare.len().min(room),
        };
        // SAFETY: The decoder is there; both parts of the buffer have the sizes given.
        let ret = unsafe { bindings::xz_dec_run(decoder.0.as_ptr(), &mut buffer) };
        taken = buffer.in_pos;
        // SAFETY: The decoder has filled in that many bytes of the spare room.
        unsafe { output.inc_len(buffer.out_pos) };
        match ret {
            bindings::xz_ret_XZ_OK | bindings::xz_ret_XZ_UNSUPPORTED_CHECK => (),
            bindings::xz_ret_XZ_STREAM_END if taken == input.len() => return Ok(output),
            bindings::xz_ret_XZ_MEM_ERROR => return Err(ENOMEM),
            bindings::xz_ret_XZ_MEMLIMIT_ERROR => return Err(EFBIG),
            bindings::xz_ret_XZ_OPTIONS_ERROR => return Err(EOPNOTSUPP),
            _ => return Err(EBADMSG),
        }
    }
}
