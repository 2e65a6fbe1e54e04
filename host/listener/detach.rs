// SPDX-License-Identifier: GPL-2.0

//! How a buffer is given back to its guest, or outlives it (paper C4 to C8).
//!
//! 1. What is unread is copied to host pages, the open sub-buffer included.
//! 2. Mappings are pointed at the copy.
//! 3. A worker takes the inode lock, switches the reader over and gives the pages back. Only this
//!    can be held up by a reader, and nobody waits for it without a limit but other reads of the
//!    same buffer, which a signal ends.

use super::{
    buffer::{
        Buffer,
        Source, //
    },
    kept::Kept,
    loan::Lent,
};
use crate::{
    abi,
    bindings::VIRTIO_VESPER_CHAN_CTF,
    files::{
        FilePlace,
        Name, //
    },
    later::{
        smp_mb,
        Read, //
    },
    message::{
        self,
        PACKET_LEN, //
    },
    sys::{
        inode::{
            Inode,
            InodeGuard, //
        },
        pages::{
            Map,
            PageList, //
        },
        time::warn_lost,
        trace::BufferEvent, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::Jiffies,
    workqueue::WorkItem, //
};

/// Why a buffer is detached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The guest wants it back.
    Unshare,
    /// The guest wants it back, writes on, and will lend it again.
    Again,
    /// The guest leaves: what can be kept is kept.
    Leave,
    /// The guest broke off: likewise, and what it had open may be its last.
    Broken,
    /// The guest says that it panics.
    Panic,
    /// The guest starts anew and will write to its memory.
    Reset,
    /// The VMM is gone; nobody will lend the pages again.
    Death,
}

/// The open sub-buffer as it was found.
pub(super) struct Tail {
    committed: usize,
    last_tsc: u64,
}

impl Why {
    /// Says whether the open sub-buffer is taken, too. One that goes on being written stays with
    /// the guest, who closes it in its own time and shows it when it shares again.
    fn takes_open(self) -> bool {
        !matches!(self, Why::Again | Why::Leave)
    }

    /// Says whether a copy of less than all is better than none.
    fn takes_part(self) -> bool {
        matches!(self, Why::Leave | Why::Broken | Why::Reset)
    }

    /// Says whether the VMM is to return the pages. Not in a panic: to be interrupted for that is
    /// the last thing which such a guest needs.
    fn tells(self) -> bool {
        matches!(self, Why::Unshare | Why::Again | Why::Leave | Why::Broken)
    }
}

impl Buffer {
    /// Detaches the buffer: steps 1 and 2 are done when this returns, step 3 is under way. Once
    /// detached, it stays so. `ENOMEM` for [`Why::Unshare`], [`Why::Again`] and [`Why::Panic`] only:
    /// the buffer stays live then.
    pub(crate) fn detach(self: &Arc<Self>, why: Why) -> Result {
        let mut source = self.source.lock();
        if matches!(why, Why::Reset | Why::Death) {
            source.tell = false;
        }
        if source.lent.is_none() || source.ended || source.detached() {
            return Ok(());
        }
        // From here on it is live, or broken off by a violation.
        let followed = self.follow(&mut source);
        let violation = followed.err();
        let pages = match self.copy(&mut source, why) {
            Ok(pages) => Some(pages),
            Err(err) if matches!(why, Why::Unshare | Why::Again | Why::Panic) => {
                drop(source);
                if let Ok(true) = followed {
                    self.relay.wake();
                }
                if let Some(violation) = violation {
                    self.domain.violated(violation);
                }
                return Err(err);
            }
            // The pages stay pinned, and are what is read.
            Err(_) if why == Why::Death => {
                source.pinned = true;
                None
            }
            // The guest will write over them: what is unread is lost.
            Err(_) => {
                let unread = self.relay.produced().wrapping_sub(self.relay.consumed());
                warn_lost!(
                    self.domain.brake(),
                    "{}/{}: no memory to keep what is unread: {} sub-buffers of CPU {}, and the open one\n",
                    Name(self.domain.name()),
                    Name(&self.spec.module),
                    unread,
                    self.spec.number
                );
                source.cut = Some(self.relay.consumed());
                source.without = true;
                Some(PageList::empty())
            }
        };
        source.live = false;
        source.tell = why.tells();
        drop(source);
        self.trace(BufferEvent::Unshare);
        if let Some(violation) = violation {
            self.domain.violated(violation);
        }

        if let Some(pages) = pages {
            let old = self.pages.replace(pages);
            if let Some(inode) = self.inode.as_ref() {
                inode.zap();
            }
            drop(old);
        }
        self.as_arc_borrow().queue();
        Ok(())
    }

