// SPDX-License-Identifier: GPL-2.0

//! Items as text for people or as JSON for programs.

use std::fmt::Write as _;
use std::io::{BufWriter, Write};

use jiff::tz::TimeZone;
use serde_json::{json, Map, Value as Json};
use vesper_abi::escape::{Escaped, Quoted};
use vesper_ctf::clock::Clock;
use vesper_ctf::decoder::{Item, ItemKind};
use vesper_ctf::metadata::{Base, Field, FieldType, IntType, Metadata, Scalar};
use vesper_ctf::record::{elements, Record, Value};

use crate::cli;
use crate::error::Result;
use crate::json::write_line;
use crate::record::Origin;
use crate::time;
use crate::timeline::{Counter, Reading};

/// Where the records of a module come from, and when.
pub(super) struct Label {
    domain: String,
    module: String,
    boot_id: String,
    /// Times are on the wall clock of this.
    pub(super) clock: Clock,
    /// Where that comes from, if it is known.
    origin: Option<Origin>,
}

impl Label {
    /// A module on this host.
    pub(super) fn new(domain: &str, module: &str, metadata: &Metadata, origin: Origin) -> Self {
        Self {
            domain: domain.to_owned(),
            module: module.to_owned(),
            boot_id: env(metadata, &["boot_id"]),
            clock: origin
                .guess()
                .map_or_else(|| metadata.clock(), |block| block.clock),
            origin: Some(origin),
        }
    }

    /// What a copy says of itself.
    pub(super) fn of_copy(metadata: &Metadata) -> Self {
        Self {
            domain: env(metadata, &["domain", "hostname"]),
            module: env(metadata, &["module"]),
            boot_id: env(metadata, &["boot_id"]),
            clock: metadata.clock(),
            origin: None,
        }
    }

    /// Goes by the host's wall clock as it is now, where that is what times are on; `now` is it,
    /// beside each counter of the host.
    pub(super) fn set_clock(&mut self, now: impl FnOnce(Counter) -> Reading) {
        let clock = self
            .origin
            .as_ref()
            .and_then(|origin| origin.clock_now(now));
        if let Some(clock) = clock {
            self.clock = clock;
        }
    }
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.domain, self.module)
    }
}

/// Prints items.
pub(super) struct Show<'a, W: Write> {
    out: BufWriter<&'a mut W>,
    json: bool,
    zone: TimeZone,
}

impl<'a, W: Write> Show<'a, W> {
    pub(super) fn new(out: &'a mut W, args: &cli::Cat) -> Self {
        Self {
            out: BufWriter::new(out),
            json: args.json.json,
            zone: if args.utc {
                TimeZone::UTC
            } else {
                TimeZone::system()
            },
        }
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        Ok(self.out.flush()?)
    }

    /// Prints one item. `metadata` describes it or extends what does.
    pub(super) fn item(&mut self, label: &Label, metadata: &Metadata, item: &Item) -> Result<()> {
        if self.json {
            let object = object(label, metadata, item);
            write_line(&mut self.out, &object)?;
        } else {
            let text = self.text(label, metadata, item);
            self.out.write_all(text.as_bytes())?;
        }
        Ok(())
    }

    fn text(&self, label: &Label, metadata: &Metadata, item: &Item) -> String {
        let mut out = String::new();
        let note = match &item.kind {
            ItemKind::Record(record, packet) => {
                let ns = label.clock.nanoseconds(item.timestamp);
                match time::wall_clock(ns, &self.zone) {
                    Some(time) => out += &time,
                    None => out += &format!("tsc {}", item.timestamp),
                }
                let name = Escaped(&record.class.name);
                out += &format!(" {label} cpu{} {name}:", item.cpu);
                write_fields(&mut out, metadata, record, packet);
                return out;
            }
            ItemKind::Lost(count) => format!("{count} records lost"),
            ItemKind::LostBefore(count) => format!("{count} records lost before the first shown"),
            ItemKind::Missing(count) => format!("{count} packets missing"),
            ItemKind::Stream(error) => error.to_string(),
            ItemKind::RecordError(error) => format!("rest of a packet skipped: {error}"),
        };
        out += &format!("[cpu{}: {note}]\n", item.cpu);
        out
    }
}

/// An item as JSON.
pub(super) fn object(label: &Label, metadata: &Metadata, item: &Item) -> Json {
    let mut object = Map::new();
    let mut put = |key: &str, value: Json| object.insert(key.to_owned(), value);
    put("domain", json!(label.domain));
    put("module", json!(label.module));
    if label.boot_id != NONE {
        put("boot_id", json!(label.boot_id));
    }
    put("cpu", json!(item.cpu));
    match &item.kind {
        ItemKind::Record(record, packet) => {
            let ns = label.clock.nanoseconds(item.timestamp);
            put("time", json!(time::rfc3339(ns)));
            put("timestamp_ns", number(ns));
            put("cycles", json!(item.timestamp));
            put("event", lossy(&record.class.name));
            put("fields", object_fields(metadata, record, packet));
        }
        ItemKind::Lost(count) => drop(put("lost", json!(count))),
        ItemKind::LostBefore(count) => drop(put("lost_before", json!(count))),
        ItemKind::Missing(count) => drop(put("packets_missing", json!(count))),
        ItemKind::Stream(error) => drop(put("error", json!(error.to_string()))),
        ItemKind::RecordError(error) => drop(put("error", json!(error.to_string()))),
    }
    Json::Object(object)
}

