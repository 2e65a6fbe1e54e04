// SPDX-License-Identifier: GPL-2.0

//! Virtqueues, and the elements that travel on them.
//!
//! A queue owns its elements from [`Virtqueue::add`] until [`Virtqueue::get_buf`], so nobody can
//! free or look at memory that the device may write. Dropping a queue ends that by resetting the
//! device: quiesce, reset, detach, delete, in the order that virtio wants.

use super::{
    used,
    Device,
    Driver, //
};
use crate::{
    bindings,
    later::synchronize_rcu,
    sys::page::PagePtr, //
};
use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    error::to_result,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full, //
        },
        rcu,
        Arc, //
    },
};

/// The virtqueues of one device: deleted when the last of them is dropped.
struct Vqs {
    vdev: NonNull<bindings::virtio_device>,
    reset: Atomic<bool>,
}

// SAFETY: Any thread may reset a device and delete its queues.
unsafe impl Send for Vqs {}

// SAFETY: As for `Send`; `reset` is atomic.
unsafe impl Sync for Vqs {}

impl Vqs {
    /// Resets the device, once: it then neither writes memory nor calls back.
    fn reset(&self) {
        if !self.reset.xchg(true, Full) {
            // SAFETY: The device is bound to its driver as long as there are queues, by the
            // contract of `find_vqs`, and this is not called from a callback.
            unsafe { bindings::virtio_reset_device(self.vdev.as_ptr()) };
        }
    }
}

impl Drop for Vqs {
    fn drop(&mut self) {
        self.reset();
        // SAFETY: As in `reset`. No `Virtqueue` is left that could use a deleted queue.
        unsafe { bindings::vesper_helper_virtio_del_vqs(self.vdev.as_ptr()) };
    }
}

/// A queue that was found and not yet given a type.
pub(crate) struct Found {
    vq: NonNull<bindings::virtqueue>,
    owner: Arc<Vqs>,
}

impl Device {
    /// Finds the queues of these names. The second of each pair says whether [`Driver::used`] of
    /// `T` is to be called for it.
    ///
    /// # Safety
    ///
    /// `T` is the driver that this device is bound to. What is returned, and every [`Virtqueue`]
    /// made of it, is dropped before the `remove` or `freeze` of the driver returns, or the `probe`
    /// or `restore` that called this, if that fails.
    pub(crate) unsafe fn find_vqs<T: Driver, const N: usize>(
        &self,
        names: [(&'static CStr, bool); N],
    ) -> Result<[Found; N]> {
        let vdev = NonNull::new(self.as_raw()).ok_or(EINVAL)?;
        let mut info = names.map(|(name, callback)| bindings::virtqueue_info {
            name: name.as_char_ptr(),
            callback: if callback { Some(used::<T>) } else { None },
            ctx: false,
        });
        let mut vqs = [ptr::null_mut(); N];
        // SAFETY: The device is valid and both arrays have `N` entries.
        to_result(unsafe {
            bindings::vesper_helper_virtio_find_vqs(
                vdev.as_ptr(),
                N as u32,
                vqs.as_mut_ptr(),
                info.as_mut_ptr(),
            )
        })?;
        // From here on its drop deletes the queues.
        let vqs_owner = Vqs {
            vdev,
            reset: Atomic::new(false),
        };
        let owner = Arc::new(vqs_owner, GFP_KERNEL)?;
        if vqs.iter().any(|vq| vq.is_null()) {
            return Err(ENOENT);
        }
        Ok(vqs.map(|vq| Found {
            // SAFETY: Checked above.
            vq: unsafe { NonNull::new_unchecked(vq) },
            owner: owner.clone(),
        }))
    }
}

/// What is put on a queue: bytes that the device reads, bytes that it writes, and something of the
/// driver's, `token`, that lives as long as the device may touch them.
pub(crate) struct Element<T> {
    // Before the bytes that it maps.
    mapping: Option<Mapping>,
    out: KVec<u8>,
    reply: KVec<u8>,
    token: T,
}

impl<T> Element<T> {
    /// Makes an element that carries `out` to the device and has room for `reply_len` bytes from
    /// it.
    pub(crate) fn new(out: KVec<u8>, reply_len: usize, token: T) -> Result<KBox<Self>> {
        let element = Self {
            mapping: None,
            out,
            reply: KVec::from_elem(0, reply_len, GFP_KERNEL)?,
            token,
        };
        Ok(KBox::new(element, GFP_KERNEL)?)
    }

    /// What the device will read.
    pub(crate) fn out_mut(&mut self) -> &mut [u8] {
        &mut self.out
    }

    /// What the device has written, and what it has left as it was.
    pub(crate) fn reply(&self) -> &[u8] {
        &self.reply
    }

    /// What the driver put with it.
    pub(crate) fn token(&self) -> &T {
        &self.token
    }

    /// What the driver put with it.
    pub(crate) fn token_mut(&mut self) -> &mut T {
        &mut self.token
    }
}

/// Bytes that stay mapped for the device, whether or not they are on a queue.
///
/// # Invariants
///
/// `len` bytes are mapped at `addr` for the device of `vq`.
struct Mapping {
    vq: NonNull<bindings::virtqueue>,
    addr: bindings::dma_addr_t,
    len: u32,
    _owner: Arc<Vqs>,
}

// SAFETY: Any thread may undo a mapping.
unsafe impl Send for Mapping {}

// SAFETY: A shared mapping can only be looked at.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: Mapped, by the type's invariants. The queue is not deleted as long as `_owner` is
        // there.
        unsafe { bindings::vesper_helper_virtqueue_unmap(self.vq.as_ptr(), self.addr, self.len) };
    }
}

