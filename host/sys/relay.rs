// SPDX-License-Identifier: GPL-2.0

//! A relay channel built by hand over memory that relay did not allocate.
//!
//! relay's own functions serve open, poll and read of it; its destructor must never run, because
//! it would free pages that are not its own. The base reference of the buffer sees to that: it is
//! never put, the memory goes with the Rust object.
//!
//! `offset` stays beyond the sub-buffer size for good. That tells relay's read that only closed
//! sub-buffers can be read, and keeps it from throwing the oldest away when all are full
//! (`relay_file_read_avail()`).
//!
//! C header: [`include/linux/relay.h`](srctree/include/linux/relay.h)

use super::inode::InodeGuard;
use crate::{
    abi::Geometry,
    bindings, //
};
use core::ptr::{
    addr_of_mut,
    NonNull, //
};
use kernel::{
    ffi::c_void,
    prelude::*,
    sync::atomic::{
        atomic_load,
        atomic_store,
        Acquire,
        Relaxed,
        Release, //
    },
    types::Opaque,
};

/// Nobody writes, switches or closes these channels through relay, so none is ever called.
static CALLBACKS: Callbacks = Callbacks(bindings::rchan_callbacks {
    subbuf_start: None,
    create_buf_file: None,
    remove_buf_file: None,
});

#[repr(transparent)]
struct Callbacks(bindings::rchan_callbacks);

// SAFETY: Immutable.
unsafe impl Sync for Callbacks {}

/// A `struct rchan` with its one buffer.
///
/// # Invariants
///
/// `chan` and `buf` are initialised and refer to each other; `buf.padding` points at `padding`,
/// which has an element for each sub-buffer. `buf.kref` has a reference that is never put.
#[pin_data(PinnedDrop)]
pub(crate) struct Relay {
    geometry: Geometry,
    padding: KVVec<usize>,
    #[pin]
    chan: Opaque<bindings::rchan>,
    #[pin]
    buf: Opaque<bindings::rchan_buf>,
}

// SAFETY: relay's structures may be used from any thread.
unsafe impl Send for Relay {}
// SAFETY: The fields that change are accessed atomically, or under the inode lock.
unsafe impl Sync for Relay {}

impl Relay {
    /// Builds a channel over `start`, of which sub-buffers up to number `consumed` are done with.
    ///
    /// # Safety
    ///
    /// `geometry.bytes()` bytes at `start` stay mapped until [`Relay::replace`] or until the last
    /// reader is gone.
    pub(crate) unsafe fn new(
        geometry: Geometry,
        start: NonNull<u8>,
        consumed: u64,
    ) -> impl PinInit<Self, Error> {
        let shape = geometry;
        try_pin_init!(&this in Self {
            geometry: shape,
            padding: KVVec::from_elem(0, shape.n_subbufs(), GFP_KERNEL_ACCOUNT)?,
            chan <- Opaque::ffi_init(move |slot: *mut bindings::rchan| {
                let chan = bindings::rchan {
                    version: bindings::RELAYFS_CHANNEL_VERSION,
                    subbuf_size: shape.subbuf_size(),
                    n_subbufs: shape.n_subbufs(),
                    alloc_size: shape.bytes(),
                    cb: &CALLBACKS.0,
                    is_global: 1,
                    ..pin_init::zeroed()
                };
                // SAFETY: `slot` is valid for writes. The list head is made empty, so that a
                // removal from relay's list of channels would do no harm.
                unsafe {
                    slot.write(chan);
                    let list = addr_of_mut!((*slot).list);
                    (*list).next = list;
                    (*list).prev = list;
                    (*slot).kref.refcount.refs.counter = 1;
                }
            }),
            buf <- Opaque::try_ffi_init(move |slot: *mut bindings::rchan_buf| {
                // SAFETY: `chan` was initialised just before.
                let chan = unsafe { addr_of_mut!((*this.as_ptr()).chan) }.cast::<bindings::rchan>();
                // SAFETY: `padding` was initialised before.
                let padding = unsafe { (*this.as_ptr()).padding.as_mut_ptr() };
                let buf = bindings::rchan_buf {
                    start: start.as_ptr().cast(),
                    data: start.as_ptr().cast(),
                    offset: shape.subbuf_size().wrapping_add(1),
                    subbufs_produced: consumed as usize,
                    subbufs_consumed: consumed as usize,
                    chan,
                    padding,
                    ..pin_init::zeroed()
                };
                // SAFETY: `slot` is valid for writes and stays where it is.
                unsafe {
                    slot.write(buf);
                    bindings::vesper_helper_init_relay_wakeup(slot);
                    let array = bindings::vesper_helper_alloc_percpu_buf(slot);
                    if array.is_null() {
                        return Err(ENOMEM);
                    }
                    (*chan).buf = array.cast();
                }
                Ok(())
            }),
        }? Error)
    }

    fn buf(&self) -> *mut bindings::rchan_buf {
        self.buf.get()
    }

    /// The buffer, as relay's file operations find it in `i_private`.
    pub(super) fn as_private(&self) -> *mut c_void {
        self.buf().cast()
    }

