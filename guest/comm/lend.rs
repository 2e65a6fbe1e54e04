// SPDX-License-Identifier: GPL-2.0

//! Lend queue: pages that the host has, until it returns them (paper §3.3.2).

use super::{
    message::{
        self,
        Message, //
    },
    Comm, //
};
use crate::{
    bindings,
    later::EPROTO,
    sys::{
        page::PagePtr,
        virtio::{
            Element,
            Virtqueue, //
        },
    },
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
    transmute::AsBytes, //
};

/// Somebody who lends pages. Kept, with the pages, as long as a loan lasts.
pub(crate) trait Lender: Send + Sync {
    /// A loan is over: the host returned it with this outcome, an error if it never took it; or,
    /// `ENODEV`, the device was reset. Process context.
    fn over(&self, outcome: Result);
}

/// One element's worth of loan.
pub(super) struct Loan(Option<Arc<dyn Lender>>);

impl Loan {
    fn over(&mut self, outcome: Result) {
        if let Some(lender) = self.0.take() {
            lender.over(outcome);
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.over(Err(ENODEV));
    }
}

impl Comm {
    /// Lends `pages`, which stay as long as `lender` lives, as a fragment of a buffer. No more than
    /// [`Comm::max_fragment`]. Process context.
    ///
    /// Returns when they are on the queue. [`Lender::over`] is called when they come back, or at
    /// once if this fails.
    pub(crate) fn lend(
        &self,
        channel: u32,
        buffer: u32,
        first: u32,
        pages: &[PagePtr],
        lender: Arc<dyn Lender>,
    ) -> Result {
        let kind = bindings::VIRTIO_VESPER_D_FRAGMENT;
        self.lend_as(kind, (channel, buffer, first), pages, lender)
    }

    /// Lends the pages of the heartbeat, as [`Comm::lend`] does others.
    pub(crate) fn lend_beat(&self, pages: &[PagePtr], lender: Arc<dyn Lender>) -> Result {
        if pages.len() > self.max_fragment() {
            return Err(ENOSPC);
        }
        // The host writes, too.
        let first = bindings::VIRTIO_VESPER_INDEX_FRAGMENT;
        self.lend_as(bindings::VIRTIO_VESPER_D_BEAT, (0, 0, first), pages, lender)
    }

    fn lend_as(
        &self,
        kind: u32,
        (channel, buffer, first): (u32, u32, u32),
        pages: &[PagePtr],
        lender: Arc<dyn Lender>,
    ) -> Result {
        let mut fragment = bindings::virtio_vesper_fragment {
            hdr: Zeroable::zeroed(),
            channel: channel.to_le(),
            buffer: buffer.to_le(),
            first: first.to_le(),
            nr_pages: (pages.len() as u32).to_le(),
        };
        let id = self.next_id.fetch_add(1, Relaxed);
        fragment.set_hdr(kind, 0, id, 0);

        let loan = Loan(Some(lender));
        let mut bytes = KVec::new();
        bytes.extend_from_slice(fragment.as_bytes(), GFP_KERNEL)?;
        let reply_len = size_of::<bindings::virtio_vesper_reply>();
        let element = Element::new(bytes, reply_len, loan)?;

        // The rejected element is dropped after the lock.
        let result = {
            let mut queue = self.lend.lock();
            let queue = (*queue).as_mut().ok_or(ENODEV)?;
            let result = queue.add(element, pages);
            if result.is_ok() {
                queue.kick_now();
            }
            result
        };
        result.map_err(|rejected| rejected.error)
    }

    /// Takes back what the host returned. Process context.
    pub(super) fn reap_lend(&self) {
        loop {
            // Not under the lock: the lender may be dropped with its loan.
            let back = (*self.lend.lock()).as_mut().and_then(Virtqueue::get_buf);
            let Some((mut element, written)) = back else {
                return;
            };
            let reply = element.reply();
            let reply = reply.get(..written).unwrap_or(reply);
            let outcome = message::read::<bindings::virtio_vesper_reply>(reply)
                .ok_or(EPROTO)
                .and_then(|reply| message::status(u32::from_le(reply.status)));
            element.token_mut().over(outcome);
        }
    }
}
