// SPDX-License-Identifier: GPL-2.0

//! Time between two probe points: where something begins it is noted, where it ends it is measured.
//!
//! The two have nothing in common but the thing, so it is looked up by its address. There is room
//! for a fixed number at a time, and where that is used up a new one is not measured.

#[path = "clock.rs"]
mod clock;
#[path = "slot.rs"]
mod slot;

use clock::now;
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};
use slot::{
    Slot,
    FREE, //
};

/// Places that a thing can be noted in.
const WAYS: usize = 8;

struct Place {
    /// The owner is the key.
    slot: Slot,
    note: Atomic<u64>,
}

/// What has begun and not ended. Any context, NMI included.
pub(crate) struct Spans {
    /// `1 << bits` times [`WAYS`] of them.
    places: KVec<Place>,
    bits: u32,
}

/// Something that has ended.
pub(crate) struct Span {
    /// How long it took.
    pub(crate) ns: u64,
    /// What was noted when it began.
    pub(crate) note: u64,
}

impl Span {
    /// How long it took.
    pub(crate) fn us(&self) -> u64 {
        self.ns / 1000
    }
}

impl Spans {
    /// Makes room for `1 << bits` times eight. Process context.
    pub(crate) fn new(bits: u32) -> Result<Self> {
        let len = WAYS << bits;
        let mut places = KVec::with_capacity(len, GFP_KERNEL)?;
        for _ in 0..len {
            places.push(
                Place {
                    slot: Slot::new(),
                    note: Atomic::new(0),
                },
                GFP_KERNEL,
            )?;
        }
        Ok(Self { places, bits })
    }

    /// The places that `key` can be in.
    fn ways(&self, key: u64) -> &[Place] {
        // The multiplier of `hash_64()` in include/linux/hash.h.
        let hash = key.wrapping_mul(0x61c8_8646_80b5_83eb);
        let first = ((u128::from(hash) << self.bits) >> 64) as usize * WAYS;
        self.places.get(first..first + WAYS).unwrap_or(&[])
    }

    /// Notes that `key` begins; if it had already, it begins anew. A key is an address, or an
    /// address and a bit of its alignment to tell two kinds of thing apart. Only one context at a
    /// time may begin and end a key.
    pub(crate) fn begin(&self, key: usize, note: u64) {
        let (key, now) = (key as u64, now());
        let ways = self.ways(key);
        let again = ways.iter().find(|place| place.slot.begun_by(key).is_some());
        let place = again
            .filter(|place| place.slot.take(key))
            .or_else(|| ways.iter().find(|place| place.slot.take(FREE)))
            .or_else(|| ways.iter().find(|place| place.slot.take_stale(now)));
        let Some(place) = place else {
            return;
        };
        place.note.store(note, Relaxed);
        place.slot.give(key, now);
    }

    /// Takes `key` out: how long it has been, if its beginning was seen.
    pub(crate) fn end(&self, key: usize) -> Option<Span> {
        let key = key as u64;
        let (place, begun) = self
            .ways(key)
            .iter()
            .find_map(|place| Some((place, place.slot.begun_by(key)?)))?;
        let span = Span {
            ns: now().saturating_sub(begun),
            note: place.note.load(Relaxed),
        };
        // Somebody may have taken the place over as stale meanwhile.
        place.slot.free(key).then_some(span)
    }
}
