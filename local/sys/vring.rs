// SPDX-License-Identifier: GPL-2.0

//! The device's end of a split virtqueue whose driver is in the same kernel: addresses are pointers,
//! as `helpers.c` maps them.
//!
//! C header: [`include/uapi/linux/virtio_ring.h`](srctree/include/uapi/linux/virtio_ring.h)

use crate::{
    bindings::{
        self,
        vring_avail,
        vring_desc,
        vring_used,
        vring_used_elem, //
    },
    later::{
        smp_mb,
        Full,
        Read,
        Write,
        EPROTO, //
    },
};
use core::{
    mem::size_of,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::prelude::*;

/// A run of bytes that the driver has put on a queue.
///
/// # Invariants
///
/// They are memory of the driver's, which it leaves alone until the element is given back.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    addr: NonNull<u8>,
    len: usize,
}

// SAFETY: Memory belongs to no thread.
unsafe impl Send for Part {}

impl Part {
    /// Bytes of it.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds its bytes to `to`. `ENOSPC` if there is no room.
    pub(crate) fn read(&self, to: &mut KVec<u8>) -> Result {
        let room = to.spare_capacity_mut();
        if room.len() < self.len {
            return Err(ENOSPC);
        }
        // SAFETY: By the type invariant the bytes are there; they were compared with the room.
        unsafe {
            ptr::copy_nonoverlapping(self.addr.as_ptr(), room.as_mut_ptr().cast(), self.len);
            to.inc_len(self.len);
        }
        Ok(())
    }

    /// Writes `bytes` at its start. `ENOSPC` if they do not fit. For a writable part.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result {
        if bytes.len() > self.len {
            return Err(ENOSPC);
        }
        // SAFETY: By the type invariant the memory is there, and nobody else looks at it.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.addr.as_ptr(), bytes.len()) };
        Ok(())
    }

    /// The page that it is. `EINVAL` if it is not just one.
    pub(crate) fn page(&self) -> Result<*mut bindings::page> {
        const PAGE: usize = kernel::page::PAGE_SIZE;
        if self.len != PAGE || self.addr.as_ptr() as usize % PAGE != 0 {
            return Err(EINVAL);
        }
        // SAFETY: In the linear map, from where `helpers.c` took the address.
        Ok(unsafe { bindings::vesper_helper_virt_to_page(self.addr.as_ptr().cast()) })
    }
}

/// An element that was taken from a queue, and is to be given back.
pub(crate) struct Element<'a> {
    /// By this it is given back.
    pub(crate) head: u16,
    /// What the driver says.
    pub(crate) readable: &'a [Part],
    /// Where there is room for an answer, and what is lent.
    pub(crate) writable: &'a [Part],
}

/// The device's end of a queue.
///
/// # Invariants
///
/// The pointers are to the parts of the ring of `vq`, which has `size` entries, a power of two.
pub(crate) struct Ring {
    vq: NonNull<bindings::virtqueue>,
    desc: NonNull<vring_desc>,
    avail: NonNull<vring_avail>,
    used: NonNull<vring_used>,
    size: u16,
    /// Elements taken, modulo 2^16.
    taken: u16,
    /// Elements given back.
    given: u16,
    /// Of the element taken last.
    parts: KVVec<Part>,
}

// SAFETY: A ring may be used by any thread, one at a time, which `&mut self` sees to.
unsafe impl Send for Ring {}

impl Ring {
    /// The device's end of `vq`, for elements of at most `parts` parts.
    ///
    /// # Safety
    ///
    /// `vq` was made by `vesper_helper_vq_create`, is new, and is not deleted before this is
    /// dropped.
    pub(super) unsafe fn new(vq: NonNull<bindings::virtqueue>, parts: usize) -> Result<Self> {
        // SAFETY: The queue is valid.
        let (desc, avail, used, size) = unsafe {
            (
                bindings::virtqueue_get_desc_addr(vq.as_ptr()),
                bindings::virtqueue_get_avail_addr(vq.as_ptr()),
                bindings::virtqueue_get_used_addr(vq.as_ptr()),
                bindings::virtqueue_get_vring_size(vq.as_ptr()),
            )
        };
        let pointer = |addr: bindings::dma_addr_t| NonNull::new(addr as usize as *mut u8);
        // INVARIANT: Those of the queue, mapped as pointers.
        Ok(Self {
            vq,
            desc: pointer(desc).ok_or(EINVAL)?.cast(),
            avail: pointer(avail).ok_or(EINVAL)?.cast(),
            used: pointer(used).ok_or(EINVAL)?.cast(),
            size: u16::try_from(size)?,
            taken: 0,
            given: 0,
            parts: KVVec::with_capacity(parts, GFP_KERNEL)?,
        })
    }

