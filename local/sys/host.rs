// SPDX-License-Identifier: GPL-2.0

//! `vesper_host`, as a carrier inside this kernel sees it.
//!
//! C header: `host/carrier.h`

use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    ffi::c_void,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
};

/// Bytes of a reply.
pub(crate) const REPLY_LEN: usize = size_of::<bindings::virtio_vesper_reply>();

/// Bytes of the head of an event.
pub(crate) const EVENT_HEAD: usize = size_of::<bindings::vesper_event>();

/// Who is woken when there is something to read.
pub(crate) trait Wake: Send + Sync + 'static {
    /// There is. Process context; a lock is held: no call to the host from here.
    fn wake(this: ArcBorrow<'_, Self>);
}

/// The domain that this kernel is, attached. Dropping it detaches: the host lets go of what was
/// lent.
///
/// # Invariants
///
/// The pointer came from `vesper_carrier_attach`, with what `woken` refers to as its argument.
pub(crate) struct Carrier<T: Wake> {
    carrier: NonNull<bindings::vesper_carrier>,
    _woken: Arc<T>,
}

// SAFETY: A carrier may be used from any thread; the rest is an `Arc`.
unsafe impl<T: Wake> Send for Carrier<T> {}

/// # Safety
///
/// `data` is the pointer of an `Arc<T>` that is held meanwhile.
unsafe extern "C" fn wake<T: Wake>(data: *mut c_void) {
    // SAFETY: By the requirement of this function.
    T::wake(unsafe { ArcBorrow::from_raw(data.cast_const().cast::<T>()) });
}

impl<T: Wake> Carrier<T> {
    /// Attaches. Returns also what the host says of itself. `EEXIST` if somebody has.
    pub(crate) fn attach(woken: Arc<T>) -> Result<(Self, bindings::vesper_attach)> {
        let mut attach: bindings::vesper_attach = pin_init::zeroed();
        let data = Arc::as_ptr(&woken).cast_mut().cast();
        // SAFETY: `attach` is a local. `wake` expects this pointer, and the reference is held until
        // nobody calls it any more: see `drop`.
        let carrier =
            unsafe { bindings::vesper_carrier_attach(&mut attach, Some(wake::<T>), data) };
        let carrier = NonNull::new(from_err_ptr(carrier)?).ok_or(ENOMEM)?;
        // INVARIANT: Just attached.
        let it = Self {
            carrier,
            _woken: woken,
        };
        Ok((it, attach))
    }

    /// Passes on a message of the control or notify queue. Returns the reply, for the former.
    pub(crate) fn message(&self, queue: u32, request: &[u8]) -> Result<[u8; REPLY_LEN]> {
        let mut reply = [0; REPLY_LEN];
        // SAFETY: Attached, by the type invariant; the bytes are there, and `reply` is a local of
        // the size of a reply.
        to_result(unsafe {
            bindings::vesper_carrier_message(
                self.carrier.as_ptr(),
                queue,
                request.as_ptr().cast(),
                request.len(),
                reply.as_mut_ptr().cast(),
            )
        })?;
        Ok(reply)
    }

    /// Passes on an element of the lend queue.
    ///
    /// # Safety
    ///
    /// `pages` are allocated pages of normal memory, none of them part of a compound one.
    pub(crate) unsafe fn lend(
        &self,
        cookie: u64,
        request: &[u8],
        pages: &mut [*mut bindings::page],
    ) -> Result {
        // SAFETY: Attached, by the type invariant; request and pages are there.
        to_result(unsafe {
            bindings::vesper_carrier_lend(
                self.carrier.as_ptr(),
                cookie,
                request.as_ptr().cast(),
                request.len(),
                pages.as_mut_ptr(),
                pages.len(),
            )
        })
    }

    /// The driver has posted `count` buffers of `size` bytes for the loader.
    pub(crate) fn buffers(&self, count: u32, size: u32) -> Result {
        // SAFETY: Attached, by the type invariant.
        to_result(unsafe { bindings::vesper_carrier_buffers(self.carrier.as_ptr(), count, size) })
    }

    /// Takes an event, if there is one: its head and what follows, in `to`.
    pub(crate) fn read(&self, to: &mut [u8]) -> Result<Option<usize>> {
        // SAFETY: Attached, by the type invariant; the bytes are ours.
        let len = unsafe {
            bindings::vesper_carrier_read(self.carrier.as_ptr(), to.as_mut_ptr().cast(), to.len())
        };
        match usize::try_from(len) {
            Ok(len) => Ok(Some(len)),
            Err(_) if len == EAGAIN.to_errno() as isize => Ok(None),
            Err(_) => Err(Error::from_errno(len as i32)),
        }
    }

    /// The device is reset. Nothing refers to what was lent when this returns, but for a reader
    /// who holds on to it, and has references.
    pub(crate) fn reset(&self) {
        // SAFETY: Attached, by the type invariant.
        unsafe { bindings::vesper_carrier_reset(self.carrier.as_ptr()) };
    }

    /// The driver did not keep to the rules.
    pub(crate) fn broken(&self) {
        // SAFETY: Attached, by the type invariant.
        unsafe { bindings::vesper_carrier_broken(self.carrier.as_ptr()) };
    }
}

impl<T: Wake> Drop for Carrier<T> {
    fn drop(&mut self) {
        // SAFETY: Attached, by the type invariant, and not used after this.
        unsafe { bindings::vesper_carrier_detach(self.carrier.as_ptr()) };
    }
}
