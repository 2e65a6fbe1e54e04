// SPDX-License-Identifier: GPL-2.0

//! Several buffers in the order of their time stamps.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::decoder::{Decoder, Item};
use crate::metadata::Metadata;

/// Where more bytes for a decoder come from.
pub trait Refill {
    /// What goes wrong.
    type Error;

    /// Pushes more bytes to the decoder of source `number`; false if there are
    /// none for now.
    fn refill(&mut self, number: usize, decoder: &mut Decoder) -> Result<bool, Self::Error>;
}

/// Merges decoders; each of them is in order by itself.
///
/// The order is a property of what is there: after bytes were added to a
/// decoder from outside, start a new merge.
#[derive(Debug)]
pub struct Merge<'a> {
    decoders: &'a mut [Decoder],
    heap: BinaryHeap<Reverse<(u64, usize)>>,
}

impl<'a> Merge<'a> {
    /// Looks at the first item of each decoder.
    pub fn new<R: Refill>(
        decoders: &'a mut [Decoder],
        metadata: &Metadata,
        source: &mut R,
    ) -> Result<Self, R::Error> {
        let heap = BinaryHeap::with_capacity(decoders.len());
        let mut merge = Self { decoders, heap };
        for number in 0..merge.decoders.len() {
            merge.enter(number, metadata, source)?;
        }
        Ok(merge)
    }

    /// Time of the earliest item.
    pub fn peek(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((time, _))| *time)
    }

    /// The earliest item; `None` when all are drained.
    pub fn next<R: Refill>(
        &mut self,
        metadata: &Metadata,
        source: &mut R,
    ) -> Result<Option<Item>, R::Error> {
        let Some(Reverse((_, number))) = self.heap.pop() else {
            return Ok(None);
        };
        let item = self.decoders[number].next_item(metadata);
        self.enter(number, metadata, source)?;
        Ok(item)
    }

    /// Puts a decoder back by the time of its next item.
    fn enter<R: Refill>(
        &mut self,
        number: usize,
        metadata: &Metadata,
        source: &mut R,
    ) -> Result<(), R::Error> {
        let decoder = &mut self.decoders[number];
        loop {
            if let Some(time) = decoder.peek(metadata) {
                self.heap.push(Reverse((time, number)));
                return Ok(());
            }
            if !source.refill(number, decoder)? {
                return Ok(());
            }
        }
    }
}