/// An element that could not be put on a queue, and why.
pub(crate) struct Rejected<T> {
    /// `ENOSPC`: the queue is full. `EIO`: the device is broken.
    pub(crate) error: Error,
    /// The element, unchanged.
    pub(crate) element: KBox<Element<T>>,
}

/// A `struct virtqueue` for elements with tokens `T`.
///
/// # Invariants
///
/// `vq` is a queue of `owner`'s. Every element on it came from a `KBox<Element<T>>`.
pub(crate) struct Virtqueue<T> {
    vq: NonNull<bindings::virtqueue>,
    owner: Arc<Vqs>,
    _elements: PhantomData<KBox<Element<T>>>,
}

// SAFETY: A virtqueue may be used by any thread, one at a time, which `&mut self` sees to.
unsafe impl<T: Send> Send for Virtqueue<T> {}

impl<T> From<Found> for Virtqueue<T> {
    fn from(found: Found) -> Self {
        // INVARIANT: A queue that was found, and is empty.
        Self {
            vq: found.vq,
            owner: found.owner,
            _elements: PhantomData,
        }
    }
}

impl<T> Virtqueue<T> {
    /// Puts an element on the queue, followed by whole pages for the device to write, which must
    /// stay as long as the element's token does. Process context.
    pub(crate) fn add(
        &mut self,
        element: KBox<Element<T>>,
        pages: &[PagePtr],
    ) -> Result<(), Rejected<T>> {
        let result = self.add_sgs(&element, pages);
        Self::added(element, result)
    }

    /// Gets an element ready for [`Virtqueue::add_mapped`]. Only what the device reads of it will
    /// reach the device. Process context.
    pub(crate) fn map(&self, element: &mut Element<T>) -> Result {
        let len = element.out.len() as u32;
        let mut addr = 0;
        // SAFETY: The queue exists as long as `self`; the bytes are in memory from kmalloc, and stay
        // where they are, for nothing lets them grow.
        to_result(unsafe {
            bindings::vesper_helper_virtqueue_map(
                self.vq.as_ptr(),
                element.out.as_mut_ptr().cast(),
                len,
                &mut addr,
            )
        })?;
        // INVARIANT: Just mapped.
        element.mapping = Some(Mapping {
            vq: self.vq,
            addr,
            len,
            _owner: self.owner.clone(),
        });
        Ok(())
    }

    /// Puts an element on the queue that was [mapped](Virtqueue::map) for it: neither memory is
    /// needed for that, nor a lock of an IOMMU's driver, which on PREEMPT_RT may sleep. Any context
    /// but NMI.
    pub(crate) fn add_mapped(&mut self, element: KBox<Element<T>>) -> Result<(), Rejected<T>> {
        let result = match &element.mapping {
            // SAFETY: The queue exists as long as `self`, and no other operation runs. The bytes
            // are mapped, by the type's invariants, and stay so until the element comes back: it is
            // owned by the queue from now on and can't be reached otherwise.
            Some(mapping) if mapping.vq == self.vq => to_result(unsafe {
                bindings::vesper_helper_virtqueue_add_mapped(
                    self.vq.as_ptr(),
                    mapping.addr,
                    mapping.len,
                    ptr::from_ref(&*element).cast_mut().cast(),
                )
            }),
            _ => Err(EINVAL),
        };
        Self::added(element, result)
    }