    /// Step 1. Returns the pages of the copy.
    fn copy(&self, source: &mut Source, why: Why) -> Result<PageList> {
        let geometry = self.spec.geometry;
        let lent = source.lent.as_ref().ok_or(EINVAL)?;
        let (first, end) = (self.relay.consumed(), self.relay.produced());
        if source.live {
            lent.index().set_consumed(first);
        }
        let tail = match why.takes_open() && !source.violated {
            true => self.tail(lent, first, end),
            false => None,
        };
        let closed = end.wrapping_sub(first) as usize;
        let count = closed.wrapping_add(usize::from(tail.is_some()));
        let (kept, pages, room) =
            match Kept::new(geometry, first, count, why.takes_part(), self.domain.kept()) {
                Ok(made) => made,
                Err(err) => {
                    if why == Why::Death {
                        // Nobody else will write there any more, so the packet is closed in place.
                        source.tail = tail
                            .as_ref()
                            .and_then(|t| self.close(lent, lent.data(), end, t).ok());
                    }
                    return Err(err);
                }
            };
        for i in 0..closed.min(room) {
            let slot = geometry.slot(first.wrapping_add(i as u64));
            let len = geometry
                .subbuf_size()
                .saturating_sub(self.relay.padding(slot));
            let offset = slot.wrapping_mul(geometry.subbuf_size());
            lent.data().copy_to(kept.map(), offset, len)?;
        }
        source.tail = None;
        if let Some(tail) = tail.filter(|_| room == count) {
            let offset = geometry.slot(end).wrapping_mul(geometry.subbuf_size());
            lent.data().copy_to(kept.map(), offset, tail.committed)?;
            source.tail = Some(self.close(lent, kept.map(), end, &tail)?);
        }
        if room < closed {
            source.cut = Some(first.wrapping_add(room as u64));
        }
        if room < count {
            warn_lost!(
                self.domain.brake(),
                "{}/{}: no memory to keep {} sub-buffers of CPU {}\n",
                Name(self.domain.name()),
                Name(&self.spec.module),
                count.wrapping_sub(room),
                self.spec.number
            );
        }
        // A guest that still runs may have got at the oldest meanwhile: one whose VMM has gone
        // away, too, if the VMM only closed its node, or has threads left that have yet to die.
        smp_mb(Read);
        let oldest = self.spec.oldest(lent.index());
        source.next = Some(kept);
        if why != Why::Death {
            source.done = Some(first.wrapping_add(closed.min(room) as u64));
        }
        if self.spec.overwrites() {
            self.pass_over(source, end.min(oldest));
            if oldest > end {
                source.tail = None;
            }
        }
        Ok(pages)
    }

    /// What the open sub-buffer holds, if it holds anything: number `end`, when the reader is at
    /// number `first`.
    pub(super) fn tail(&self, lent: &Lent, first: u64, end: u64) -> Option<Tail> {
        let geometry = self.spec.geometry;
        // With every sub-buffer closed and unread there is none open.
        if end.wrapping_sub(first) >= geometry.n_subbufs() as u64 {
            return None;
        }
        let committed = abi::committed(geometry, end, lent.index().open())?;
        let empty = match self.spec.flags & VIRTIO_VESPER_CHAN_CTF {
            0 => 0,
            _ => PACKET_LEN,
        };
        (committed > empty).then(|| Tail {
            committed,
            last_tsc: lent.index().last_tsc(),
        })
    }

    /// Makes a closed sub-buffer of an open one in `map`. Returns its padding.
    fn close(&self, lent: &Lent, map: &Map, number: u64, tail: &Tail) -> Result<usize> {
        let geometry = self.spec.geometry;
        if self.spec.flags & VIRTIO_VESPER_CHAN_CTF != 0 {
            let offset = geometry.slot(number).wrapping_mul(geometry.subbuf_size());
            let mut head = [0; PACKET_LEN];
            map.read(offset, &mut head)?;
            message::close_packet(
                &mut head,
                tail.committed,
                tail.last_tsc,
                number,
                lent.index().lost(),
            );
            map.write(offset, &head)?;
        }
        Ok(geometry.subbuf_size().saturating_sub(tail.committed))
    }

    /// Step 3.
    fn switch(&self) {
        let Some(inode) = self.inode.as_ref() else {
            return;
        };
        let guard = loop {
            if let Ok(guard) = inode.lock() {
                break guard;
            }
        };
        let mut source = self.source.lock();
        if !source.detached() {
            if source.ended && source.reap {
                self.throw_away(&mut source, &guard);
            }
            return;
        }
        let mut given = None;
        if let Some(next) = source.next.take() {
            // SAFETY: The copy is in `source.kept` from here on, as long as this buffer. The lock
            // is that of the buffer's file.
            unsafe { self.relay.replace(next.start(), &guard) };
            source.kept = Some(next);
            given = source.lent.take();
            // Not before: until here a reader may have been at the guest's pages.
            if let (Some(done), Some(lent)) = (source.done.take(), &given) {
                lent.index().set_consumed(done);
            }
        } else if source.without {
            given = source.lent.take();
        }
        let produced = self.relay.produced();
        if let Some(cut) = source.cut {
            let consumed = self.relay.consumed();
            self.relay.set_produced(produced.min(cut.max(consumed)));
            if source.without {
                // Nothing is left, not even the rest of one that was half read.
                self.relay.set_consumed(self.relay.produced(), &guard);
            }
        } else if let Some(padding) = source.tail {
            self.relay
                .set_padding(self.spec.geometry.slot(produced), padding);
            self.relay.set_produced(produced.wrapping_add(1));
        }
        source.ended = true;
        if source.reap {
            self.throw_away(&mut source, &guard);
        }
        let tell = source.tell;
        drop(source);
        drop(guard);
        self.switched.complete_all();

        self.relay.wake();
        // The file first, if nobody needs it: whoever sees the pages come back finds it gone.
        if !self.remove_if_drained() {
            let directory = self.file.lock().as_ref().map(FilePlace::directory);
            if let Some(directory) = directory {
                directory.outlive();
            }
        }
        if given.is_some() {
            self.trace(BufferEvent::Return);
        }
        match given {
            Some(lent) if tell => {
                self.domain.step(c"C6", &self.spec.module, &Ok(()));
                lent.give_back(self.domain.desk());
            }
            Some(lent) => drop(lent),
            // Memory was short: the pages stay until this buffer goes.
            None => {}
        }
        self.returned.complete_all();
    }

