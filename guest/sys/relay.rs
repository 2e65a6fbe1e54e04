// SPDX-License-Identifier: GPL-2.0

//! relay channels that are written, not read, in this kernel.
//!
//! relay's own writing functions protect a buffer by switching interrupts off, no more, and its
//! `relay_flush()` switches the buffers of other CPUs under their feet. Here a buffer has one
//! [`Writer`], and whoever holds that writer alone may touch it.
//!
//! C header: [`include/linux/relay.h`](srctree/include/linux/relay.h)

use crate::{
    abi::Geometry,
    bindings,
    sys::page::PagePtr, //
};
use core::{
    mem::size_of,
    ptr::{
        self,
        NonNull, //
    },
    slice, //
};
use kernel::{
    cpu,
    ffi::{
        c_char,
        c_int,
        c_void, //
    },
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    types::Opaque,
};

/// Bytes at the start of each sub-buffer that are kept for the packet's head.
pub(crate) const HEAD: usize = size_of::<bindings::virtio_vesper_packet>();

/// relay wants a dentry for each buffer, even where there is to be no file. It keeps none without
/// a base file name, and looks at none.
static NO_FILE: NoFile = NoFile(Opaque::zeroed());

struct NoFile(Opaque<bindings::dentry>);

// SAFETY: Nobody accesses what is inside: it serves as an address.
unsafe impl Sync for NoFile {}

static CALLBACKS: bindings::rchan_callbacks = bindings::rchan_callbacks {
    subbuf_start: Some(subbuf_start),
    create_buf_file: Some(create_buf_file),
    remove_buf_file: Some(remove_buf_file),
};

/// Decides whether writing may go on in the next sub-buffer, and keeps room for its head.
///
/// # Safety
///
/// `buf` is a buffer of a channel that [`Channel::open`] opened, and is not written meanwhile.
unsafe extern "C" fn subbuf_start(
    buf: *mut bindings::rchan_buf,
    _subbuf: *mut c_void,
    _prev_subbuf: *mut c_void,
) -> c_int {
    // SAFETY: Buffer and channel are valid by the contract above. `private_data` is only ever
    // compared with null.
    unsafe {
        let overwrite = !(*(*buf).chan).private_data.is_null();
        let unread = (*buf)
            .subbufs_produced
            .wrapping_sub((*buf).subbufs_consumed);
        if !overwrite && unread >= (*(*buf).chan).n_subbufs {
            return 0;
        }
        (*buf).offset = HEAD;
    }
    1
}

/// # Safety
///
/// Called by relay.
unsafe extern "C" fn create_buf_file(
    _name: *const c_char,
    _parent: *mut bindings::dentry,
    _mode: bindings::umode_t,
    _buf: *mut bindings::rchan_buf,
    _is_global: *mut c_int,
) -> *mut bindings::dentry {
    NO_FILE.0.get()
}

/// # Safety
///
/// Called by relay.
unsafe extern "C" fn remove_buf_file(_dentry: *mut bindings::dentry) -> c_int {
    0
}

/// A relay channel with a buffer for each CPU that has been online since it was opened.
///
/// # Invariants
///
/// `chan` is open, and `geometry` is its shape.
pub(crate) struct Channel {
    chan: NonNull<bindings::rchan>,
    geometry: Geometry,
    /// By CPU: the writer has been given out.
    claimed: KVec<Atomic<bool>>,
}

// SAFETY: What is reached through a `Channel` is constant, or reached through the one `Writer`.
unsafe impl Send for Channel {}

// SAFETY: As for `Send`.
unsafe impl Sync for Channel {}