    fn added(element: KBox<Element<T>>, result: Result) -> Result<(), Rejected<T>> {
        match result {
            Ok(()) => {
                // The queue owns it now.
                let _ = KBox::into_raw(element);
                Ok(())
            }
            Err(error) => Err(Rejected { error, element }),
        }
    }

    fn add_sgs(&mut self, element: &Element<T>, pages: &[PagePtr]) -> Result {
        let mut list = KVVec::<bindings::scatterlist>::with_capacity(pages.len(), GFP_KERNEL)?;
        let (mut out, mut reply) = (Zeroable::zeroed(), Zeroable::zeroed());
        let mut sgs = [ptr::null_mut(); 3];
        let (mut num_out, mut num_in) = (0usize, 0usize);

        if !element.out.is_empty() {
            // SAFETY: `out` is a local; the bytes are in memory from kmalloc.
            unsafe { sg_init_one(&mut out, &element.out) };
            sgs[0] = &raw mut out;
            num_out = 1;
        }
        if !element.reply.is_empty() {
            // SAFETY: `reply` is a local; the bytes are in memory from kmalloc.
            unsafe { sg_init_one(&mut reply, &element.reply) };
            sgs[num_out] = &raw mut reply;
            num_in = 1;
        }
        if !pages.is_empty() {
            // SAFETY: The list has room for that many entries.
            unsafe { bindings::sg_init_table(list.as_mut_ptr(), pages.len() as u32) };
            for (i, page) in pages.iter().enumerate() {
                // SAFETY: Entry `i` was initialised by `sg_init_table`; `page` is a whole page.
                unsafe {
                    bindings::vesper_helper_sg_set_page(list.as_mut_ptr().add(i), page.as_raw())
                };
            }
            sgs[num_out.wrapping_add(num_in)] = list.as_mut_ptr();
            num_in = num_in.wrapping_add(1);
        }
        if num_out == 0 && num_in == 0 {
            return Err(EINVAL);
        }

        // SAFETY: The queue exists as long as `self`, which is borrowed for good, so no other
        // operation runs. All lists are terminated. The memory stays where it is until the element
        // comes back: it is owned by the queue from now on and can't be reached otherwise.
        to_result(unsafe {
            bindings::virtqueue_add_sgs(
                self.vq.as_ptr(),
                sgs.as_mut_ptr(),
                num_out as u32,
                num_in as u32,
                ptr::from_ref(element).cast_mut().cast(),
                bindings::GFP_KERNEL,
            )
        })
    }

    /// Takes back an element that the device is done with, and how many bytes the device says it
    /// wrote: a claim, to be checked.
    pub(crate) fn get_buf(&mut self) -> Option<(KBox<Element<T>>, usize)> {
        let mut len = 0;
        // SAFETY: The queue exists as long as `self`, and no other operation runs.
        let token = unsafe { bindings::virtqueue_get_buf(self.vq.as_ptr(), &mut len) };
        if token.is_null() {
            return None;
        }
        // SAFETY: By the type's invariants, what is on the queue came from a `KBox<Element<T>>`.
        Some((unsafe { KBox::from_raw(token.cast()) }, len as usize))
    }

