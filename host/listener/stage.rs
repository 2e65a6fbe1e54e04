// SPDX-License-Identifier: GPL-2.0

//! Reading a buffer that its guest writes over.
//!
//! relay's read would copy to the user what may be written over at that moment. Here a sub-buffer
//! is copied to memory of the host first, and counts only if the guest was not at it by then: it
//! says so before it writes. What was taken out is the readers', however far the guest gets.

use super::buffer::{
    Buffer,
    Source, //
};
use crate::{
    later::{
        smp_mb,
        Read, //
    },
    sys::relay_file::Reader, //
};
use kernel::prelude::*;

/// How often a guest may be faster than we are before the reader is told that there is nothing for
/// now.
const TRIES: usize = 16;

/// A sub-buffer on its way to readers.
pub(super) struct Stage {
    bytes: KVVec<u8>,
    /// So many have been read.
    at: usize,
}

impl Stage {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or(&[])
    }
}

impl Buffer {
    /// Reads up to `len` bytes to where the last call left off. It is the caller's turn.
    pub(super) fn read_staged(&self, file: &mut Reader, len: usize) -> Result<usize> {
        let (mut done, mut empty) = (0usize, 0usize);
        // A guest that closes one after the other with nothing in it does not keep the reader.
        while done < len && empty <= self.spec.geometry.n_subbufs() {
            let stage = match self.take_stage() {
                Ok(Some(stage)) => stage,
                Ok(None) => break,
                Err(err) if done == 0 => return Err(err),
                Err(_) => break,
            };
            let rest = stage.rest();
            let part = rest.get(..len.saturating_sub(done)).unwrap_or(rest);
            let got = part.len();
            empty = empty.wrapping_add(usize::from(got == 0));
            // No lock is held: the user's memory may take its time.
            let result = file.put(part);
            let read = match result {
                Ok(()) => got,
                Err(_) => 0,
            };
            self.put_stage(stage, read);
            if let Err(err) = result {
                match done {
                    0 => return Err(err),
                    _ => break,
                }
            }
            done = done.saturating_add(got);
            if kernel::current!().signal_pending() {
                break;
            }
        }
        Ok(done)
    }

    /// What is being read, or else the oldest that is there; `None` if there is none.
    fn take_stage(&self) -> Result<Option<Stage>> {
        let mut source = self.source.lock();
        if let Some(stage) = source.stage.take() {
            return Ok(Some(stage));
        }
        let stage = self.stage(&mut source)?;
        if let Some(stage) = &stage {
            source.staged = stage.rest().len();
        }
        Ok(stage)
    }

    /// Puts it back after `read` more bytes were read, unless it is to be thrown away.
    fn put_stage(&self, mut stage: Stage, read: usize) {
        stage.at = stage.at.saturating_add(read);
        let left = stage.rest().len();
        let mut source = self.source.lock();
        source.staged = match source.ended && source.reap {
            true => 0,
            false => left,
        };
        if source.staged != 0 {
            source.stage = Some(stage);
        }
    }

    fn stage(&self, source: &mut Source) -> Result<Option<Stage>> {
        let geometry = self.spec.geometry;
        for _ in 0..TRIES {
            match self.follow(source) {
                // Who waits is not told again of what is taken over here.
                Ok(true) => self.relay.wake(),
                Ok(false) => {}
                Err(violation) => self.domain.violated(violation),
            }
            let (number, end) = (self.relay.consumed(), self.end(source));
            if number == end || source.without {
                return Ok(None);
            }
            let slot = geometry.slot(number);
            let copy = source.kept.as_ref().or(source.next.as_ref());
            let (map, index) = match (copy, &source.lent) {
                (Some(kept), _) => (kept.map(), None),
                (None, Some(lent)) => (lent.data(), Some(lent.index()).filter(|_| source.live)),
                (None, None) => return Ok(None),
            };
            // While the guest writes, the padding may be that of a later lap, as the rest may.
            let padding = match index {
                Some(index) => index.padding(slot) as usize,
                None => self.relay.padding(slot),
            };
            let len = geometry.subbuf_size().saturating_sub(padding);
            let mut bytes = KVVec::from_elem(0, len, GFP_KERNEL_ACCOUNT)?;
            map.read(slot.wrapping_mul(geometry.subbuf_size()), &mut bytes)?;
            if let Some(index) = index {
                // Pairs with the guest's barrier between telling and writing.
                smp_mb(Read);
                if self.spec.oldest(index) > number {
                    continue;
                }
            }
            self.relay.skip_to(number.wrapping_add(1));
            return Ok(Some(Stage { bytes, at: 0 }));
        }
        Ok(None)
    }
}
