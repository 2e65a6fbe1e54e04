// SPDX-License-Identifier: GPL-2.0

//! Changes to metadata text: what the guest cannot know, its name and its place
//! on the host's time line, is put in by who makes a trace of its records.

use std::fmt::Write;
use std::ops::Range;

use crate::clock::Clock;
use crate::metadata::{EnvValue, Metadata};
use crate::tsdl::{self, TsdlError};

/// What a clock block is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockBlock {
    /// Frequency and offset. The name stays that which the text has.
    pub clock: Clock,
    /// The same for clocks that stand on one time line.
    pub uuid: [u8; 16],
    /// In words.
    pub description: String,
    /// How far it may be off, in cycles.
    pub precision: u64,
}

/// Text in which the clock of the events is `clock`, and the environment has
/// `env`, in front and instead of values of the same names.
///
/// The clock counts from the epoch, which readers are told: they put traces
/// whose clocks do not say so side by side only if they have one uuid.
pub fn rewrite(
    text: &[u8],
    env: &[(&str, &str)],
    clock: Option<&ClockBlock>,
) -> Result<Vec<u8>, TsdlError> {
    let (metadata, blocks) = tsdl::parse_blocks(text)?;
    let mut changes: Vec<(Range<usize>, String)> = Vec::new();
    let environment = environment(&metadata, env);
    match blocks.env.split_first() {
        Some((first, more)) => {
            changes.push((first.clone(), environment));
            changes.extend(more.iter().map(|block| (block.clone(), String::new())));
        }
        None => {
            // Order does not matter to readers, and the end is a place that there is.
            changes.push((text.len()..text.len(), format!("\n{environment}\n")));
        }
    }
    let number = metadata.event_header.clock;
    let place = number.and_then(|n| Some((metadata.clocks.get(n)?, blocks.clocks.get(n)?)));
    if let (Some((old, block)), Some(new)) = (place, clock) {
        changes.push((block.clone(), clock_block(&old.name, new)));
    }
    changes.sort_by_key(|(range, _)| range.start);
    let mut out = Vec::with_capacity(text.len() + 1024);
    let mut at = 0;
    for (range, new) in changes {
        out.extend(&text[at..range.start]);
        out.extend(new.as_bytes());
        at = range.end;
    }
    out.extend(&text[at..]);
    Ok(out)
}

/// What stands between quotes: as the guest writes it, without what could end it.
fn quoted(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => out.push('?'),
        }
    }
    out
}

fn environment(metadata: &Metadata, new: &[(&str, &str)]) -> String {
    let mut out = String::from("env {\n");
    for (key, value) in new {
        let _ = writeln!(out, "\t{key} = \"{}\";", quoted(value.as_bytes()));
    }
    for (key, value) in &metadata.env {
        if new.iter().any(|(name, _)| name == key) {
            continue;
        }
        let _ = match value {
            EnvValue::Integer(number) => writeln!(out, "\t{key} = {number};"),
            EnvValue::Text(text) => writeln!(out, "\t{key} = \"{}\";", quoted(text)),
        };
    }
    out + "};"
}

fn clock_block(name: &str, block: &ClockBlock) -> String {
    let Clock {
        freq,
        offset_s,
        offset,
        ..
    } = block.clock;
    format!(
        "clock {{\n\tname = {name};\n\tuuid = \"{}\";\n\tdescription = \"{}\";\n\tfreq = {freq};\n\
         \tprecision = {};\n\toffset_s = {offset_s};\n\toffset = {offset};\n\tabsolute = TRUE;\n}};",
        uuid_text(&block.uuid),
        quoted(block.description.as_bytes()),
        block.precision,
    )
}

/// The text form of a UUID.
pub fn uuid_text(uuid: &[u8; 16]) -> String {
    let mut text = String::new();
    for (n, byte) in uuid.iter().enumerate() {
        if matches!(n, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}
