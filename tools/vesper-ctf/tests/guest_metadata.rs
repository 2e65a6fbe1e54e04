// SPDX-License-Identifier: GPL-2.0

//! The very text that the guest's probe API writes: read by this crate, and by
//! babeltrace2 where that is installed.

use std::fs;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use vesper_ctf::decoder::{Decoder, ItemKind};
use vesper_ctf::metadata::{FieldType, Metadata, Scalar};
use vesper_ctf::tsdl;
use vesper_ctf::writer::{EventBytes, PacketWriter, UUID};

#[allow(missing_docs)]
#[path = "../../../guest/probe/tsdl.rs"]
mod guest;

use guest::{Int, Kind};

const SYMBOL: u64 = 0xffff_ffff_8110_f14f;
const BOOT_ID: [u8; 16] = [0xab; 16];

const fn int(bits: u8, signed: bool, hex: bool) -> Kind {
    Kind::Int(Int { bits, signed, hex })
}

/// Metadata with one field of each kind.
fn metadata(symbols: &[(&[u8], u64)]) -> String {
    let mut text = String::new();
    let out = &mut text;
    let trace = guest::Trace {
        uuid: &UUID,
        boot_id: &BOOT_ID,
        hostname: b"we\"b\n1",
        release: b"7.3.4+deb13-amd64",
        module: b"signal",
        channel: b"signal",
        clock: guest::Clock {
            freq: 2_450_000_000,
            anchor: 12_345_678_901,
            realtime_ns: 1_700_000_000_123_456_789,
            tsc: true,
        },
    };
    guest::preamble(out, &trace).unwrap();
    for (name, address) in symbols {
        guest::symbol(out, name, *address).unwrap();
    }
    guest::end_symbols(out).unwrap();
    let signal = Int {
        bits: 32,
        signed: true,
        hex: false,
    };
    guest::begin_enum(out, signal).unwrap();
    guest::label(out, b"SIGTERM", 15).unwrap();
    guest::label(out, b"SI_TKILL", -6).unwrap();
    guest::end_enum(out, b"signal").unwrap();
    guest::begin_event(out, 3, b"signal_generate").unwrap();
    for (name, kind, labels) in [
        (&b"pid"[..], int(32, true, false), None),
        (b"sig", int(32, true, false), Some(&b"signal"[..])),
        (b"comm", Kind::String, None),
        (b"small", int(8, false, false), None),
        (b"mask", int(64, false, true), None),
        (b"data", Kind::Bytes, None),
        (b"where", Kind::Symbol, None),
        (b"stack", Kind::Stack, None),
    ] {
        assert!(guest::identifier_ok(name));
        guest::field(out, name, kind, labels).unwrap();
    }
    guest::end_event(out).unwrap();
    text
}

fn event(time: u64) -> EventBytes {
    EventBytes::new(3, time)
        .raw((-2i32).to_le_bytes())
        .raw(15i32.to_le_bytes())
        .string("nginx")
        .raw([200])
        .raw(u64::MAX.to_le_bytes())
        .raw(2u32.to_le_bytes())
        .raw([1, 2])
        .raw(SYMBOL.to_le_bytes())
        .raw(2u32.to_le_bytes())
        .raw(SYMBOL.to_le_bytes())
        .raw(5u64.to_le_bytes())
}

fn parse(text: &str) -> Metadata {
    tsdl::parse(text.as_bytes()).unwrap()
}

#[test]
fn the_guests_text_is_in_the_subset() {
    let metadata = parse(&metadata(&[(b"do_send\"\\\x07+0x4f/0x90 [m]", SYMBOL)]));
    assert_eq!(metadata.uuid, Some(UUID));
    assert_eq!(metadata.env_text("hostname"), Some(&b"we\"b?1"[..]));
    let clock = metadata.clock();
    let wall = clock.nanoseconds(12_345_678_901);
    assert!((wall - 1_700_000_000_123_456_789).abs() <= 1, "{wall}");
    let class = &metadata.events[&3];
    let shown: Vec<_> = class
        .fields
        .iter()
        .filter(|field| !field.is_length)
        .map(|field| field.name.as_str())
        .collect();
    assert_eq!(
        shown,
        ["pid", "sig", "comm", "small", "mask", "data", "where", "stack"]
    );
    let FieldType::Array(Scalar::Enum(_, labels), _) = &class.fields[9].ty else {
        panic!("{:?}", class.fields[9]);
    };
    assert_eq!(
        labels.get(i128::from(SYMBOL)),
        Some(&b"do_send\"\\?+0x4f/0x90 [m]"[..])
    );
}

#[test]
fn it_makes_sense_whatever_symbols_have_come() {
    let none = parse(&metadata(&[]));
    let one = parse(&metadata(&[(b"f+0x1/0x2", 1)]));
    let again = parse(&metadata(&[
        (b"f+0x1/0x2", 1),
        (b"g+0x1/0x2", 1),
        (b"h", 2),
    ]));
    assert!(one.extends(&none) && again.extends(&one));
}

#[test]
fn its_events_decode() {
    let metadata = parse(&metadata(&[]));
    let mut decoder = Decoder::new(metadata.uuid, 0);
    decoder.push(&PacketWriter::new(0).packet(&[event(1), event(2)]));
    for time in [1, 2] {
        let item = decoder.next_item(&metadata).unwrap();
        assert_eq!(item.timestamp, time);
        assert!(matches!(item.kind, ItemKind::Record(..)), "{item:?}");
    }
    assert_eq!(decoder.next_item(&metadata), None);
}

#[test]
fn babeltrace_reads_it_without_a_word() {
    let installed = Command::new("babeltrace2")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if installed.is_err() {
        eprintln!("skipped: babeltrace2 is not installed");
        return;
    }
    let dir = TempDir::new().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    let text = metadata(&[(b"do_send_sig_info+0x4f/0x90", SYMBOL), (b"twice", SYMBOL)]);
    write("metadata", text.as_bytes());
    let mut first = PacketWriter::new(0);
    let packets = [
        first.packet(&[event(10), event(30)]),
        first.packet(&[event(50)]),
    ];
    write("signal0", &packets.concat());
    write(
        "signal1",
        &PacketWriter::new(1).packet(&[event(20), event(40)]),
    );
    write("signal2", b"");
    let output = Command::new("babeltrace2")
        .args(["--clock-cycles", "--fields=all"])
        .arg(dir.path())
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && words.is_empty(), "{words}");
    let lines = String::from_utf8(output.stdout).unwrap();
    assert_eq!(lines.lines().count(), 5, "{lines}");
    for what in [
        "pid = -2",
        "\"SIGTERM\" : container = 15",
        "\"nginx\"",
        "0xFFFFFFFFFFFFFFFF",
        "\"do_send_sig_info+0x4f/0x90\"",
        "<unknown> : container = 0x5",
    ] {
        let with = lines.lines().filter(|line| line.contains(what)).count();
        assert_eq!(with, 5, "{what}: {lines}");
    }
}
