// SPDX-License-Identifier: GPL-2.0

//! Traces made by the writer, decoded: whole, in pieces, damaged, and random.

use std::convert::Infallible;

use proptest::prelude::*;
use vesper_abi::packet::{PacketHead, HEAD_LEN, MAX_PACKET};
use vesper_ctf::decoder::{Decoder, Item, ItemKind, Totals};
use vesper_ctf::merge::{Merge, Refill};
use vesper_ctf::metadata::{FieldType, Metadata};
use vesper_ctf::record::{elements, RecordError, Value, MAX_ELEMENTS, MAX_LABELLED};
use vesper_ctf::stream::{Malformed, StreamError};
use vesper_ctf::tsdl;
use vesper_ctf::writer::{signal_event, signal_metadata, EventBytes, PacketWriter, PREAMBLE, UUID};

fn signal() -> Metadata {
    tsdl::parse(signal_metadata(&[]).as_bytes()).unwrap()
}

/// Feeds `bytes` in pieces of `size` and takes items as they come.
fn decode(metadata: &Metadata, bytes: &[u8], size: usize) -> (Vec<Item>, Totals) {
    let mut decoder = Decoder::new(metadata.uuid, 0);
    let mut items = Vec::new();
    for piece in bytes.chunks(size.max(1)) {
        decoder.push(piece);
        while let Some(item) = decoder.next_item(metadata) {
            items.push(item);
        }
    }
    items.extend(decoder.finish());
    (items, decoder.totals())
}

fn times(items: &[Item]) -> Vec<u64> {
    items.iter().map(|item| item.timestamp).collect()
}

#[test]
fn a_record_has_its_fields() {
    let metadata = signal();
    let bytes = PacketWriter::new(3).packet(&[signal_event(77, -4, "ba\"sh", 15, &[9, 10])]);
    let (items, totals) = decode(&metadata, &bytes, usize::MAX);
    assert_eq!(totals.records, 1);
    let ItemKind::Record(record, packet) = &items[0].kind else {
        panic!("{:?}", items[0]);
    };
    assert_eq!((items[0].cpu, record.timestamp), (3, 77));
    let fields: Vec<_> = record.fields(&metadata).collect();
    assert_eq!(*fields[0].1, Value::Int(-4));
    let Value::Text(text) = fields[1].1 else {
        panic!("no text");
    };
    assert_eq!(&packet[text.clone()], b"ba\"sh");
    assert_eq!(*fields[2].1, Value::Int(15));
    let (FieldType::Array(scalar, _), Value::Array(range)) = (&fields[4].0.ty, fields[4].1) else {
        panic!("no array");
    };
    let stack: Vec<_> = elements(scalar, &packet[range.clone()]).collect();
    assert_eq!(stack, [9, 10]);
}

#[test]
fn losses_and_gaps_are_told_once() {
    let metadata = signal();
    let mut writer = PacketWriter::new(0);
    let event = |time| [signal_event(time, 1, "a", 1, &[])];
    let mut bytes = writer.packet(&event(1));
    writer.discard(5);
    bytes.extend(writer.packet(&event(2)));
    bytes.extend(writer.packet(&event(3)));
    writer.skip(2);
    writer.discard(1);
    bytes.extend(writer.packet(&event(4)));
    let (items, totals) = decode(&metadata, &bytes, usize::MAX);
    assert_eq!((totals.records, totals.lost, totals.missing), (4, 6, 2));
    assert_eq!(items[1].kind, ItemKind::Lost(5));
    assert_eq!(items[4].kind, ItemKind::Missing(2));
    assert_eq!(items[5].kind, ItemKind::Lost(1));
    assert_eq!(times(&items), [1, 2, 2, 3, 4, 4, 4]);
}

#[test]
fn a_reader_that_comes_late_does_not_count_old_losses() {
    let metadata = signal();
    let mut writer = PacketWriter::new(0);
    writer.skip(7);
    writer.discard(3);
    let bytes = writer.packet(&[signal_event(1, 1, "a", 1, &[])]);
    let (items, totals) = decode(&metadata, &bytes, usize::MAX);
    assert_eq!(items[0].kind, ItemKind::LostBefore(3));
    assert_eq!((totals.records, totals.lost, totals.missing), (1, 0, 0));
}

#[test]
fn losses_before_the_first_packet_count() {
    let mut writer = PacketWriter::new(0);
    writer.discard(3);
    let bytes = writer.packet(&[]);
    let (items, totals) = decode(&signal(), &bytes, usize::MAX);
    assert_eq!(items[0].kind, ItemKind::Lost(3));
    assert_eq!(totals.lost, 3);
}

