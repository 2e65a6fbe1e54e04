// SPDX-License-Identifier: GPL-2.0

//! The file of a stream: whole packets, each of them written before more is read
//! from the host.
//!
//! What was read from a relay file is gone there. So room is reserved first, as
//! far as the file system can: then a write can't find the disk full.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{fallocate, FallocateFlags};
use vesper_abi::packet::{PacketHead, HEAD_LEN};
use vesper_ctf::stream::Packet;

use super::error::RecordError;
use crate::error::{Error, Result};

/// Reserved at a time.
const STEP: u64 = 1 << 20;

/// What has been recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    /// Packets in the files.
    pub(super) packets: u64,
    /// Bytes of them.
    pub(super) bytes: u64,
    /// Records that the guest dropped since its channel opened.
    pub(super) discarded: u64,
    /// Packets missing in the numbering.
    pub(super) missing: u64,
    /// Packets and stretches of bytes that are no part of the trace.
    pub(super) malformed: u64,
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.discarded = self.discarded.saturating_add(other.discarded);
        self.missing = self.missing.saturating_add(other.missing);
        self.malformed += other.malformed;
    }
}

/// A stream file that is written to.
#[derive(Debug)]
pub(super) struct StreamFile {
    path: PathBuf,
    file: File,
    /// All before is whole packets.
    len: u64,
    /// How far there is room for sure.
    reserved: u64,
    /// Whether the file system can reserve.
    reserves: bool,
    /// All records that were dropped before the first packet fell into its time.
    from_start: bool,
    /// Head of the last packet.
    last: Option<PacketHead>,
    totals: Totals,
    /// What somebody else counts of it.
    counted: Totals,
}

impl StreamFile {
    /// Makes it, or goes on behind the last whole packet of trace `uuid` that is
    /// in it. Without a UUID it is a file of bytes, and goes on at its end.
    pub(super) fn open(path: &Path, uuid: Option<&[u8; 16]>) -> Result<Self> {
        let fail = |error| Error::File {
            path: path.to_owned(),
            error,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(fail)?;
        let mut stream = Self {
            path: path.to_owned(),
            len: file.metadata().map_err(fail)?.len(),
            file,
            reserved: 0,
            reserves: true,
            from_start: false,
            last: None,
            totals: Totals::default(),
            counted: Totals::default(),
        };
        if let Some(uuid) = uuid {
            stream.find_end(uuid).map_err(fail)?;
        }
        Ok(stream)
    }

    /// Steps over the packets that are there, and cuts off what is not whole.
    fn find_end(&mut self, uuid: &[u8; 16]) -> io::Result<()> {
        let end = self.len;
        self.len = 0;
        while end - self.len >= HEAD_LEN as u64 {
            let mut bytes = [0; HEAD_LEN];
            self.file.read_exact_at(&mut bytes, self.len)?;
            let head = match PacketHead::parse(&bytes) {
                Some(Ok(head)) if head.uuid == *uuid => head,
                _ => break,
            };
            if end - self.len < head.packet_len as u64 {
                break;
            }
            self.len += head.packet_len as u64;
            self.count(&head);
        }
        if self.len < end {
            self.file.set_len(self.len)?;
        }
        Ok(())
    }

    /// Says that nobody has read what the stream comes from before.
    pub(super) fn set_from_start(&mut self) {
        self.from_start = true;
    }

    fn count(&mut self, head: &PacketHead) {
        let last = self.last.replace(*head);
        let next = last.map_or(head.sequence, |last| last.sequence.saturating_add(1));
        self.totals.missing = self
            .totals
            .missing
            .saturating_add(head.sequence.saturating_sub(next));
        self.totals.discarded = head.discarded;
        self.totals.packets += 1;
        self.totals.bytes += head.packet_len as u64;
    }

    /// Says that what is in it by now has been counted before.
    pub(super) fn set_counted(&mut self) {
        self.counted = self.totals;
    }

    /// What is in it, and has not been counted before.
    pub(super) fn totals(&self) -> Totals {
        let (all, counted) = (&self.totals, &self.counted);
        Totals {
            packets: all.packets - counted.packets,
            bytes: all.bytes - counted.bytes,
            discarded: all.discarded.saturating_sub(counted.discarded),
            missing: all.missing - counted.missing,
            malformed: all.malformed - counted.malformed,
        }
    }

    /// Notes what can't be in it.
    pub(super) fn count_malformed(&mut self) {
        self.totals.malformed += 1;
    }

    /// Sees to it that `bytes` more can be written. To be asked before they are
    /// read.
    pub(super) fn reserve(&mut self, bytes: u64) -> Result<()> {
        let wanted = self.len.saturating_add(bytes);
        if !self.reserves || wanted <= self.reserved {
            return Ok(());
        }
        let mut more = bytes.max(STEP);
        loop {
            let (at, len) = (self.len as i64, i64::try_from(more).unwrap_or(i64::MAX));
            match fallocate(&self.file, FallocateFlags::FALLOC_FL_KEEP_SIZE, at, len) {
                Ok(()) => self.reserved = self.len.saturating_add(more),
                Err(Errno::EINTR) => continue,
                Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => self.reserves = false,
                // No more than it takes.
                Err(Errno::ENOSPC | Errno::EDQUOT) if more > bytes => {
                    more = bytes;
                    continue;
                }
                Err(errno) => {
                    return Err(RecordError::Full {
                        path: self.path.clone(),
                        error: errno.into(),
                    }
                    .into())
                }
            }
            return Ok(());
        }
    }

    /// Whether `packet` can follow what is there and then `before`: readers take
    /// time for something that does not go back.
    pub(super) fn fits(&self, before: Option<&Packet>, packet: &Packet) -> bool {
        let before = before.map(|packet| packet.head).or(self.last);
        let head = &packet.head;
        before.is_none_or(|before| before.tsc_end <= head.tsc_begin)
            && head.tsc_begin <= head.tsc_end
    }

    /// Writes packets behind each other.
    pub(super) fn append(&mut self, packets: &[Packet]) -> Result<()> {
        let mut bytes = Vec::new();
        let first = packets.first().map(|packet| packet.head);
        let lead = first.and_then(|head| self.lead(&head));
        if let Some(head) = &lead {
            bytes.extend(head.to_bytes());
        }
        for packet in packets {
            let start = bytes.len();
            bytes.extend_from_slice(&packet.bytes);
            if packet.head.packet_len != packet.head.content_len {
                // The padding has not been kept.
                bytes[start..start + HEAD_LEN].copy_from_slice(&whole(&packet.head).to_bytes());
            }
        }
        self.append_bytes(&bytes)?;
        if let Some(head) = &lead {
            self.count(head);
        }
        for packet in packets {
            self.count(&whole(&packet.head));
        }
        Ok(())
    }

    /// The packet to go before the first one, `head`: readers take the number of
    /// dropped records in that for where counting begins.
    fn lead(&self, head: &PacketHead) -> Option<PacketHead> {
        let needed = self.last.is_none() && self.from_start && head.discarded > 0;
        needed.then_some(PacketHead {
            tsc_end: head.tsc_begin,
            content_len: HEAD_LEN,
            packet_len: HEAD_LEN,
            discarded: 0,
            ..*head
        })
    }

    /// Writes bytes of a file that has no packets.
    pub(super) fn append_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.append_bytes(bytes)?;
        self.totals.bytes += bytes.len() as u64;
        Ok(())
    }