    /// Number of entries.
    pub(crate) fn size(&self) -> u16 {
        self.size
    }

    /// Takes the next element, if there is one. `EPROTO` if the driver does not keep to the rules.
    pub(crate) fn take(&mut self) -> Result<Option<Element<'_>>> {
        // SAFETY: In the ring, by the type's invariants; the driver writes it in one piece.
        let there = unsafe { (&raw const (*self.avail.as_ptr()).idx).read_volatile() };
        let there = u16::from_le(there);
        let waiting = there.wrapping_sub(self.taken);
        if waiting == 0 {
            return Ok(None);
        }
        if waiting > self.size {
            return Err(EPROTO);
        }
        // What comes before the index was written before it.
        smp_mb(Read);
        let at = usize::from(self.taken & self.size.wrapping_sub(1));
        // SAFETY: `ring` has `size` entries, and `at` is below that.
        let head = u16::from_le(unsafe {
            (&raw const (*self.avail.as_ptr()).ring)
                .cast::<u16>()
                .add(at)
                .read()
        });
        let readable = self.walk(head)?;
        self.taken = self.taken.wrapping_add(1);
        let (readable, writable) = self.parts.split_at_checked(readable).ok_or(EPROTO)?;
        Ok(Some(Element {
            head,
            readable,
            writable,
        }))
    }

    /// Puts the parts of the element that begins with descriptor `head` into `parts`. Returns how
    /// many are readable.
    fn walk(&mut self, head: u16) -> Result<usize> {
        self.parts.clear();
        let mut readable = 0usize;
        let (mut table, mut count) = (self.desc, usize::from(self.size));
        let mut at = usize::from(head);
        loop {
            if at >= count {
                return Err(EPROTO);
            }
            // SAFETY: `table` has `count` entries, which nobody writes until the element is back.
            let desc = unsafe { table.as_ptr().add(at).read() };
            let (addr, len) = (u64::from_le(desc.addr), u32::from_le(desc.len) as usize);
            let flags = u32::from(u16::from_le(desc.flags));
            let addr = NonNull::new(addr as usize as *mut u8).ok_or(EPROTO)?;
            if flags & bindings::VRING_DESC_F_INDIRECT != 0 {
                if table != self.desc || !self.parts.is_empty() {
                    return Err(EPROTO);
                }
                (table, count) = (addr.cast(), len / size_of::<vring_desc>());
                at = 0;
                continue;
            }
            // Also what ends a chain that goes round.
            // INVARIANT: What the driver says of its own memory.
            self.parts
                .push_within_capacity(Part { addr, len })
                .map_err(|_| EPROTO)?;
            if flags & bindings::VRING_DESC_F_WRITE == 0 {
                readable = readable.wrapping_add(1);
                if readable != self.parts.len() {
                    // Behind a writable one.
                    return Err(EPROTO);
                }
            }
            if flags & bindings::VRING_DESC_F_NEXT == 0 {
                return Ok(readable);
            }
            at = usize::from(u16::from_le(desc.next));
        }
    }

    /// Gives an element back, of which `written` bytes were written.
    pub(crate) fn give(&mut self, head: u16, written: usize) {
        let at = usize::from(self.given & self.size.wrapping_sub(1));
        self.given = self.given.wrapping_add(1);
        let element = vring_used_elem {
            id: u32::from(head).to_le(),
            len: (written as u32).to_le(),
        };
        // SAFETY: `ring` has `size` entries, and `at` is below that; the index is in the ring.
        unsafe {
            (&raw mut (*self.used.as_ptr()).ring)
                .cast::<vring_used_elem>()
                .add(at)
                .write(element);
            // The driver reads the entry, and what was written, once it sees the index.
            smp_mb(Write);
            (&raw mut (*self.used.as_ptr()).idx).write_volatile(self.given.to_le());
        }
    }

    /// Tells the driver that the device has something to say of itself.
    pub(crate) fn config_changed(&self) {
        // SAFETY: The device is there as long as its queues are.
        unsafe { bindings::virtio_config_changed((*self.vq.as_ptr()).vdev) };
    }

    /// Calls the driver back, if it wants to know what was given.
    pub(crate) fn call(&self) {
        // The driver asks to be called and then looks at the index; we do the opposite.
        smp_mb(Full);
        // SAFETY: In the ring.
        let flags = unsafe { (&raw const (*self.avail.as_ptr()).flags).read_volatile() };
        let flags = u16::from_le(flags);
        if u32::from(flags) & bindings::VRING_AVAIL_F_NO_INTERRUPT == 0 {
            // SAFETY: The queue is not deleted before `self` is dropped.
            unsafe { bindings::vring_interrupt(0, self.vq.as_ptr().cast()) };
        }
    }
}
