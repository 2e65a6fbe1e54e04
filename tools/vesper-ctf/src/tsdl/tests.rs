// SPDX-License-Identifier: GPL-2.0

//! What the parser takes, what it refuses and where, and that it survives.

use proptest::prelude::*;

use super::*;
use crate::metadata::{EnvValue, FieldType, Length, Scalar};
use crate::writer::{signal_metadata, PREAMBLE, UUID};

fn error(text: &str) -> TsdlError {
    parse(text.as_bytes()).expect_err(text)
}

/// The error in `event`, which stands behind a good preamble.
fn event_error(event: &str) -> String {
    error(&format!("{PREAMBLE}{event}")).kind.to_string()
}

#[test]
fn takes_what_probes_write() {
    let symbol = 0xffff_ffff_8110_f14f;
    let text = signal_metadata(&[("do_send_sig_info+0x4f/0x90", symbol)]);
    let metadata = parse(text.as_bytes()).unwrap();
    assert_eq!(metadata.uuid, Some(UUID));
    assert_eq!(metadata.env_text("module"), Some(&b"signal"[..]));
    assert!(metadata
        .env
        .contains(&("tracer_major".into(), EnvValue::Integer(1))));
    assert_eq!(metadata.clock().freq, 2_000_000_000);
    assert_eq!(metadata.event_header.clock, Some(0));
    let event = &metadata.events[&0];
    assert_eq!(event.name, b"signal");
    let names: Vec<_> = event.fields.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(
        names,
        ["sender_pid", "sender_comm", "sig", "stack_len", "stack"]
    );
    assert_eq!(event.fields[1].ty, FieldType::String);
    assert!(event.fields[3].is_length);
    let FieldType::Array(Scalar::Enum(_, labels), Length::Field(3)) = &event.fields[4].ty else {
        panic!("{:?}", event.fields[4]);
    };
    let label = labels.get(i128::from(symbol));
    assert_eq!(label, Some(&b"do_send_sig_info+0x4f/0x90"[..]));
    assert_eq!(labels.get(0), Some(&b"(none)"[..]));
    assert_eq!(labels.get(1), None);
}

#[test]
fn growing_text_extends() {
    let before = parse(signal_metadata(&[]).as_bytes()).unwrap();
    let after = parse(signal_metadata(&[("f+0/1", 5)]).as_bytes()).unwrap();
    assert!(after.extends(&before));
    let other = signal_metadata(&[]).replace("int32_t sender_pid", "int64_t sender_pid");
    assert!(!parse(other.as_bytes()).unwrap().extends(&before));
}

#[test]
fn enumerations() {
    let text = format!(
        r#"{PREAMBLE}
        typealias enum : int8_t {{
            A, "B" = 5, C, "range" = 10 ... 20, "neg" = -128, "A again" = 0, "q\"\\\t" = 7 // no comma
        }} := e;
        event {{ name = "x"; id = 3; fields := struct {{ e value; }}; }};"#
    );
    let metadata = parse(text.as_bytes()).unwrap();
    let FieldType::Scalar(Scalar::Enum(_, labels)) = &metadata.events[&3].fields[0].ty else {
        panic!("no enumeration");
    };
    let label = |value| {
        labels
            .get(value)
            .map(|l| String::from_utf8_lossy(l).into_owned())
    };
    for (value, expected) in [
        (0, Some("A")),
        (5, Some("B")),
        (6, Some("C")),
        (7, Some("q\"\\\t")),
        (15, Some("range")),
        (21, None),
        (-128, Some("neg")),
    ] {
        assert_eq!(label(value).as_deref(), expected, "{value}");
    }
    let wide = "typealias enum : uint64_t { \"top\" = 18446744073709551615 } := w;";
    assert!(parse(format!("{PREAMBLE}{wide}").as_bytes()).is_ok());
    for (ty, value) in [("uint8_t", 256), ("int8_t", 128), ("uint8_t", -1)] {
        let text = format!("typealias enum : {ty} {{ x = {value} }} := e;");
        assert_eq!(
            event_error(&text),
            format!("{value} does not fit the integer type of the enumeration")
        );
    }
}

