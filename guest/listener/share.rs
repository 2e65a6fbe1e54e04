// SPDX-License-Identifier: GPL-2.0

//! One channel, and what the host has of it.

use super::source::Source;
use crate::{
    bindings,
    comm::{
        Comm,
        Lender,
        Undo, //
    },
    later::{
        synchronize_rcu,
        EOPNOTSUPP,
        EPROTO, //
    },
    sys::{
        completion::Completion,
        trace, //
    },
    text,
};
use core::slice;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        rcu,
        Arc,
        Mutex, //
    },
};

/// How long the host may take to give pages back after it said that it would, in seconds.
const RETURN_TIMEOUT_S: u32 = 30;

/// No channel id: they have 32 bits.
const NOT_SHARED: u64 = u64::MAX;

/// A notification that found the queue full.
struct Pending {
    wanted: Atomic<bool>,
    urgent: Atomic<bool>,
    produced: Atomic<u64>,
}

/// A channel that is open.
#[pin_data]
pub(super) struct Channel {
    pub(super) source: Arc<dyn Source>,
    #[pin]
    pub(super) link: Mutex<Link>,
    /// The host has, or is about to get, something of it. Set before [`Listener::up`] is looked at,
    /// so that whoever unsets that finds every channel there is something to take back of.
    ///
    /// [`Listener::up`]: super::Listener
    shared: Atomic<bool>,
    /// The channel's id, for those who can't take `link`; [`NOT_SHARED`] if it has none.
    wire: Atomic<u64>,
    pending: KVec<Pending>,
}

/// What the host has of a channel.
pub(super) struct Link {
    /// The probe has closed it: nothing is to be asked of the source any more.
    pub(super) closed: bool,
    shared: Option<Shared>,
}

struct Shared {
    id: u32,
    loans: Arc<Loans>,
    /// Bytes of each metadata section that were sent.
    sent: [usize; bindings::VIRTIO_VESPER_MAX_SECTIONS as usize],
    /// Which buffers the host has.
    lent: KVec<bool>,
}

/// Counts what is on loan, and holds the pages.
#[pin_data]
struct Loans {
    _source: Arc<dyn Source>,
    #[pin]
    count: Mutex<Count>,
    #[pin]
    all_back: Completion,
}

struct Count {
    out: usize,
    /// Nothing more will be lent.
    ending: bool,
    refusal: Option<Error>,
}

impl Loans {
    fn new(source: Arc<dyn Source>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                _source: source,
                count <- new_mutex!(
                    Count { out: 0, ending: false, refusal: None },
                    "vesper_loans"
                ),
                all_back <- Completion::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Waits until every page is back, for so many seconds; says whether they are.
    fn end(&self, timeout_s: u32) -> bool {
        let out = {
            let mut count = self.count.lock();
            count.ending = true;
            count.out
        };
        // One by one: a guest that was paused finds that much time has passed, but the host had
        // none of it.
        out == 0 || (0..timeout_s).any(|_| self.all_back.wait_timeout(1000))
    }

    /// Why the host refused a loan, if it did.
    fn refusal(&self) -> Option<Error> {
        self.count.lock().refusal
    }
}

impl Lender for Loans {
    fn over(&self, outcome: Result) {
        let mut count = self.count.lock();
        count.out = count.out.saturating_sub(1);
        match outcome {
            // The device was reset, or the loan never got there: no word of the host's.
            Ok(()) | Err(ENODEV) => (),
            Err(e) => {
                count.refusal.get_or_insert(e);
            }
        }
        if count.ending && count.out == 0 {
            self.all_back.complete_all();
        }
    }
}

impl Channel {
    /// A channel that is not shared yet.
    pub(super) fn new(source: Arc<dyn Source>) -> Result<Arc<Self>> {
        let nr_buffers = source.description().nr_buffers as usize;
        let mut pending = KVec::with_capacity(nr_buffers, GFP_KERNEL)?;
        for _ in 0..nr_buffers {
            pending.push(
                Pending {
                    wanted: Atomic::new(false),
                    urgent: Atomic::new(false),
                    produced: Atomic::new(0),
                },
                GFP_KERNEL,
            )?;
        }
        Arc::pin_init(
            pin_init!(Self {
                source,
                link <- new_mutex!(Link { closed: false, shared: None }, "vesper_link"),
                shared: Atomic::new(false),
                wire: Atomic::new(NOT_SHARED),
                pending,
            }),
            GFP_KERNEL,
        )
    }

    /// Whether the host may have something of it.
    pub(super) fn is_shared(&self) -> bool {
        self.shared.load(Relaxed)
    }

    /// Opens the channel on the host and lends it all buffers there are, if it is `up`, else
    /// `ENODEV`. If that fails, nothing is left behind. Process context.
    pub(super) fn share(&self, comm: &Comm, up: &Atomic<bool>, link: &mut Link) -> Result {
        if link.shared.is_some() || link.closed {
            return Ok(());
        }
        self.shared.xchg(true, Full);
        let result = if up.load(Relaxed) {
            self.try_share(comm, link)
        } else {
            Err(ENODEV)
        };
        if result.is_err() {
            self.shared.store(false, Relaxed);
        }
        result
    }

