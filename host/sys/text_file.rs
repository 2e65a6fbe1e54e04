// SPDX-License-Identifier: GPL-2.0

//! A read-only, seekable file of text that may grow.

use super::debugfs::{
    Entry,
    Mode, //
};
use crate::{
    bindings,
    later::this_module, //
};
use core::marker::PhantomData;
use kernel::{
    ffi::c_int,
    prelude::*,
    str::CStr,
    sync::{
        Arc,
        ArcBorrow, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

/// Where the text comes from. An open file holds a reference to it.
pub(crate) trait Text: Send + Sync + Sized + 'static {
    /// Copies text from `offset` on to `out`; returns how many bytes, 0 at the end.
    fn copy(&self, offset: usize, out: &mut [u8]) -> usize;

    /// Called when an open file is closed. May remove the entry.
    fn closed(&self);
}

struct Vtable<T>(PhantomData<T>);

impl<T: Text> Vtable<T> {
    const FOPS: bindings::file_operations = bindings::file_operations {
        owner: this_module(),
        open: Some(Self::open),
        read: Some(Self::read),
        release: Some(Self::release),
        llseek: Some(bindings::generic_file_llseek),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by debugfs, which keeps the entry from being removed meanwhile.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: The entry exists, so the text does.
        let text = unsafe { ArcBorrow::from_raw((*inode).i_private.cast_const().cast::<T>()) };
        // SAFETY: The file is being opened. The reference is given back by `release`.
        unsafe { (*file).private_data = Arc::into_raw(text.into()).cast_mut().cast() };
        0
    }

    /// # Safety
    ///
    /// Called by the VFS for the last user of a file opened by `open`.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: `open` put it there.
        let text = unsafe { Arc::from_raw((*file).private_data.cast_const().cast::<T>()) };
        text.closed();
        0
    }

    /// # Safety
    ///
    /// Called by the VFS for a file opened by `open`.
    unsafe extern "C" fn read(
        file: *mut bindings::file,
        user: *mut u8,
        len: usize,
        pos: *mut bindings::loff_t,
    ) -> isize {
        // SAFETY: `open` put it there, and the file is in use.
        let text = unsafe { ArcBorrow::from_raw((*file).private_data.cast_const().cast::<T>()) };
        // SAFETY: The VFS gives a valid pointer.
        let offset = unsafe { *pos };
        match Self::copy(text, user, len, offset) {
            Ok(done) => {
                // SAFETY: As above.
                unsafe { *pos = offset.wrapping_add(done as i64) };
                done as isize
            }
            Err(err) => err.to_errno() as isize,
        }
    }

    fn copy(text: ArcBorrow<'_, T>, user: *mut u8, len: usize, offset: i64) -> Result<usize> {
        let offset = usize::try_from(offset)?;
        let mut chunk = KVec::from_elem(0u8, len.min(crate::abi::PAGE_SIZE), GFP_KERNEL)?;
        let got = text.copy(offset, &mut chunk);
        let got = got.min(chunk.len());
        UserSlice::new(UserPtr::from_ptr(user.cast()), got)
            .writer()
            .write_slice(&chunk[..got])?;
        Ok(got)
    }
}

/// Makes the file; it appears when this returns.
///
/// The entry must be dropped before the last reference to `text`, which is not counted for it.
pub(crate) fn create<T: Text>(text: &Arc<T>, name: &CStr, parent: &Entry) -> Result<Entry> {
    // SAFETY: `i_private` is what `open` expects. The text outlives the entry.
    unsafe {
        Entry::file(
            name,
            parent,
            Mode::Read,
            Arc::as_ptr(text).cast_mut().cast(),
            &Vtable::<T>::FOPS,
        )
    }
}