#[test]
fn garbage_is_skipped_to_the_next_packet() {
    let metadata = signal();
    let mut writer = PacketWriter::new(0);
    let mut bytes = b"some bytes that are no packet, and more of them than a packet's head has, \
                      so that they are looked at: \xc1\x1f\xfc\xc1 "
        .to_vec();
    let garbage = bytes.len() as u64;
    bytes.extend(writer.packet(&[signal_event(5, 1, "a", 1, &[])]));
    for size in [1, 7, usize::MAX] {
        let (items, totals) = decode(&metadata, &bytes, size);
        assert!(
            matches!(
                &items[0].kind,
                ItemKind::Stream(StreamError::Skipped { bytes, why: Malformed::Head(_) })
                    if *bytes == garbage
            ),
            "{:?}",
            items[0]
        );
        assert_eq!((totals.records, totals.malformed), (1, 1), "size {size}");
    }
}

#[test]
fn another_trace_is_skipped() {
    let mut bytes = PacketWriter::new(0).packet(&[signal_event(5, 1, "a", 1, &[])]);
    bytes[4] ^= 1;
    let (items, totals) = decode(&signal(), &bytes, usize::MAX);
    assert!(matches!(
        items[0].kind,
        ItemKind::Stream(StreamError::Skipped {
            why: Malformed::Uuid,
            ..
        })
    ));
    assert_eq!(totals.malformed, 1);
}

#[test]
fn a_cut_packet_is_told_at_the_end() {
    let bytes = PacketWriter::new(0).packet(&[signal_event(5, 1, "a", 1, &[])]);
    for len in 1..bytes.len() {
        let (items, _) = decode(&signal(), &bytes[..len], usize::MAX);
        assert_eq!(
            items[0].kind,
            ItemKind::Stream(StreamError::Incomplete(len as u64))
        );
    }
}

#[test]
fn hostile_lengths_end_the_packet_not_the_reader() {
    let metadata = signal();
    let mut writer = PacketWriter::new(0);
    let claims_much = EventBytes::new(0, 1)
        .raw(1i32.to_le_bytes())
        .string("x")
        .raw(1i32.to_le_bytes())
        .raw(u32::MAX.to_le_bytes());
    let unknown = EventBytes::new(99, 1);
    let endless = EventBytes::new(0, 1).raw(1i32.to_le_bytes()).raw("no end");
    let mut bytes = Vec::new();
    for bad in [claims_much, unknown, endless] {
        let good = signal_event(1, 1, "a", 1, &[]);
        bytes.extend(writer.packet(&[good, bad]));
    }
    let (items, totals) = decode(&metadata, &bytes, usize::MAX);
    assert_eq!((totals.records, totals.malformed), (3, 3));
    assert!(matches!(
        items[1].kind,
        ItemKind::RecordError(RecordError::Truncated(_))
    ));
    assert_eq!(items[3].kind, ItemKind::RecordError(RecordError::Event(99)));
    assert!(matches!(
        items[5].kind,
        ItemKind::RecordError(RecordError::Endless(_))
    ));
}

#[test]
fn a_packet_that_claims_more_than_a_sub_buffer_holds_up_nothing() {
    let metadata = signal();
    let mut writer = PacketWriter::new(0);
    let mut packet = |time| writer.packet(&[signal_event(time, 1, "a", 1, &[])]);
    let mut claims_much = packet(1);
    let (head, good) = (PacketHead::parse(&claims_much).unwrap().unwrap(), packet(2));
    let head = PacketHead {
        packet_len: MAX_PACKET,
        ..head
    };
    claims_much[..HEAD_LEN].copy_from_slice(&head.to_bytes());
    let mut decoder = Decoder::new(metadata.uuid, 0);
    decoder.set_room(8192);
    decoder.push(&claims_much);
    assert_eq!(decoder.wanting(), 0);
    decoder.push(&good);
    let items: Vec<_> = std::iter::from_fn(|| decoder.next_item(&metadata)).collect();
    let why = Malformed::Room {
        packet: MAX_PACKET,
        room: 8192,
    };
    let bytes = claims_much.len() as u64;
    assert_eq!(
        items[0].kind,
        ItemKind::Stream(StreamError::Skipped { bytes, why })
    );
    assert_eq!(times(&items[1..]), [2]);
    // Of a sub-buffer that is full.
    let full = packet(3);
    decoder.set_room(full.len());
    decoder.push(&full);
    assert_eq!(decoder.peek(&metadata), Some(3));
}