impl Channel {
    /// Opens a channel. Process context; the caller holds CPU hotplug off if it wants to know
    /// which CPUs have got a buffer.
    pub(crate) fn open(geometry: Geometry, overwrite: bool) -> Result<Arc<Self>> {
        let mut claimed = KVec::new();
        for _ in 0..cpu::nr_cpu_ids() {
            claimed.push(Atomic::new(false), GFP_KERNEL)?;
        }
        let private: *mut c_void = if overwrite {
            NO_FILE.0.get().cast()
        } else {
            ptr::null_mut()
        };
        // SAFETY: `CALLBACKS` is static, the sizes are checked by their type.
        let chan = unsafe {
            bindings::relay_open(
                ptr::null(),
                ptr::null_mut(),
                geometry.subbuf_size(),
                geometry.n_subbufs(),
                &CALLBACKS,
                private,
            )
        };
        // INVARIANT: It is open from here until `drop`.
        let this = Self {
            chan: NonNull::new(chan).ok_or(ENOMEM)?,
            geometry,
            claimed,
        };
        Ok(Arc::new(this, GFP_KERNEL)?)
    }

    fn buf(&self, cpu: u32) -> Option<NonNull<bindings::rchan_buf>> {
        if cpu >= cpu::nr_cpu_ids() {
            return None;
        }
        // SAFETY: The channel is open and `cpu` is a CPU number. relay sets the pointer once.
        NonNull::new(unsafe { bindings::vesper_helper_relay_buf(self.chan.as_ptr(), cpu) })
    }

    /// The writer of the buffer of `cpu`: there is one for each buffer. `None` if it was given out
    /// already, or there is no such buffer.
    pub(crate) fn writer(self: &Arc<Self>, cpu: u32) -> Option<Writer> {
        let buf = self.buf(cpu)?;
        if self.claimed.get(cpu as usize)?.xchg(true, Relaxed) {
            return None;
        }
        // INVARIANT: `claimed` lets this happen once for each buffer.
        Some(Writer {
            channel: self.clone(),
            buf,
        })
    }

    /// A view of the buffer of `cpu`. `None` if there is no such buffer.
    pub(crate) fn view(self: &Arc<Self>, cpu: u32) -> Option<View> {
        Some(View {
            buf: self.buf(cpu)?,
            channel: self.clone(),
        })
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // SAFETY: The channel is open by the type invariant, and no writer or view is left, for
        // they hold references.
        unsafe { bindings::relay_close(self.chan.as_ptr()) };
    }
}

/// The memory of a buffer, to look at and to lend.
pub(crate) struct View {
    channel: Arc<Channel>,
    buf: NonNull<bindings::rchan_buf>,
}

// SAFETY: The fields of the buffer that are read here do not change after its creation.
unsafe impl Send for View {}

// SAFETY: As for `Send`.
unsafe impl Sync for View {}

impl View {
    /// The pages of the buffer, in order. They stay allocated as long as this view.
    pub(crate) fn pages(&self) -> &[PagePtr] {
        // SAFETY: `page_array` has `page_count` pointers to whole pages, none null, which live as
        // long as the channel, of which `self` has a reference. `PagePtr` is a transparent
        // `NonNull`.
        unsafe {
            slice::from_raw_parts(
                (*self.buf.as_ptr()).page_array.cast::<PagePtr>(),
                (*self.buf.as_ptr()).page_count as usize,
            )
        }
    }

    /// Copies what stands in the buffer from byte `at` on. Returns how many bytes it copied: fewer
    /// at the end of the buffer. A writer may be at work meanwhile.
    pub(crate) fn copy(&self, at: usize, to: &mut [u8]) -> usize {
        let len = to
            .len()
            .min(self.channel.geometry.bytes().saturating_sub(at));
        if len > 0 {
            // SAFETY: `at + len` is within the buffer, which is mapped as long as it lives. What is
            // read may be changing: it is bytes, and only shown.
            unsafe {
                let from = (*self.buf.as_ptr()).start.cast::<u8>().add(at);
                ptr::copy_nonoverlapping(from, to.as_mut_ptr(), len);
            }
        }
        len
    }
}

/// Room for a record: `end - pos` bytes of the open sub-buffer.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    /// First byte.
    pub(crate) pos: *mut u8,
    /// Behind the last.
    pub(crate) end: *mut u8,
}

