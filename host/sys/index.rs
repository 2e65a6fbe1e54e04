// SPDX-License-Identifier: GPL-2.0

//! The index page of a buffer, which the guest writes while we look.
//!
//! Every value is loaded once; nothing of it is believed here.
//!
//! C header: [`include/uapi/linux/virtio_vesper.h`]

use super::pages::Map;
use crate::bindings::virtio_vesper_index as Raw;
use core::ptr::addr_of_mut;
use kernel::{
    prelude::*,
    sync::atomic::{
        atomic_load,
        atomic_store,
        Acquire,
        Relaxed,
        Release, //
    },
};

const _: () = assert!(core::mem::size_of::<Raw>() == crate::abi::PAGE_SIZE);

/// A lent index page, mapped.
pub(crate) struct Index(Map);

impl Index {
    /// Looks at a mapping as an index page; `EINVAL` if it is not one page.
    pub(crate) fn new(map: Map) -> Result<Self> {
        if map.len() != core::mem::size_of::<Raw>() {
            return Err(EINVAL);
        }
        Ok(Self(map))
    }

    fn raw(&self) -> *mut Raw {
        self.0.as_ptr().cast()
    }

    /// Layout version the guest wrote.
    pub(crate) fn version(&self) -> u32 {
        // SAFETY: In the mapped page and aligned; the guest's stores are as good as atomic.
        u32::from_le(unsafe { atomic_load(addr_of_mut!((*self.raw()).version), Relaxed) })
    }

    /// Number of sub-buffers the guest wrote.
    pub(crate) fn n_subbufs(&self) -> u32 {
        // SAFETY: As in `version`.
        u32::from_le(unsafe { atomic_load(addr_of_mut!((*self.raw()).n_subbufs), Relaxed) })
    }

    /// Sub-buffers closed. Acquire: pairs with the guest's release, so that padding and contents
    /// of what is counted are seen.
    pub(crate) fn produced(&self) -> u64 {
        // SAFETY: As in `version`.
        u64::from_le(unsafe { atomic_load(addr_of_mut!((*self.raw()).produced), Acquire) })
    }

    /// The word about the open sub-buffer. Acquire: pairs with the guest's release after each
    /// record.
    pub(crate) fn open(&self) -> u64 {
        // SAFETY: As in `version`.
        u64::from_le(unsafe { atomic_load(addr_of_mut!((*self.raw()).open), Acquire) })
    }

    /// Sub-buffers begun, of a channel of others. Acquire: pairs with the guest's release, and what
    /// it does after that is not seen by whoever does not see this.
    pub(crate) fn begun(&self) -> u64 {
        // SAFETY: As in `version`.
        u64::from_le(unsafe { atomic_load(addr_of_mut!((*self.raw()).begun), Acquire) })
    }

    /// Time of the last record in the open sub-buffer.
    pub(crate) fn last_tsc(&self) -> u64 {
        // SAFETY: As in `version`.
        u64::from_le(unsafe { atomic_load(addr_of_mut!((*self.raw()).last_tsc), Relaxed) })
    }

    /// Records dropped.
    pub(crate) fn lost(&self) -> u64 {
        // SAFETY: As in `version`.
        u64::from_le(unsafe { atomic_load(addr_of_mut!((*self.raw()).lost), Relaxed) })
    }

    /// Padding of the sub-buffer in `slot`, in bytes.
    pub(crate) fn padding(&self, slot: usize) -> u32 {
        if slot >= crate::abi::MAX_SUBBUFS {
            return u32::MAX;
        }
        // SAFETY: `slot` was checked; otherwise as in `version`.
        u32::from_le(unsafe { atomic_load(addr_of_mut!((*self.raw()).padding[slot]), Relaxed) })
    }

    /// Sub-buffers done with, as whoever was the host before us left it.
    pub(crate) fn consumed(&self) -> u64 {
        // SAFETY: As in `version`.
        u64::from_le(unsafe { atomic_load(addr_of_mut!((*self.raw()).consumed), Relaxed) })
    }

    /// Tells the guest how far we are. Release: pairs with the guest's acquire, so that it does
    /// not write over what is still being read.
    pub(crate) fn set_consumed(&self, consumed: u64) {
        // SAFETY: As in `version`; the page was pinned for writing.
        unsafe {
            atomic_store(
                addr_of_mut!((*self.raw()).consumed),
                consumed.to_le(),
                Release,
            )
        };
    }
}
