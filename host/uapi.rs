// SPDX-License-Identifier: GPL-2.0

//! Structs of the ioctl ABI on their way from and to user space.

use crate::bindings;
use kernel::{
    prelude::*,
    transmute::{
        AsBytes,
        FromBytes, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

/// A struct of `include/uapi/linux/vesper.h`, which consists of integers without gaps.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct Plain<T>(pub(crate) T);

macro_rules! plain {
    ($($name:ident: $bytes:literal),* $(,)?) => {$(
        const _: () = assert!(core::mem::size_of::<bindings::$name>() == $bytes);
        // SAFETY: Integers and arrays of them: every pattern of bits is one.
        unsafe impl FromBytes for Plain<bindings::$name> {}
        // SAFETY: Integers without gaps: the sizes asserted above are the sums of the fields.
        unsafe impl AsBytes for Plain<bindings::$name> {}
    )*};
}

plain! {
    vesper_attach: 128,
    vesper_message: 48,
    vesper_segment: 16,
    vesper_lend: 48,
    vesper_buffers: 8,
    vesper_notice: 16,
    vesper_vcpus: 16,
    vesper_info: 64,
    vesper_domain: 464,
    vesper_module: 384,
    vesper_buffer: 208,
    vesper_list: 88,
    vesper_load: 456,
    vesper_unload: 432,
    vesper_reap: 176,
    vesper_share: 496,
    vesper_shared: 160,
    vesper_heartbeat: 224,
    vesper_position: 64,
}

/// Copies the argument of an ioctl in.
pub(crate) fn get<T>(arg: usize) -> Result<T>
where
    Plain<T>: FromBytes,
{
    let mut reader =
        UserSlice::new(UserPtr::from_addr(arg), core::mem::size_of::<Plain<T>>()).reader();
    Ok(reader.read::<Plain<T>>()?.0)
}

/// Copies the argument of an ioctl out.
pub(crate) fn put<T>(arg: usize, value: T) -> Result
where
    Plain<T>: AsBytes,
{
    UserSlice::new(UserPtr::from_addr(arg), core::mem::size_of::<Plain<T>>())
        .writer()
        .write(&Plain(value))
}
