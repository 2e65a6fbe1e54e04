// SPDX-License-Identifier: GPL-2.0

//! A file that holds a number, as decimal text.
//!
//! Every read at offset 0 looks anew, so that a file may be kept open.

use super::debugfs::{
    Entry,
    Mode, //
};
use crate::{
    bindings,
    later::this_module, //
};
use core::{
    fmt::Write as _,
    marker::PhantomData, //
};
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

/// Longest number, with its line's end.
const LEN: usize = 21;

/// What a file of this kind shows of an owner. An open file holds a reference to that.
pub(crate) trait Number: 'static {
    /// Whose number it is.
    type Owner: Send + Sync + 'static;

    /// Whether it can be written.
    const MODE: Mode;

    /// The number.
    fn get(owner: &Self::Owner) -> u64;

    /// Sets it. `EINVAL` if it cannot be that.
    fn set(_owner: ArcBorrow<'_, Self::Owner>, _value: u64) -> Result {
        Err(EINVAL)
    }
}

/// A line of text.
struct Line {
    bytes: [u8; LEN],
    len: usize,
}

impl Line {
    fn new(number: u64) -> Self {
        let mut line = Self {
            bytes: [0; LEN],
            len: 0,
        };
        // It fits.
        let _ = writeln!(line, "{number}");
        line
    }

    fn parse(&self) -> Result<u64> {
        let text = self.bytes.get(..self.len).ok_or(EINVAL)?;
        let text = core::str::from_utf8(text)?;
        text.trim_ascii().parse().map_err(|_| EINVAL)
    }
}

impl core::fmt::Write for Line {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        let end = self.len.saturating_add(s.len());
        let room = self.bytes.get_mut(self.len..end).ok_or(core::fmt::Error)?;
        room.copy_from_slice(s.as_bytes());
        self.len = end;
        Ok(())
    }
}

struct Vtable<N>(PhantomData<N>);

impl<N: Number> Vtable<N> {
    const FOPS: bindings::file_operations = bindings::file_operations {
        owner: this_module(),
        open: Some(Self::open),
        read: Some(Self::read),
        write: Some(Self::write),
        release: Some(Self::release),
        llseek: Some(bindings::generic_file_llseek),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by debugfs, which keeps the entry from being removed meanwhile.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: The entry exists, so its owner does, see `create`.
        let owner =
            unsafe { ArcBorrow::from_raw((*inode).i_private.cast_const().cast::<N::Owner>()) };
        // SAFETY: The file is being opened. The reference is given back by `release`.
        unsafe { (*file).private_data = Arc::into_raw(owner.into()).cast_mut().cast() };
        0
    }

    /// # Safety
    ///
    /// Called by the VFS for the last user of a file opened by `open`.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: `open` put it there.
        drop(unsafe { Arc::from_raw((*file).private_data.cast_const().cast::<N::Owner>()) });
        0
    }

    /// # Safety
    ///
    /// `file` is one opened by `open`, in use for as long as the borrow is.
    unsafe fn owner<'a>(file: *mut bindings::file) -> ArcBorrow<'a, N::Owner> {
        // SAFETY: `open` put it there, and the file holds a reference.
        unsafe { ArcBorrow::from_raw((*file).private_data.cast_const().cast::<N::Owner>()) }
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
        // SAFETY: The VFS says so.
        let owner = unsafe { Self::owner(file) };
        let line = Line::new(N::get(&owner));
        // SAFETY: The VFS gives a valid pointer.
        let offset = unsafe { *pos };
        let from = usize::try_from(offset).unwrap_or(LEN).min(line.len);
        let text = &line.bytes[from..line.len];
        let text = &text[..text.len().min(len)];
        let mut writer = UserSlice::new(UserPtr::from_ptr(user.cast()), text.len()).writer();
        match writer.write_slice(text) {
            Ok(()) => {
                // SAFETY: As above.
                unsafe { *pos = offset.wrapping_add(text.len() as i64) };
                text.len() as isize
            }
            Err(err) => err.to_errno() as isize,
        }
    }

    /// # Safety
    ///
    /// Called by the VFS for a file opened by `open`.
    unsafe extern "C" fn write(
        file: *mut bindings::file,
        user: *const u8,
        len: usize,
        _pos: *mut bindings::loff_t,
    ) -> isize {
        // SAFETY: The VFS says so.
        let owner = unsafe { Self::owner(file) };
        let written = || -> Result {
            let mut line = Line {
                bytes: [0; LEN],
                len,
            };
            let room = line.bytes.get_mut(..len).ok_or(EINVAL)?;
            UserSlice::new(UserPtr::from_ptr(user.cast_mut().cast()), len)
                .reader()
                .read_slice(room)?;
            N::set(owner, line.parse()?)
        };
        match written() {
            Ok(()) => len as isize,
            Err(err) => err.to_errno() as isize,
        }
    }
}

/// Makes the file; it appears when this returns.
///
/// The entry must be dropped before the last reference to `owner`, which is not counted for it.
pub(crate) fn create<N: Number>(
    owner: &Arc<N::Owner>,
    name: &CStr,
    parent: &Entry,
) -> Result<Entry> {
    // SAFETY: `i_private` is what `open` expects. The owner outlives the entry.
    unsafe {
        Entry::file(
            name,
            parent,
            N::MODE,
            Arc::as_ptr(owner).cast_mut().cast(),
            &Vtable::<N>::FOPS,
        )
    }
}
