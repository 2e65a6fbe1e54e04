// SPDX-License-Identifier: GPL-2.0

//! One buffer, written by one context at a time: sub-buffers as CTF packets, and the index page.
//!
//! Everything here is bounded, takes no lock, allocates and prints nothing.

use crate::{
    bindings,
    later::{
        smp_mb,
        Write, //
    },
    sys::{
        index::Index,
        relay::{
            self,
            Room,
            HEAD, //
        },
        trace,
    },
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Why there is no room.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The host has not consumed yet.
    Full,
    /// No sub-buffer is large enough.
    TooBig,
}

/// How hard a switch tries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Switch {
    /// Only if the next sub-buffer is free. If it is not, closing this one would gain nothing but
    /// drops, or cost the oldest one: the host has a full lap to read first.
    IfFree,
    /// In any case.
    Always,
}

/// Writes the buffer of one CPU.
pub(crate) struct Writer {
    buf: relay::Writer,
    index: Arc<Index>,
    uuid: [u8; 16],
    cpu: u32,
    overwrite: bool,
    /// Records in the open sub-buffer.
    records: u32,
    /// Times of the first of them, and of the last that was ever written.
    first: u64,
    last: u64,
}

impl Writer {
    /// Writes `buf`, the buffer of `cpu`, and tells of it in `index`.
    pub(crate) fn new(
        buf: relay::Writer,
        index: Arc<Index>,
        uuid: [u8; 16],
        cpu: u32,
        overwrite: bool,
    ) -> Self {
        Self {
            buf,
            index,
            uuid,
            cpu,
            overwrite,
            records: 0,
            first: 0,
            last: 0,
        }
    }

    /// Sub-buffers closed so far.
    #[inline]
    pub(crate) fn produced(&self) -> u64 {
        self.buf.produced()
    }

    /// Whether records wait in the open sub-buffer.
    #[inline]
    pub(crate) fn waiting(&self) -> bool {
        self.records != 0
    }

    /// Time of a record: never before the one that came before it, whatever the clock does.
    #[inline]
    pub(crate) fn stamp(&self, now: u64) -> u64 {
        now.max(self.last)
    }

    /// Makes room for `len` bytes in the open sub-buffer, in the next if there is none in this.
    /// `lost` is how many records have been dropped so far.
    #[inline]
    pub(crate) fn reserve(&mut self, len: usize, lost: u64) -> Result<Room, Refused> {
        if let Some(room) = self.buf.reserve(len) {
            return Ok(room);
        }
        self.make_room(len, lost)
    }

    #[cold]
    fn make_room(&mut self, len: usize, lost: u64) -> Result<Room, Refused> {
        if len > self.buf.geometry().subbuf_size().saturating_sub(HEAD) {
            return Err(Refused::TooBig);
        }
        self.refresh();
        if self.buf.stopped() && !self.overwrite && self.unread() >= self.lap() {
            return Err(Refused::Full);
        }
        self.close(lost);
        self.buf.reserve(len).ok_or(Refused::Full)
    }

    /// Makes `len` bytes, written to the room that was reserved, a record of time `time`. The host
    /// can read it from here on, if this machine should die.
    #[inline]
    pub(crate) fn commit(&mut self, len: usize, time: u64) {
        if self.records == 0 {
            self.first = time;
            let head = self.head();
            self.buf.put_head(head);
        }
        self.buf.advance(len);
        self.records = self.records.wrapping_add(1);
        self.last = time;
        self.index
            .open(self.buf.produced(), self.buf.offset(), time);
    }

    /// Closes the open sub-buffer if there are records in it. Returns whether it did.
    pub(crate) fn switch(&mut self, how: Switch, lost: u64) -> bool {
        if !self.waiting() {
            return false;
        }
        if how == Switch::IfFree && self.lap() > 1 {
            self.refresh();
            if self.unread().wrapping_add(1) >= self.lap() {
                return false;
            }
        }
        self.close(lost);
        true
    }

    /// Sub-buffers in the buffer.
    #[inline]
    fn lap(&self) -> u64 {
        self.buf.geometry().n_subbufs() as u64
    }

    /// Closed sub-buffers that the host is not done with.
    #[inline]
    fn unread(&self) -> u64 {
        self.buf.produced().wrapping_sub(self.buf.consumed())
    }

    /// Takes over what the host has consumed, if that can be.
    fn refresh(&mut self) {
        let (consumed, before) = (self.index.consumed(), self.buf.consumed());
        if consumed > before && consumed <= self.buf.produced() {
            self.buf.set_consumed(consumed);
            trace::consumed(self.cpu, consumed);
        }
    }

    /// Closes the open sub-buffer, if there is one, and opens the next, if that is free.
    fn close(&mut self, lost: u64) {
        if self.buf.stopped() {
            self.buf.switch();
            return;
        }
        let number = self.buf.produced();
        let padding = self.buf.room();
        let bits = (self.buf.offset() as u64).wrapping_mul(8);
        let mut head = self.head();
        head.tsc_end = self.last.to_le();
        head.content_bits = bits.to_le();
        head.packet_bits = bits.to_le();
        head.sequence = number.to_le();
        head.discarded = lost.to_le();
        self.buf.put_head(head);

        self.buf.switch();

        let produced = self.buf.produced();
        self.index
            .publish(self.buf.geometry().slot(number), padding, produced);
        self.index.open(produced, 0, self.last);
        self.records = 0;
        trace::switch(self.cpu, produced);
        // Who overwrites says so first: a reader who looks at `produced` again after copying then
        // knows that what it copied may have been written over.
        smp_mb(Write);
    }

    /// Head of the packet, as far as it is known while the packet is open.
    fn head(&self) -> bindings::virtio_vesper_packet {
        bindings::virtio_vesper_packet {
            magic: bindings::VIRTIO_VESPER_PACKET_MAGIC.to_le(),
            uuid: self.uuid,
            stream_id: 0,
            cpu: self.cpu.to_le(),
            reserved: 0,
            tsc_begin: self.first.to_le(),
            tsc_end: 0,
            content_bits: 0,
            packet_bits: 0,
            sequence: 0,
            discarded: 0,
        }
    }
}
