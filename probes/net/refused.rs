// SPDX-License-Identifier: GPL-2.0

//! Clients that were refused a moment ago: they ask again and again.

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

/// Clients that are remembered, a power of two. One more takes the place of another.
const PLACES: usize = 512;

/// Who asks after so long a time is somebody else: TCP doubles its pause up to this.
const FORGET_NS: u64 = 130_000_000_000;

struct Place {
    client: Atomic<u64>,
    asked: Atomic<u64>,
}

/// Those that are remembered. Any context.
pub(crate) struct Refused(KVec<Place>);

/// A number for a connection that somebody asks for.
fn client(ends: [&[u8]; 2]) -> u64 {
    // FNV-1a; what is behind an address's end does not count.
    ends.iter()
        .flat_map(|end| end.split(|&c| c == 0).next().unwrap_or(&[]))
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
}

impl Refused {
    /// Remembers nobody yet. Process context.
    pub(crate) fn new() -> Result<Self> {
        let mut places = KVec::with_capacity(PLACES, GFP_KERNEL)?;
        for _ in 0..PLACES {
            places.push(
                Place {
                    client: Atomic::new(0),
                    asked: Atomic::new(0),
                },
                GFP_KERNEL,
            )?;
        }
        Ok(Self(places))
    }

    /// Whether a client is refused for the first time: where it asks, and from where.
    pub(crate) fn is_new(&self, ends: [&[u8]; 2]) -> bool {
        // SAFETY: No requirements; made for any context.
        let now = unsafe { kernel::bindings::ktime_get_mono_fast_ns() };
        let client = client(ends);
        let Some(place) = self.0.get(client as usize % PLACES) else {
            return true;
        };
        let before = place.client.xchg(client, Relaxed);
        let asked = place.asked.xchg(now, Relaxed);
        before != client || now.saturating_sub(asked) > FORGET_NS
    }
}
