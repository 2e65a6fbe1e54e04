// SPDX-License-Identifier: GPL-2.0

//! What is kept of a call until it returns.
//!
//! There is room for a fixed number of calls at a time, and of one that finds none nothing is kept.
//! A call takes from its beginning to its end where that is, as a ticket: it needs no look-up, and
//! calls within calls of one task, which have the same addresses, are told apart.

use crate::{
    record::{
        MAX_ARGS,
        TEXT, //
    },
    slot::{
        Slot,
        FREE, //
    },
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

/// Calls at a time, a power of two.
const PLACES: usize = 256;

/// Places that are looked at for one call.
const TRIES: usize = 16;

/// Words that the text of an argument takes.
const WORDS: usize = TEXT / size_of::<u64>();

/// What is known of a call: a word for each argument; of text the length, and the text.
pub(crate) struct Words {
    pub(crate) values: [u64; MAX_ARGS],
    pub(crate) texts: [[u8; TEXT]; MAX_ARGS],
}

impl Words {
    /// Nothing is known: zero, and no text.
    pub(crate) const NONE: Self = Self {
        values: [0; MAX_ARGS],
        texts: [[0; TEXT]; MAX_ARGS],
    };
}

struct Place {
    /// The owner is a call's number times two.
    slot: Slot,
    values: [Atomic<u64>; MAX_ARGS],
    texts: [[Atomic<u64>; WORDS]; MAX_ARGS],
}

/// Calls that have not returned. Any context, NMI included.
pub(crate) struct Kept {
    places: KVVec<Place>,
    last: Atomic<u64>,
}

/// Where something is kept.
#[derive(Clone, Copy)]
pub(crate) struct Ticket {
    at: u64,
    owner: u64,
}

impl Ticket {
    /// None, as two words.
    pub(crate) const NONE: [u64; 2] = [0, FREE];

    /// As two words, for the state of a call.
    pub(crate) fn words(self) -> [u64; 2] {
        [self.at, self.owner]
    }

    /// Out of these again.
    pub(crate) fn from_words([at, owner]: [u64; 2]) -> Option<Self> {
        (owner != FREE).then_some(Self { at, owner })
    }
}

impl Kept {
    /// Makes the room. Process context.
    pub(crate) fn new() -> Result<Self> {
        let mut places = KVVec::with_capacity(PLACES, GFP_KERNEL)?;
        for _ in 0..PLACES {
            places.push(
                Place {
                    slot: Slot::new(),
                    values: [const { Atomic::new(0) }; MAX_ARGS],
                    texts: [const { [const { Atomic::new(0) }; WORDS] }; MAX_ARGS],
                },
                GFP_KERNEL,
            )?;
        }
        Ok(Self {
            places,
            last: Atomic::new(0),
        })
    }

    /// Keeps what is known of a call that begins `now`; `texts` are looked at up to `nr`.
    pub(crate) fn put(&self, words: &Words, nr: usize, now: u64) -> Option<Ticket> {
        let owner = self.last.fetch_add(1, Relaxed).wrapping_add(1) << 1;
        let first = (owner >> 1) as usize;
        for at in (first..first.wrapping_add(TRIES)).map(|n| n % PLACES) {
            let place = self.places.get(at)?;
            if !place.slot.take(FREE) && !place.slot.take_stale(now) {
                continue;
            }
            for (to, from) in place.values.iter().zip(&words.values).take(nr) {
                to.store(*from, Relaxed);
            }
            for (to, from) in place.texts.iter().zip(&words.texts).take(nr) {
                for (to, from) in to.iter().zip(from.chunks_exact(size_of::<u64>())) {
                    let word = from.try_into().unwrap_or_default();
                    to.store(u64::from_ne_bytes(word), Relaxed);
                }
            }
            place.slot.give(owner, now);
            return Some(Ticket {
                at: at as u64,
                owner,
            });
        }
        None
    }

    /// Takes back what was kept, unless it was given up as stale.
    pub(crate) fn take(&self, ticket: Ticket, nr: usize) -> Option<Words> {
        let place = self.places.get(ticket.at as usize)?;
        place.slot.begun_by(ticket.owner)?;
        let mut words = Words::NONE;
        for (to, from) in words.values.iter_mut().zip(&place.values).take(nr) {
            *to = from.load(Relaxed);
        }
        for (to, from) in words.texts.iter_mut().zip(&place.texts).take(nr) {
            for (to, from) in to.chunks_exact_mut(size_of::<u64>()).zip(from) {
                to.copy_from_slice(&from.load(Relaxed).to_ne_bytes());
            }
        }
        // Only if nobody has begun to write there meanwhile is it what was kept.
        self.drop(ticket).then_some(words)
    }

    /// Forgets what was kept. Returns whether it was there still.
    pub(crate) fn drop(&self, ticket: Ticket) -> bool {
        self.places
            .get(ticket.at as usize)
            .is_some_and(|place| place.slot.free(ticket.owner))
    }
}