/// What is shown of a record is a bounded multiple of what it has.
#[test]
fn an_event_has_so_many_elements_at_most() {
    let event = r#"
typealias enum : uint8_t { "label" = 0 } := label_t;
event { name = "arrays"; fields := struct {
	uint32_t n; uint8_t plain[n]; uint32_t m; label_t first[m]; label_t second[1];
	char_t text[2000000];
}; };"#;
    let metadata = tsdl::parse(format!("{PREAMBLE}{event}").as_bytes()).unwrap();
    let decoded = |plain: u64, labelled: u64| {
        let event = EventBytes::new(0, 1)
            .raw((plain as u32).to_le_bytes())
            .raw(vec![0; plain as usize])
            .raw((labelled as u32).to_le_bytes())
            .raw(vec![0; labelled as usize + 1 + 2_000_000]);
        let bytes = PacketWriter::new(0).packet(&[event]);
        let (items, _) = decode(&metadata, &bytes, usize::MAX);
        match &items[..] {
            [Item {
                kind: ItemKind::Record(..),
                ..
            }] => None,
            [Item {
                kind: ItemKind::RecordError(error),
                ..
            }] => Some(error.to_string()),
            _ => panic!("{} items", items.len()),
        }
    };
    assert_eq!(decoded(MAX_ELEMENTS, MAX_LABELLED - 1), None);
    assert_eq!(
        decoded(MAX_ELEMENTS + 1, 0).as_deref(),
        Some("an array takes the event beyond 1048576 elements, at byte 96")
    );
    assert_eq!(
        decoded(0, MAX_LABELLED).as_deref(),
        Some("an array takes the event beyond 4096 elements with labels, at byte 4196")
    );
}

struct Nothing;

impl Refill for Nothing {
    type Error = Infallible;

    fn refill(&mut self, _: usize, _: &mut Decoder) -> Result<bool, Infallible> {
        Ok(false)
    }
}

/// Gives each decoder its bytes a few at a time.
struct Pieces(Vec<Vec<u8>>, usize);

impl Refill for Pieces {
    type Error = Infallible;

    fn refill(&mut self, number: usize, decoder: &mut Decoder) -> Result<bool, Infallible> {
        let left = &mut self.0[number];
        let len = self.1.min(left.len());
        decoder.push(&left[..len]);
        left.drain(..len);
        Ok(len > 0)
    }
}

fn merged<R: Refill<Error = Infallible>>(
    metadata: &Metadata,
    decoders: &mut [Decoder],
    source: &mut R,
) -> Vec<Item> {
    let Ok(mut merge) = Merge::new(decoders, metadata, source);
    let mut items = Vec::new();
    while let Ok(Some(item)) = merge.next(metadata, source) {
        items.push(item);
    }
    items
}