    fn try_share(&self, comm: &Comm, link: &mut Link) -> Result {
        if comm.max_fragment() == 0 {
            return Err(EOPNOTSUPP);
        }
        let description = self.source.description();
        let geometry = description.geometry;
        let lent = KVec::from_elem(false, description.nr_buffers as usize, GFP_KERNEL)?;
        let loans = Loans::new(self.source.clone())?;
        let open = bindings::virtio_vesper_open {
            flags: description.flags.to_le(),
            subbuf_size: (geometry.subbuf_size() as u32).to_le(),
            n_subbufs: (geometry.n_subbufs() as u32).to_le(),
            nr_buffers: description.nr_buffers.to_le(),
            uuid: description.uuid,
            module: description.module,
            channel: description.channel,
            ..Zeroable::zeroed()
        };
        let id = comm.request_or_undo(bindings::VIRTIO_VESPER_C_OPEN, open, CLOSE)?;
        trace::channel_open(id, &description.module, &description.channel);
        let shared = link.shared.insert(Shared {
            id,
            loans: loans.clone(),
            sent: Zeroable::zeroed(),
            lent,
        });
        if let Err(e) = self.fill(comm, shared) {
            self.unshare(comm, link, true);
            // A refused loan says more than what came of it.
            return Err(loans.refusal().unwrap_or(e));
        }

        // Sub-buffers closed before this were nobody's to tell of: have the host look once. Who
        // still finds no id has taken the mark away before it is set here.
        self.wire.store(u64::from(id), Relaxed);
        for pending in &self.pending {
            pending.wanted.xchg(true, Full);
        }
        self.flush_pending(comm);
        Ok(())
    }

    fn fill(&self, comm: &Comm, shared: &mut Shared) -> Result {
        for section in 0..bindings::VIRTIO_VESPER_MAX_SECTIONS {
            self.send_metadata(comm, shared, section)?;
        }
        for buffer in 0..self.source.description().nr_buffers {
            self.lend_buffer(comm, shared, buffer)?;
        }
        Ok(())
    }

    fn send_metadata(&self, comm: &Comm, shared: &mut Shared, section: u32) -> Result {
        let sent = shared.sent.get_mut(section as usize).ok_or(EINVAL)?;
        let mut room = KVec::from_elem(0, METADATA_PIECE, GFP_KERNEL)?;
        loop {
            let len = self.source.metadata(section, *sent, &mut room);
            let piece = text::whole_lines(room.get(..len).unwrap_or(&[]));
            if piece.is_empty() {
                return Ok(());
            }
            let message = bindings::virtio_vesper_metadata {
                channel: shared.id.to_le(),
                section: section.to_le(),
                ..Zeroable::zeroed()
            };
            let answer = comm.request(bindings::VIRTIO_VESPER_C_METADATA, message, piece);
            // The host may have it, or take it yet. Twice it would spoil the file; that whole lines
            // are missing does not.
            if matches!(answer, Ok(_) | Err(ETIMEDOUT | EPROTO)) {
                *sent = sent.wrapping_add(piece.len());
            }
            answer?;
        }
    }

    fn lend_buffer(&self, comm: &Comm, shared: &mut Shared, buffer: u32) -> Result {
        let lent = shared.lent.get_mut(buffer as usize).ok_or(EINVAL)?;
        if *lent {
            return Ok(());
        }
        let Some(pages) = self.source.buffer(buffer) else {
            return Ok(());
        };
        if pages.pages.len() != self.source.description().geometry.pages() {
            return Err(EINVAL);
        }
        let index = bindings::VIRTIO_VESPER_INDEX_FRAGMENT;
        let lend = |first, pages: &[_]| {
            {
                let mut count = shared.loans.count.lock();
                count.out = count.out.wrapping_add(1);
            }
            comm.lend(shared.id, buffer, first, pages, shared.loans.clone())?;
            trace::lend(shared.id, buffer, first, pages.len());
            Ok::<(), Error>(())
        };
        lend(index, slice::from_ref(&pages.index))?;
        let (mut first, mut rest) = (0usize, pages.pages);
        while !rest.is_empty() {
            let (fragment, others) = rest.split_at(rest.len().min(comm.max_fragment().max(1)));
            lend(first as u32, fragment)?;
            first = first.wrapping_add(fragment.len());
            rest = others;
        }
        let share = names(shared.id, buffer);
        comm.request(bindings::VIRTIO_VESPER_C_SHARE, share, &[])?;
        trace::share(shared.id, buffer);
        *lent = true;
        Ok(())
    }

