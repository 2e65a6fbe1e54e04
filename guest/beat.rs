// SPDX-License-Identifier: GPL-2.0

//! The heartbeat: pages in which each CPU counts, lent to the host, which looks at them whenever it
//! likes. Nothing is ever said about a beat.
//!
//! There are pages for each time that a device is attached: the last ones may still be on loan.

use crate::{
    comm::{
        Comm,
        Lender, //
    },
    sys::beat::{
        self,
        Lines,
        Timers, //
    },
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};

/// What is lent.
struct Pages(Lines);

impl AsRef<Lines> for Pages {
    fn as_ref(&self) -> &Lines {
        &self.0
    }
}

impl Lender for Pages {
    fn over(&self, outcome: Result) {
        match outcome {
            // The device was reset, or the host has had enough.
            Ok(()) | Err(ENODEV) => (),
            Err(e) => pr_warn!("the host does not take the heartbeat: {:?}\n", e),
        }
    }
}

/// The heartbeat of this guest.
#[pin_data]
pub(crate) struct Beat {
    /// Held while they start and stop, so that there is one set of them.
    #[pin]
    timers: Mutex<Option<Timers<Pages>>>,
}

impl Beat {
    /// Initialiser: nothing beats.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            timers <- new_mutex!(None, "vesper_beat"),
        })
    }

    /// There is a host that wants to see it. Process context.
    pub(crate) fn attached(&self, comm: &Comm) -> Result {
        let pages = Arc::new(Pages(Lines::new(kernel::cpu::nr_cpu_ids())?), GFP_KERNEL)?;
        let mut timers = self.timers.lock();
        if timers.is_some() {
            return Err(EBUSY);
        }
        // SAFETY: Started and stopped under the lock, in this object, of which there is one.
        *timers = Some(unsafe { Timers::start(pages.clone()) }?);
        drop(timers);
        comm.lend_beat(pages.0.pages(), pages.clone())
            .inspect_err(|_| self.stop())
    }

    /// Ends it: the host is told by the pages that nothing is to be expected. Process context.
    pub(crate) fn stop(&self) {
        *self.timers.lock() = None;
    }

    /// Tells the host that the machine goes down: CPUs stop one after the other from here on, and
    /// none of them hangs.
    pub(crate) fn shutdown(&self) {
        beat::shutdown();
    }

    /// Says that the kernel panics.
    pub(crate) fn panic(&self) {
        beat::panic();
    }
}
