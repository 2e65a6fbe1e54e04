// SPDX-License-Identifier: GPL-2.0

//! The host's own copy of what was unread when a buffer was given back.

use crate::{
    abi::{
        Geometry,
        PAGE_SIZE, //
    },
    sys::pages::{
        room_for,
        Map,
        OwnPage,
        PageList, //
    },
};
use core::ptr::NonNull;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
    },
};

/// Pages of copies, of all domains.
pub(crate) struct Tally(Atomic<usize>);

impl Tally {
    /// None yet.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Ok(Arc::new(Self(Atomic::new(0)), GFP_KERNEL)?)
    }

    /// Bytes in them.
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Relaxed).saturating_mul(PAGE_SIZE)
    }
}

/// Bytes that a page of a buffer's shape takes, copied or not: in the list of pages, in the page
/// tables of the mapping, and at most as much in relay's padding.
const PER_PAGE: usize = 3 * size_of::<usize>();

/// Pages that a copy takes beside those: the blank one, and what its files do.
const BESIDE: usize = 3;

/// Memory of the shape of a buffer in which only some sub-buffers have pages of their own; all
/// others show one page of zeros.
pub(crate) struct Kept {
    // Before the pages that it maps.
    map: Map,
    _pages: KVVec<OwnPage>,
    _blank: OwnPage,
    /// Pages it takes.
    taken: usize,
    tally: Arc<Tally>,
}

impl Kept {
    /// Allocates room for `count` sub-buffers from number `first` on, or for fewer if `partial`.
    /// Returns also the pages in the order of the buffer and for how many sub-buffers there is
    /// room. Counted in `tally`, and not accounted to the VMM, whose own limit must not decide what
    /// of its trace survives.
    /// `ENOMEM` before the OOM killer would have to find the pages, or the lists of them; not so
    /// for what it takes to map them, mostly page tables.
    pub(crate) fn new(
        geometry: Geometry,
        first: u64,
        count: usize,
        partial: bool,
        tally: &Arc<Tally>,
    ) -> Result<(Self, PageList, usize)> {
        let per_subbuf = geometry.subbuf_size() / PAGE_SIZE;
        let n_subbufs = geometry.n_subbufs();
        let count = count.min(n_subbufs);
        let wanted = count.wrapping_mul(per_subbuf);
        // All lists at full size first: nothing but the mapping is got after the last page.
        let mut list = PageList::of_own(geometry.pages())?;
        let mut pages = room_for(wanted)?;
        let blank = OwnPage::new()?;
        let mut room = count;
        while pages.len() < wanted {
            match OwnPage::new() {
                Ok(page) => pages.push_within_capacity(page)?,
                Err(_) if partial => {
                    // One less than there are pages for, so that some are left for the mapping: in
                    // the way in which the kernel gets what that takes it may call the OOM killer.
                    let whole = pages.len().checked_div(per_subbuf).unwrap_or(0);
                    room = whole.saturating_sub(1);
                    pages.truncate(room.wrapping_mul(per_subbuf));
                    break;
                }
                Err(err) => return Err(err),
            }
        }
        let start = geometry.slot(first);
        for slot in 0..n_subbufs {
            // How far behind the first one this slot is, around the end.
            let behind = slot
                .wrapping_add(n_subbufs)
                .wrapping_sub(start)
                .checked_rem(n_subbufs)
                .unwrap_or(0);
            for part in 0..per_subbuf {
                let own = behind.wrapping_mul(per_subbuf).wrapping_add(part);
                match pages.get(own) {
                    Some(page) if behind < room => list.push_page(page)?,
                    _ => list.push_page(&blank)?,
                }
            }
        }
        let map = Map::new(&list)?;
        let shape = geometry.pages().saturating_mul(PER_PAGE);
        let taken = pages
            .len()
            .saturating_add(shape.div_ceil(PAGE_SIZE))
            .saturating_add(BESIDE);
        tally.0.fetch_add(taken, Relaxed);
        Ok((
            Self {
                map,
                _pages: pages,
                _blank: blank,
                taken,
                tally: tally.clone(),
            },
            list,
            room,
        ))
    }

    /// The memory.
    pub(crate) fn map(&self) -> &Map {
        &self.map
    }

    /// Where it begins.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.map.start()
    }

    /// Bytes it takes, what it takes to keep it included.
    pub(crate) fn bytes(&self) -> usize {
        self.taken.wrapping_mul(PAGE_SIZE)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.tally.0.fetch_sub(self.taken, Relaxed);
    }
}
