// SPDX-License-Identifier: GPL-2.0

//! The head of each sub-buffer of a CTF channel, with its sizes checked.

use thiserror::Error;
use zerocopy::{FromBytes, IntoBytes};

use crate::bindings::{virtio_vesper_packet, VIRTIO_VESPER_PACKET_MAGIC};
use crate::endian::{Le32, Le64};

/// Bytes of a packet head.
pub const HEAD_LEN: usize = size_of::<virtio_vesper_packet>();

/// No sub-buffer is larger than the largest buffer, so no packet is either.
pub const MAX_PACKET: usize = crate::common::MAX_BUFFER;

/// What is wrong with a packet head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PacketError {
    /// Another four bytes where the magic number belongs.
    #[error("magic number {0:#010x} instead of {VIRTIO_VESPER_PACKET_MAGIC:#010x}")]
    Magic(u32),
    /// Only one stream class is in use.
    #[error("stream id {0}, only 0 is in use")]
    Stream(u32),
    /// Content that is not a number of bytes, or shorter than the head.
    #[error("content of {0} bits")]
    Content(u64),
    /// A packet that is not a number of bytes or smaller than its content.
    #[error("packet of {packet} bits for {content} bits of content")]
    Size {
        /// Bits of the packet.
        packet: u64,
        /// Bits of the content.
        content: u64,
    },
    /// Larger than any sub-buffer.
    #[error("packet of {0} bytes, more than any sub-buffer has")]
    TooLarge(u64),
}

/// The head of a packet, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketHead {
    /// Of the trace.
    pub uuid: [u8; 16],
    /// The CPU that wrote it.
    pub cpu: u32,
    /// Time of the first record.
    pub tsc_begin: u64,
    /// Time of the last record.
    pub tsc_end: u64,
    /// Bytes that carry something, this head included.
    pub content_len: usize,
    /// Bytes to the next packet.
    pub packet_len: usize,
    /// Number of the sub-buffer since the channel opened.
    pub sequence: u64,
    /// Records dropped since the channel opened.
    pub discarded: u64,
}

impl PacketHead {
    /// Reads a head from the start of `bytes`; `None` if they are too few.
    pub fn parse(bytes: &[u8]) -> Option<Result<Self, PacketError>> {
        let (raw, _) = virtio_vesper_packet::read_from_prefix(bytes).ok()?;
        Some(Self::check(&raw))
    }

    fn check(raw: &virtio_vesper_packet) -> Result<Self, PacketError> {
        if raw.magic.get() != VIRTIO_VESPER_PACKET_MAGIC {
            return Err(PacketError::Magic(raw.magic.get()));
        }
        if raw.stream_id.get() != 0 {
            return Err(PacketError::Stream(raw.stream_id.get()));
        }
        let (content, packet) = (raw.content_bits.get(), raw.packet_bits.get());
        if content % 8 != 0 || content / 8 < HEAD_LEN as u64 {
            return Err(PacketError::Content(content));
        }
        if packet % 8 != 0 || packet < content {
            return Err(PacketError::Size { packet, content });
        }
        if packet / 8 > MAX_PACKET as u64 {
            return Err(PacketError::TooLarge(packet / 8));
        }
        Ok(Self {
            uuid: raw.uuid,
            cpu: raw.cpu.get(),
            tsc_begin: raw.tsc_begin.get(),
            tsc_end: raw.tsc_end.get(),
            // Both are at most MAX_PACKET by now.
            content_len: (content / 8) as usize,
            packet_len: (packet / 8) as usize,
            sequence: raw.sequence.get(),
            discarded: raw.discarded.get(),
        })
    }

    /// The bytes that [`PacketHead::parse`] reads.
    pub fn to_bytes(&self) -> [u8; HEAD_LEN] {
        let raw = virtio_vesper_packet {
            magic: Le32::new(VIRTIO_VESPER_PACKET_MAGIC),
            uuid: self.uuid,
            stream_id: Le32::new(0),
            cpu: Le32::new(self.cpu),
            reserved: Le32::new(0),
            tsc_begin: Le64::new(self.tsc_begin),
            tsc_end: Le64::new(self.tsc_end),
            content_bits: Le64::new(self.content_len as u64 * 8),
            packet_bits: Le64::new(self.packet_len as u64 * 8),
            sequence: Le64::new(self.sequence),
            discarded: Le64::new(self.discarded),
        };
        let mut bytes = [0; HEAD_LEN];
        bytes.copy_from_slice(raw.as_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head() -> PacketHead {
        PacketHead {
            uuid: [7; 16],
            cpu: 3,
            tsc_begin: 1,
            tsc_end: 2,
            content_len: 100,
            packet_len: 104,
            sequence: 9,
            discarded: 4,
        }
    }

    #[test]
    fn the_head_has_the_length_the_metadata_describes() {
        assert_eq!(HEAD_LEN, 80);
    }

    #[test]
    fn sizes_are_checked() {
        let parse = |h: PacketHead| PacketHead::parse(&h.to_bytes()).unwrap();
        assert_eq!(parse(head()), Ok(head()));
        let short = PacketHead {
            content_len: 79,
            ..head()
        };
        assert_eq!(parse(short), Err(PacketError::Content(79 * 8)));
        let inverted = PacketHead {
            packet_len: 99,
            ..head()
        };
        assert!(matches!(parse(inverted), Err(PacketError::Size { .. })));
        let large = PacketHead {
            packet_len: MAX_PACKET + 1,
            ..head()
        };
        assert!(matches!(parse(large), Err(PacketError::TooLarge(_))));
        let mut bits = head().to_bytes();
        bits[48] += 1;
        assert!(matches!(
            PacketHead::parse(&bits).unwrap(),
            Err(PacketError::Content(_))
        ));
        assert!(PacketHead::parse(&bits[..79]).is_none());
    }

    proptest! {
        #[test]
        fn round_trip(uuid: [u8; 16], cpu: u32, tsc_begin: u64, tsc_end: u64, sequence: u64,
                      discarded: u64, content in HEAD_LEN..1usize << 20, more in 0..4096usize) {
            let head = PacketHead {
                uuid, cpu, tsc_begin, tsc_end, content_len: content, packet_len: content + more,
                sequence, discarded,
            };
            prop_assert_eq!(PacketHead::parse(&head.to_bytes()), Some(Ok(head)));
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = PacketHead::parse(&bytes);
        }
    }
}
