// SPDX-License-Identifier: GPL-2.0

//! Action layer of the listener (paper A5 to A7, B3, B4, C5 to C7): channels that a guest opens,
//! pages that it lends, buffers that it shares.
//!
//! One [`Listener`] per domain, under the domain's `control` lock. Pinning is done before that
//! lock is taken, because it can wait for user memory.

use crate::{
    abi::{
        Geometry,
        NAME_LEN, //
    },
    bindings::{
        VIRTIO_VESPER_CHAN_CTF,
        VIRTIO_VESPER_CHAN_FOREIGN,
        VIRTIO_VESPER_CHAN_OVERWRITE, //
    },
    domain::Domain,
    files::ChannelPlace,
    later::EOPNOTSUPP,
    message::{
        Fragment,
        Open,
        Target, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

mod buffer;
mod counts;
mod detach;
mod kept;
mod loan;
mod stage;

pub(crate) use self::{
    buffer::{
        Buffer,
        Spec,
        Violation, //
    },
    detach::Why,
    kept::Tally,
    loan::{
        Collecting,
        Lent,
        Loan,
        Quota, //
    },
};

/// Most buffers that are kept of a domain, however small: each has files, and is looked at when
/// others come and go.
const MAX_KEPT_BUFFERS: usize = 4096;

/// A channel that is open in the guest.
struct Channel {
    id: u32,
    flags: u32,
    geometry: Geometry,
    nr_buffers: u32,
    module: [u8; NAME_LEN],
    name: [u8; NAME_LEN],
    /// Buffers of which pages are lent, but which are not shared yet.
    collecting: KVec<Collecting>,
    /// By number; shorter than `nr_buffers` until it is needed.
    shared: KVVec<Option<Arc<Buffer>>>,
    place: ChannelPlace,
}

/// What a guest has opened and lent.
pub(crate) struct Listener {
    channels: KVec<Channel>,
    /// Every buffer that has a file, or whose pages are not given back.
    buffers: KVec<Arc<Buffer>>,
    next_id: u32,
    /// The guest has said hello since the last reset.
    pub(crate) greeted: bool,
    /// Possible CPUs of the guest.
    pub(crate) nr_cpus: u32,
    /// It can show channels of others.
    pub(crate) shares: bool,
    /// The VMM is gone.
    pub(crate) closed: bool,
}

/// Limits on what one guest may ask for.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Channels of a domain.
    pub(crate) max_channels: usize,
    /// Pages of a buffer.
    pub(crate) max_buffer_pages: usize,
}

impl Listener {
    /// Nothing opened.
    pub(crate) fn new() -> Self {
        Self {
            channels: KVec::new(),
            buffers: KVec::new(),
            next_id: 1,
            greeted: false,
            nr_cpus: 0,
            shares: false,
            closed: false,
        }
    }

    fn channel(&mut self, id: u32) -> Result<&mut Channel> {
        self.channels.iter_mut().find(|c| c.id == id).ok_or(ENOENT)
    }

    /// Opens a channel; returns its id. `EEXIST`, `EINVAL`, `ENOSPC`, `EOPNOTSUPP`.
    pub(crate) fn open(&mut self, domain: &Domain, limits: Limits, open: &Open) -> Result<u32> {
        let geometry = Geometry::new(open.subbuf_size, open.n_subbufs).ok_or(EINVAL)?;
        let known =
            VIRTIO_VESPER_CHAN_OVERWRITE | VIRTIO_VESPER_CHAN_CTF | VIRTIO_VESPER_CHAN_FOREIGN;
        if open.flags & !known != 0 || open.nr_buffers == 0 || open.nr_buffers > self.nr_cpus {
            return Err(EINVAL);
        }
        if open.flags & VIRTIO_VESPER_CHAN_FOREIGN != 0 {
            if !self.shares {
                return Err(EOPNOTSUPP);
            }
            if open.flags != VIRTIO_VESPER_CHAN_FOREIGN {
                return Err(EINVAL);
            }
        }
        // Who overwrites is always at work in one: with one there were none to read.
        if open.flags & VIRTIO_VESPER_CHAN_OVERWRITE != 0 && geometry.n_subbufs() < 2 {
            return Err(EINVAL);
        }
        if geometry.pages() > limits.max_buffer_pages || self.channels.len() >= limits.max_channels
        {
            return Err(ENOSPC);
        }
        if self
            .channels
            .iter()
            .any(|c| c.module == open.module && c.name == open.channel)
        {
            return Err(EEXIST);
        }
        self.channels.reserve(1, GFP_KERNEL_ACCOUNT)?;
        let ctf = open.flags & VIRTIO_VESPER_CHAN_CTF != 0;
        let place = domain.dir().open(&open.module, ctf)?;
        let id = self.free_id();
        self.channels.push(
            Channel {
                id,
                flags: open.flags,
                geometry,
                nr_buffers: open.nr_buffers,
                module: open.module,
                name: open.channel,
                collecting: KVec::new(),
                shared: KVVec::new(),
                place,
            },
            GFP_KERNEL_ACCOUNT,
        )?;
        Ok(id)
    }

    /// A number that no channel has.
    fn free_id(&mut self) -> u32 {
        loop {
            let id = self.next_id;
            self.next_id = id.wrapping_add(1).max(1);
            // There are far fewer channels than numbers.
            if !self.channels.iter().any(|c| c.id == id) {
                return id;
            }
        }
    }

    /// Adds to the metadata that a channel supplies. `EINVAL` for one that supplies none.
    pub(crate) fn metadata(&mut self, channel: u32, section: u32, text: &[u8]) -> Result {
        self.channel(channel)?
            .place
            .metadata()
            .ok_or(EINVAL)?
            .append(section, text)
    }

    /// Says whether a fragment could be taken, before the work of pinning.
    pub(crate) fn expects(&mut self, fragment: &Fragment) -> Result {
        let channel = self.channel(fragment.channel)?;
        if fragment.buffer >= channel.nr_buffers {
            return Err(EINVAL);
        }
        if channel.buffer(fragment.buffer).is_some() {
            return Err(EEXIST);
        }
        Ok(())
    }

    /// Takes a loan. On failure the caller has it dropped, and the VMM is told by the error.
    pub(crate) fn lend(&mut self, fragment: &Fragment, loan: Loan) -> Result {
        self.expects(fragment)?;
        let channel = self.channel(fragment.channel)?;
        let geometry = channel.geometry;
        let at = match channel
            .collecting
            .iter()
            .position(|c| c.number == fragment.buffer)
        {
            Some(at) => at,
            None => {
                channel
                    .collecting
                    .push(Collecting::new(fragment.buffer), GFP_KERNEL_ACCOUNT)?;
                channel.collecting.len().wrapping_sub(1)
            }
        };
        channel
            .collecting
            .get_mut(at)
            .ok_or(EINVAL)?
            .add(geometry, fragment.first, loan)
    }

    /// Shares buffers of which all pages are lent. A failure ends the loans of the buffer that
    /// failed. `EINVAL`: not all are lent; `EEXIST`: a file of that name; `EPROTO`: the index page
    /// cannot be true.
    pub(crate) fn share(&mut self, domain: &Arc<Domain>, target: Target) -> Result {
        let id = target.channel;
        match target.buffer {
            Some(number) => self.share_one(domain, id, number),
            None => {
                if self.channel(id)?.collecting.is_empty() {
                    return Err(EINVAL);
                }
                while let Some(next) = self.channel(id)?.collecting.first() {
                    let number = next.number;
                    self.share_one(domain, id, number)?;
                }
                Ok(())
            }
        }
    }

    fn share_one(&mut self, domain: &Arc<Domain>, id: u32, number: u32) -> Result {
        let room = self.buffers.reserve(1, GFP_KERNEL_ACCOUNT);
        let channel = self.channel(id)?;
        let at = channel
            .collecting
            .iter()
            .position(|c| c.number == number)
            .ok_or(EINVAL)?;
        let collecting = channel.collecting.remove(at).map_err(|_| EINVAL)?;
        if let Err(err) = room {
            collecting.give_back(domain.desk());
            return Err(err.into());
        }
        if !collecting.complete(channel.geometry) {
            collecting.give_back(domain.desk());
            return Err(EINVAL);
        }
        let (lent, pages) = match Lent::map(channel.geometry, collecting) {
            Ok(mapped) => mapped,
            Err((err, collecting)) => {
                collecting.give_back(domain.desk());
                return Err(err);
            }
        };
        let spec = Spec {
            module: channel.module,
            channel: channel.name,
            number,
            flags: channel.flags,
            geometry: channel.geometry,
        };
        domain.step(c"A6", &channel.module, &Ok(()));
        let made = channel.make_room(number).and_then(|()| {
            let buffer = Buffer::new(domain, spec, &lent, pages)?;
            let file = channel.place.create(&buffer, &spec.channel, number)?;
            Ok((buffer, file))
        });
        let (buffer, (file, inode)) = match made {
            Ok(made) => made,
            Err(err) => {
                lent.give_back(domain.desk());
                return Err(err);
            }
        };
        // Nothing fails from here on.
        buffer.adopt(lent);
        buffer.show(file, inode);
        domain.step(c"A7", &channel.module, &Ok(()));
        if let Some(slot) = channel.shared.get_mut(number as usize) {
            *slot = Some(buffer.clone());
        }
        // What was written before it was shared.
        let _ = buffer.sync();
        Ok(self.buffers.push(buffer, GFP_KERNEL_ACCOUNT)?)
    }

    /// Detaches buffers and ends loans that led to none (C5). `ENOENT` if there is nothing of the
    /// kind; `ENOMEM`: still shared.
    pub(crate) fn unshare(&mut self, domain: &Domain, target: Target, why: Why) -> Result {
        let channel = self.channel(target.channel)?;
        // First, as what follows (C6) does not wait for the end of this.
        domain.step(c"C5", &channel.module, &Ok(()));
        let result = channel.give_back(domain, target.buffer, why);
        if result.is_err() {
            domain.step(c"C5", &channel.module, &result);
        }
        let found = result?;
        match found || target.buffer.is_none() {
            true => Ok(()),
            false => Err(ENOENT),
        }
    }

    /// Closes a channel, unsharing what still is shared (C7).
    pub(crate) fn close(&mut self, domain: &Domain, target: Target) -> Result {
        if target.buffer.is_some() {
            return Err(EINVAL);
        }
        let channel = self.channel(target.channel)?;
        channel.give_back(domain, None, Why::Unshare)?;
        let module = channel.module;
        self.channels.retain(|c| c.id != target.channel);
        domain.step(c"C7", &module, &Ok(()));
        Ok(())
    }

    /// Detaches everything and closes every channel. Loans that led to no buffer end, with a word
    /// to the VMM unless the desk was reset before.
    pub(crate) fn close_all(&mut self, domain: &Domain, why: Why) -> Result {
        domain.heartbeat().end(domain);
        for channel in self.channels.iter_mut() {
            channel.give_back(domain, None, why)?;
        }
        // Also those whose channel was closed, if a worker is still at it.
        for buffer in self.buffers.iter() {
            buffer.detach(why)?;
        }
        self.channels.clear();
        Ok(())
    }

    /// Detaches every buffer for which there is memory; the channels stay open.
    pub(crate) fn detach_all(&mut self, why: Why) {
        for channel in self.channels.iter_mut() {
            for slot in channel.shared.iter_mut() {
                if slot.as_ref().is_some_and(|b| b.detach(why).is_ok()) {
                    *slot = None;
                }
            }
        }
    }

    /// The buffer that a notification names.
    pub(crate) fn buffer(&mut self, channel: u32, number: u32) -> Option<Arc<Buffer>> {
        self.channel(channel).ok()?.buffer(number).cloned()
    }

    /// All buffers there are at one moment.
    pub(crate) fn snapshot(&self) -> Result<KVVec<Arc<Buffer>>> {
        let mut all = KVVec::with_capacity(self.buffers.len(), GFP_KERNEL)?;
        for buffer in self.buffers.iter() {
            all.push(buffer.clone(), GFP_KERNEL)?;
        }
        Ok(all)
    }

    /// Buffer number `at` of all there are.
    pub(crate) fn nth(&self, at: usize) -> Option<Arc<Buffer>> {
        self.buffers.get(at).cloned()
    }

    /// Has the oldest buffers thrown away until what is kept of the others fits `limit` bytes, and
    /// they are no more than [`MAX_KEPT_BUFFERS`]. Returns how many.
    pub(crate) fn trim(&self, limit: usize) -> usize {
        let mut kept = self.kept_bytes();
        let mut count = self.buffers.iter().filter(|b| b.kept_bytes() != 0).count();
        let mut reaped = 0usize;
        for buffer in self.buffers.iter() {
            if kept <= limit && count <= MAX_KEPT_BUFFERS {
                break;
            }
            let bytes = buffer.kept_bytes();
            if buffer.reap() {
                kept = kept.saturating_sub(bytes);
                count = count.saturating_sub(usize::from(bytes != 0));
                reaped = reaped.wrapping_add(1);
            }
        }
        reaped
    }

    /// Bytes kept of buffers of which no more will come.
    pub(crate) fn kept_bytes(&self) -> usize {
        let sum = |sum: usize, b: &Arc<Buffer>| sum.saturating_add(b.kept_bytes());
        self.buffers.iter().fold(0, sum)
    }

    /// Bytes of copies of those.
    pub(crate) fn copied_bytes(&self) -> usize {
        let sum = |sum: usize, b: &Arc<Buffer>| sum.saturating_add(b.copied_bytes());
        self.buffers.iter().fold(0, sum)
    }

    /// Has the oldest of which there are copies thrown away, until these are `bytes` in all.
    /// Returns how many bytes and buffers they are.
    pub(crate) fn drop_copies(&self, bytes: usize) -> (usize, usize) {
        let (mut freed, mut count) = (0usize, 0usize);
        for buffer in self.buffers.iter() {
            if freed >= bytes {
                break;
            }
            let its = buffer.copied_bytes();
            if its != 0 && buffer.reap() {
                freed = freed.saturating_add(its);
                count = count.wrapping_add(1);
            }
        }
        (freed, count)
    }

    /// A buffer whose pages are still to be given back.
    pub(crate) fn going(&self) -> Option<Arc<Buffer>> {
        self.buffers.iter().find(|b| b.is_going()).cloned()
    }

    /// All buffers.
    pub(crate) fn buffers(&self) -> &[Arc<Buffer>] {
        &self.buffers
    }

    /// Forgets a buffer that is drained and whose file is gone.
    pub(crate) fn forget(&mut self, buffer: &Arc<Buffer>) {
        self.buffers.retain(|b| !Arc::ptr_eq(b, buffer));
        for channel in self.channels.iter_mut() {
            if let Some(slot) = channel.shared.get_mut(buffer.spec.number as usize) {
                if slot.as_ref().is_some_and(|b| Arc::ptr_eq(b, buffer)) {
                    *slot = None;
                }
            }
        }
    }

    /// Takes out everything, to be dropped without the lock.
    pub(crate) fn take(&mut self) -> KVec<Arc<Buffer>> {
        self.channels.clear();
        core::mem::take(&mut self.buffers)
    }

    /// Channels open in the guest.
    pub(crate) fn channels(&self) -> usize {
        self.channels.len()
    }
}

impl Channel {
    /// The shared buffer of that number; one that is given back already does not count.
    fn buffer(&self, number: u32) -> Option<&Arc<Buffer>> {
        self.shared.get(number as usize)?.as_ref()
    }

    /// Makes sure that there is a slot for buffer `number`.
    fn make_room(&mut self, number: u32) -> Result {
        if number >= self.nr_buffers {
            return Err(EINVAL);
        }
        while self.shared.len() <= number as usize {
            self.shared.push(None, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(())
    }

    /// Ends loans and detaches buffers, one or all. Returns whether there was any.
    fn give_back(&mut self, domain: &Domain, number: Option<u32>, why: Why) -> Result<bool> {
        let wanted = |n: u32| number.is_none_or(|number| number == n);
        let mut found = false;
        while let Some(at) = self.collecting.iter().position(|c| wanted(c.number)) {
            if let Ok(collecting) = self.collecting.remove(at) {
                collecting.give_back(domain.desk());
                found = true;
            }
        }
        for slot in self.shared.iter_mut() {
            if let Some(buffer) = slot.as_ref().filter(|b| wanted(b.spec.number)) {
                buffer.detach(why)?;
                found = true;
                *slot = None;
            }
        }
        Ok(found)
    }
}