    fn append_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        if let Err(error) = self.file.write_all_at(bytes, self.len) {
            // Nothing but whole packets; if this fails, too, a reader has to
            // stop at the end as it is.
            let _ = self.file.set_len(self.len);
            return Err(RecordError::Unwritten {
                path: self.path.clone(),
                error,
                bytes: bytes.len() as u64,
            }
            .into());
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Ends it: `lost` records were dropped in the guest in all. Those that no
    /// packet tells of are told of by one without records.
    pub(super) fn finish(&mut self, uuid: &[u8; 16], cpu: u32, lost: u64) -> Result<()> {
        if self.last.is_none() && !self.from_start {
            // Somebody has read before, and when that was, or which of them are new, is
            // not known.
            return Ok(());
        }
        let told = self.last.map_or(0, |last| last.discarded);
        if lost > told {
            // The time of the last packet: what a continued recording adds must
            // not lie before this. Its number, for the same reason.
            let (time, sequence) = self.last.map_or((0, 0), |l| (l.tsc_end, l.sequence));
            let head = PacketHead {
                uuid: *uuid,
                cpu,
                tsc_begin: time,
                tsc_end: time,
                content_len: HEAD_LEN,
                packet_len: HEAD_LEN,
                sequence,
                discarded: lost,
            };
            let heads: Vec<_> = self.lead(&head).into_iter().chain([head]).collect();
            let bytes: Vec<u8> = heads.iter().flat_map(PacketHead::to_bytes).collect();
            self.reserve(bytes.len() as u64)?;
            self.append_bytes(&bytes)?;
            heads.iter().for_each(|head| self.count(head));
        }
        Ok(())
    }

    /// Gives back the room that was not needed.
    pub(super) fn trim(&mut self) {
        if self.reserved <= self.len {
            return;
        }
        let room = (self.reserved - self.len) as i64;
        self.reserved = self.len;
        // What stands behind the end is not this one's, and stays.
        let end = self.file.metadata().map_or(u64::MAX, |found| found.len());
        if end > self.len {
            return;
        }
        // File systems differ in which of the two does it, and none need it.
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let _ = fallocate(&self.file, hole, self.len as i64, room);
        let _ = self.file.set_len(self.len);
    }
}

/// The head of a packet without its padding.
fn whole(head: &PacketHead) -> PacketHead {
    PacketHead {
        packet_len: head.content_len,
        ..*head
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;
    use vesper_ctf::stream::PacketStream;
    use vesper_ctf::writer::{signal_event, PacketWriter, UUID};

    fn packets(bytes: &[u8]) -> Vec<Packet> {
        let mut stream = PacketStream::new(Some(UUID));
        stream.push(bytes);
        std::iter::from_fn(|| stream.next_packet())
            .map(|packet| packet.unwrap())
            .collect()
    }

    #[test]
    fn goes_on_behind_the_last_whole_packet() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("cpu0");
        let mut writer = PacketWriter::new(0);
        let event = |time| [signal_event(time, 1, "a", 15, &[])];
        let mut first = writer.packet(&event(10));
        first.extend(writer.packet(&event(20)));
        writer.skip(3);
        writer.discard(7);
        let second = writer.packet(&event(30));

        let mut stream = StreamFile::open(&path, Some(&UUID)).unwrap();
        stream.reserve(1 << 16).unwrap();
        stream.append(&packets(&first)).unwrap();
        stream.trim();
        assert_eq!(fs::read(&path).unwrap(), first);
        drop(stream);

        // Cut in the middle of a packet, as a recorder that is killed may leave it.
        let mut torn = first.clone();
        torn.extend(&second[..second.len() - 1]);
        fs::write(&path, &torn).unwrap();
        let mut stream = StreamFile::open(&path, Some(&UUID)).unwrap();
        assert_eq!(stream.totals().packets, 2);
        stream.append(&packets(&second)).unwrap();
        first.extend(&second);
        assert_eq!(fs::read(&path).unwrap(), first);
        let totals = stream.totals();
        assert_eq!((totals.missing, totals.discarded), (3, 7));
        assert!(stream.fits(None, &packets(&second)[0]));
        assert!(!stream.fits(None, &packets(&first)[0]));

        // Losses that no packet has told of yet.
        stream.finish(&UUID, 0, 7).unwrap();
        assert_eq!(fs::read(&path).unwrap(), first);
        stream.finish(&UUID, 0, 9).unwrap();
        let all = packets(&fs::read(&path).unwrap());
        let head = all.last().unwrap().head;
        assert_eq!((head.discarded, head.content_len), (9, HEAD_LEN));
        assert_eq!((head.tsc_begin, head.sequence), (30, 5));
    }

    #[test]
    fn room_is_given_back_and_nothing_else() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("cpu0");
        let mut writer = PacketWriter::new(0);
        let mut packet = |time| writer.packet(&[signal_event(time, 1, "a", 15, &[])]);
        let (mut first, second) = (packet(10), packet(20));
        let mut stream = StreamFile::open(&path, Some(&UUID)).unwrap();
        stream.reserve(1 << 16).unwrap();
        stream.append(&packets(&first)).unwrap();
        let mut other = StreamFile::open(&path, Some(&UUID)).unwrap();
        other.append(&packets(&second)).unwrap();
        stream.trim();
        first.extend(&second);
        assert_eq!(fs::read(&path).unwrap(), first);
    }

