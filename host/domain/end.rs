// SPDX-License-Identifier: GPL-2.0

//! How a guest's part in a domain ends: a fault, a reset, the death of the VMM; and how the domain
//! ends, once all is read or thrown away.

use super::{
    Domain,
    TRIM, //
};
use crate::{
    abi::NAME_LEN,
    bindings,
    files::Name,
    listener::{
        Buffer,
        Violation,
        Why, //
    },
    sys::{
        mm_watch::Gone,
        time::{
            warn_limited,
            warn_lost, //
        },
        trace, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc,
        ArcBorrow, //
    },
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
    workqueue::WorkItem, //
};

/// Why something is dropped.
const LIMIT_OF_ALL: &str = "limit on what is kept of all guests";

/// How long a reset waits for readers that sit in the middle of a copy.
const RESET_WAIT_MS: u32 = 1000;

impl Domain {
    /// The guest broke the protocol: nothing more is taken from it until it is reset. What it had
    /// shared stays readable. Can be called under any lock but a leaf.
    pub(crate) fn broken(self: &Arc<Self>, why: &str) {
        self.broken_under(self.desk.epoch(), why);
    }

    /// The same, by an index page. It may have been that of a driver which is gone by now.
    pub(crate) fn violated(self: &Arc<Self>, violation: Violation) {
        self.broken_under(violation.epoch, violation.why);
    }

    fn broken_under(self: &Arc<Self>, epoch: u64, why: &str) {
        let mut info = self.info.lock();
        if [bindings::VESPER_DOMAIN_BROKEN, bindings::VESPER_DOMAIN_DEAD].contains(&info.state) {
            return;
        }
        // A reset counts first and forgets the state last, under this lock.
        let is_there = self.desk.epoch() == epoch;
        if is_there {
            info.state = bindings::VESPER_DOMAIN_BROKEN;
        }
        drop(info);
        warn_limited!(
            self.brake,
            "{}: broke the protocol: {}\n",
            Name(&self.name),
            why
        );
        trace::broken(&self.name, why);
        if is_there {
            self.changed();
            self.desk.broken(epoch);
            // Detaching takes locks that the caller may hold.
            self.look();
        }
    }

    /// The device or the machine was reset: nothing refers to guest memory when this returns,
    /// unless a reader holds on to it for longer than [`RESET_WAIT_MS`].
    pub(crate) fn reset(self: &Arc<Self>) {
        let mut control = self.control.lock();
        // First, so that loans end in silence.
        self.desk.reset();
        // Fails for an unshare only.
        let _ = control.close_all(self, Why::Reset);
        // What a message broke meanwhile was the old driver's fault, and is not to be held against
        // the device that the next one finds.
        self.desk.forgive();
        control.greeted = false;
        self.guest_gone();
        // What was asked since, of a guest that seemed ready, is not for the next driver.
        self.desk.lock().loader.guest_gone();
        drop(control);
        self.desk.operators.notify_all();
        self.changed();
        self.wait_returned();
    }

    /// The guest says that it panics: its buffers are taken as they are, the open sub-buffers
    /// included, at once. What it should write after its last words is not looked at.
    pub(crate) fn last_words(self: &Arc<Self>) {
        warn_limited!(self.brake, "{}: says that it panics\n", Name(&self.name));
        trace::panic(&self.name);
        // Buffers for which memory is short stay live, and are looked at again when the guest is
        // reset or the VMM dies.
        let mut control = self.control.lock();
        control.detach_all(Why::Panic);
        drop(control);
        self.changed();
        self.sync_all();
    }

    /// Forgets what the guest said of itself.
    pub(super) fn guest_gone(&self) {
        let mut info = self.info.lock();
        if info.state != bindings::VESPER_DOMAIN_DEAD {
            info.state = bindings::VESPER_DOMAIN_ATTACHED;
        }
        info.powerdowns = 0;
        let hello = info.hello.take();
        drop(info);
        drop(hello);
    }

