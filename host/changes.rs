// SPDX-License-Identifier: GPL-2.0

//! Counts what changes in what the control node lists, so that nobody has to list again and again
//! to find out.

use kernel::{
    new_poll_condvar,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full, //
        },
        poll::PollCondVar,
        Arc, //
    },
};

/// A count of changes, and those who wait for it to move.
#[pin_data]
pub(crate) struct Changes {
    count: Atomic<u64>,
    #[pin]
    waiting: PollCondVar,
}

impl Changes {
    /// The count is not 0, which stands for never having looked.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                count: Atomic::new(1),
                waiting <- new_poll_condvar!("vesper::changes"),
            }),
            GFP_KERNEL,
        )
    }

    /// Something has changed, and whoever looks from now on sees it. Can be called under any lock.
    pub(crate) fn note(&self) {
        self.count.fetch_add(1, Full);
        self.waiting.notify_all();
    }

    /// How often. Asked before a look: what changes during the look then counts as news, which is
    /// at worst once too often.
    pub(crate) fn count(&self) -> u64 {
        // Pairs with the above: who finds the count moved finds what moved it.
        self.count.load(Acquire)
    }

    /// What poll registers with, before it asks for the count.
    pub(crate) fn waiting(&self) -> &PollCondVar {
        &self.waiting
    }
}
