// SPDX-License-Identifier: GPL-2.0

//! A buffer of a guest as a relay file of the host.
//!
//! Its life: *live* while lent; *detached* once the unread is copied and mappings show the copy;
//! *ended* once the reader has been switched over too and the pages are given back. It goes when
//! all is read.
//!
//! Without overwriting, relay's own read serves readers, and the inode lock orders them; with it,
//! [`super::stage`] does, and `source` keeps `consumed`.
//!
//! Lock order: `turn`, the inode lock, `source`. `source` is never held across anything that waits
//! for a reader or for user memory. `pages` is taken under the mmap lock by faults, so nothing
//! that could fault is done under it; `file` is a leaf but for the VFS's locks of a removal.

use super::{
    kept::Kept,
    loan::Lent,
    stage::Stage, //
};
use crate::{
    abi::{
        Geometry,
        NAME_LEN, //
    },
    bindings::{
        self,
        VIRTIO_VESPER_CHAN_FOREIGN,
        VIRTIO_VESPER_CHAN_OVERWRITE, //
    },
    domain::Domain,
    files::{
        FileDirectory,
        FilePlace, //
    },
    later::EPROTO,
    sys::{
        completion::Completion,
        index::Index,
        inode::Inode,
        mutex::Turn,
        pages::{
            zero_pfn,
            PageList, //
        },
        relay::Relay,
        relay_file::{
            Owner,
            Reader, //
        },
        rwsem::RwSemaphore,
        trace::{
            self,
            BufferEvent,
            BufferFacts, //
        },
    },
    uapi, //
};
use kernel::{
    impl_has_work, ioctl, new_mutex, new_work, optional_name,
    prelude::*,
    static_lock_class,
    sync::{
        Arc,
        ArcBorrow,
        Mutex,
        SetOnce, //
    },
    workqueue::Work,
};

/// Most bytes read under the inode lock at once, so that a reader never holds it for long unless
/// its own memory makes it.
const CHUNK: usize = 64 << 10;

/// More sub-buffers than any guest can have produced; far from where the count would wrap.
const MAX_PRODUCED: u64 = 1 << 62;

/// What a buffer is called and how it is shaped.
#[derive(Clone, Copy)]
pub(crate) struct Spec {
    /// Module that owns the channel.
    pub(crate) module: [u8; NAME_LEN],
    /// Name of the channel.
    pub(crate) channel: [u8; NAME_LEN],
    /// Number of the buffer in it.
    pub(crate) number: u32,
    /// `VIRTIO_VESPER_CHAN_*`.
    pub(crate) flags: u32,
    /// Shape of the buffer.
    pub(crate) geometry: Geometry,
}

impl Spec {
    /// Says whether the guest writes over what is not read in time. Who has opened a channel for
    /// purposes of their own may do so as soon as they have read it themselves.
    pub(super) fn overwrites(&self) -> bool {
        self.flags & (VIRTIO_VESPER_CHAN_OVERWRITE | VIRTIO_VESPER_CHAN_FOREIGN) != 0
    }

    /// Number of the first sub-buffer that is not written over yet, of a channel that
    /// [overwrites](Self::overwrites): one that is open has taken the place of one a lap before.
    /// What was read before this was asked, of that sub-buffer or a later one, is whole.
    pub(super) fn oldest(&self, index: &Index) -> u64 {
        let begun = match self.flags & VIRTIO_VESPER_CHAN_FOREIGN {
            0 => index.produced().saturating_add(1),
            // What is closed was begun, whatever the guest says.
            _ => index.begun().max(index.produced()),
        };
        begun.saturating_sub(self.geometry.n_subbufs() as u64)
    }

    /// Says whether a closed sub-buffer can have this much padding: only others than VESPER's own
    /// writers close one that is empty.
    fn padding_ok(&self, padding: u32) -> bool {
        self.geometry.padding_ok(padding)
            || self.flags & VIRTIO_VESPER_CHAN_FOREIGN != 0
                && padding as usize == self.geometry.subbuf_size()
    }