    /// Waits until nothing refers to guest memory any more, but not for a reader that sits in the
    /// middle of a copy for longer than [`RESET_WAIT_MS`].
    fn wait_returned(&self) {
        let mut left: Jiffies = msecs_to_jiffies(RESET_WAIT_MS);
        loop {
            let Some(buffer) = self.control.lock().going() else {
                return;
            };
            if !buffer.wait_returned(&mut left) {
                warn_limited!(
                    self.brake,
                    "{}: a reader keeps guest memory\n",
                    Name(&self.name)
                );
                for buffer in self.control.lock().buffers() {
                    buffer.leave_index();
                }
                return;
            }
        }
    }

    /// The VMM is gone. The domain lives on until its data is read.
    pub(crate) fn vmm_gone(self: &Arc<Self>) {
        let mut control = self.control.lock();
        if control.closed {
            // Learned from its memory before.
            drop(control);
            self.wait_returned();
            return;
        }
        self.desk.close();
        // Fails for an unshare only.
        let _ = control.close_all(self, Why::Death);
        control.closed = true;
        control.greeted = false;
        self.info.lock().state = bindings::VESPER_DOMAIN_DEAD;
        drop(control);
        trace::detach(&self.name, self.kept_bytes());
        self.host.died(self);
        self.dir.tell_when_empty(self);
        if self.is_over() {
            self.host.remove(self);
            return;
        }
        // Whoever looks after the VMM is gone finds all there is.
        self.wait_returned();
        self.host.trim();
    }

    /// A buffer is drained and its file gone.
    pub(crate) fn forget(self: &Arc<Self>, buffer: &Arc<Buffer>) {
        self.control.lock().forget(buffer);
        self.changed();
        if self.is_over() {
            self.host.remove(self);
        }
    }

    /// Says whether the VMM is gone and nothing is left to be read: no buffer, and no metadata
    /// either, without which what was read could not be understood.
    fn is_over(&self) -> bool {
        let control = self.control.lock();
        control.closed
            && control.buffers().is_empty()
            && (self.reaped.load(Relaxed) || self.dir.is_empty())
    }

    /// Has the worker look whether the domain is over. Can be called under any lock.
    pub(crate) fn look(self: &Arc<Self>) {
        // One that is queued already will see what this one would.
        let _ = self.queue().enqueue::<_, 0>(self.clone());
    }

    /// Removes all files, read or not, and lets go of the buffers.
    pub(crate) fn discard(&self) {
        let buffers = self.control.lock().take();
        for buffer in buffers.iter() {
            buffer.remove();
        }
        drop(buffers);
    }

    /// Has the worker trim, once for all buffers that ask for it until then: each time it looks at
    /// every one.
    pub(crate) fn trim_later(self: &Arc<Self>) {
        // One that is queued already will see what this one would.
        let _ = self.queue().enqueue::<_, TRIM>(self.clone());
    }

    /// Has the oldest of what is kept thrown away, if it is more than may be.
    fn trim(&self) {
        let limit = match self.reaped.load(Relaxed) {
            true => 0,
            false => self.host.limits().max_kept_bytes,
        };
        let limit = limit.saturating_sub(self.dir.kept_text());
        let reaped = self.control.lock().trim(limit);
        if reaped != 0 {
            warn_lost!(
                self.brake,
                "{}: dropped unread data of {} buffers: limit on what is kept\n",
                Name(&self.name),
                reaped
            );
        }
        self.host.trim_kept();
    }

    /// Has all that is kept of a dead domain thrown away. Returns how many bytes that was.
    fn reap_all(&self) -> u64 {
        let bytes = self.kept_bytes();
        self.reaped.store(true, Relaxed);
        self.reap_those(|_| true);
        self.dir.forget_texts();
        trace::reap(&self.label(), &[0; NAME_LEN], bytes);
        bytes
    }

    /// Bytes of copies that are kept for readers.
    pub(crate) fn copied_bytes(&self) -> usize {
        self.control.lock().copied_bytes()
    }

