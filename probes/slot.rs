// SPDX-License-Identifier: GPL-2.0

//! A place that whoever comes first may have: what is kept of something until it ends.
//!
//! A probe point may allocate nothing and wait for nobody. So there is a fixed number of places,
//! which are taken and given back by one word each, in any context, NMI included.

use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Full,
    Relaxed,
    Release, //
};

/// Owner of a place that is free, and of one that is being written.
pub(crate) const FREE: u64 = 0;
const BUSY: u64 = 1;

/// What began so long ago has ended unseen, as in a task that was killed meanwhile.
const STALE_NS: u64 = 600_000_000_000;

/// Whose a place is, and since when.
pub(crate) struct Slot {
    owner: Atomic<u64>,
    begun: Atomic<u64>,
}

impl Slot {
    /// A free one.
    pub(crate) const fn new() -> Self {
        Self {
            owner: Atomic::new(FREE),
            begun: Atomic::new(0),
        }
    }

    /// When that owner began, neither [`FREE`] nor 1, if it has the place. What it wrote can be read
    /// then.
    pub(crate) fn begun_by(&self, owner: u64) -> Option<u64> {
        (self.owner.load(Acquire) == owner).then(|| self.begun.load(Relaxed))
    }

    /// Takes it away from `owner`, or if that is [`FREE`] from nobody. The caller may write, and
    /// gives it by [`give`](Self::give).
    pub(crate) fn take(&self, owner: u64) -> bool {
        self.owner.cmpxchg(owner, BUSY, Full).is_ok()
    }

    /// Takes it if what is kept there will not end any more.
    pub(crate) fn take_stale(&self, now: u64) -> bool {
        let owner = self.owner.load(Acquire);
        owner != BUSY && now.saturating_sub(self.begun.load(Relaxed)) > STALE_NS && self.take(owner)
    }

    /// Gives what was taken to an owner that begins `now`; after the rest was written.
    pub(crate) fn give(&self, owner: u64, now: u64) {
        self.begun.store(now, Relaxed);
        self.owner.store(owner, Release);
    }

    /// Lets it go. Returns whether it was that owner's until now: what was read of it since
    /// [`begun_by`](Self::begun_by) is so only then.
    pub(crate) fn free(&self, owner: u64) -> bool {
        self.owner.cmpxchg(owner, FREE, Full).is_ok()
    }
}
