// SPDX-License-Identifier: GPL-2.0

//! The parsers of the tools: messages, metadata, packets, images, command lines, files of
//! operators.

use std::collections::BTreeSet;

use clap::Parser;
use vesper_abi::message::{self, Queue};
use vesper_abi::{name, packet};
use vesper_cli::cli::Cli;
use vesper_cli::image::Image;
use vesper_cli::keep::config;
use vesper_ctf::clock::Clock;
use vesper_ctf::decoder::{Decoder, ItemKind};
use vesper_ctf::metadata::Metadata;
use vesper_ctf::rewrite::{rewrite, ClockBlock};
use vesper_ctf::{tsdl, writer};
use vesper_ha::config::Config;

/// Leaves of an error's text what does not depend on the input.
fn words(text: &str) -> String {
    text.split(|c: char| !c.is_ascii_alphabetic())
        .filter(|word| word.len() > 1)
        .take(6)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The kind of an error in metadata, without the place and without names.
fn in_metadata(error: &tsdl::TsdlError) -> String {
    let text = words(&error.to_string());
    text.split(' ')
        .skip(3)
        .take(2)
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn messages() {
    const QUEUES: [Queue; 4] = [Queue::Control, Queue::Notify, Queue::Lend, Queue::Loader];
    vesper_fuzz::fuzz("message", |bytes| {
        let Some((queue, bytes)) = bytes.split_first() else {
            return "nothing".into();
        };
        let queue = QUEUES[usize::from(*queue) % QUEUES.len()];
        match message::parse(queue, bytes) {
            Ok((head, _)) => format!("ok {queue:?} {:x}", head.kind),
            Err(error) => format!("{queue:?} {}", words(&error.to_string())),
        }
    });
}

#[test]
fn names_and_packet_heads() {
    vesper_fuzz::fuzz("packet", |bytes| {
        let _ = name::check_name(bytes);
        let _ = name::parse_name(bytes);
        match packet::PacketHead::parse(bytes) {
            None => "too short".into(),
            Some(Ok(head)) => {
                assert!(head.content_len <= head.packet_len);
                "ok".into()
            }
            Some(Err(error)) => words(&error.to_string()),
        }
    });
}

/// What a recorder makes of metadata says the same of events.
fn rewritten(text: &[u8], metadata: &Metadata) {
    let block = ClockBlock {
        clock: Clock::anchored("", 1_000_000_007, 5, 1_800_000_000_000_000_000),
        uuid: [1; 16],
        description: "a \"clock\"".into(),
        precision: 1,
    };
    let env = [("domain", "web1")];
    if metadata.env.len() == tsdl::MAX_ENV {
        return;
    }
    let new = rewrite(text, &env, Some(&block)).expect("text that was parsed");
    let parsed = tsdl::parse(&new).expect("text that was written");
    assert!(parsed.extends(metadata));
    assert_eq!(parsed.events, metadata.events);
    assert_eq!(parsed.env_text("domain"), Some(&b"web1"[..]));
    let again = rewrite(&new, &env, Some(&block));
    assert_eq!(again.as_deref(), Ok(&new[..]));
}

#[test]
fn metadata() {
    vesper_fuzz::fuzz("tsdl", |bytes| match tsdl::parse(bytes) {
        Ok(metadata) => {
            rewritten(bytes, &metadata);
            "ok".into()
        }
        Err(error) => in_metadata(&error),
    });
}

#[test]
fn records() {
    let metadata = tsdl::parse(writer::signal_metadata(&[("f+0x1/0x2", 77)]).as_bytes())
        .expect("metadata that is right");
    vesper_fuzz::fuzz("stream", |bytes| {
        // The first byte says in what pieces the rest is read.
        let Some((size, bytes)) = bytes.split_first() else {
            return "nothing".into();
        };
        let mut decoder = Decoder::new(None, 0);
        let mut kinds = [0usize; 6];
        let mut count = |kind: &ItemKind| {
            kinds[match kind {
                ItemKind::Record(..) => 0,
                ItemKind::Lost(_) => 1,
                ItemKind::LostBefore(_) => 2,
                ItemKind::Missing(_) => 3,
                ItemKind::Stream(_) => 4,
                ItemKind::RecordError(_) => 5,
            }] += 1;
        };
        for piece in bytes.chunks(usize::from(*size).max(1)) {
            decoder.push(piece);
            while let Some(item) = decoder.next_item(&metadata) {
                count(&item.kind);
            }
        }
        if let Some(item) = decoder.finish() {
            count(&item.kind);
        }
        // A record has a head of twelve bytes.
        assert!(kinds[0] <= bytes.len() / 12, "records out of nothing");
        let met: Vec<_> = kinds.iter().map(|&n| n.min(3).to_string()).collect();
        match kinds[4] + kinds[5] {
            0 => format!("ok {}", met.join(" ")),
            _ => format!("bad {}", met.join(" ")),
        }
    });
}

/// Metadata and stream together, so that layouts change as well as bytes.
#[test]
fn traces() {
    vesper_fuzz::fuzz("trace", |bytes| {
        let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
        let (text, rest) = bytes.split_at(end);
        let metadata = match tsdl::parse(text) {
            Ok(metadata) => metadata,
            Err(error) => return in_metadata(&error),
        };
        let mut decoder = Decoder::new(None, 0);
        decoder.push(rest.get(1..).unwrap_or_default());
        let mut items = 0;
        while let Some(item) = decoder.next_item(&metadata) {
            items += 1;
            if let ItemKind::Record(record, _) = &item.kind {
                for (_, value) in record.fields(&metadata) {
                    drop(format!("{value:?}"));
                }
            }
            assert!(items <= 10 + rest.len(), "items without end");
        }
        let _ = decoder.finish();
        format!("ok {}", decoder.totals().records.min(3))
    });
}

#[test]
fn images() {
    vesper_fuzz::fuzz("image", |bytes| match Image::parse(bytes.to_vec()) {
        Ok(image) => format!("ok {} {}", image.name.is_some(), !image.vermagic.is_empty()),
        Err(error) => words(&error.to_string()),
    });
}

#[test]
fn kept_probes() {
    vesper_fuzz::fuzz("keep", |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return "not text".into();
        };
        match config::parse(text) {
            Ok(kept) => format!("ok {}", kept.len().min(3)),
            Err(error) => words(error.lines().last().unwrap_or_default()),
        }
    });
}

#[test]
fn command_lines() {
    vesper_fuzz::fuzz("command-line", |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return "not text".into();
        };
        let words = std::iter::once("vesper").chain(text.split('\n'));
        match Cli::try_parse_from(words) {
            Ok(cli) => format!("ok {:.20}", format!("{:?}", cli.command)),
            Err(error) => {
                drop(error.render().to_string());
                format!("{:?}", error.kind())
            }
        }
    });
}

#[test]
fn rules() {
    vesper_fuzz::fuzz("rules", |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return "not text".into();
        };
        match Config::parse(text) {
            Ok(config) => {
                let names: BTreeSet<_> = config.rules.iter().map(|rule| &rule.name).collect();
                assert_eq!(names.len(), config.rules.len());
                format!("ok {}", config.rules.len().min(3))
            }
            Err(error) => words(error.lines().last().unwrap_or_default()),
        }
    });
}