    /// Notes to whom the channel belongs, see [`super::relay_file`].
    ///
    /// # Safety
    ///
    /// Not while a file of the channel exists.
    pub(super) unsafe fn set_owner(&self, owner: *const c_void) {
        // SAFETY: By the requirement, nobody looks at the field now.
        unsafe { (*self.chan.get()).private_data = owner.cast_mut() };
    }

    /// Shape of the buffer.
    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Sub-buffers that can have been read, consumed ones included.
    pub(crate) fn produced(&self) -> u64 {
        // SAFETY: By the type invariants.
        unsafe { atomic_load(addr_of_mut!((*self.buf()).subbufs_produced), Acquire) as u64 }
    }

    /// Sub-buffers done with.
    pub(crate) fn consumed(&self) -> u64 {
        // SAFETY: By the type invariants.
        unsafe { atomic_load(addr_of_mut!((*self.buf()).subbufs_consumed), Relaxed) as u64 }
    }

    /// Bytes of sub-buffer number `consumed` that were read already.
    pub(crate) fn bytes_consumed(&self) -> usize {
        // SAFETY: By the type invariants.
        unsafe { atomic_load(addr_of_mut!((*self.buf()).bytes_consumed), Relaxed) }
    }

    /// Padding of the sub-buffer in `slot`, in bytes.
    pub(crate) fn padding(&self, slot: usize) -> usize {
        if slot >= self.geometry.n_subbufs() {
            return 0;
        }
        // SAFETY: `slot` was checked, and the array is as long by the type invariants.
        unsafe { atomic_load((*self.buf()).padding.add(slot), Relaxed) }
    }

    /// Sets the padding of the sub-buffer in `slot`, which no reader looks at yet.
    pub(crate) fn set_padding(&self, slot: usize, padding: usize) {
        if slot < self.geometry.n_subbufs() {
            // SAFETY: As in `padding`.
            unsafe { atomic_store((*self.buf()).padding.add(slot), padding, Relaxed) };
        }
    }

    /// Lets readers have what came before sub-buffer number `produced`.
    ///
    /// Release: contents and padding first. relay's read loads it plainly, and then depends on it.
    pub(crate) fn set_produced(&self, produced: u64) {
        // SAFETY: By the type invariants.
        unsafe {
            atomic_store(
                addr_of_mut!((*self.buf()).subbufs_produced),
                produced as usize,
                Release,
            )
        };
    }

    /// Takes readers on to sub-buffer number `consumed`. The inode lock keeps relay's read out.
    pub(crate) fn set_consumed(&self, consumed: u64, _guard: &InodeGuard<'_>) {
        // SAFETY: By the type invariants; relay changes both under the same lock only.
        unsafe {
            atomic_store(addr_of_mut!((*self.buf()).bytes_consumed), 0, Relaxed);
            atomic_store(
                addr_of_mut!((*self.buf()).subbufs_consumed),
                consumed as usize,
                Relaxed,
            );
        }
    }

    /// The same in a channel of which relay's read is never used: whoever calls this keeps others
    /// out who do.
    pub(crate) fn skip_to(&self, consumed: u64) {
        // SAFETY: By the type invariants.
        unsafe {
            atomic_store(
                addr_of_mut!((*self.buf()).subbufs_consumed),
                consumed as usize,
                Relaxed,
            )
        };
    }

    /// Puts other memory with the same contents under the reader, whom the inode lock keeps out.
    ///
    /// # Safety
    ///
    /// As for [`Relay::new`]. The lock is that of the channel's file.
    pub(crate) unsafe fn replace(&self, start: NonNull<u8>, _guard: &InodeGuard<'_>) {
        // SAFETY: By the type invariants; readers use the fields under the same lock only.
        unsafe {
            (*self.buf()).start = start.as_ptr().cast();
            (*self.buf()).data = start.as_ptr().cast();
        }
    }

    /// Says for good that no more will come: poll tells so from now on.
    pub(crate) fn finalize(&self) {
        // SAFETY: By the type invariants.
        unsafe { atomic_store(addr_of_mut!((*self.buf()).finalized), 1, Relaxed) };
        self.wake();
    }

    /// Wakes whoever waits for the file.
    pub(crate) fn wake(&self) {
        // SAFETY: Initialised by `new`. Done from interrupt work, as relay does it, so that no
        // lock of the caller's is ever held across a wake-up.
        unsafe { bindings::irq_work_queue(addr_of_mut!((*self.buf()).wakeup_work)) };
    }
}

#[pinned_drop]
impl PinnedDrop for Relay {
    fn drop(self: Pin<&mut Self>) {
        let this = self.as_ref().get_ref();
        // SAFETY: By the type invariants; files hold a reference to the owner, so none is open,
        // and the work can only be one that is just ending.
        unsafe {
            bindings::irq_work_sync(addr_of_mut!((*this.buf()).wakeup_work));
            bindings::free_percpu((*this.chan.get()).buf.cast());
        }
    }
}
