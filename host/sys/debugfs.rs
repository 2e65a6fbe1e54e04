// SPDX-License-Identifier: GPL-2.0

//! debugfs directories and files that have file operations of their own.
//!
//! Files are made with `debugfs_create_file_unsafe()`: debugfs guards only their opening against
//! removal, and an open file keeps alive what it needs. That allows mappings, and whoever has a
//! file open does not hold up its removal. Who holds its inode lock does, as a reader of a relay
//! file does who sits in the middle of a copy: `simple_recursive_removal()` takes that of each
//! file.
//!
//! C header: [`include/linux/debugfs.h`](srctree/include/linux/debugfs.h)

use super::inode::Inode;
use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    error::from_err_ptr,
    ffi::c_void,
    prelude::*,
    str::CStr, //
};

/// Says whether lockdown keeps debugfs to files that can only be read.
pub(super) fn locked_down() -> bool {
    // SAFETY: No requirements.
    unsafe { bindings::vesper_helper_debugfs_locked_down() }
}

/// What root may do with a file; others may do nothing.
#[derive(Clone, Copy)]
pub(crate) enum Mode {
    /// Mode 0400.
    Read,
    /// Mode 0600.
    ReadWrite,
}

/// A directory or a file; dropping it removes it, a directory with everything in it.
pub(crate) struct Entry(NonNull<bindings::dentry>);

// SAFETY: debugfs entries may be used and removed from any thread.
unsafe impl Send for Entry {}
// SAFETY: As above.
unsafe impl Sync for Entry {}

impl Entry {
    fn new(dentry: *mut bindings::dentry) -> Result<Self> {
        NonNull::new(from_err_ptr(dentry)?).map(Self).ok_or(ENODEV)
    }

    /// Makes a directory in `parent`, or at the top of debugfs. `EEXIST`, `ENOMEM`; `EPERM` where
    /// debugfs is off.
    pub(crate) fn dir(name: &CStr, parent: Option<&Entry>) -> Result<Self> {
        let parent = parent.map_or(core::ptr::null_mut(), |p| p.0.as_ptr());
        // SAFETY: The name is terminated; the parent is null or valid.
        Self::new(unsafe { bindings::debugfs_create_dir(name.as_char_ptr(), parent) })
    }

    /// Makes a file in `parent`.
    ///
    /// # Safety
    ///
    /// `data` is what `fops` expects to find in `i_private`, and stays valid until the entry is
    /// dropped. `fops.owner` is this module.
    pub(super) unsafe fn file(
        name: &CStr,
        parent: &Entry,
        mode: Mode,
        data: *mut c_void,
        fops: &'static bindings::file_operations,
    ) -> Result<Self> {
        let mode = match mode {
            Mode::Read => 0o400,
            Mode::ReadWrite => 0o600,
        };
        // SAFETY: The name is terminated, the parent valid, and the rest as required above.
        Self::new(unsafe {
            bindings::debugfs_create_file_unsafe(
                name.as_char_ptr(),
                mode,
                parent.0.as_ptr(),
                data,
                fops,
            )
        })
    }

    /// Gives it another name in its directory; `EEXIST` if that is taken.
    pub(crate) fn rename(&self, name: &CStr) -> Result {
        // SAFETY: The dentry is valid until `self` is dropped.
        kernel::error::to_result(unsafe {
            bindings::vesper_helper_rename(self.0.as_ptr(), name.as_char_ptr())
        })
    }

    /// Its inode, which may outlive it.
    pub(crate) fn inode(&self) -> Result<Inode> {
        // SAFETY: The dentry is valid and positive until `self` is dropped.
        unsafe { Inode::of_dentry(self.0.as_ptr()) }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // SAFETY: The dentry is valid; nobody else removes it. Waits for an open in progress, and
        // for who has the inode's lock.
        unsafe { bindings::debugfs_remove(self.0.as_ptr()) };
    }
}
