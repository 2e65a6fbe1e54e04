// SPDX-License-Identifier: GPL-2.0

//! Pages: a VMM's, pinned and accounted to it; this kernel's, held by a reference; our own; and
//! mappings of any of them.
//!
//! C headers: [`include/linux/mm.h`](srctree/include/linux/mm.h),
//! [`include/linux/vmalloc.h`](srctree/include/linux/vmalloc.h)

use super::account::{
    Account,
    Accounts, //
};
use crate::{
    abi::PAGE_SIZE,
    bindings, //
    later::EOPNOTSUPP,
};
use core::ptr::NonNull;
use kernel::{
    prelude::*,
    sync::Arc, //
};

const _: () = assert!(kernel::page::PAGE_SIZE == PAGE_SIZE);

/// Page pointers in the order of a buffer. Whoever holds the list keeps the pages alive elsewhere.
pub(crate) struct PageList(KVVec<*mut bindings::page>);

// SAFETY: Only pointers to pages, which belong to no thread.
unsafe impl Send for PageList {}
// SAFETY: As above.
unsafe impl Sync for PageList {}

impl PageList {
    /// An empty list with room for `pages`.
    pub(crate) fn new(pages: usize) -> Result<Self> {
        Ok(Self(KVVec::with_capacity(pages, GFP_KERNEL_ACCOUNT)?))
    }

    /// The same for a list of our own pages, see [`room_for`].
    pub(crate) fn of_own(pages: usize) -> Result<Self> {
        Ok(Self(room_for(pages)?))
    }

    /// A list of none.
    pub(crate) fn empty() -> Self {
        Self(KVVec::new())
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds the pages of a loan.
    pub(crate) fn push_borrowed(&mut self, borrowed: &Borrowed) -> Result {
        Ok(self
            .0
            .extend_from_slice(borrowed.pages(), GFP_KERNEL_ACCOUNT)?)
    }

    /// Adds a page of our own, for which there is room.
    pub(crate) fn push_page(&mut self, page: &OwnPage) -> Result {
        Ok(self.0.push_within_capacity(page.0.as_ptr())?)
    }

    /// Frame number of page `index`.
    pub(crate) fn pfn(&self, index: usize) -> Option<usize> {
        let page = *self.0.get(index)?;
        // SAFETY: A page pointer that came from pinning or from the page allocator.
        Some(unsafe { bindings::vesper_helper_page_to_pfn(page) })
    }
}

/// Frame number of the page of zeros that the kernel has for everybody to look at.
pub(crate) fn zero_pfn() -> usize {
    // SAFETY: No requirements.
    unsafe { bindings::vesper_helper_zero_pfn() }
}

/// A page of our own, in addition to what others have: it is not worth a process's life.
///
/// # Invariants
///
/// The page is allocated, and nobody else frees it.
pub(crate) struct OwnPage(NonNull<bindings::page>);

// SAFETY: A page belongs to no thread.
unsafe impl Send for OwnPage {}
// SAFETY: As above.
unsafe impl Sync for OwnPage {}

impl OwnPage {
    /// What the page allocator does for it: everything but to have the OOM killer come, and to
    /// complain. (The kernel crate has no flag for that.)
    const FLAGS: bindings::gfp_t = bindings::GFP_KERNEL
        | bindings::__GFP_ZERO
        | bindings::__GFP_NOWARN
        | 1 << bindings::___GFP_RETRY_MAYFAIL_BIT;

    /// Allocates one that is all zeros; not accounted to the caller. `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: No requirements but that it may sleep.
        let page = unsafe { bindings::alloc_pages(Self::FLAGS, 0) };
        // INVARIANT: Just allocated.
        Ok(Self(NonNull::new(page).ok_or(ENOMEM)?))
    }
}

impl Drop for OwnPage {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is ours to free.
        unsafe { bindings::__free_pages(self.0.as_ptr(), 0) };
    }
}