    /// Says whether a guest can have closed `produced` sub-buffers of which `consumed` are done
    /// with, when there were `seen` before.
    fn produced_ok(&self, seen: u64, consumed: u64, produced: u64) -> bool {
        match self.overwrites() {
            true => produced >= seen && produced <= MAX_PRODUCED,
            false => {
                produced <= MAX_PRODUCED && self.geometry.produced_ok(seen, consumed, produced)
            }
        }
    }
}

/// An index page could not be true.
#[derive(Clone, Copy)]
pub(crate) struct Violation {
    /// In which way.
    pub(crate) why: &'static str,
    /// The reset count under which it was lent: who comes after a reset is not to blame.
    pub(crate) epoch: u64,
}

/// Where the contents come from.
pub(super) struct Source {
    /// The guest's pages, until they are given back.
    pub(super) lent: Option<Lent>,
    /// The index page is followed.
    pub(super) live: bool,
    /// The index page could not be true.
    pub(super) violated: bool,
    /// What is unread is to be thrown away.
    pub(super) reap: bool,
    /// The copy that the reader is about to be switched to.
    pub(super) next: Option<Kept>,
    /// The copy that the reader has been switched to.
    pub(super) kept: Option<Kept>,
    /// Padding of the open sub-buffer, which counts as closed after the switch.
    pub(super) tail: Option<usize>,
    /// Number of the first sub-buffer for which there was no memory.
    pub(super) cut: Option<u64>,
    /// There was no memory for any copy: the pages go without.
    pub(super) without: bool,
    /// There was none, but the pages can stay.
    pub(super) pinned: bool,
    /// How far the copy goes: so much the guest is told to be done with, so that what it may share
    /// again later begins where the copy ends.
    pub(super) done: Option<u64>,
    /// Tell the VMM when the pages are given back.
    pub(super) tell: bool,
    /// The guest had no room for a further sub-buffer, so that what it has open had to wait.
    full: bool,
    /// How far it was told that readers are.
    told: u64,
    /// No more will come.
    pub(super) ended: bool,
    /// Records dropped in the guest, when last seen.
    pub(super) lost: u64,
    /// Sub-buffers written over before they were read.
    pub(super) lapped: u64,
    /// What readers have begun to read of a sub-buffer that was taken out; not there while one is
    /// at it.
    pub(super) stage: Option<Stage>,
    /// Bytes of it that are still to be read.
    pub(super) staged: usize,
}

impl Source {
    /// Says whether steps 1 and 2 of [`super::detach`] are done, and step 3 is not.
    pub(super) fn detached(&self) -> bool {
        !self.ended && (self.next.is_some() || self.without || self.pinned)
    }
}

/// A buffer that is or was shared.
#[pin_data]
pub(crate) struct Buffer {
    /// What it is.
    pub(crate) spec: Spec,
    pub(super) domain: Arc<Domain>,
    #[pin]
    pub(super) relay: Relay,
    #[pin]
    turn: Turn,
    #[pin]
    pub(super) source: Mutex<Source>,
    #[pin]
    pub(super) pages: RwSemaphore<PageList>,
    #[pin]
    pub(super) file: Mutex<Option<FilePlace>>,
    pub(super) inode: SetOnce<Inode>,
    /// Where the file is, or was.
    directory: SetOnce<FileDirectory>,
    /// Done when no read will see guest memory any more.
    #[pin]
    pub(super) switched: Completion,
    /// Done when nothing refers to it any more.
    #[pin]
    pub(super) returned: Completion,
    #[pin]
    work: Work<Buffer>,
}

impl_has_work! {
    impl HasWork<Self> for Buffer { self.work }
}