    /// Takes everything back and closes the channel on the host (C5 to C7), to share it `again`
    /// later or not: if so, it may be written to meanwhile. Says whether the host plays along; if it
    /// does not, pages may still be lent, and stay so until the host gives them back after all, or
    /// the device is reset.
    /// Process context; waits, with a time limit.
    pub(super) fn unshare(&self, comm: &Comm, link: &mut Link, again: bool) -> bool {
        let Some(shared) = self.withdraw(link) else {
            return true;
        };
        let all = all(shared.id);
        let flags = if again {
            bindings::VIRTIO_VESPER_MSG_AGAIN
        } else {
            0
        };
        let answer = comm.request_with(bindings::VIRTIO_VESPER_C_UNSHARE, flags, all, &[]);
        let answer = answer.map(|_| ());
        trace::unshare(shared.id, &answer);
        let timeout = if matches!(answer, Err(e) if [ENODEV, EIO, ETIMEDOUT].contains(&e)) {
            0
        } else {
            RETURN_TIMEOUT_S
        };
        let back = shared.loans.end(timeout);
        trace::returned(shared.id, &if back { Ok(()) } else { Err(ETIMEDOUT) });
        if !back {
            // Behind what the host has yet to do: a channel of the same name may come.
            // One that had no memory for a copy tries once more with that.
            if !matches!(answer, Err(ENODEV | EIO)) {
                let _ = comm.send(CLOSE.kind, (CLOSE.message)(shared.id));
            }
            return false;
        }
        let answer = comm.request(CLOSE.kind, (CLOSE.message)(shared.id), &[]);
        let answer = answer.map(|_| ());
        trace::channel_close(shared.id, &answer);
        answer.is_ok()
    }

    /// Forgets the sharing without a word to the host: the device is about to be reset. Nobody
    /// sends notifications for it after this.
    pub(super) fn abandon(&self, link: &mut Link) {
        self.withdraw(link);
    }

    fn withdraw(&self, link: &mut Link) -> Option<Shared> {
        self.shared.store(false, Relaxed);
        let shared = link.shared.take()?;
        self.wire.store(NOT_SHARED, Relaxed);
        // Those who saw the id have used it by now.
        synchronize_rcu();
        Some(shared)
    }

    /// See [`Share::metadata`](super::Share::metadata).
    pub(super) fn grow_metadata(&self, comm: &Comm, section: u32) -> Result {
        let mut link = self.link.lock();
        match &mut link.shared {
            Some(shared) => self.send_metadata(comm, shared, section),
            None => Ok(()),
        }
    }

    /// See [`Share::add_buffer`](super::Share::add_buffer).
    pub(super) fn add_buffer(&self, comm: &Comm, buffer: u32) -> Result {
        let mut link = self.link.lock();
        let Some(shared) = &mut link.shared else {
            return Ok(());
        };
        self.lend_buffer(comm, shared, buffer).inspect_err(|_| {
            // Its other fragments come back by themselves.
            let unshare = names(shared.id, buffer);
            let _ = comm.request(bindings::VIRTIO_VESPER_C_UNSHARE, unshare, &[]);
        })
    }

    /// See [`Share::notify`](super::Share::notify).
    pub(super) fn notify(&self, comm: &Comm, buffer: u32, produced: u64, urgent: bool) {
        let Some(pending) = self.pending.get(buffer as usize) else {
            return;
        };
        pending.produced.store(produced, Relaxed);
        // Marked beforehand: whoever makes room meanwhile must find it.
        if urgent {
            pending.urgent.store(true, Relaxed);
        }
        pending.wanted.store(true, Relaxed);
        self.send_pending(comm, buffer, pending);
    }

    /// Sends what found no room before. Any context but NMI.
    pub(super) fn flush_pending(&self, comm: &Comm) {
        for (buffer, pending) in self.pending.iter().enumerate() {
            self.send_pending(comm, buffer as u32, pending);
        }
    }

    fn send_pending(&self, comm: &Comm, buffer: u32, pending: &Pending) {
        if !pending.wanted.xchg(false, Full) {
            return;
        }
        // Until the message is on its way: see `withdraw`.
        let _rcu = rcu::read_lock();
        let Ok(id) = u32::try_from(self.wire.load(Relaxed)) else {
            return;
        };
        let produced = pending.produced.load(Relaxed);
        let urgent = pending.urgent.xchg(false, Relaxed);
        let sent = comm.notify(id, buffer, produced, urgent, || {
            if urgent {
                pending.urgent.store(true, Relaxed);
            }
            pending.wanted.store(true, Relaxed);
        });
        trace::notify(id, buffer, produced, urgent, sent);
    }
}

/// Bytes of metadata sent at a time.
const METADATA_PIECE: usize = 4096;

const _: () = assert!(METADATA_PIECE + 24 <= bindings::VIRTIO_VESPER_MAX_CONTROL as usize);

/// Closes a channel.
const CLOSE: Undo = Undo {
    kind: bindings::VIRTIO_VESPER_C_CLOSE,
    message: all,
};

fn all(channel: u32) -> bindings::virtio_vesper_buffer {
    names(channel, bindings::VIRTIO_VESPER_ALL_BUFFERS)
}

fn names(channel: u32, buffer: u32) -> bindings::virtio_vesper_buffer {
    bindings::virtio_vesper_buffer {
        channel: channel.to_le(),
        buffer: buffer.to_le(),
        ..Zeroable::zeroed()
    }
}
