// SPDX-License-Identifier: GPL-2.0

//! relay channels that others have opened: found, held, looked at, never changed.
//!
//! C header: [`include/linux/relay.h`](srctree/include/linux/relay.h)

use crate::{
    bindings,
    sys::page::PagePtr, //
};
use core::{
    marker::PhantomData,
    ptr::{
        addr_of,
        NonNull, //
    },
    slice, //
};
use kernel::{
    error::to_result,
    ffi::c_void,
    prelude::*, //
};

/// A channel of our own, which leads to all others.
pub(crate) struct Anchor(NonNull<bindings::rchan>);

// SAFETY: It is only passed to relay's functions, which may be called from any thread.
unsafe impl Send for Anchor {}

impl Anchor {
    /// Opens it. Process context.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: No requirements but process context.
        let chan = unsafe { bindings::vesper_helper_relay_anchor() };
        Ok(Self(NonNull::new(chan).ok_or(ENOMEM)?))
    }

    /// Calls `each` for every channel that has files. None is opened or closed meanwhile, and none
    /// may be from within. Process context.
    pub(crate) fn walk<F: FnMut(&Open<'_>)>(&self, mut each: F) -> Result {
        /// # Safety
        ///
        /// `data` is a valid `&mut F`, `chan` a channel that stays open until this returns.
        unsafe extern "C" fn call<F: FnMut(&Open<'_>)>(
            data: *mut c_void,
            chan: *mut bindings::rchan,
        ) {
            if let Some(chan) = NonNull::new(chan) {
                // SAFETY: By the contract above.
                unsafe { (*data.cast::<F>())(&Open(chan, PhantomData)) }
            }
        }
        // SAFETY: The channel is open until `drop`, `each` lives until the call returns.
        to_result(unsafe {
            bindings::vesper_helper_relay_walk(
                self.0.as_ptr(),
                Some(call::<F>),
                core::ptr::from_mut(&mut each).cast(),
            )
        })
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        // SAFETY: Opened by `new`, and nobody else knows of it.
        unsafe { bindings::relay_close(self.0.as_ptr()) };
    }
}

/// A channel that is open for the time of a look at it.
pub(crate) struct Open<'a>(NonNull<bindings::rchan>, PhantomData<&'a ()>);

impl Open<'_> {
    fn raw(&self) -> *mut bindings::rchan {
        self.0.as_ptr()
    }

    /// What tells it from others as long as a buffer of it is held.
    pub(crate) fn id(&self) -> usize {
        self.raw() as usize
    }

    /// Bytes in a sub-buffer, and sub-buffers in a buffer.
    pub(crate) fn shape(&self) -> (usize, usize) {
        // SAFETY: The channel is open; both are constant.
        unsafe { ((*self.raw()).subbuf_size, (*self.raw()).n_subbufs) }
    }

    /// Whether there is one buffer for all CPUs.
    pub(crate) fn is_global(&self) -> bool {
        // SAFETY: The channel is open, and its buffers have been made.
        unsafe { (*self.raw()).is_global != 0 }
    }

    /// The base name of its files.
    pub(crate) fn name(&self) -> &[u8] {
        // SAFETY: The channel is open, and the name constant and terminated.
        unsafe { CStr::from_char_ptr(addr_of!((*self.raw()).base_filename).cast()) }.to_bytes()
    }

    /// The buffer of CPU `cpu`, if there is one.
    pub(crate) fn buffer(&self, cpu: u32) -> Option<Buffer> {
        if cpu >= kernel::cpu::nr_cpu_ids() {
            return None;
        }
        // SAFETY: The channel is open, `cpu` is the number of one.
        NonNull::new(unsafe { bindings::vesper_helper_relay_buf_get(self.raw(), cpu) }).map(Buffer)
    }

    /// Writes the path of its files in their file system, less the CPU's number, to `text`; returns
    /// its length. `buffer` is one of its buffers.
    pub(crate) fn path(&self, buffer: &Buffer, text: &mut [u8]) -> Result<usize> {
        // SAFETY: The buffer is held, its files are there, and `text` is as long as is said.
        let len = unsafe {
            bindings::vesper_helper_relay_path(
                buffer.0.as_ptr(),
                text.as_mut_ptr().cast(),
                text.len(),
            )
        };
        to_result(len.min(0))?;
        Ok(len as usize)
    }
}