    /// Finds out whether the device must be told of what was added. The answer is good, and can be
    /// acted on, as long as `rcu` is held, also after a lock around the queue was given up.
    pub(crate) fn kick_prepare<'r>(&mut self, rcu: &'r rcu::Guard) -> Option<Kick<'r>> {
        // SAFETY: The queue exists as long as `self`, and no other operation runs.
        let wanted = unsafe { bindings::virtqueue_kick_prepare(self.vq.as_ptr()) };
        wanted.then(|| self.kick(rcu))
    }

    /// A kick that is wanted in any case.
    fn kick<'r>(&self, _rcu: &'r rcu::Guard) -> Kick<'r> {
        Kick {
            vq: self.vq,
            _rcu: PhantomData,
        }
    }

    /// Tells the device whatever there is, now.
    pub(crate) fn kick_now(&mut self) {
        let rcu = rcu::read_lock();
        if let Some(kick) = self.kick_prepare(&rcu) {
            kick.notify();
        }
    }

    /// Asks the device not to call back: a hint.
    pub(crate) fn disable_cb(&mut self) {
        // SAFETY: The queue exists as long as `self`, and no other operation runs.
        unsafe { bindings::virtqueue_disable_cb(self.vq.as_ptr()) };
    }

    /// Asks the device to call back. Returns `false` if there is something to take back already.
    pub(crate) fn enable_cb(&mut self) -> bool {
        // SAFETY: The queue exists as long as `self`, and no other operation runs.
        unsafe { bindings::virtqueue_enable_cb(self.vq.as_ptr()) }
    }

    /// Says whether the device stopped to obey the rules, or went.
    pub(crate) fn is_broken(&self) -> bool {
        // SAFETY: The queue exists as long as `self`.
        unsafe { bindings::virtqueue_is_broken(self.vq.as_ptr()) }
    }

    /// Says whether the device wants to be reset. Process context.
    pub(crate) fn needs_reset(&self) -> bool {
        // SAFETY: The device is there as long as its queues.
        let status = unsafe { bindings::vesper_helper_virtio_get_status(self.owner.vdev.as_ptr()) };
        u32::from(status) & bindings::VIRTIO_CONFIG_S_NEEDS_RESET != 0
    }

    /// Marks all queues of the device as broken: nothing more is taken from or given to it.
    pub(crate) fn break_device(&self) {
        // SAFETY: The device is there as long as its queues.
        unsafe { bindings::virtio_break_device(self.owner.vdev.as_ptr()) };
    }

    /// Number of entries.
    pub(crate) fn vring_size(&self) -> usize {
        // SAFETY: The queue exists as long as `self`.
        unsafe { bindings::virtqueue_get_vring_size(self.vq.as_ptr()) as usize }
    }

    /// Says whether what is put on this queue reaches the device as a copy (swiotlb): then it can't
    /// be shared. Process context.
    pub(crate) fn bounces(&mut self) -> bool {
        // SAFETY: The queue exists as long as `self`.
        unsafe { bindings::vesper_helper_virtqueue_bounces(self.vq.as_ptr()) }
    }

    /// A way to kick this queue when nothing else is left to do. The queue is deleted after it is
    /// dropped.
    pub(crate) fn bell(&self) -> Bell {
        Bell {
            vq: self.vq,
            _owner: self.owner.clone(),
        }
    }
}

impl<T> Drop for Virtqueue<T> {
    fn drop(&mut self) {
        // No [`Kick`] is left after this.
        synchronize_rcu();
        self.owner.reset();
        // SAFETY: The device was reset, and the queue is not yet deleted: `owner` is still there.
        let detach = || unsafe { bindings::virtqueue_detach_unused_buf(self.vq.as_ptr()) };
        while let Some(token) = NonNull::new(detach()) {
            // SAFETY: By the type's invariants, what is on the queue came from a
            // `KBox<Element<T>>`.
            drop(unsafe { KBox::<Element<T>>::from_raw(token.cast().as_ptr()) });
        }
    }
}

/// A kick that the device waits for.
#[must_use]
pub(crate) struct Kick<'r> {
    vq: NonNull<bindings::virtqueue>,
    _rcu: PhantomData<&'r rcu::Guard>,
}

impl Kick<'_> {
    /// Kicks. Any context but NMI.
    pub(crate) fn notify(self) {
        // SAFETY: The queue was there when the kick was made, in the RCU section that still lasts,
        // and dropping a queue waits for such sections. `virtqueue_notify` needs no lock. When it
        // fails it has marked the queue broken, which the next operation tells.
        unsafe { bindings::virtqueue_notify(self.vq.as_ptr()) };
    }
}

/// See [`Virtqueue::bell`].
pub(crate) struct Bell {
    vq: NonNull<bindings::virtqueue>,
    _owner: Arc<Vqs>,
}

// SAFETY: Kicking needs no lock and may be done by any thread.
unsafe impl Send for Bell {}

impl Bell {
    /// Kicks, whether the device wants it or not. Any context.
    pub(crate) fn ring(&self) {
        // SAFETY: The queue is not deleted as long as `_owner` is there.
        unsafe { bindings::virtqueue_notify(self.vq.as_ptr()) };
    }
}

/// Makes a list of one entry.
///
/// # Safety
///
/// `bytes` is in memory from kmalloc.
unsafe fn sg_init_one(sg: &mut bindings::scatterlist, bytes: &[u8]) {
    // SAFETY: `sg` is valid for writes, and `bytes` is in the linear map.
    unsafe { bindings::sg_init_one(sg, bytes.as_ptr().cast(), bytes.len() as u32) };
}