#[test]
fn an_enumeration_is_made_of_an_integer() {
    for ty in [
        "enum : uint8_t { x }",
        "e",
        "string",
        // Deeper than any stack.
        &"enum:".repeat(200_000),
    ] {
        let text = format!("typealias enum : uint8_t {{ x }} := e; typealias enum : {ty}");
        assert_eq!(event_error(&text), "an enumeration is made of an integer");
    }
}

#[test]
fn errors_name_the_place() {
    let error = error("/* CTF 1.8 */\ntypealias integer { size = 12; } := odd;");
    assert_eq!(
        error.to_string(),
        "metadata, line 2, column 11: the size of an integer is 8, 16, 32 or 64 bits"
    );
    let text = signal_metadata(&[]).replace("string sender_comm", "strinng sender_comm");
    let line = 1 + text.lines().position(|l| l.contains("strinng")).unwrap();
    assert_eq!(
        super::parse(text.as_bytes()).unwrap_err().to_string(),
        format!("metadata, line {line}, column 3: there is no type \"strinng\"")
    );
}

#[test]
fn what_is_outside_the_subset_is_named() {
    for (event, expected) in [
        ("callsite { };", "the block \"callsite\" is not supported"),
        (
            "event { name = \"x\"; fields := struct { struct { uint8_t a; } b; }; };",
            "the type \"struct\" is not supported",
        ),
        (
            "event { name = \"x\"; fields := struct { uint8_t a[n]; }; };",
            "there is no unsigned integer earlier in the struct that is called \"n\"",
        ),
        (
            "event { name = \"x\"; fields := struct { int8_t n; uint8_t a[n]; }; };",
            "there is no unsigned integer earlier in the struct that is called \"n\"",
        ),
        (
            "event { name = \"x\"; fields := struct { string s[2]; }; };",
            "only integers can be in an array",
        ),
        (
            "event { name = \"x\"; fields := struct { uint8_t a[2][2]; }; };",
            "the type \"array of arrays\" is not supported",
        ),
        (
            "event { name = \"x\"; fields := struct { uint8_t a; uint8_t a; }; };",
            "the field \"a\" is there twice",
        ),
        (
            "event { name = \"x\"; stream_id = 1; };",
            "the only stream is number 0",
        ),
        ("event { id = 1; };", "name of the event block is missing"),
        (
            "event { name = x; }; event { name = y; };",
            "the event id \"0\" is there twice",
        ),
        ("event { name = \"x\" id = 1; };", "expected ;, found 'id'"),
        ("event { name = \"x", "a string without an end"),
        ("/* ", "a comment without an end"),
        (
            "event { id = 99999999999999999999; };",
            "not a number that fits 64 bits",
        ),
        (
            "clock { name = a; freq = 0; };",
            "a clock can't have the frequency 0",
        ),
        (
            "typealias integer { size = 8; align = 4; } := x;",
            "records are packed: align is 8 bits",
        ),
        (
            "typealias integer { size = 8; byte_order = be; } := x;",
            "VESPER writes little-endian, 'le'",
        ),
        (
            "typealias integer { size = 8; map = clock.no.value; } := x;",
            "there is no clock \"no\"",
        ),
        ("\u{1b}[31m", "unexpected byte 0x1b"),
    ] {
        assert_eq!(event_error(event), expected, "{event}");
    }
    assert_eq!(error("").kind, ErrorKind::Missing("the trace block"));
}

#[test]
fn the_packet_head_is_the_one_of_the_abi() {
    let text = PREAMBLE.replace("uint32_t stream_id;", "");
    assert!(error(&text)
        .kind
        .to_string()
        .contains("virtio_vesper_packet"));
    let text = PREAMBLE.replace("\t\tuint64_t events_discarded;\n", "");
    assert!(error(&text)
        .kind
        .to_string()
        .contains("virtio_vesper_packet"));
    let text = PREAMBLE.replace("\t\tvesper_tsc_t timestamp;\n", "");
    assert_eq!(
        error(&text).kind,
        ErrorKind::Missing("the timestamp in event.header")
    );
}

