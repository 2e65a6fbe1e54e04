// SPDX-License-Identifier: GPL-2.0

//! What bindgen makes of the two uapi headers, and nothing else.
//!
//! C headers: [`include/uapi/linux/vesper.h`] and
//! [`include/uapi/linux/virtio_vesper.h`].

#![allow(
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    clippy::all,
    clippy::undocumented_unsafe_blocks // of bindgen's own helpers, unused
)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