/// A vector with room for `count` elements, which is got in the way of [`OwnPage`], and not accounted
/// either. `ENOMEM`.
pub(crate) fn room_for<T>(count: usize) -> Result<KVVec<T>> {
    const { assert!(size_of::<T>() != 0 && align_of::<T>() <= align_of::<u64>()) };
    if count == 0 {
        return Ok(KVVec::new());
    }
    // SAFETY: No requirements but that it may sleep.
    let room = unsafe { bindings::vesper_helper_alloc_array(count, size_of::<T>()) };
    let room: NonNull<T> = NonNull::new(room.cast()).ok_or(ENOMEM)?;
    // SAFETY: `kvmalloc` is what the vector's allocator is made of, aligns for any `u64`, and gives
    // no more than `INT_MAX` bytes. None of the elements is there yet.
    Ok(unsafe { KVVec::from_raw_parts(room.as_ptr(), 0, count) })
}

/// A run of user memory: address and length, both in whole pages.
#[derive(Clone, Copy)]
pub(crate) struct Segment {
    addr: usize,
    pages: usize,
}

impl Segment {
    /// Checks address and length in bytes; `EINVAL` unless they are whole pages.
    pub(crate) fn new(addr: u64, len: u64) -> Result<Self> {
        let (addr, len) = (usize::try_from(addr)?, usize::try_from(len)?);
        if len == 0 || len % PAGE_SIZE != 0 || addr % PAGE_SIZE != 0 {
            return Err(EINVAL);
        }
        addr.checked_add(len).ok_or(EINVAL)?;
        Ok(Self {
            addr,
            pages: len / PAGE_SIZE,
        })
    }

    /// Pages in it.
    pub(crate) fn pages(self) -> usize {
        self.pages
    }
}

/// Pages of the process that pinned them, writable, for the long term.
///
/// # Invariants
///
/// Each page in the list is pinned once for it.
pub(crate) struct Pinned {
    pages: KVVec<*mut bindings::page>,
    dirty: bool,
    // Dropped last: what is pinned is accounted.
    _account: Account,
}

// SAFETY: Pins belong to no thread.
unsafe impl Send for Pinned {}
// SAFETY: As above.
unsafe impl Sync for Pinned {}

impl Pinned {
    /// Pins the caller's memory. `dirty` says that we shall write to it. `ENOMEM`: the limit on
    /// locked memory; `EFAULT`: no such memory; `EOPNOTSUPP`: memory that cannot be pinned.
    pub(crate) fn new(segments: &[Segment], dirty: bool, accounts: &Arc<Accounts>) -> Result<Self> {
        let mut total = 0usize;
        for segment in segments {
            total = total.checked_add(segment.pages).ok_or(EINVAL)?;
        }
        let mut pinned = Self {
            pages: KVVec::with_capacity(total, GFP_KERNEL_ACCOUNT)?,
            dirty,
            _account: Account::new(total, accounts)?,
        };
        for segment in segments {
            pinned.pin(*segment)?;
        }
        Ok(pinned)
    }

    fn pin(&mut self, segment: Segment) -> Result {
        let Segment { mut addr, pages } = segment;
        let mut left = pages;
        while left != 0 {
            let room = self.pages.spare_capacity_mut();
            if room.len() < left {
                return Err(EINVAL);
            }
            // SAFETY: There is room for `left` pointers.
            let got = unsafe {
                bindings::pin_user_pages_fast(
                    addr,
                    i32::try_from(left)?,
                    bindings::FOLL_WRITE | bindings::FOLL_LONGTERM,
                    room.as_mut_ptr().cast(),
                )
            };
            if got <= 0 {
                return Err(why(addr, got));
            }
            let got = got as usize;
            // SAFETY: That many pointers were written.
            // INVARIANT: Each was pinned.
            unsafe { self.pages.inc_len(got) };
            addr = addr.wrapping_add(got.wrapping_mul(PAGE_SIZE));
            left = left.saturating_sub(got);
        }
        Ok(())
    }
}

/// Why pinning at `addr` failed with `err`: files on real file systems are refused as EFAULT.
fn why(addr: usize, err: i32) -> Error {
    // SAFETY: Called by the process that pins.
    if err == EFAULT.to_errno() && unsafe { bindings::vesper_helper_mapped_file(addr) } {
        return EOPNOTSUPP;
    }
    match err {
        0 => EFAULT,
        _ => Error::from_errno(err),
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: By the type invariant each page is pinned once.
        unsafe {
            bindings::unpin_user_pages_dirty_lock(
                self.pages.as_mut_ptr(),
                self.pages.len(),
                self.dirty,
            )
        };
    }
}

