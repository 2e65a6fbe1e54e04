// SPDX-License-Identifier: GPL-2.0

//! The two ABIs of VESPER, generated from their headers, with checked parsing.
//!
//! All of it is pure logic on slices: what comes from a guest is copied, then
//! checked, then used, and nothing here panics on what it is given.

pub mod bindings;
pub mod endian;
pub mod escape;
pub mod message;
pub mod name;
pub mod packet;
pub mod pattern;

/// The rules that the kernel modules compile too; re-exported where the tools
/// need them, and covered by the tests of this crate.
#[path = "../../../common/abi.rs"]
#[cfg_attr(test, allow(clippy::identity_op))] // A limit spelt out in its tests.
mod common;

/// Patterns of relay channels, as the kernel modules compile them too.
#[path = "../../../common/pattern.rs"]
mod common_pattern;

pub use version::{check_version, Older};

mod version;

// The shared file can't see the generated constants, so compare them here.
const _: () = {
    assert!(common::NAME_LEN == bindings::VESPER_NAME_LEN as usize);
    assert!(common::NAME_LEN == bindings::VIRTIO_VESPER_NAME_LEN as usize);
    assert!(common::PAGE_SIZE == bindings::VIRTIO_VESPER_PAGE_SIZE as usize);
    assert!(common::MAX_SUBBUFS == bindings::VIRTIO_VESPER_MAX_SUBBUFS as usize);
    assert!(common_pattern::PATTERN_LEN == bindings::VIRTIO_VESPER_PATTERN_LEN as usize);
    assert!(common_pattern::PATTERN_LEN == bindings::VESPER_PATTERN_LEN as usize);
};