    #[test]
    fn losses_before_the_first_packet_count() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("cpu0");
        let mut stream = StreamFile::open(&path, Some(&UUID)).unwrap();
        stream.set_from_start();
        stream.finish(&UUID, 3, 4).unwrap();
        let heads = |path| -> Vec<_> {
            let all = packets(&fs::read(path).unwrap());
            all.iter()
                .map(|p| (p.head.sequence, p.head.discarded))
                .collect()
        };
        assert_eq!(heads(&path), [(0, 0), (0, 4)]);
        let mut writer = PacketWriter::new(3);
        writer.discard(6);
        let packet = packets(&writer.packet(&[signal_event(1, 1, "a", 15, &[])]));
        stream.append(&packet).unwrap();
        assert_eq!(heads(&path), [(0, 0), (0, 4), (0, 6)]);

        let path = dir.path().join("cpu1");
        let mut stream = StreamFile::open(&path, Some(&UUID)).unwrap();
        stream.set_from_start();
        stream.append(&packet).unwrap();
        assert_eq!(heads(&path), [(0, 0), (0, 6)]);
        assert_eq!(stream.totals().missing, 0);

        // Somebody else has read all that there was.
        let path = dir.path().join("cpu2");
        let mut stream = StreamFile::open(&path, Some(&UUID)).unwrap();
        stream.finish(&UUID, 2, 4).unwrap();
        assert_eq!(heads(&path), []);
        stream.append(&packet).unwrap();
        stream.finish(&UUID, 2, 8).unwrap();
        assert_eq!(heads(&path), [(0, 6), (0, 8)]);
    }

    #[test]
    fn padding_is_left_out() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("cpu0");
        let mut bytes = PacketWriter::new(2).packet(&[signal_event(1, 1, "a", 15, &[])]);
        let content = bytes.len();
        let head = PacketHead::parse(&bytes).unwrap().unwrap();
        let head = PacketHead {
            packet_len: content + 100,
            ..head
        };
        bytes[..HEAD_LEN].copy_from_slice(&head.to_bytes());
        bytes.resize(content + 100, 0);
        let mut stream = StreamFile::open(&path, Some(&UUID)).unwrap();
        stream.append(&packets(&bytes)).unwrap();
        let written = fs::read(&path).unwrap();
        assert_eq!(written.len(), content);
        assert_eq!(packets(&written).len(), 1);
    }
}
