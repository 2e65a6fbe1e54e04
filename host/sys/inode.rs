// SPDX-License-Identifier: GPL-2.0

//! Inodes: the lock that relay's read holds, and the mappings of a file.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    prelude::*,
    types::NotThreadSafe, //
};

/// A counted reference to an inode.
pub(crate) struct Inode(NonNull<bindings::inode>);

// SAFETY: Inodes may be used and put from any thread.
unsafe impl Send for Inode {}
// SAFETY: As above.
unsafe impl Sync for Inode {}

/// The inode's lock, held.
pub(crate) struct InodeGuard<'a> {
    inode: &'a Inode,
    _not_send: NotThreadSafe,
}

impl Inode {
    /// Takes a reference to the inode of a dentry.
    ///
    /// # Safety
    ///
    /// `dentry` is valid and positive.
    pub(super) unsafe fn of_dentry(dentry: *mut bindings::dentry) -> Result<Self> {
        // SAFETY: By the requirement of this function.
        let inode = unsafe { bindings::vesper_helper_dentry_inode(dentry) };
        let inode = NonNull::new(inode).ok_or(ENOENT)?;
        // SAFETY: The dentry holds a reference, so there is at least one.
        unsafe { bindings::ihold(inode.as_ptr()) };
        Ok(Self(inode))
    }

    /// Takes the lock, which relay's read holds while it copies to the user: this can take for
    /// ever. `EINTR` if the caller is killed meanwhile, which a worker never is.
    pub(crate) fn lock(&self) -> Result<InodeGuard<'_>> {
        // SAFETY: We hold a reference.
        match unsafe { bindings::vesper_helper_inode_lock(self.0.as_ptr()) } {
            0 => Ok(InodeGuard {
                inode: self,
                _not_send: NotThreadSafe,
            }),
            _ => Err(EINTR),
        }
    }

    /// Takes the lock if that is to be had at once.
    pub(crate) fn try_lock(&self) -> Option<InodeGuard<'_>> {
        // SAFETY: We hold a reference.
        match unsafe { bindings::vesper_helper_inode_trylock(self.0.as_ptr()) } {
            true => Some(InodeGuard {
                inode: self,
                _not_send: NotThreadSafe,
            }),
            // No guard may come to be here, not even to be dropped: that would unlock.
            false => None,
        }
    }

    /// Takes every page out of every mapping of the file, so that each is asked for anew.
    pub(crate) fn zap(&self) {
        // SAFETY: We hold a reference; a length of 0 means to the end of the file.
        unsafe { bindings::unmap_mapping_range((*self.0.as_ptr()).i_mapping, 0, 0, 1) };
    }
}

impl Drop for Inode {
    fn drop(&mut self) {
        // SAFETY: We hold the reference that is given back here.
        unsafe { bindings::iput(self.0.as_ptr()) };
    }
}

impl Drop for InodeGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: The guard exists, so this thread holds the lock.
        unsafe { bindings::vesper_helper_inode_unlock(self.inode.0.as_ptr()) };
    }
}
