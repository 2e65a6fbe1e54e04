// SPDX-License-Identifier: GPL-2.0

//! Names of the addresses in a channel's records: each is sent once.
//!
//! A probe notes an address in a set of fixed size, without lock or allocation; a work item finds
//! the name and puts a line into the channel's metadata. An address for which the set has no room
//! stays a number.

use super::{
    text::Text,
    tsdl, //
};
use crate::sys::symbol;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Mutex, //
    },
};

/// Addresses that fit, a power of two.
const SLOTS: usize = 2048;

/// Slots looked at for one address.
const PROBES: usize = 16;

/// What came of a search for names.
pub(crate) struct Resolved {
    /// There are new ones.
    pub(crate) found: bool,
    /// Memory was short: there is more to find.
    pub(crate) unfinished: bool,
}

/// Names found so far.
struct Names {
    /// Entries of `order` that are in `text`.
    done: usize,
    text: Text,
}

/// The addresses of a channel, and their names.
#[pin_data]
pub(crate) struct Symbols {
    /// Hash table; 0 is a free slot. Only ever filled.
    slots: KVec<Atomic<u64>>,
    /// The addresses in the order in which they came; 0 where one is being put.
    order: KVec<Atomic<u64>>,
    /// Entries of `order` that are taken.
    used: Atomic<usize>,
    #[pin]
    names: Mutex<Names>,
}

fn zeroes() -> Result<KVec<Atomic<u64>>> {
    let mut vec = KVec::with_capacity(SLOTS, GFP_KERNEL)?;
    for _ in 0..SLOTS {
        vec.push(Atomic::new(0), GFP_KERNEL)?;
    }
    Ok(vec)
}

impl Symbols {
    /// An empty set.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            slots: zeroes()?,
            order: zeroes()?,
            used: Atomic::new(0),
            names <- new_mutex!(Names {
                done: 0,
                text: Text::new(),
            }),
        })
    }

    /// Notes `address`. Returns whether it is new, so that [`Symbols::resolve`] has something to
    /// do. Any context, bounded.
    #[inline]
    pub(crate) fn note(&self, address: u64) -> bool {
        // That is what a free slot looks like, and has its name without our help.
        if address == 0 {
            return false;
        }
        // The golden ratio spreads neighbours well; the upper bits are the good ones.
        let hash = (address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize;
        for probe in 0..PROBES {
            let Some(slot) = self.slots.get(hash.wrapping_add(probe) % SLOTS) else {
                return false;
            };
            let mut found = slot.load(Relaxed);
            if found == 0 {
                found = match slot.cmpxchg(0, address, Relaxed) {
                    Ok(_) => return self.append(address),
                    Err(found) => found,
                };
            }
            if found == address {
                return false;
            }
        }
        false
    }

    fn append(&self, address: u64) -> bool {
        // Each address that is new takes a slot of its own, so there is an entry for it.
        let Some(entry) = self.order.get(self.used.fetch_add(1, Relaxed)) else {
            return false;
        };
        entry.store(address, Release);
        true
    }

    /// Finds the names of the new addresses. Process context.
    pub(crate) fn resolve(&self) -> Resolved {
        let mut names = self.names.lock();
        let before = names.done;
        let mut unfinished = false;
        // Where an entry is still 0, whoever is putting it asks for another round.
        while let Some(entry) = self.order.get(names.done) {
            let address = entry.load(Acquire);
            if address == 0 {
                break;
            }
            let len = names.text.len();
            let line =
                symbol::with_name(address, |name| tsdl::symbol(&mut names.text, name, address));
            if line.is_err() {
                // Out of memory: half a line would spoil the file, so it goes, and comes again in
                // the next round.
                names.text.truncate(len);
                unfinished = true;
                break;
            }
            names.done = names.done.wrapping_add(1);
        }
        Resolved {
            found: names.done != before,
            unfinished,
        }
    }

    /// Bytes of the text. Process context.
    pub(crate) fn len(&self) -> usize {
        self.names.lock().text.len()
    }

    /// Copies the text from byte `from` on. Process context.
    pub(crate) fn copy(&self, from: usize, to: &mut [u8]) -> usize {
        self.names.lock().text.copy(from, to)
    }
}
