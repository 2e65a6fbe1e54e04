// SPDX-License-Identifier: GPL-2.0

//! The structures of the device ABI as plain bytes.
//!
//! C header: `include/uapi/linux/virtio_vesper.h`

use crate::bindings;
use kernel::transmute::{
    AsBytes,
    FromBytes, //
};

/// Declares that structures are made of integers only, and sum up without padding.
macro_rules! plain {
    ($($name:ident: $size:literal,)*) => {$(
        const _: () = assert!(size_of::<bindings::$name>() == $size);

        // SAFETY: Integers and arrays of integers: every bit pattern is valid.
        unsafe impl FromBytes for bindings::$name {}

        // SAFETY: The size asserted is the sum of the sizes of the fields, so there is no padding
        // that could be uninitialised.
        unsafe impl AsBytes for bindings::$name {}
    )*};
}

plain! {
    virtio_vesper_buffer: 32,
    virtio_vesper_config: 128,
    virtio_vesper_data: 24,
    virtio_vesper_fragment: 32,
    virtio_vesper_hdr: 16,
    virtio_vesper_hello: 344,
    virtio_vesper_load: 96,
    virtio_vesper_metadata: 24,
    virtio_vesper_notify: 32,
    virtio_vesper_open: 192,
    virtio_vesper_reply: 32,
    virtio_vesper_result: 352,
    virtio_vesper_share: 144,
    virtio_vesper_unload: 80,
}
