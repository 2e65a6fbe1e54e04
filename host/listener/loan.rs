// SPDX-License-Identifier: GPL-2.0

//! Pages on loan: fragments as they come in, and the whole of a buffer.

use crate::{
    abi::Geometry,
    bindings::VIRTIO_VESPER_INDEX_VERSION,
    desk::{
        Desk,
        Return, //
    },
    later::EPROTO,
    sys::{
        index::Index,
        pages::{
            Borrowed,
            Map,
            PageList, //
        },
    },
};
use kernel::{
    list::ListArc,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
    },
};

/// Pages that a domain has lent, and how many it may.
pub(crate) struct Quota {
    lent: Atomic<usize>,
    limit: usize,
}

impl Quota {
    /// None lent, of `limit`.
    pub(crate) fn new(limit: usize) -> Result<Arc<Self>> {
        Ok(Arc::new(
            Self {
                lent: Atomic::new(0),
                limit,
            },
            GFP_KERNEL,
        )?)
    }

    /// Pages lent now.
    pub(crate) fn lent(&self) -> usize {
        self.lent.load(Relaxed)
    }
}

/// Some pages of a quota, given back when dropped.
struct Charge {
    quota: Arc<Quota>,
    pages: usize,
}

impl Charge {
    fn new(quota: &Arc<Quota>, pages: usize) -> Result<Self> {
        let before = quota.lent.fetch_add(pages, Relaxed);
        // From here on dropping undoes the addition.
        let charge = Self {
            quota: quota.clone(),
            pages,
        };
        match before.saturating_add(pages) > quota.limit {
            true => Err(ENOSPC),
            false => Ok(charge),
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.quota.lent.fetch_sub(self.pages, Relaxed);
    }
}

/// One element of the lend queue. Dropping it ends the loan without a word to the VMM.
pub(crate) struct Loan {
    borrowed: Borrowed,
    notice: ListArc<Return>,
    _charge: Charge,
}

impl Loan {
    /// Takes `pages` pages with `take`; `cookie` names the loan. `ENOSPC`: more than the domain may.
    pub(crate) fn new(
        quota: &Arc<Quota>,
        desk: &Desk,
        cookie: u64,
        pages: usize,
        take: impl FnOnce() -> Result<Borrowed>,
    ) -> Result<Self> {
        let charge = Charge::new(quota, pages)?;
        Ok(Self {
            notice: desk.notice(cookie)?,
            borrowed: take()?,
            _charge: charge,
        })
    }

    /// Pages in it.
    pub(crate) fn pages(&self) -> usize {
        self.borrowed.len()
    }

    /// Adds its pages to a list.
    pub(crate) fn list(&self, list: &mut PageList) -> Result {
        list.push_borrowed(&self.borrowed)
    }

    /// Says whether it began after the last reset.
    pub(crate) fn is_current(&self, desk: &Desk) -> bool {
        desk.is_current(&self.notice)
    }

    /// Ends the loan and tells the VMM.
    pub(crate) fn give_back(self, desk: &Desk) {
        let Self {
            borrowed,
            notice,
            _charge: charge,
        } = self;
        // The VMM may use the pages as soon as it is told.
        drop(borrowed);
        drop(charge);
        desk.loan_over(notice);
    }
}

struct Fragment {
    first: usize,
    loan: Loan,
}

/// A buffer whose fragments are coming in.
pub(crate) struct Collecting {
    /// Number of the buffer in its channel.
    pub(crate) number: u32,
    // In the order of the buffer, none overlapping.
    fragments: KVec<Fragment>,
    pages: usize,
    index: Option<Loan>,
}

impl Collecting {
    /// Nothing yet of buffer `number`.
    pub(crate) fn new(number: u32) -> Self {
        Self {
            number,
            fragments: KVec::new(),
            pages: 0,
            index: None,
        }
    }