proptest! {
    #[test]
    fn reads_may_end_anywhere(
        packets in proptest::collection::vec(proptest::collection::vec(
            (any::<i32>(), "[a-z]{0,15}", proptest::collection::vec(any::<u64>(), 0..5)), 0..6), 0..6),
        size in 1..400usize,
    ) {
        let metadata = signal();
        let mut writer = PacketWriter::new(2);
        let mut time = 0;
        let mut bytes = Vec::new();
        let mut events = 0;
        for packet in &packets {
            let packet: Vec<_> = packet.iter().map(|(pid, comm, stack)| {
                time += 1;
                signal_event(time, *pid, comm, 15, stack)
            }).collect();
            events += packet.len() as u64;
            bytes.extend(writer.packet(&packet));
        }
        let (whole, totals) = decode(&metadata, &bytes, usize::MAX);
        let (pieces, _) = decode(&metadata, &bytes, size);
        prop_assert_eq!(totals, Totals { records: events, ..Totals::default() });
        prop_assert_eq!(whole, pieces);
    }

    #[test]
    fn merging_sorts_by_time(
        mut cpus in proptest::collection::vec(proptest::collection::vec(0..1000u64, 0..30), 1..5),
        per_packet in 1..5usize, piece in 1..500usize,
    ) {
        let metadata = signal();
        let mut all = Vec::new();
        let mut streams = Vec::new();
        for (cpu, times) in cpus.iter_mut().enumerate() {
            times.sort_unstable();
            all.extend(times.iter().copied());
            let mut writer = PacketWriter::new(cpu as u32);
            let events: Vec<_> = times.iter().map(|&t| signal_event(t, 1, "a", 1, &[])).collect();
            let packets = events.chunks(per_packet).flat_map(|events| writer.packet(events));
            streams.push(packets.collect::<Vec<u8>>());
        }
        all.sort_unstable();
        let fresh = || (0..streams.len() as u32).map(|cpu| Decoder::new(Some(UUID), cpu));
        let mut decoders: Vec<_> = fresh().collect();
        let mut source = Pieces(streams.clone(), piece);
        let items = merged(&metadata, &mut decoders, &mut source);
        prop_assert_eq!(times(&items), all.clone());

        let mut decoders: Vec<_> = fresh().collect();
        for (decoder, bytes) in decoders.iter_mut().zip(&streams) {
            decoder.push(bytes);
        }
        let items = merged(&metadata, &mut decoders, &mut Nothing);
        prop_assert_eq!(times(&items), all);
    }

    #[test]
    fn never_panics_on_damaged_packets(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        size in 1..300usize,
    ) {
        let metadata = signal();
        let mut writer = PacketWriter::new(0);
        let mut bytes = Vec::new();
        for time in 0..4 {
            bytes.extend(writer.packet(&[signal_event(time, 1, "abc", 15, &[1, 2, 3]),
                                         signal_event(time, 1, "", 15, &[])]));
        }
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let (items, totals) = decode(&metadata, &bytes, size);
        prop_assert!(totals.records <= 8 + bytes.len() as u64 / 12);
        prop_assert!(items.len() as u64 >= totals.records);
    }

    #[test]
    fn never_panics_on_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..1000), size in 1..300usize) {
        decode(&signal(), &bytes, size);
    }

    /// Any layout of fields, written and read back.
    #[test]
    fn round_trip_of_any_layout(fields in proptest::collection::vec(field(), 0..20)) {
        let mut text = format!("{PREAMBLE}event {{ name = \"any\"; id = 7; fields := struct {{\n");
        let mut event = EventBytes::new(7, 1);
        for (n, field) in fields.iter().enumerate() {
            text += &field.declare(n);
            event = event.raw(field.bytes());
        }
        text += "}; };";
        let metadata = tsdl::parse(text.as_bytes()).unwrap();
        let bytes = PacketWriter::new(0).packet(&[event]);
        let (items, _) = decode(&metadata, &bytes, usize::MAX);
        prop_assert_eq!(items.len(), 1);
        let ItemKind::Record(record, packet) = &items[0].kind else {
            panic!("{:?}", items[0]);
        };
        let mut decoded = record.fields(&metadata);
        for field in &fields {
            if let Any::Sequence(values) = field {
                let length = decoded.next().unwrap().1;
                prop_assert_eq!(length, &Value::Int(values.len() as i128));
            }
            let (declared, value) = decoded.next().unwrap();
            match (field, value) {
                (Any::Int(_, _, expected), Value::Int(value)) => prop_assert_eq!(value, expected),
                (Any::Text(expected), Value::Text(range)) => {
                    prop_assert_eq!(&packet[range.clone()], expected.as_bytes());
                }
                (Any::Chars(expected), Value::Text(range)) => {
                    prop_assert_eq!(&packet[range.clone()], expected.as_bytes());
                }
                (Any::Sequence(expected), Value::Array(range)) => {
                    let FieldType::Array(scalar, _) = &declared.ty else { panic!() };
                    let values: Vec<_> = elements(scalar, &packet[range.clone()]).collect();
                    let expected: Vec<_> = expected.iter().map(|&v| i128::from(v)).collect();
                    prop_assert_eq!(values, expected);
                }
                other => panic!("{other:?}"),
            }
        }
        prop_assert!(decoded.next().is_none());
    }
}

/// A field for the round trip.
#[derive(Debug, Clone)]
enum Any {
    Int(u32, bool, i128),
    Text(String),
    Chars(String),
    Sequence(Vec<i16>),
}

fn field() -> impl Strategy<Value = Any> {
    let int = (
        prop::sample::select(vec![8u32, 16, 32, 64]),
        any::<bool>(),
        any::<u64>(),
    )
        .prop_map(|(bits, signed, raw)| {
            let unused = 64 - bits;
            let value = if signed {
                i128::from((raw << unused) as i64 >> unused)
            } else {
                i128::from(raw << unused >> unused)
            };
            Any::Int(bits, signed, value)
        });
    prop_oneof![
        int,
        "[^\0]{0,20}".prop_map(Any::Text),
        "[a-z]{0,16}".prop_map(Any::Chars),
        proptest::collection::vec(any::<i16>(), 0..9).prop_map(Any::Sequence),
    ]
}

impl Any {
    fn declare(&self, n: usize) -> String {
        match self {
            Self::Int(bits, true, _) => format!("int{bits}_t f{n};\n"),
            Self::Int(bits, false, _) => format!("uint{bits}_t f{n};\n"),
            Self::Text(_) => format!("string f{n};\n"),
            Self::Chars(_) => format!("char_t f{n}[16];\n"),
            Self::Sequence(_) => format!("uint16_t n{n}; int16_t f{n}[n{n}];\n"),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Int(bits, _, value) => value.to_le_bytes()[..*bits as usize / 8].to_vec(),
            Self::Text(text) => [text.as_bytes(), &[0]].concat(),
            Self::Chars(text) => {
                let mut bytes = text.as_bytes().to_vec();
                bytes.resize(16, 0);
                bytes
            }
            Self::Sequence(values) => {
                let mut bytes = (values.len() as u16).to_le_bytes().to_vec();
                bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                bytes
            }
        }
    }
}