/// Pages of this kernel, whose owner may free them: they stay until this is dropped.
///
/// # Invariants
///
/// A reference to each page in the list is held for it.
pub(crate) struct Held {
    pages: KVVec<*mut bindings::page>,
}

// SAFETY: References to pages belong to no thread.
unsafe impl Send for Held {}
// SAFETY: As above.
unsafe impl Sync for Held {}

impl Held {
    /// Takes a reference to each of `pages`.
    ///
    /// # Safety
    ///
    /// They are allocated, are no tail pages, and their contents are nobody's but a lender's.
    pub(crate) unsafe fn new(pages: &[*mut bindings::page]) -> Result<Self> {
        let mut list = KVVec::new();
        list.extend_from_slice(pages, GFP_KERNEL)?;
        for page in list.iter() {
            // SAFETY: Allocated, by the requirement of this function.
            unsafe { bindings::vesper_helper_get_page(*page) };
        }
        // INVARIANT: Just taken.
        Ok(Self { pages: list })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for page in self.pages.iter() {
            // SAFETY: By the type invariant there is a reference to give back.
            unsafe { bindings::vesper_helper_put_page(*page) };
        }
    }
}

/// Pages of a lender that stay as long as this.
pub(crate) enum Borrowed {
    /// Of a VMM.
    Pinned(Pinned),
    /// Of this kernel.
    Held(Held),
}

impl Borrowed {
    fn pages(&self) -> &[*mut bindings::page] {
        match self {
            Self::Pinned(pinned) => &pinned.pages,
            Self::Held(held) => &held.pages,
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.pages().len()
    }
}

/// Pages mapped in a row in the kernel's address space.
pub(crate) struct Map {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: A mapping belongs to no thread.
unsafe impl Send for Map {}
// SAFETY: Access is by copying, see the methods.
unsafe impl Sync for Map {}

impl Map {
    /// Maps the pages; `ENOMEM`.
    ///
    /// The pages must outlive the mapping: callers keep both in one struct, mapping first.
    pub(crate) fn new(list: &PageList) -> Result<Self> {
        let count = u32::try_from(list.len())?;
        // SAFETY: `count` valid page pointers; they are not written to.
        let start = unsafe { bindings::vesper_helper_vmap(list.0.as_ptr().cast_mut(), count) };
        Ok(Self {
            start: NonNull::new(start.cast()).ok_or(ENOMEM)?,
            len: list.len().wrapping_mul(PAGE_SIZE),
        })
    }

    /// Bytes mapped.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Where it begins.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Where it begins, for relay.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Copies `len` bytes at `offset` to the same place in `to`; the source may change meanwhile.
    pub(crate) fn copy_to(&self, to: &Map, offset: usize, len: usize) -> Result {
        let end = offset.checked_add(len).ok_or(EINVAL)?;
        if end > self.len || end > to.len {
            return Err(EINVAL);
        }
        // SAFETY: Both ranges are mapped, by the check; they are different pages.
        unsafe {
            bindings::vesper_helper_copy(
                to.as_ptr().add(offset).cast(),
                self.as_ptr().add(offset).cast(),
                len,
            )
        };
        Ok(())
    }

    /// Copies bytes at `offset` out.
    pub(crate) fn read(&self, offset: usize, out: &mut [u8]) -> Result {
        let end = offset.checked_add(out.len()).ok_or(EINVAL)?;
        if end > self.len {
            return Err(EINVAL);
        }
        // SAFETY: The range is mapped, by the check, and `out` is ours.
        unsafe {
            bindings::vesper_helper_copy(
                out.as_mut_ptr().cast(),
                self.as_ptr().add(offset).cast(),
                out.len(),
            )
        };
        Ok(())
    }

    /// Copies `bytes` in at `offset`.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) -> Result {
        let end = offset.checked_add(bytes.len()).ok_or(EINVAL)?;
        if end > self.len {
            return Err(EINVAL);
        }
        // SAFETY: The range is mapped writable, by the check; others may look on.
        unsafe {
            bindings::vesper_helper_copy(
                self.as_ptr().add(offset).cast(),
                bytes.as_ptr().cast(),
                bytes.len(),
            )
        };
        Ok(())
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: Mapped by `new`; callers see to it that nobody uses the pointer any more.
        unsafe { bindings::vunmap(self.start.as_ptr().cast()) };
    }
}
