// SPDX-License-Identifier: GPL-2.0

//! Who looks: one thread for all guests, ahead of ordinary ones, that sleeps as long as there is
//! nothing to be looked at.

use super::NS_PER_MS;
use crate::{
    host::Host,
    sys::{
        thread::{
            Rounds,
            Thread, //
        },
        time, //
    },
};
use kernel::{
    new_condvar,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        CondVar,
        Mutex, //
    },
    time::msecs_to_jiffies, //
};

/// Longest sleep, in milliseconds.
const LONGEST_MS: u32 = 10_000;

/// The thread rests for so many times as long as a round took.
const REST: u64 = 9;

struct Wish {
    /// There is something to look at that was not there before.
    news: bool,
    ending: bool,
}

/// Wakes who looks.
#[pin_data]
pub(crate) struct Bell {
    #[pin]
    wish: Mutex<Wish>,
    #[pin]
    rung: CondVar,
}

impl Bell {
    /// Not rung.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            wish <- new_mutex!(Wish { news: false, ending: false }, "vesper::watch"),
            rung <- new_condvar!("vesper::watch"),
        })
    }

    /// There is something to look at, or to be looked at at other times.
    pub(crate) fn ring(&self) {
        self.wish.lock().news = true;
        self.rung.notify_all();
    }
}

impl Rounds for Host {
    fn round(&self) {
        let mut sleep = LONGEST_MS;
        let begin = time::boot_ns();
        // Without memory for the list they are looked at next time.
        if let Ok(domains) = self.snapshot() {
            for domain in domains.iter() {
                if let Some(ms) = domain.heartbeat().look(domain) {
                    sleep = sleep.min(ms);
                }
            }
        } else {
            sleep = 40;
        }
        // VMMs choose how many CPUs there are to look at, and this thread goes ahead of others: so it
        // rests in proportion, unless the bell rings.
        let took_ms = time::boot_ns().saturating_sub(begin) / NS_PER_MS;
        let rest = took_ms.saturating_mul(REST).min(u64::from(LONGEST_MS));
        sleep = sleep.max(u32::try_from(rest).unwrap_or(LONGEST_MS));
        let mut wish = self.bell().wish.lock();
        if wish.ending {
            sleep = 1;
        }
        if !wish.news {
            let _ = self
                .bell()
                .rung
                .wait_interruptible_timeout(&mut wish, msecs_to_jiffies(sleep));
        }
        wish.news = false;
    }

    fn end(&self) {
        self.bell().wish.lock().ending = true;
        self.bell().rung.notify_all();
    }
}

/// Looks at all guests until it is dropped.
pub(crate) struct Watcher {
    _thread: Thread<Host>,
}

impl Watcher {
    /// Starts.
    pub(crate) fn start(host: Arc<Host>) -> Result<Self> {
        Ok(Self {
            _thread: Thread::start(host)?,
        })
    }
}
