// SPDX-License-Identifier: GPL-2.0

//! What readers of traces can take. They refuse all traces that they are given, of other
//! guests too, if one has times that go back or do not fit, or events that are not as its
//! metadata say.

use vesper_abi::packet::HEAD_LEN;
use vesper_ctf::clock::Clock;
use vesper_ctf::metadata::Metadata;
use vesper_ctf::record::{Record, RecordError};
use vesper_ctf::stream::Packet;

/// Readers have nanoseconds since the epoch in an i64. Half of that is 2116, and what is
/// measured of a clock later takes no time out of its bounds.
const MOST_NS: i128 = 1 << 62;

const NS: i128 = 1_000_000_000;

/// What a packet is found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Its events are in order, and as described.
    Good,
    /// Readers would stumble.
    Bad,
    /// It has an event that is not described.
    Unknown,
}

/// The same clock as readers want it: with less than a second of cycles, and not fewer than
/// none. `None` if its times can't be theirs.
pub(super) fn plain(clock: &Clock) -> Option<Clock> {
    let freq = i64::try_from(clock.freq).ok().filter(|&freq| freq > 0)?;
    let seconds = i128::from(clock.offset_s) + i128::from(clock.offset.div_euclid(freq));
    if (seconds * NS).abs() > MOST_NS {
        return None;
    }
    Some(Clock {
        offset_s: i64::try_from(seconds).ok()?,
        offset: clock.offset.rem_euclid(freq),
        ..clock.clone()
    })
}

/// The last time of a clock that readers can take; `None` if they can't take the clock, or
/// it is not that of all times in the trace.
pub(super) fn last_cycle(metadata: &Metadata, clock: &Clock) -> Option<u64> {
    if metadata.event_header.clock.is_none() || metadata.clocks.len() != 1 {
        return None;
    }
    let clock = plain(clock)?;
    // Readers convert the cycles by themselves, too.
    let left = MOST_NS - clock.nanoseconds(0).max(0);
    let cycles = (left * i128::from(clock.freq)).div_euclid(NS);
    // The last number of all is none to them.
    Some(u64::try_from(cycles).unwrap_or(u64::MAX - 1))
}

/// Looks through a packet whose head is in order.
pub(super) fn packet(metadata: &Metadata, packet: &Packet) -> Found {
    let mut at = HEAD_LEN;
    let mut time = packet.head.tsc_begin;
    while at < packet.bytes.len() {
        time = match Record::decode(metadata, &packet.bytes, &mut at) {
            Ok(record) if (time..=packet.head.tsc_end).contains(&record.timestamp) => {
                record.timestamp
            }
            Err(RecordError::Event(_)) => return Found::Unknown,
            _ => return Found::Bad,
        };
    }
    Found::Good
}

#[cfg(test)]
mod tests {
    use super::*;
    use vesper_abi::packet::PacketHead;
    use vesper_ctf::stream::PacketStream;
    use vesper_ctf::tsdl;
    use vesper_ctf::writer::{signal_event, signal_metadata, EventBytes, PacketWriter};

    fn clock(freq: u64, offset_s: i64, offset: i64) -> Clock {
        Clock {
            freq,
            offset_s,
            offset,
            ..Clock::default()
        }
    }

    #[test]
    fn offsets_are_made_plain() {
        let old = clock(1000, 1_700_000_000, -1);
        let new = plain(&old).unwrap();
        assert_eq!((new.offset_s, new.offset), (1_699_999_999, 999));
        assert_eq!(new.nanoseconds(12), old.nanoseconds(12));
        assert_eq!(plain(&new), Some(new));
        let odd = clock(1, i64::MIN, i64::MAX);
        assert_eq!(plain(&odd), Some(clock(1, -1, 0)));
        for (freq, offset_s, offset) in [
            (1, i64::MAX, i64::MAX),
            (1, i64::MIN, i64::MIN),
            (1 << 63, 0, 0),
            (1000, 5_000_000_000, 0),
            (1, 0, 5_000_000_000),
        ] {
            assert_eq!(plain(&clock(freq, offset_s, offset)), None);
        }
    }

    #[test]
    fn times_fit_nanoseconds() {
        let metadata = tsdl::parse(signal_metadata(&[]).as_bytes()).unwrap();
        let last = |clock: &Clock| last_cycle(&metadata, clock);
        let clocks = [
            clock(1, 1_700_000_000, 0),
            clock(2_450_000_000, 1_700_000_000, 5),
            clock(1_000_000_000, -4_000_000_000, 0),
        ];
        for clock in clocks {
            let last = last(&clock).unwrap();
            let ns = clock.nanoseconds(last);
            assert!(
                ns <= MOST_NS && clock.nanoseconds(last + 1) - clock.nanoseconds(0) < 2 * MOST_NS
            );
        }
        assert_eq!(last(&clock(1 << 62, 0, 0)), Some(u64::MAX - 1));
        assert_eq!(last(&clock(1, i64::MAX, 0)), None);
        for (from, to) in [
            ("map = clock.vesper_tsc.value;", ""),
            ("clock {", "clock { name = other; };\nclock {"),
        ] {
            let text = signal_metadata(&[]).replacen(from, to, 1);
            let metadata = tsdl::parse(text.as_bytes()).unwrap();
            assert_eq!(last_cycle(&metadata, &clock(1000, 0, 0)), None);
        }
    }

    fn look(events: &[EventBytes], change: impl Fn(&mut PacketHead)) -> Found {
        let metadata = tsdl::parse(signal_metadata(&[]).as_bytes()).unwrap();
        let mut bytes = PacketWriter::new(0).packet(events);
        let mut head = PacketHead::parse(&bytes).unwrap().unwrap();
        change(&mut head);
        bytes[..HEAD_LEN].copy_from_slice(&head.to_bytes());
        let mut stream = PacketStream::new(None);
        stream.push(&bytes);
        packet(&metadata, &stream.next_packet().unwrap().unwrap())
    }

    #[test]
    fn events_are_in_order_and_as_described() {
        let at = |time| signal_event(time, 1, "a", 15, &[3, 4]);
        let as_it_is = |_: &mut PacketHead| {};
        assert_eq!(look(&[], as_it_is), Found::Good);
        assert_eq!(look(&[at(5), at(5), at(9)], as_it_is), Found::Good);
        assert_eq!(look(&[at(5), at(4), at(9)], as_it_is), Found::Bad);
        assert_eq!(look(&[at(5), at(9)], |head| head.tsc_begin = 6), Found::Bad);
        assert_eq!(look(&[at(5), at(9)], |head| head.tsc_end = 8), Found::Bad);
        assert_eq!(look(&[at(5), at(9)], |head| head.tsc_end = 10), Found::Good);
        let short = |head: &mut PacketHead| head.content_len -= 1;
        assert_eq!(look(&[at(5), at(9)], short), Found::Bad);
        let other = [at(5), EventBytes::new(7, 6)];
        assert_eq!(look(&other, as_it_is), Found::Unknown);
    }
}
