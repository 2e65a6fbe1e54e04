// SPDX-License-Identifier: GPL-2.0

//! A channel's line to the host, which its CPUs share.

use super::{
    registry,
    store::{
        Store,
        SECTION_SYMBOLS, //
    },
};
use crate::{
    listener::Share,
    sys::work::{
        Run,
        Work, //
    }, //
};
use kernel::{
    cpu,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SetOnce, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
};

/// How long memory is left alone when there was none for a name, in milliseconds.
const PAUSE_MS: i64 = 100;

/// See the module. The work item does what needs process context.
pub(crate) struct Outlet {
    pub(crate) store: Arc<Store>,
    /// Longest time that a record waits in an open sub-buffer, in nanoseconds.
    pub(crate) switch_ns: u64,
    share: SetOnce<Share>,
    /// Buffers have come that the host may not know of.
    grown: Atomic<bool>,
}

impl Outlet {
    /// A line that is not yet connected.
    pub(crate) fn new(store: Arc<Store>, switch_ns: u64) -> Self {
        Self {
            store,
            switch_ns,
            share: SetOnce::new(),
            grown: Atomic::new(false),
        }
    }

    /// Connects it.
    pub(crate) fn connect(&self, share: Share) -> Result {
        if self.share.populate(share) {
            Ok(())
        } else {
            Err(EBUSY)
        }
    }

    /// Tells the host to look at the index of `cpu`. Any context but NMI.
    #[inline]
    pub(crate) fn notify(&self, cpu: u32, produced: u64, urgent: bool) {
        if let Some(share) = self.share.as_ref() {
            share.notify(cpu, produced, urgent);
        }
    }

    /// Notes that there are new buffers, for the work item to lend.
    pub(crate) fn set_grown(&self) {
        self.grown.store(true, Relaxed);
    }

    /// Finds names that are still wanted, and tells the host. Returns whether memory was too short
    /// for all of them. Process context.
    pub(crate) fn settle(&self) -> bool {
        let resolved = self.store.symbols.resolve();
        if resolved.found {
            if let Some(share) = self.share.as_ref() {
                // What could not be sent is sent with the next, or when the device is back; what
                // the host may have got all the same is not.
                let _ = share.metadata(SECTION_SYMBOLS);
            }
        }
        resolved.unfinished
    }

    fn lend_new(&self, share: &Share) {
        for cpu in 0..cpu::nr_cpu_ids() {
            if self.store.get(cpu).is_none() {
                continue;
            }
            if let Err(e) = share.add_buffer(cpu) {
                pr_warn!("the host does not take the buffer of CPU {cpu}: {e:?}\n");
            }
        }
    }
}

impl Run for Outlet {
    fn run(&self) {
        let unfinished = self.settle();
        registry::flush_offline(&self.store);
        if let Some(share) = self.share.as_ref() {
            if self.grown.xchg(false, Relaxed) {
                self.lend_new(share);
            }
        }
        if unfinished {
            // Nobody asks for these names again: the addresses are known.
            fsleep(Delta::from_millis(PAUSE_MS));
            // SAFETY: An outlet is made as the value of a work item only, and runs in that.
            unsafe { Work::of(self) }.queue();
        }
    }
}
