// SPDX-License-Identifier: GPL-2.0

//! Packets out of what was read from one relay file: reads end anywhere, so
//! bytes are kept until a packet is whole.

use std::sync::Arc;

use thiserror::Error;
use vesper_abi::bindings::VIRTIO_VESPER_PACKET_MAGIC;
use vesper_abi::packet::{PacketError, PacketHead, HEAD_LEN, MAX_PACKET};

/// A whole packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Its head.
    pub head: PacketHead,
    /// Its content, the head included.
    pub bytes: Arc<[u8]>,
}

/// Bytes that were no packet.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StreamError {
    /// They have been skipped; a packet follows.
    #[error("{bytes} bytes skipped that are no packet: {why}")]
    Skipped {
        /// How many.
        bytes: u64,
        /// What was wrong where they begin.
        why: Malformed,
    },
    /// They end before the packet does, and nothing follows.
    #[error("{0} bytes of a packet whose rest is missing")]
    Incomplete(u64),
}

/// Why bytes are not taken for a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// By the head itself.
    #[error(transparent)]
    Head(#[from] PacketError),
    /// It is of another trace.
    #[error("the packet's uuid is not that of the metadata")]
    Uuid,
    /// It says that it is longer than the channel's sub-buffers are.
    #[error("packet of {packet} bytes, more than the {room} of a sub-buffer")]
    Room {
        /// Bytes of the packet.
        packet: usize,
        /// Bytes of a sub-buffer.
        room: usize,
    },
}

/// Cuts a stream of bytes into packets.
#[derive(Debug)]
pub struct PacketStream {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are done with.
    start: usize,
    /// Packets of other traces are refused.
    uuid: Option<[u8; 16]>,
    /// Bytes that a packet can have.
    room: usize,
    /// What is being skipped, and how much of it so far.
    skipping: Option<(Malformed, u64)>,
}

impl PacketStream {
    /// A stream of packets that belong to trace `uuid`, or to any.
    pub fn new(uuid: Option<[u8; 16]>) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            uuid,
            room: MAX_PACKET,
            skipping: None,
        }
    }

    /// Takes no packets of more than `room` bytes, the size of the channel's sub-buffers:
    /// one that says it is longer would have all that follows wait for its end.
    pub fn set_room(&mut self, room: usize) {
        self.room = room;
    }

    /// Adds bytes behind those that are there.
    pub fn push(&mut self, bytes: &[u8]) {
        // Each byte is moved at most once for each time the buffer doubles.
        if self.start > self.buffer.len() / 2 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that were added and have not come out as packets.
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// How many bytes more it takes for the packet that has been begun to be
    /// whole, as far as that is known; 0 if none has.
    pub fn wanting(&self) -> usize {
        let rest = &self.buffer[self.start..];
        let len = match self.check(rest) {
            _ if rest.is_empty() || self.skipping.is_some() => 0,
            None => HEAD_LEN,
            Some(Ok(head)) => head.packet_len,
            Some(Err(_)) => 0,
        };
        len.saturating_sub(rest.len())
    }

    /// The next packet; `None` until more bytes come.
    pub fn next_packet(&mut self) -> Option<Result<Packet, StreamError>> {
        loop {
            if self.skipping.is_some() && !self.skip() {
                return None;
            }
            let rest = &self.buffer[self.start..];
            let head = match self.check(rest)? {
                Ok(head) => head,
                Err(why) => {
                    let (_, bytes) = self.skipping.get_or_insert((why, 0));
                    // Not this one again.
                    *bytes += 1;
                    self.start += 1;
                    continue;
                }
            };
            if let Some((why, bytes)) = self.skipping.take() {
                return Some(Err(StreamError::Skipped { bytes, why }));
            }
            if rest.len() < head.packet_len {
                return None;
            }
            let bytes = Arc::from(&rest[..head.content_len]);
            self.start += head.packet_len;
            return Some(Ok(Packet { head, bytes }));
        }
    }

    /// What is left when no more bytes will come.
    pub fn finish(&mut self) -> Option<StreamError> {
        let left = (self.buffer.len() - self.start) as u64;
        self.buffer.clear();
        self.start = 0;
        match self.skipping.take() {
            Some((why, bytes)) => Some(StreamError::Skipped {
                bytes: bytes + left,
                why,
            }),
            None if left > 0 => Some(StreamError::Incomplete(left)),
            None => None,
        }
    }

    /// The head at the start of `rest`; `None` if there are too few bytes.
    fn check(&self, rest: &[u8]) -> Option<Result<PacketHead, Malformed>> {
        let head = match PacketHead::parse(rest)? {
            Ok(head) => head,
            Err(error) => return Some(Err(error.into())),
        };
        match self.uuid {
            Some(uuid) if uuid != head.uuid => Some(Err(Malformed::Uuid)),
            _ if head.packet_len > self.room => Some(Err(Malformed::Room {
                packet: head.packet_len,
                room: self.room,
            })),
            _ => Some(Ok(head)),
        }
    }

    /// Moves to where a packet could begin; false if that needs more bytes.
    fn skip(&mut self) -> bool {
        let magic = VIRTIO_VESPER_PACKET_MAGIC.to_le_bytes();
        let rest = &self.buffer[self.start..];
        let found = rest.windows(magic.len()).position(|bytes| bytes == magic);
        // The last bytes could be the first of a magic number.
        let skipped = found.unwrap_or(rest.len().saturating_sub(magic.len() - 1));
        if let Some((_, bytes)) = &mut self.skipping {
            *bytes += skipped as u64;
        }
        self.start += skipped;
        found.is_some() && self.buffer.len() - self.start >= HEAD_LEN
    }
}