impl Buffer {
    /// Makes a buffer around pages that are about to be lent, see [`Buffer::adopt`]. `EPROTO` if
    /// their index page cannot be true.
    pub(crate) fn new(
        domain: &Arc<Domain>,
        spec: Spec,
        lent: &Lent,
        pages: PageList,
    ) -> Result<Arc<Self>> {
        // Whoever was the host before may have read some of it.
        let consumed = lent.index().consumed();
        let produced = lent.index().produced();
        if !spec.produced_ok(consumed, consumed, produced) {
            return Err(EPROTO);
        }
        let start = lent.data().start();
        Arc::pin_init(
            try_pin_init!(Self {
                spec,
                domain: domain.clone(),
                // SAFETY: No file refers to the channel before `adopt` has put the mapping into
                // `source`. From there it goes only when the reader has been switched to another,
                // or with the last reference, which every open file holds.
                relay <- unsafe { Relay::new(spec.geometry, start, consumed) },
                turn <- Turn::new(optional_name!("vesper::reader"), static_lock_class!()),
                source <- new_mutex!(
                    Source {
                        lent: None,
                        live: false,
                        violated: false,
                        reap: false,
                        next: None,
                        kept: None,
                        tail: None,
                        cut: None,
                        without: false,
                        pinned: false,
                        done: None,
                        tell: false,
                        full: false,
                        told: consumed,
                        ended: false,
                        lost: 0,
                        lapped: 0,
                        stage: None,
                        staged: 0,
                    },
                    "vesper::source"
                ),
                pages <- RwSemaphore::new(
                    pages,
                    optional_name!("vesper::pages"),
                    static_lock_class!()
                ),
                file <- new_mutex!(None, "vesper::file"),
                inode: SetOnce::new(),
                directory: SetOnce::new(),
                switched <- Completion::new(),
                returned <- Completion::new(),
                work <- new_work!("vesper::buffer"),
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Takes the pages, the same that [`Buffer::new`] was shown: the buffer is live.
    pub(crate) fn adopt(&self, lent: Lent) {
        let mut source = self.source.lock();
        source.lent = Some(lent);
        source.live = true;
    }

    /// Takes the file, which has just appeared.
    pub(crate) fn show(&self, file: FilePlace, inode: Inode) {
        self.inode.populate(inode);
        self.directory.populate(file.directory());
        *self.file.lock() = Some(file);
        self.trace(BufferEvent::Share);
    }

    /// Tells trace events of it.
    pub(crate) fn trace(&self, event: BufferEvent) {
        trace::buffer(
            event,
            &BufferFacts {
                domain: self.domain.name(),
                module: &self.spec.module,
                channel: &self.spec.channel,
                buffer: self.spec.number,
                produced: self.relay.produced(),
                consumed: self.relay.consumed(),
            },
        );
    }

    /// Looks at the index page and lets readers have what is new. `EPROTO` if it cannot be true,
    /// and then the domain has been told.
    pub(crate) fn sync(&self) -> Result {
        let mut source = self.source.lock();
        let result = self.follow(&mut source);
        drop(source);
        match result {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.relay.wake();
                Ok(())
            }
            Err(violation) => {
                self.domain.violated(violation);
                Err(EPROTO)
            }
        }
    }

    /// Takes over what the index page says. Returns whether there is something new.
    pub(super) fn follow(&self, source: &mut Source) -> core::result::Result<bool, Violation> {
        if !source.live {
            return Ok(false);
        }
        let Some(lent) = &source.lent else {
            return Ok(false);
        };
        let violation = |why| Violation {
            why,
            epoch: lent.epoch(),
        };
        let geometry = self.spec.geometry;
        let index = lent.index();
        let seen = self.relay.produced();
        let produced = index.produced();
        source.lost = index.lost();
        if produced == seen {
            // A writer that found all of them full may go on in the oldest nevertheless.
            if self.spec.overwrites() {
                self.pass_over(source, seen.min(self.spec.oldest(index)));
            }
            return Ok(false);
        }
        // Readers only ever raise `consumed`, which makes the check stricter than need be at most
        // for what they have not told the guest yet.
        if !self.spec.produced_ok(seen, self.relay.consumed(), produced) {
            source.violated = true;
            source.live = false;
            return Err(violation("index page: produced went back or too far"));
        }
        // No more than one lap is still there.
        let lap = geometry.n_subbufs() as u64;
        for number in seen.max(produced.saturating_sub(lap))..produced {
            let slot = geometry.slot(number);
            let padding = index.padding(slot);
            if !self.spec.padding_ok(padding) {
                // What came before is fine, as far as it is still there.
                let violation = violation("index page: padding larger than a sub-buffer");
                let oldest = number.min(self.spec.oldest(index));
                self.relay.set_produced(number);
                source.violated = true;
                source.live = false;
                if self.spec.overwrites() {
                    self.pass_over(source, oldest);
                }
                return Err(violation);
            }
            self.relay.set_padding(slot, padding as usize);
        }
        self.relay.set_produced(produced);
        source.full |= lap > 1 && produced.wrapping_sub(source.told).saturating_add(1) >= lap;
        if self.spec.overwrites() {
            // One may be being written over now.
            self.pass_over(source, produced.min(self.spec.oldest(index)));
        }
        Ok(true)
    }

    /// Notes that what comes before sub-buffer number `oldest` is written over.
    pub(super) fn pass_over(&self, source: &mut Source, oldest: u64) {
        let consumed = self.relay.consumed();
        if consumed < oldest {
            source.lapped = source.lapped.saturating_add(oldest.wrapping_sub(consumed));
            self.relay.skip_to(oldest);
        }
    }

    /// Where what can be read ends: before that for which there was no memory, also while readers
    /// have yet to be switched over.
    pub(super) fn end(&self, source: &Source) -> u64 {
        let produced = self.relay.produced();
        match source.cut {
            Some(cut) if !source.ended => produced.min(cut.max(self.relay.consumed())),
            _ => produced,
        }
    }

    /// Says whether all is read and no more will come.
    pub(super) fn drained(&self, source: &Source) -> bool {
        source.ended && source.staged == 0 && self.relay.consumed() == self.relay.produced()
    }

    /// Tells the guest how far readers are, and has the file removed once all is read.
    pub(super) fn settle(self: ArcBorrow<'_, Self>) {
        let mut source = self.source.lock();
        let mut made_room = false;
        let (consumed, produced) = (self.relay.consumed(), self.relay.produced());
        let is_full = source.full;
        if let Some(lent) = source.lent.as_ref().filter(|_| source.live) {
            lent.index().set_consumed(consumed);
            // With the last of the lap: as long as there is more, its reader has no need to wait.
            if is_full && consumed == produced && self.spec.flags & VIRTIO_VESPER_CHAN_FOREIGN == 0
            {
                made_room = self.tail(lent, consumed, produced).is_some();
            }
            source.full = is_full && consumed != produced;
            source.told = consumed;
        }
        let drained = self.drained(&source);
        drop(source);
        if made_room {
            self.domain.desk().made_room();
        }
        if drained {
            self.relay.finalize();
            self.queue();
        }
    }

    /// Has the worker look at it, see [`super::detach`].
    pub(super) fn queue(self: ArcBorrow<'_, Self>) {
        let this: Arc<Self> = self.into();
        let domain = this.domain.clone();
        // One that is queued already will see what this one would.
        let _ = domain.queue().enqueue(this);
    }

    /// What the control node tells of it.
    pub(crate) fn facts(&self) -> bindings::vesper_buffer {
        let geometry = self.spec.geometry;
        let (lost, lapped, staged, produced) = {
            let source = self.source.lock();
            (source.lost, source.lapped, source.staged, self.end(&source))
        };
        let consumed = self.relay.consumed();
        let mut unread = staged as u64;
        // At most one lap: `produced` was checked when it was taken over.
        for number in consumed..produced.min(consumed.wrapping_add(geometry.n_subbufs() as u64)) {
            let padding = self.relay.padding(geometry.slot(number));
            unread = unread.wrapping_add(geometry.subbuf_size().saturating_sub(padding) as u64);
        }
        // Not the name of another that has come since.
        let place = self.file.lock().as_ref().map(FilePlace::directory);
        let label = place.and_then(|directory| directory.label());
        bindings::vesper_buffer {
            module: label.unwrap_or(self.spec.module),
            channel: self.spec.channel,
            buffer: self.spec.number,
            flags: self.spec.flags,
            subbuf_size: geometry.subbuf_size() as u32,
            n_subbufs: geometry.n_subbufs() as u32,
            produced,
            consumed,
            lost,
            lapped,
            unread_bytes: unread.saturating_sub(self.relay.bytes_consumed() as u64),
            ..pin_init::zeroed()
        }
    }

    pub(super) fn position(&self) -> bindings::vesper_position {
        let geometry = self.spec.geometry;
        let source = self.source.lock();
        let (consumed, produced) = (self.relay.consumed(), self.end(&source));
        let padding = match consumed == produced {
            true => 0,
            false => self.relay.padding(geometry.slot(consumed)) as u32,
        };
        bindings::vesper_position {
            produced,
            consumed,
            lost: source.lost,
            subbuf_size: geometry.subbuf_size() as u32,
            n_subbufs: geometry.n_subbufs() as u32,
            padding,
            flags: match source.ended {
                true => bindings::VESPER_POSITION_ENDED,
                false => 0,
            },
            lapped: source.lapped,
            ..pin_init::zeroed()
        }
    }

    /// Takes readers on to sub-buffer number `consumed`. `EINVAL` if that is behind them or not
    /// produced yet. With overwriting, what is behind them is done with, too.
    pub(super) fn consume(&self, consumed: u64) -> Result {
        if self.spec.overwrites() {
            let _source = self.source.lock();
            if consumed > self.relay.produced() {
                return Err(EINVAL);
            }
            self.relay.skip_to(consumed.max(self.relay.consumed()));
            return Ok(());
        }
        let inode = self.inode.as_ref().ok_or(EAGAIN)?;
        let guard = inode.lock()?;
        if consumed < self.relay.consumed() || consumed > self.relay.produced() {
            return Err(EINVAL);
        }
        if consumed != self.relay.consumed() {
            self.relay.set_consumed(consumed, &guard);
        }
        Ok(())
    }
}

impl Owner for Buffer {
    fn relay(&self) -> &Relay {
        &self.relay
    }

    fn opened(this: ArcBorrow<'_, Self>) {
        let outlives = {
            let source = this.source.lock();
            !source.live && !source.reap && !this.drained(&source)
        };
        if outlives {
            if let Some(directory) = this.directory.as_ref() {
                directory.opened_late();
            }
        }
    }

    fn read(this: ArcBorrow<'_, Self>, file: &mut Reader, len: usize) -> Result<usize> {
        let _turn = this.turn.take()?;
        // What was taken over before a violation stays readable.
        let _ = this.sync();
        if this.source.lock().reap {
            // The worker that makes it so may still be on its way.
            return Ok(0);
        }
        if this.spec.overwrites() {
            let result = this.read_staged(file, len);
            this.settle();
            return result;
        }
        let mut done = 0usize;
        while done < len {
            if this.source.lock().detached() {
                // The worker that is to give the pages back waits for this.
                if done != 0 {
                    break;
                }
                // And this for it: relay would go on in the pages, which may be the guest's again
                // if a reset did not wait for what was read before.
                this.switched.wait()?;
            }
            let unread = || this.relay.consumed() != this.relay.produced();
            let before = unread();
            let want = len.saturating_sub(done).min(CHUNK);
            let got = file.read_some(want);
            done = done.saturating_add(got);
            // Unless somebody passed over it meanwhile.
            if done == 0 && before && unread() {
                this.settle();
                return Err(EFAULT);
            }
            if got < want || kernel::current!().signal_pending() {
                break;
            }
        }
        this.settle();
        Ok(done)
    }

    fn look(this: ArcBorrow<'_, Self>) {
        let _ = this.sync();
    }

    fn has_more(this: ArcBorrow<'_, Self>) -> bool {
        this.source.lock().staged != 0
    }

    fn ioctl(this: ArcBorrow<'_, Self>, cmd: u32, arg: usize) -> Result<isize> {
        const POSITION: u32 =
            ioctl::_IOR::<bindings::vesper_position>(bindings::VESPER_IOC_MAGIC, 0x80);
        const CONSUME: u32 =
            ioctl::_IOWR::<bindings::vesper_position>(bindings::VESPER_IOC_MAGIC, 0x81);
        if cmd != POSITION && cmd != CONSUME {
            return Err(ENOTTY);
        }
        let _ = this.sync();
        if cmd == CONSUME {
            let want: bindings::vesper_position = uapi::get(arg)?;
            if want.reserved != [0; 2] {
                return Err(EINVAL);
            }
            this.consume(want.consumed)?;
            this.settle();
        }
        uapi::put(arg, this.position())?;
        Ok(0)
    }

    fn with_pfn<R>(&self, index: usize, insert: impl FnOnce(usize) -> R) -> Option<R> {
        if index >= self.spec.geometry.pages() {
            return None;
        }
        let pages = self.pages.read();
        // There are none if there was no memory for a copy.
        Some(insert(pages.pfn(index).unwrap_or_else(zero_pfn)))
    }
}
