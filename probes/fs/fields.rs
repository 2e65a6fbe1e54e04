// SPDX-License-Identifier: GPL-2.0

//! What only C can read of the structures that the probe points pass.
//!
//! C header: `fields.h`

use crate::vesper::Text;
use core::ptr;
use kernel::{
    bindings::{
        fs_context,
        inode,
        super_block, //
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
pub(crate) mod bindings {
    include!("bindings_generated.rs");
}

pub(crate) use bindings::fs_volume as Volume;

impl Volume {
    /// Reads which file system it is.
    ///
    /// # Safety
    ///
    /// It is mounted, as long as the result is used.
    pub(crate) unsafe fn read(sb: *const super_block) -> Self {
        let mut volume = Self {
            type_: c"".as_char_ptr(),
            name: [0; 32],
            major: 0,
            minor: 0,
        };
        // SAFETY: By the contract above; the other is a local.
        unsafe { bindings::fs_read_volume(sb, ptr::from_mut(&mut volume)) };
        volume
    }

    /// Name of its kind.
    pub(crate) fn kind(&self) -> Text<'_> {
        // SAFETY: A string that is there as long as the file system is mounted, by the contract of
        // `read`.
        Text(unsafe { CStr::from_char_ptr(self.type_) }.to_bytes())
    }

    /// Its own name: mostly that of its block device.
    pub(crate) fn name(&self) -> Text<'_> {
        Text(&self.name)
    }
}

/// Number of an inode, 0 for none.
///
/// # Safety
///
/// `inode` is null or held.
pub(crate) unsafe fn inode_number(inode: *const inode) -> u64 {
    // SAFETY: By the contract above.
    unsafe { bindings::fs_inode_number(inode) }
}

/// Whether a call that returns to `address` was made by `function`. Any context.
pub(crate) fn is_within(address: usize, function: &CStr) -> bool {
    // SAFETY: The function is a string; any address will do.
    unsafe { bindings::fs_is_within(address, function.as_char_ptr()) }
}

/// The file system that a reconfiguration makes read-only, and whether by force.
///
/// # Safety
///
/// `context` is that of a reconfiguration that has not ended.
pub(crate) unsafe fn goes_readonly(context: *const fs_context) -> Option<(Volume, bool)> {
    let mut forced = false;
    // SAFETY: By the contract above; the other is a local. What is reconfigured is mounted.
    unsafe {
        let sb = bindings::fs_goes_readonly(context, ptr::from_mut(&mut forced));
        (!sb.is_null()).then(|| (Volume::read(sb), forced))
    }
}
