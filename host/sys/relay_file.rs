// SPDX-License-Identifier: GPL-2.0

//! The file of a relay channel built by hand.
//!
//! Open, poll, read and release go through relay's own functions, with the owner's steps around
//! them. Mapping does not: relay's fault handler hands out reference-counted file pages, which
//! pages of another process must never become. Here a mapping is shared, read-only and without
//! `struct page`, and can be emptied at any time.
//!
//! C header: [`include/linux/relay.h`](srctree/include/linux/relay.h)

use super::{
    debugfs::{
        self,
        Entry,
        Mode, //
    },
    relay::Relay, //
};
use crate::{
    bindings,
    later::{
        this_module,
        EOPNOTSUPP,
        VM_MAYSHARE, //
    },
};
use core::marker::PhantomData;
use kernel::{
    ffi::{
        c_int,
        c_long,
        c_uint,
        c_ulong,
        c_void, //
    },
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

/// What a relay file belongs to. An open file holds a reference to it.
pub(crate) trait Owner: Send + Sync + Sized + 'static {
    /// The channel.
    fn relay(&self) -> &Relay;

    /// Called when the file was opened. The entry is not removed before this returns.
    fn opened(this: ArcBorrow<'_, Self>);

    /// Reads up to `len` bytes through `file`.
    fn read(this: ArcBorrow<'_, Self>, file: &mut Reader, len: usize) -> Result<usize>;

    /// Called before poll looks.
    fn look(this: ArcBorrow<'_, Self>);

    /// Says whether there is something that relay does not know of. Called when poll has looked.
    fn has_more(this: ArcBorrow<'_, Self>) -> bool;

    /// Serves an ioctl.
    fn ioctl(this: ArcBorrow<'_, Self>, cmd: u32, arg: usize) -> Result<isize>;

    /// Calls `insert` with the frame number of page `index` while that page is sure to stay where
    /// it is; `None` if there is no such page.
    fn with_pfn<R>(&self, index: usize, insert: impl FnOnce(usize) -> R) -> Option<R>;
}

const EPOLLIN: bindings::__poll_t = 0x0001;
const EPOLLRDNORM: bindings::__poll_t = 0x0040;

/// One read call on an open file.
pub(crate) struct Reader {
    file: *mut bindings::file,
    user: *mut u8,
    pos: *mut bindings::loff_t,
}

impl Reader {
    /// Has relay read up to `len` bytes to where the last call left off. Returns how many; 0 means
    /// that there are none, or that the user's memory is bad.
    pub(crate) fn read_some(&mut self, len: usize) -> usize {
        // SAFETY: The static exists, and relay's read is there.
        let read = unsafe { bindings::relay_file_operations.read };
        let Some(read) = read else { return 0 };
        // SAFETY: A relay file, in a read call of its own; the user's pointer is checked by relay.
        let got = unsafe { read(self.file, self.user.cast(), len, self.pos) };
        let got = usize::try_from(got).unwrap_or(0);
        self.user = self.user.wrapping_add(got);
        got
    }

    /// Gives the user `bytes`, behind what it has been given; `EFAULT`.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result {
        UserSlice::new(UserPtr::from_ptr(self.user.cast()), bytes.len())
            .writer()
            .write_slice(bytes)?;
        self.user = self.user.wrapping_add(bytes.len());
        Ok(())
    }
}

struct Vtable<T>(PhantomData<T>);

impl<T: Owner> Vtable<T> {
    const FOPS: bindings::file_operations = bindings::file_operations {
        owner: this_module(),
        open: Some(Self::open),
        read: Some(Self::read),
        poll: Some(Self::poll),
        unlocked_ioctl: Some(Self::ioctl),
        compat_ioctl: bindings::compat_ptr_ioctl,
        mmap: Some(Self::mmap),
        release: Some(Self::release),
        llseek: Some(bindings::noop_llseek),
        ..pin_init::zeroed()
    };

    /// For a kernel that is locked down, which refuses to open a file that can be mapped or has
    /// ioctls.
    const READ_ONLY: bindings::file_operations = bindings::file_operations {
        unlocked_ioctl: None,
        compat_ioctl: None,
        mmap: None,
        ..Self::FOPS
    };

    const VM_OPS: bindings::vm_operations_struct = bindings::vm_operations_struct {
        fault: Some(Self::fault),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// `buf` is that of a live owner's channel, for as long as the borrow is used.
    unsafe fn owner<'a>(buf: *const bindings::rchan_buf) -> ArcBorrow<'a, T> {
        // SAFETY: `create` set the owner before any file could be opened.
        unsafe { ArcBorrow::from_raw((*(*buf).chan).private_data.cast_const().cast::<T>()) }
    }

    /// # Safety
    ///
    /// `file` is one opened by `open`, for as long as the borrow is used.
    unsafe fn owner_of_file<'a>(file: *mut bindings::file) -> ArcBorrow<'a, T> {
        // SAFETY: relay's open put the buffer there, and the file holds a reference to its owner.
        unsafe { Self::owner((*file).private_data.cast()) }
    }

    /// # Safety
    ///
    /// Called by debugfs, which keeps the entry from being removed meanwhile.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: The static exists.
        let Some(open) = (unsafe { bindings::relay_file_operations.open }) else {
            return EOPNOTSUPP.to_errno();
        };
        // SAFETY: The entry exists, so its owner does.
        let owner: Arc<T> = unsafe { Self::owner((*inode).i_private.cast()) }.into();
        // SAFETY: relay's open finds its buffer in `i_private`.
        let ret = unsafe { open(inode, file) };
        if ret == 0 {
            T::opened(owner.as_arc_borrow());
            // The file's reference, given back by `release`.
            let _ = Arc::into_raw(owner);
        }
        ret
    }

    /// # Safety
    ///
    /// Called by the VFS for the last user of a file opened by `open`.
    unsafe extern "C" fn release(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: relay's open put the buffer there; this takes over the file's reference.
        let owner = unsafe {
            let buf = (*file).private_data.cast::<bindings::rchan_buf>();
            Arc::from_raw((*(*buf).chan).private_data.cast_const().cast::<T>())
        };
        // SAFETY: The static exists.
        if let Some(release) = unsafe { bindings::relay_file_operations.release } {
            // SAFETY: Opened by relay's open. This puts no last reference, by the invariants of
            // `Relay`.
            unsafe { release(inode, file) };
        }
        drop(owner);
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
        let mut reader = Reader { file, user, pos };
        // SAFETY: By the requirement of this function.
        match T::read(unsafe { Self::owner_of_file(file) }, &mut reader, len) {
            Ok(done) => done as isize,
            Err(err) => err.to_errno() as isize,
        }
    }

    /// # Safety
    ///
    /// Called by the VFS for a file opened by `open`.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: The static exists.
        let Some(poll) = (unsafe { bindings::relay_file_operations.poll }) else {
            return 0;
        };
        // SAFETY: By the requirement of this function.
        let owner = unsafe { Self::owner_of_file(file) };
        T::look(owner);
        // SAFETY: Opened by relay's open.
        let found = unsafe { poll(file, table) };
        // Behind the registration: who takes the last sub-buffer out in between is seen here.
        match T::has_more(owner) {
            true => found | EPOLLIN | EPOLLRDNORM,
            false => found,
        }
    }

    /// # Safety
    ///
    /// Called by the VFS for a file opened by `open`.
    unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
        // SAFETY: By the requirement of this function.
        match T::ioctl(unsafe { Self::owner_of_file(file) }, cmd, arg) {
            Ok(ret) => ret,
            Err(err) => err.to_errno() as c_long,
        }
    }

    /// # Safety
    ///
    /// Called by the VFS for a file opened by `open`, with a new `vma`.
    unsafe extern "C" fn mmap(
        file: *mut bindings::file,
        vma: *mut bindings::vm_area_struct,
    ) -> c_int {
        // SAFETY: By the requirement of this function.
        let bytes = unsafe { Self::owner_of_file(file) }
            .relay()
            .geometry()
            .bytes();
        // SAFETY: The area is new and ours to set up.
        let (flags, start, end, offset) = unsafe {
            (
                (*vma).__bindgen_anon_2.vm_flags,
                (*vma).__bindgen_anon_1.__bindgen_anon_1.vm_start,
                (*vma).__bindgen_anon_1.__bindgen_anon_1.vm_end,
                (*vma).vm_pgoff,
            )
        };
        // A shared mapping of a file that is open for reading only has lost VM_SHARED by now.
        let shared = flags & VM_MAYSHARE != 0;
        if flags & bindings::VM_WRITE != 0 {
            return EACCES.to_errno();
        }
        if !shared || offset != 0 || end.wrapping_sub(start) != bytes {
            return EINVAL.to_errno();
        }
        // SAFETY: The area is new; the flags make a mapping of frames, never writable, never
        // longer. The file lives as long as the area, and the owner as long as the file.
        unsafe {
            bindings::vesper_helper_vm_flags_mod(
                vma,
                bindings::VM_PFNMAP
                    | bindings::VM_IO
                    | bindings::VM_DONTEXPAND
                    | bindings::VM_DONTDUMP,
                bindings::VM_MAYWRITE,
            );
            (*vma).vm_private_data = (*file).private_data;
            (*vma).vm_ops = &Self::VM_OPS;
        }
        0
    }

    /// # Safety
    ///
    /// Called by the kernel for an area set up by `mmap`.
    unsafe extern "C" fn fault(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: The fault is valid, and the area is one of ours, whose file is open.
        let (vma, addr, index, owner) = unsafe {
            let vma = (*vmf).__bindgen_anon_1.vma;
            (
                vma,
                (*vmf).__bindgen_anon_1.address,
                (*vmf).__bindgen_anon_1.pgoff,
                Self::owner((*vma).vm_private_data.cast()),
            )
        };
        owner
            .with_pfn(index, |pfn| {
                // SAFETY: A frame mapping; the owner keeps the page until it has zapped this.
                unsafe { bindings::vmf_insert_pfn(vma, addr, pfn) }
            })
            .unwrap_or(bindings::vm_fault_reason_VM_FAULT_SIGBUS)
    }
}

/// Makes the file of a channel; it appears when this returns.
///
/// The entry must be dropped before the last reference to `owner`, which is not counted for it.
pub(crate) fn create<T: Owner>(owner: &Arc<T>, name: &CStr, parent: &Entry) -> Result<Entry> {
    let relay = owner.relay();
    // SAFETY: No file exists yet: callers create one only.
    unsafe { relay.set_owner(Arc::as_ptr(owner).cast::<c_void>()) };
    let fops = match debugfs::locked_down() {
        true => &Vtable::<T>::READ_ONLY,
        false => &Vtable::<T>::FOPS,
    };
    // SAFETY: `i_private` is what relay's functions expect. The owner outlives the entry.
    unsafe { Entry::file(name, parent, Mode::Read, relay.as_private(), fops) }
}