    /// Passes over what is unread. Under the lock of the file, so that nobody is in the middle of
    /// reading it.
    fn throw_away(&self, source: &mut Source, guard: &InodeGuard<'_>) {
        self.relay.set_consumed(self.relay.produced(), guard);
        source.stage = None;
        source.staged = 0;
    }

    /// Removes the file once all is read. Returns whether it is gone.
    fn remove_if_drained(&self) -> bool {
        let source = self.source.lock();
        let drained = self.drained(&source);
        drop(source);
        if drained {
            self.remove();
        }
        drained
    }

    /// Removes the file, drained or not. Who has it open can go on reading. Waits for a reader
    /// that sits in the middle of a copy: so nobody may, or it must be the worker that waits.
    pub(crate) fn remove(&self) {
        self.relay.finalize();
        let mut file = self.file.lock();
        // May wait for an open in progress. Under the lock, because whoever finds it gone may take
        // the directory away.
        *file = None;
    }

    /// Removes the file of what is [reaped](Self::reap), unless a reader sits in the middle of a
    /// copy, or the pages are still to be given back: then the worker does, which can wait.
    pub(crate) fn remove_reaped(&self) {
        self.relay.finalize();
        let Some(guard) = self.inode.as_ref().and_then(Inode::try_lock) else {
            return;
        };
        let mut source = self.source.lock();
        let ended = source.ended;
        if ended {
            self.throw_away(&mut source, &guard);
        }
        drop(source);
        drop(guard);
        // With nothing to be read nobody holds that lock for long any more.
        if ended {
            self.remove();
        }
    }

    /// Has what is unread thrown away, if no more will come. Returns whether it was to be had.
    pub(crate) fn reap(self: &Arc<Self>) -> bool {
        let mut source = self.source.lock();
        if source.live || source.reap || !(source.ended || source.detached()) {
            return false;
        }
        source.reap = true;
        drop(source);
        // A worker does it: it may have to wait for a reader.
        self.as_arc_borrow().queue();
        true
    }

    /// The memory is about to be the guest's again, though a reader still holds on to it. The last
    /// that is written to the index page is how far the copy goes, as by [`Self::switch`]: from
    /// here on it may be anything's.
    pub(crate) fn leave_index(&self) {
        let mut source = self.source.lock();
        if let (Some(done), Some(lent)) = (source.done.take(), &source.lent) {
            lent.index().set_consumed(done);
        }
    }

    /// Says whether its file is in directory `id`.
    pub(crate) fn is_in(&self, id: u64) -> bool {
        let file = self.file.lock();
        file.as_ref().is_some_and(|f| f.directory_id() == id)
    }

    /// Bytes of host memory it takes, or of pinned memory that outlived its guest.
    pub(crate) fn kept_bytes(&self) -> usize {
        let source = self.source.lock();
        match (&source.kept, &source.lent) {
            _ if !source.ended || source.reap => 0,
            (Some(kept), _) => kept.bytes(),
            (None, Some(_)) => self.spec.geometry.bytes(),
            (None, None) => 0,
        }
    }

    /// Bytes of that which are a copy.
    pub(crate) fn copied_bytes(&self) -> usize {
        let source = self.source.lock();
        match &source.kept {
            Some(kept) if source.ended && !source.reap => kept.bytes(),
            _ => 0,
        }
    }

    /// Says whether it is being given back, and has not been yet.
    pub(crate) fn is_going(&self) -> bool {
        !self.is_live() && !self.returned.is_done()
    }

    /// Waits until nothing refers to guest memory any more, at most for `left` jiffies, from
    /// which the time that passed is taken. Returns whether it came to that.
    pub(crate) fn wait_returned(&self, left: &mut Jiffies) -> bool {
        *left = self.returned.wait_timeout(*left);
        *left != 0
    }

    /// Says whether its memory is still the guest's.
    fn is_live(&self) -> bool {
        self.source.lock().live
    }
}

impl WorkItem for Buffer {
    type Pointer = Arc<Buffer>;

    fn run(this: Arc<Buffer>) {
        this.switch();
        if this.remove_if_drained() {
            this.domain.forget(&this);
        } else {
            this.domain.trim_later();
        }
    }
}
