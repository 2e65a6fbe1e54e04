// SPDX-License-Identifier: GPL-2.0

//! What was told a moment ago, for things that the kernel meets again and again.
//!
//! There is room for a fixed number. One more takes the place of another, which then is told once
//! more. Keys are compared whole, so things that are to be told apart need different ones.

#[path = "clock.rs"]
mod clock;

use clock::now;
use kernel::{
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    },
};

/// Key of a place that nothing was told in.
const NOTHING: u64 = u64::MAX;

struct Place {
    key: Atomic<u64>,
    told: Atomic<u64>,
}

/// Those that are remembered. Any context, NMI included.
pub(crate) struct Recent {
    places: KVec<Place>,
    forget_ns: u64,
}

impl Recent {
    /// Makes room for `len` things, which are told again after `forget_ns` nanoseconds. Process
    /// context; fails if there is no memory.
    pub(crate) fn new(len: usize, forget_ns: u64) -> Result<Self> {
        let mut places = KVec::with_capacity(len, GFP_KERNEL)?;
        for _ in 0..len {
            places.push(
                Place {
                    key: Atomic::new(NOTHING),
                    told: Atomic::new(0),
                },
                GFP_KERNEL,
            )?;
        }
        Ok(Self { places, forget_ns })
    }

    /// It could not be told after all.
    #[allow(dead_code)] // For those that try again.
    pub(crate) fn forget(&self, key: u64) {
        let place = (key as usize)
            .checked_rem(self.places.len())
            .and_then(|at| self.places.get(at));
        if let Some(place) = place.filter(|place| place.key.load(Relaxed) == key) {
            place.key.store(NOTHING, Relaxed);
        }
    }

    /// Whether a thing is to be told; from now on it was. If it is met by two CPUs at once, both
    /// may be told to tell it. Two CPUs that change one place at once, for different keys, may
    /// leave the key of one with the time of the other: it may then be told again sooner.
    pub(crate) fn is_news(&self, key: u64) -> bool {
        let now = now();
        let Some(place) = (key as usize)
            .checked_rem(self.places.len())
            .and_then(|at| self.places.get(at))
        else {
            return true;
        };
        // In the opposite order of the stores: where the key is this one, the time is not one that
        // another key has brought after it.
        let told = place.told.load(Acquire);
        let known = place.key.load(Relaxed) == key && now.saturating_sub(told) < self.forget_ns;
        if !known {
            place.key.store(key, Relaxed);
            place.told.store(now, Release);
        }
        !known
    }
}
