// SPDX-License-Identifier: GPL-2.0

//! The index page of a buffer: the guest's half is written here, the host's half is read.
//!
//! C header: `include/uapi/linux/virtio_vesper.h`, `struct virtio_vesper_index`.

use crate::{
    abi,
    bindings,
    later::{
        smp_mb,
        Full, //
    },
    sys::page::PagePtr, //
};
use core::ptr::{
    addr_of_mut,
    NonNull, //
};
use kernel::{
    page::{
        Page,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    },
};

/// An index page. Each method is one access, in any context, by whichever CPU owns the buffer;
/// whatever the host writes where it should not does no harm but to itself.
///
/// # Invariants
///
/// `raw` is the address of `page`, which is used as a `struct virtio_vesper_index`.
pub(crate) struct Index {
    page: Page,
    raw: NonNull<bindings::virtio_vesper_index>,
}

// SAFETY: Every access to the page is atomic.
unsafe impl Send for Index {}

// SAFETY: As for `Send`.
unsafe impl Sync for Index {}

static_assert!(core::mem::size_of::<bindings::virtio_vesper_index>() <= PAGE_SIZE);

/// Makes an atomic of a field of the page.
macro_rules! field {
    ($self:ident.$($field:tt)+) => {{
        // SAFETY: The field lies in a page that lives as long as `self`, naturally aligned, and is
        // only ever accessed so: by this kernel as an atomic, by the host with single accesses.
        unsafe { Atomic::from_ptr(addr_of_mut!((*$self.raw.as_ptr()).$($field)+)) }
    }};
}

impl Index {
    /// Makes the page of a buffer of `n_subbufs` sub-buffers. Process context.
    pub(crate) fn new(n_subbufs: usize) -> Result<Self> {
        let page = Page::alloc_page(GFP_KERNEL | __GFP_ZERO)?;
        // SAFETY: The page was just allocated, not from high memory, so it has an address.
        let raw = unsafe { bindings::vesper_helper_page_address(page.as_ptr()) };
        // INVARIANT: Zeroed, as long as a page, and aligned to one.
        let this = Self {
            page,
            raw: NonNull::new(raw.cast()).ok_or(ENOMEM)?,
        };
        field!(this.version).store(bindings::VIRTIO_VESPER_INDEX_VERSION.to_le(), Relaxed);
        field!(this.n_subbufs).store((n_subbufs as u32).to_le(), Relaxed);
        Ok(this)
    }

    /// The page, which stays allocated as long as `self`.
    pub(crate) fn page(&self) -> Option<PagePtr> {
        // SAFETY: A whole page of `self`'s own; who gets it from here is told so above.
        NonNull::new(self.page.as_ptr()).map(|page| unsafe { PagePtr::new(page) })
    }

    /// Says that the sub-buffer in `slot` is closed, the `produced`th, with `padding` bytes unused.
    #[inline]
    pub(crate) fn publish(&self, slot: usize, padding: usize, produced: u64) {
        if slot < abi::MAX_SUBBUFS {
            field!(self.padding[slot]).store((padding as u32).to_le(), Relaxed);
        }
        // Contents and padding are there before the host can know of them.
        field!(self.produced).store(produced.to_le(), Release);
    }

    /// Says how far the open sub-buffer, number `number`, is written, and when the last record was.
    #[inline]
    pub(crate) fn open(&self, number: u64, committed: usize, last_tsc: u64) {
        field!(self.last_tsc).store(last_tsc.to_le(), Relaxed);
        field!(self.open).store(abi::open_word(number, committed as u32).to_le(), Release);
    }

    /// Says how many sub-buffers have been begun, of a channel of others: before anything is written
    /// to the last of them.
    pub(crate) fn begun(&self, begun: u64) {
        field!(self.begun).store(begun.to_le(), Release);
        // Who sees what is written from here on sees this, too.
        smp_mb(Full);
    }

    /// Says how many records were dropped.
    #[inline]
    pub(crate) fn lost(&self, lost: u64) {
        field!(self.lost).store(lost.to_le(), Relaxed);
    }

    /// Sub-buffers the host says it is done with: not checked.
    #[inline]
    pub(crate) fn consumed(&self) -> u64 {
        // What the host has read, it has read before the guest writes there again.
        u64::from_le(field!(self.consumed).load(Acquire))
    }

    /// Does what the host does when it is done with sub-buffers: for tests, and for what is gone
    /// before the host has come.
    pub(crate) fn set_consumed(&self, consumed: u64) {
        field!(self.consumed).store(consumed.to_le(), Release);
    }

    /// Copies the page from byte `at` on; fewer bytes than asked for at its end.
    pub(crate) fn copy(&self, at: usize, to: &mut [u8]) -> usize {
        let len = to.len().min(PAGE_SIZE.saturating_sub(at));
        if len > 0 {
            // SAFETY: `at + len` is within the page. What is read may be changing: it is bytes, and
            // only shown.
            unsafe {
                let from = self.raw.as_ptr().cast::<u8>().add(at);
                core::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), len);
            }
        }
        len
    }
}