/// The only one to write to a buffer.
///
/// # Invariants
///
/// There is no other `Writer` for `buf`, a live buffer of `channel`; relay itself changes a buffer
/// only when told to, by this type.
pub(crate) struct Writer {
    channel: Arc<Channel>,
    buf: NonNull<bindings::rchan_buf>,
}

// SAFETY: relay ties a buffer to no context; what matters is one writer at a time.
unsafe impl Send for Writer {}

impl Writer {
    #[inline]
    fn raw(&self) -> &bindings::rchan_buf {
        // SAFETY: The buffer lives as long as the channel, and nobody but `self` changes it.
        unsafe { self.buf.as_ref() }
    }

    #[inline]
    fn raw_mut(&mut self) -> &mut bindings::rchan_buf {
        // SAFETY: As above, and `self` is borrowed for writing.
        unsafe { self.buf.as_mut() }
    }

    /// The shape of the buffer.
    #[inline]
    pub(crate) fn geometry(&self) -> Geometry {
        self.channel.geometry
    }

    /// Whether there is no open sub-buffer: the next one was not free when the last was closed.
    #[inline]
    pub(crate) fn stopped(&self) -> bool {
        self.raw().offset > self.channel.geometry.subbuf_size()
    }

    /// Bytes used of the open sub-buffer, the head included.
    #[inline]
    pub(crate) fn offset(&self) -> usize {
        self.raw().offset
    }

    /// Bytes left in the open sub-buffer; none if there is no open one.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.channel
            .geometry
            .subbuf_size()
            .saturating_sub(self.raw().offset)
    }

    /// Sub-buffers closed so far: the number of the open one.
    #[inline]
    pub(crate) fn produced(&self) -> u64 {
        self.raw().subbufs_produced as u64
    }

    /// Sub-buffers that the reader is done with, as far as relay has been told.
    #[inline]
    pub(crate) fn consumed(&self) -> u64 {
        self.raw().subbufs_consumed as u64
    }

    /// Tells relay how many sub-buffers the reader is done with.
    #[inline]
    pub(crate) fn set_consumed(&mut self, consumed: u64) {
        self.raw_mut().subbufs_consumed = consumed as usize;
    }

    /// Closes the open sub-buffer, if there is one, and opens the next, if it is free. Afterwards,
    /// see [`Writer::stopped`].
    #[inline]
    pub(crate) fn switch(&mut self) {
        // SAFETY: The buffer is live, and nobody else is at it: `self` is borrowed for writing.
        // relay wakes readers by irq_work, so any context will do.
        unsafe { bindings::relay_switch_subbuf(self.buf.as_ptr(), 0) };
    }

    /// The room that is left in the open sub-buffer, if it is at least `len`, cut to `len`.
    #[inline]
    pub(crate) fn reserve(&mut self, len: usize) -> Option<Room> {
        if len > self.room() {
            return None;
        }
        let buf = self.raw_mut();
        // SAFETY: `offset + len` is within the sub-buffer that starts at `data`.
        unsafe {
            let pos = buf.data.cast::<u8>().add(buf.offset);
            Some(Room {
                pos,
                end: pos.add(len),
            })
        }
    }

    /// Makes `len` bytes that were written behind the used ones part of them. More than there is
    /// room for is cut.
    #[inline]
    pub(crate) fn advance(&mut self, len: usize) {
        let len = len.min(self.room());
        let buf = self.raw_mut();
        buf.offset = buf.offset.wrapping_add(len);
    }

    /// Puts the packet's head at the start of the sub-buffer that is open, or was last.
    #[inline]
    pub(crate) fn put_head(&mut self, head: bindings::virtio_vesper_packet) {
        // SAFETY: `data` is the start of the sub-buffer, page-aligned, and a sub-buffer is larger
        // than a head. The host may be reading: it does not look before it is told to.
        unsafe {
            self.raw_mut()
                .data
                .cast::<bindings::virtio_vesper_packet>()
                .write(head)
        };
    }
}