    /// Has the oldest copies thrown away, so many `bytes` at least, or of a dead domain all that is
    /// kept of it if it has no more. Returns how many bytes of copies that were.
    pub(crate) fn drop_copies(&self, bytes: usize) -> usize {
        let there = self.copied_bytes();
        if self.is_kept() && there <= bytes {
            self.make_room(LIMIT_OF_ALL);
            return there;
        }
        let (freed, buffers) = self.control.lock().drop_copies(bytes);
        if buffers != 0 {
            warn_lost!(
                self.brake,
                "{}: dropped unread data of {} buffers: {}\n",
                Name(&self.label()),
                buffers,
                LIMIT_OF_ALL
            );
        }
        freed
    }

    /// Has the buffers thrown away that are `wanted`. Returns how many bytes were kept of them.
    fn reap_those(&self, wanted: impl Fn(&Buffer) -> bool) -> u64 {
        let mut bytes = 0u64;
        loop {
            let (mut at, mut found) = (0, false);
            loop {
                let Some(buffer) = self.control.lock().nth(at) else {
                    break;
                };
                let kept = buffer.kept_bytes();
                if wanted(&buffer) && buffer.reap() {
                    // At once, unless a reader is at it.
                    buffer.remove_reaped();
                    bytes = bytes.saturating_add(kept as u64);
                    found = true;
                }
                at = at.wrapping_add(1);
            }
            // The list may have become shorter meanwhile, and some been passed over.
            if !found {
                return bytes;
            }
        }
    }

    /// Has all that is kept of a dead domain thrown away to make room for others; `why` goes into
    /// the log.
    pub(crate) fn make_room(&self, why: &str) {
        let bytes = self.reap_all();
        warn_lost!(
            self.brake,
            "{}: dropped {} unread bytes: {}\n",
            Name(&self.label()),
            bytes,
            why
        );
    }

    /// Has what is kept thrown away, all or that of the module listed as `module`. Returns how
    /// many bytes that was. `EBUSY`: the VMM is there, or the module; `ENOENT`: there is no such
    /// module.
    pub(crate) fn reap(&self, module: Option<&[u8; NAME_LEN]>) -> Result<u64> {
        let Some(module) = module else {
            return match self.state() {
                bindings::VESPER_DOMAIN_DEAD => Ok(self.reap_all()),
                _ => Err(EBUSY),
            };
        };
        let (id, channels) = self.dir.find(module).ok_or(ENOENT)?;
        if channels != 0 {
            return Err(EBUSY);
        }
        let bytes = self.reap_those(|buffer| buffer.is_in(id));
        self.dir.forget_text(id);
        trace::reap(&self.label(), module, bytes);
        Ok(bytes)
    }

    /// Bytes kept for readers, metadata included.
    pub(crate) fn kept_bytes(&self) -> u64 {
        let buffers = self.control.lock().kept_bytes();
        buffers.saturating_add(self.dir.kept_text()) as u64
    }

    /// Says whether the VMM is gone and data is kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.state() == bindings::VESPER_DOMAIN_DEAD && !self.reaped.load(Relaxed)
    }
}

impl Gone for Domain {
    fn gone(this: ArcBorrow<'_, Self>) {
        this.orphaned.store(true, Relaxed);
        Arc::from(this).look();
    }
}

impl WorkItem for Domain {
    type Pointer = Arc<Domain>;

    /// The rest of [`Domain::broken`], [`Domain::look`] and [`Gone::gone`].
    fn run(this: Arc<Domain>) {
        if this.orphaned.xchg(false, Relaxed) {
            this.vmm_gone();
        }
        let mut control = this.control.lock();
        if this.info.lock().state == bindings::VESPER_DOMAIN_BROKEN {
            // Fails for an unshare only.
            let _ = control.close_all(&this, Why::Broken);
        }
        drop(control);
        if this.is_over() {
            this.host.remove(&this);
        }
    }
}

impl WorkItem<TRIM> for Domain {
    type Pointer = Arc<Domain>;

    /// The rest of [`Domain::trim_later`].
    fn run(this: Arc<Domain>) {
        this.trim();
    }
}