/// A buffer of a channel of others, held: its pages are there, also after the channel was closed.
pub(crate) struct Buffer(NonNull<bindings::rchan_buf>);

// SAFETY: What of it is read here is constant or read with single accesses.
unsafe impl Send for Buffer {}

// SAFETY: As for `Send`.
unsafe impl Sync for Buffer {}

/// How far the writer of a buffer is.
#[derive(Clone, Copy)]
pub(crate) struct State {
    /// Sub-buffers closed.
    pub(crate) produced: u64,
    /// Bytes used of the open one; `None` if none is open.
    pub(crate) used: Option<usize>,
    /// How often there was none to go on in.
    pub(crate) full: u64,
}

impl Buffer {
    fn raw(&self) -> *mut bindings::rchan_buf {
        self.0.as_ptr()
    }

    /// Whether it is the one at that address.
    pub(crate) fn is(&self, address: usize) -> bool {
        self.raw() as usize == address
    }

    /// Its pages, in order.
    pub(crate) fn pages(&self) -> &[PagePtr] {
        // SAFETY: `page_array` has `page_count` pointers to whole pages, none null, which live as
        // long as the buffer, of which `self` holds a reference. `PagePtr` is a transparent
        // `NonNull`.
        unsafe {
            slice::from_raw_parts(
                (*self.raw()).page_array.cast::<PagePtr>(),
                (*self.raw()).page_count as usize,
            )
        }
    }

    /// How far its writer is: true where the writer is kept from going on meanwhile.
    pub(crate) fn state(&self) -> State {
        // SAFETY: The buffer is held. Its writer may be at work: single accesses.
        let (produced, offset, full) = unsafe {
            (
                addr_of!((*self.raw()).subbufs_produced).read_volatile(),
                addr_of!((*self.raw()).offset).read_volatile(),
                addr_of!((*self.raw()).stats.full_count).read_volatile(),
            )
        };
        // SAFETY: A buffer that is held holds its channel, where this is constant.
        let size = unsafe { (*(*self.raw()).chan).subbuf_size };
        State {
            produced: produced as u64,
            used: (offset <= size).then_some(offset),
            full: u64::from(full),
        }
    }

    /// Unused bytes at the end of the closed sub-buffer in `slot`, which must be below the number
    /// of sub-buffers.
    pub(crate) fn padding(&self, slot: usize) -> usize {
        // SAFETY: The buffer is held; there is one word for each sub-buffer.
        unsafe {
            let count = (*(*self.raw()).chan).n_subbufs;
            match slot < count {
                true => (*self.raw()).padding.add(slot).read_volatile(),
                false => 0,
            }
        }
    }

    /// Whether its channel was closed.
    pub(crate) fn finalized(&self) -> bool {
        // SAFETY: The buffer is held.
        unsafe { addr_of!((*self.raw()).finalized).read_volatile() != 0 }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: The reference that `Open::buffer` took. Process context: who has a buffer of
        // others lends it, and what is lent is dropped there.
        unsafe { bindings::vesper_helper_relay_buf_put(self.0.as_ptr()) };
    }
}

/// What a switch was about: the address of the buffer, of its channel, and the buffer's CPU.
///
/// # Safety
///
/// `buf` is the address of a buffer that somebody is just switching.
pub(crate) unsafe fn switched(buf: usize) -> Option<(usize, u32)> {
    let buf = NonNull::new(buf as *mut bindings::rchan_buf)?;
    // SAFETY: By the contract above it is there; both are constant.
    unsafe { Some(((*buf.as_ptr()).chan as usize, (*buf.as_ptr()).cpu)) }
}