/// The first of these values of the environment that is there, harmless.
fn env(metadata: &Metadata, names: &[&str]) -> String {
    let mut values = names.iter().filter_map(|name| metadata.env_text(name));
    let value = values.find(|value| !value.is_empty());
    Escaped(value.unwrap_or(NONE.as_bytes())).to_string()
}

/// Instead of a value that the metadata do not have.
const NONE: &str = "-";

/// Fields behind each other, then the elements of each list of labels (a call
/// stack) on lines of their own.
fn write_fields(out: &mut String, metadata: &Metadata, record: &Record, packet: &[u8]) {
    let mut below = String::new();
    for (field, value) in record.fields(metadata) {
        match (&field.ty, value) {
            _ if field.is_length => {}
            (FieldType::Array(scalar @ Scalar::Enum(int, labels), _), Value::Array(range)) => {
                for value in elements(scalar, &packet[range.clone()]) {
                    let _ = match labels.get(value) {
                        Some(label) => writeln!(below, "    {}", Escaped(label)),
                        None => writeln!(below, "    {}", Int(*int, value)),
                    };
                }
            }
            _ => {
                let _ = write!(out, " {}=", field.name);
                write_value(out, field, value, packet);
            }
        }
    }
    out.push('\n');
    out.push_str(&below);
}

fn write_value(out: &mut String, field: &Field, value: &Value, packet: &[u8]) {
    let _ = match (&field.ty, value) {
        (FieldType::Scalar(scalar), Value::Int(value)) => match label(scalar, *value) {
            Some(label) => write!(out, "{}({})", Escaped(label), Int(scalar.int(), *value)),
            None => write!(out, "{}", Int(scalar.int(), *value)),
        },
        (_, Value::Text(range)) => write!(out, "{}", Quoted(&packet[range.clone()])),
        (FieldType::Array(scalar, _), Value::Array(range)) => {
            out.push('[');
            for (n, value) in elements(scalar, &packet[range.clone()]).enumerate() {
                let comma = if n > 0 { "," } else { "" };
                let _ = write!(out, "{comma}{}", Int(scalar.int(), value));
            }
            out.push(']');
            Ok(())
        }
        // The decoder makes the value that the type calls for.
        _ => write!(out, "?"),
    };
}

fn label(scalar: &Scalar, value: i128) -> Option<&[u8]> {
    match scalar {
        Scalar::Int(_) => None,
        Scalar::Enum(_, labels) => labels.get(value),
    }
}

/// An integer in the base that its type asks for.
struct Int(IntType, i128);

impl std::fmt::Display for Int {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(int, value) = *self;
        // Other bases show the bits, so of negative numbers too.
        let bits = value as u64 & (u64::MAX >> (64 - 8 * u32::from(int.bytes.clamp(1, 8))));
        match int.base {
            Base::Decimal => write!(f, "{value}"),
            Base::Hexadecimal => write!(f, "{bits:#x}"),
            Base::Octal => write!(f, "{bits:#o}"),
            Base::Binary => write!(f, "{bits:#b}"),
        }
    }
}

fn object_fields(metadata: &Metadata, record: &Record, packet: &[u8]) -> Json {
    let mut fields = Map::new();
    for (field, value) in record.fields(metadata) {
        let json = match (&field.ty, value) {
            (FieldType::Scalar(scalar), Value::Int(value)) => scalar_json(scalar, *value),
            (_, Value::Text(range)) => lossy(&packet[range.clone()]),
            (FieldType::Array(scalar, _), Value::Array(range)) => {
                let values = elements(scalar, &packet[range.clone()]);
                values.map(|value| scalar_json(scalar, value)).collect()
            }
            _ => Json::Null,
        };
        fields.insert(field.name.clone(), json);
    }
    Json::Object(fields)
}

/// A number, or with labels an object of value and label. Numbers in base 16
/// are addresses and masks, which JSON readers would round: they are strings.
fn scalar_json(scalar: &Scalar, value: i128) -> Json {
    let int = scalar.int();
    let plain = match int.base {
        Base::Hexadecimal => json!(Int(int, value).to_string()),
        _ => number(value),
    };
    match scalar {
        Scalar::Int(_) => plain,
        Scalar::Enum(_, labels) => json!({
            "value": plain,
            "label": labels.get(value).map(lossy),
        }),
    }
}

fn number(value: i128) -> Json {
    match (u64::try_from(value), i64::try_from(value)) {
        (Ok(value), _) => json!(value),
        (_, Ok(value)) => json!(value),
        _ => json!(value.to_string()),
    }
}

fn lossy(text: &[u8]) -> Json {
    json!(String::from_utf8_lossy(text))
}