#[test]
fn limits_hold() {
    let mut fields = String::new();
    for n in 0..=MAX_FIELDS {
        fields += &format!("uint8_t f{n};");
    }
    let text = format!("event {{ name = x; fields := struct {{ {fields} }}; }};");
    assert_eq!(event_error(&text), "more than 256 fields in a struct");
    let mut types = String::new();
    for n in 0..=MAX_TYPES {
        types += &format!("typealias uint8_t := t{n};");
    }
    assert_eq!(event_error(&types), "more than 1024 types");
    let labels = |count| {
        format!(
            "typealias enum : uint8_t {{ {} }} := e;",
            "x=1,".repeat(count)
        )
    };
    for (more, fits) in [(1, true), (2, false)] {
        // In all, not in each.
        let text = format!(
            "{}{}",
            labels(MAX_LABELS - 1),
            labels(more).replace(":= e", ":= f")
        );
        match fits {
            true => assert!(parse(format!("{PREAMBLE}{text}").as_bytes()).is_ok()),
            false => assert_eq!(event_error(&text), "more than 65536 labels in enumerations"),
        }
    }
    for (limit, what, quote) in [
        (MAX_WORD, "more than 128 bytes in a word", ""),
        (MAX_STRING, "more than 1024 bytes in a string", "\""),
    ] {
        let with = |len| {
            let name = format!("{quote}{}{quote}", "x".repeat(len));
            let label = format!("typealias enum : uint8_t {{ {name} }} := e;");
            [label, format!("event {{ name = {name}; }};")]
        };
        for text in with(limit) {
            assert!(parse(format!("{PREAMBLE}{text}").as_bytes()).is_ok());
        }
        for text in with(limit + 1) {
            assert_eq!(event_error(&text), what);
        }
    }
    assert_eq!(
        parse(&vec![b' '; MAX_TEXT + 1]).unwrap_err().kind,
        ErrorKind::TooLong
    );
}

#[test]
fn long_input_takes_time_in_proportion() {
    // Each of these was picked to be slow in a parser that looks back or ahead.
    let many = 1 << 20;
    for text in [
        "(".repeat(many),
        "/*".repeat(many),
        "\"".repeat(many),
        "a.".repeat(many),
        format!("env {{ x = \"{}", "\\".repeat(many)),
        format!(
            "{}typealias enum : uint8_t {{ {}",
            PREAMBLE,
            "a,".repeat(many)
        ),
        format!(
            "{}typealias enum : uint32_t {{ {}",
            PREAMBLE,
            "a,".repeat(many)
        ),
    ] {
        assert!(parse(text.as_bytes()).is_err());
    }
}

proptest! {
    #[test]
    fn never_panics_on_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        let _ = parse(&bytes);
    }

    /// Random bytes hardly get past the first token; damaged metadata does.
    #[test]
    fn never_panics_on_damaged_metadata(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(), do_cut: bool,
    ) {
        let mut text = signal_metadata(&[("f+0x1/0x2", 77)]).into_bytes();
        for (at, byte) in damage {
            let at = at.index(text.len());
            text[at] = byte;
        }
        if do_cut {
            text.truncate(cut.index(text.len()));
        }
        let _ = parse(&text);
    }

    /// Or text made of the right words in the wrong order.
    #[test]
    fn never_panics_on_words(words in proptest::collection::vec(prop::sample::select(vec![
        "typealias", "integer", "enum", "struct", "string", "event", "stream", "clock", "trace",
        "env", "{", "}", "[", "]", ";", ":=", "=", ":", ",", "-", "...", ".", "size", "8", "64",
        "align", "name", "id", "fields", "uint8_t", "x", "\"t\"", "map", "signed", "true", "0x10",
    ]), 0..80)) {
        let _ = parse(words.join(" ").as_bytes());
        let _ = parse(format!("{PREAMBLE} {}", words.join(" ")).as_bytes());
    }
}
