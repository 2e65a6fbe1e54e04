// SPDX-License-Identifier: GPL-2.0

//! Everything that one relay file has to tell, in order: records, and what is
//! missing between them.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::metadata::Metadata;
use crate::record::{Record, RecordError};
use crate::stream::{Packet, PacketStream, StreamError};

/// Something to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The CPU that wrote it.
    pub cpu: u32,
    /// The clock's cycles, by which items of several CPUs are put in order.
    pub timestamp: u64,
    /// What it is.
    pub kind: ItemKind,
}

/// What an item is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemKind {
    /// An event, and the packet its values point into.
    Record(Record, Arc<[u8]>),
    /// Records that the guest dropped since the packet before this one.
    Lost(u64),
    /// Records dropped before the first packet that was read.
    LostBefore(u64),
    /// Packets that are missing before this one.
    Missing(u64),
    /// Bytes that were no packet.
    Stream(StreamError),
    /// The rest of a packet that is not as the metadata says.
    RecordError(RecordError),
}

/// What has been met so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Events decoded.
    pub records: u64,
    /// Events that the guest dropped, as far as they fell between packets read.
    pub lost: u64,
    /// Packets missing in the numbering.
    pub missing: u64,
    /// Malformed packets and stretches of bytes.
    pub malformed: u64,
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.lost = self.lost.saturating_add(other.lost);
        self.missing = self.missing.saturating_add(other.missing);
        self.malformed += other.malformed;
    }
}

/// Decoder of one relay file.
#[derive(Debug)]
pub struct Decoder {
    stream: PacketStream,
    packet: Option<(Packet, usize)>,
    /// Sequence number and drop count of the packet before.
    before: Option<(u64, u64)>,
    cpu: u32,
    last_time: u64,
    /// Made, but not yet taken.
    ready: VecDeque<Item>,
    totals: Totals,
}

impl Decoder {
    /// A decoder of what trace `uuid` wrote for `cpu`, as far as known before
    /// the first packet says so itself.
    pub fn new(uuid: Option<[u8; 16]>, cpu: u32) -> Self {
        Self {
            stream: PacketStream::new(uuid),
            packet: None,
            before: None,
            cpu,
            last_time: 0,
            ready: VecDeque::new(),
            totals: Totals::default(),
        }
    }

    /// Takes no packets of more than `room` bytes, the size of the channel's sub-buffers.
    pub fn set_room(&mut self, room: usize) {
        self.stream.set_room(room);
    }

    /// Adds what was read from the file.
    pub fn push(&mut self, bytes: &[u8]) {
        self.stream.push(bytes);
    }

    /// How many bytes more it takes for the packet that has been begun to be whole, as far
    /// as that is known; 0 if none has.
    pub fn wanting(&self) -> usize {
        self.stream.wanting()
    }

    /// What has been taken so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Time of the item that [`Decoder::next_item`] would give.
    pub fn peek(&mut self, metadata: &Metadata) -> Option<u64> {
        self.fill(metadata);
        self.ready.front().map(|item| item.timestamp)
    }

    /// The next item; `None` until more bytes come.
    pub fn next_item(&mut self, metadata: &Metadata) -> Option<Item> {
        self.fill(metadata);
        let item = self.ready.pop_front()?;
        match &item.kind {
            ItemKind::Record(..) => self.totals.records += 1,
            ItemKind::Lost(n) => self.totals.lost = self.totals.lost.saturating_add(*n),
            ItemKind::Missing(n) => self.totals.missing = self.totals.missing.saturating_add(*n),
            ItemKind::Stream(_) | ItemKind::RecordError(_) => self.totals.malformed += 1,
            ItemKind::LostBefore(_) => {}
        }
        Some(item)
    }

    /// What is left when no more bytes will come.
    pub fn finish(&mut self) -> Option<Item> {
        let error = self.stream.finish()?;
        self.totals.malformed += 1;
        Some(self.item(self.last_time, ItemKind::Stream(error)))
    }

    fn item(&self, timestamp: u64, kind: ItemKind) -> Item {
        Item {
            cpu: self.cpu,
            timestamp,
            kind,
        }
    }

    /// Makes the next item if there is none.
    fn fill(&mut self, metadata: &Metadata) {
        while self.ready.is_empty() {
            let item = match self.packet.take() {
                Some((packet, at)) => self.record(metadata, packet, at),
                None => match self.stream.next_packet() {
                    None => return,
                    Some(Ok(packet)) => {
                        self.begin(packet);
                        None
                    }
                    Some(Err(error)) => Some(self.item(self.last_time, ItemKind::Stream(error))),
                },
            };
            self.ready.extend(item);
        }
    }

    /// Starts with a packet, and says what is missing before it.
    fn begin(&mut self, packet: Packet) {
        let head = packet.head;
        self.cpu = head.cpu;
        // The very first packet starts from nothing lost; a reader that comes
        // later can't know which losses an earlier one has reported.
        let (sequence, discarded) = match self.before {
            Some((sequence, discarded)) => (sequence.wrapping_add(1), discarded),
            None if head.sequence == 0 => (0, 0),
            None => {
                if head.discarded > 0 {
                    let kind = ItemKind::LostBefore(head.discarded);
                    self.ready.push_back(self.item(head.tsc_begin, kind));
                }
                (head.sequence, head.discarded)
            }
        };
        if head.sequence > sequence {
            let kind = ItemKind::Missing(head.sequence - sequence);
            self.ready.push_back(self.item(head.tsc_begin, kind));
        }
        if head.discarded > discarded {
            let kind = ItemKind::Lost(head.discarded - discarded);
            self.ready.push_back(self.item(head.tsc_begin, kind));
        }
        self.before = Some((head.sequence, head.discarded));
        self.packet = Some((packet, vesper_abi::packet::HEAD_LEN));
    }

    /// The event at `at`, or nothing if the packet is at its end.
    fn record(&mut self, metadata: &Metadata, packet: Packet, mut at: usize) -> Option<Item> {
        if at >= packet.bytes.len() {
            return None;
        }
        match Record::decode(metadata, &packet.bytes, &mut at) {
            Ok(record) => {
                self.last_time = record.timestamp;
                let bytes = Arc::clone(&packet.bytes);
                self.packet = Some((packet, at));
                Some(self.item(record.timestamp, ItemKind::Record(record, bytes)))
            }
            // Where the next event would begin can't be known: drop the packet.
            Err(error) => Some(self.item(self.last_time, ItemKind::RecordError(error))),
        }
    }
}