    /// Adds pages from number `first` on, or the index page. `EINVAL` if they are not all inside
    /// the buffer, `EEXIST` if some are there already.
    pub(crate) fn add(&mut self, geometry: Geometry, first: Option<u32>, loan: Loan) -> Result {
        let Some(first) = first else {
            if loan.pages() != 1 {
                return Err(EINVAL);
            }
            if self.index.is_some() {
                return Err(EEXIST);
            }
            self.index = Some(loan);
            return Ok(());
        };
        let first = first as usize;
        let end = first.checked_add(loan.pages()).ok_or(EINVAL)?;
        if end > geometry.pages() {
            return Err(EINVAL);
        }
        let at = self.fragments.partition_point(|f| f.first < first);
        if let Some(next) = self.fragments.get(at) {
            if next.first < end {
                return Err(EEXIST);
            }
        }
        if let Some(before) = at.checked_sub(1).and_then(|i| self.fragments.get(i)) {
            if before.first.wrapping_add(before.loan.pages()) > first {
                return Err(EEXIST);
            }
        }
        self.fragments.reserve(1, GFP_KERNEL_ACCOUNT)?;
        let pages = self.pages.wrapping_add(loan.pages());
        self.fragments
            .insert_within_capacity(at, Fragment { first, loan })
            .map_err(|_| ENOMEM)?;
        self.pages = pages;
        Ok(())
    }

    /// Says whether every page is there.
    pub(crate) fn complete(&self, geometry: Geometry) -> bool {
        // They are all inside and none overlaps, so the sum tells.
        self.pages == geometry.pages() && self.index.is_some()
    }

    /// Ends every loan and tells the VMM.
    pub(crate) fn give_back(self, desk: &Desk) {
        for fragment in self.fragments {
            fragment.loan.give_back(desk);
        }
        if let Some(index) = self.index {
            index.give_back(desk);
        }
    }
}

/// All of a buffer, lent and mapped.
pub(crate) struct Lent {
    // Mappings before the pages that they map.
    data: Map,
    index: Index,
    fragments: KVec<Fragment>,
    index_loan: Loan,
}

impl Lent {
    /// Maps a complete buffer. On failure the fragments come back: `ENOMEM`, or `EPROTO` if the
    /// index page does not fit the channel.
    pub(crate) fn map(
        geometry: Geometry,
        mut from: Collecting,
    ) -> core::result::Result<(Self, PageList), (Error, Collecting)> {
        let Some(index_loan) = from.index.take() else {
            return Err((EINVAL, from));
        };
        match Self::maps(geometry, &from.fragments, &index_loan) {
            Ok((data, index, list)) => Ok((
                Self {
                    data,
                    index,
                    fragments: from.fragments,
                    index_loan,
                },
                list,
            )),
            Err(err) => {
                from.index = Some(index_loan);
                Err((err, from))
            }
        }
    }

    fn maps(
        geometry: Geometry,
        fragments: &[Fragment],
        index_loan: &Loan,
    ) -> Result<(Map, Index, PageList)> {
        let mut list = PageList::new(geometry.pages())?;
        for fragment in fragments {
            list.push_borrowed(&fragment.loan.borrowed)?;
        }
        if list.len() != geometry.pages() {
            return Err(EINVAL);
        }
        let mut index_list = PageList::new(1)?;
        index_list.push_borrowed(&index_loan.borrowed)?;
        let index = Index::new(Map::new(&index_list)?)?;
        if index.version() != VIRTIO_VESPER_INDEX_VERSION
            || index.n_subbufs() as usize != geometry.n_subbufs()
        {
            return Err(EPROTO);
        }
        Ok((Map::new(&list)?, index, list))
    }

    /// The buffer's memory.
    pub(crate) fn data(&self) -> &Map {
        &self.data
    }

    /// The buffer's index page.
    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// The reset count under which its index page was lent.
    pub(crate) fn epoch(&self) -> u64 {
        self.index_loan.notice.epoch()
    }

    /// Ends every loan and tells the VMM.
    pub(crate) fn give_back(self, desk: &Desk) {
        let Self {
            data,
            index,
            fragments,
            index_loan,
        } = self;
        drop(data);
        drop(index);
        for fragment in fragments {
            fragment.loan.give_back(desk);
        }
        index_loan.give_back(desk);
    }
}
