// SPDX-License-Identifier: GPL-2.0

//! Messages as bytes: every one starts with the same head.

use crate::{
    bindings,
    later::EPROTO, //
};
use kernel::{
    prelude::*,
    transmute::{
        AsBytes,
        FromBytes, //
    },
};

/// A message that the guest sends.
pub(crate) trait Message: AsBytes + Sized {
    /// Where its head is.
    fn hdr(&mut self) -> &mut bindings::virtio_vesper_hdr;

    /// Fills the head in, for a message that `tail_len` more bytes follow.
    fn set_hdr(&mut self, kind: u32, flags: u32, id: u32, tail_len: usize) {
        *self.hdr() = bindings::virtio_vesper_hdr {
            type_: (kind as u16).to_le(),
            flags: (flags as u16).to_le(),
            len: (size_of::<Self>().wrapping_add(tail_len) as u32).to_le(),
            id: id.to_le(),
            reserved: 0,
        };
    }
}

macro_rules! impl_message {
    ($($name:ident),* $(,)?) => {$(
        impl Message for bindings::$name {
            fn hdr(&mut self) -> &mut bindings::virtio_vesper_hdr {
                &mut self.hdr
            }
        }
    )*};
}

impl_message!(
    virtio_vesper_buffer,
    virtio_vesper_fragment,
    virtio_vesper_hello,
    virtio_vesper_metadata,
    virtio_vesper_notify,
    virtio_vesper_open,
    virtio_vesper_result,
);

// A message of nothing but its head.
impl Message for bindings::virtio_vesper_hdr {
    fn hdr(&mut self) -> &mut bindings::virtio_vesper_hdr {
        self
    }
}

/// Copies a structure from the start of a message, wherever it lies. `None` if it is too short.
pub(crate) fn read<T: FromBytes + Zeroable + AsBytes>(bytes: &[u8]) -> Option<T> {
    let mut value = T::zeroed();
    value
        .as_bytes_mut()
        .copy_from_slice(bytes.get(..size_of::<T>())?);
    Some(value)
}

/// Head of a message that came in, its length checked against what is there.
pub(crate) struct Head {
    /// `VIRTIO_VESPER_L_*`.
    pub(crate) kind: u32,
    /// Chosen by the sender.
    pub(crate) id: u32,
}

/// Takes the head off a message that lies in `bytes`; returns it with the message cut to length.
/// `None` if the message breaks the rules.
pub(crate) fn split(bytes: &[u8]) -> Option<(Head, &[u8])> {
    let hdr: bindings::virtio_vesper_hdr = read(bytes)?;
    let message = bytes.get(..u32::from_le(hdr.len) as usize)?;
    if message.len() < size_of::<bindings::virtio_vesper_hdr>() || hdr.reserved != 0 {
        return None;
    }
    let head = Head {
        kind: u32::from(u16::from_le(hdr.type_)),
        id: u32::from_le(hdr.id),
    };
    Some((head, message))
}

/// Turns a status of the other side into a result: 0 or a positive errno value.
pub(crate) fn status(status: u32) -> Result {
    match status {
        0 => Ok(()),
        1..=4095 => Err(Error::from_errno((status as i32).wrapping_neg())),
        _ => Err(EPROTO),
    }
}
