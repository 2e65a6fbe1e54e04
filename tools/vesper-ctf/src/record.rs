// SPDX-License-Identifier: GPL-2.0

//! One event out of the bytes of a packet.

use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

use crate::metadata::{EventClass, Field, FieldType, IntType, Length, Metadata, Scalar};

/// Elements of all arrays of an event that are not text: shown, each takes many times the
/// bytes that it has in the packet.
pub const MAX_ELEMENTS: u64 = 1 << 20;
/// The same of those that have labels, which are longer still. Call stacks that probes save
/// have 64 at most.
pub const MAX_LABELLED: u64 = 4096;

/// Why the bytes are no event.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The packet ends in the middle.
    #[error("the packet ends within an event, at byte {0}")]
    Truncated(usize),
    /// The metadata has no such event.
    #[error("the metadata describes no event {0}")]
    Event(u64),
    /// A string that runs to the end of the packet.
    #[error("a string without an end, at byte {0}")]
    Endless(usize),
    /// More than can be shown.
    #[error("an array takes the event beyond {limit} {what}, at byte {at}")]
    TooMany {
        /// What.
        what: &'static str,
        /// The limit.
        limit: u64,
        /// Where the array begins.
        at: usize,
    },
}

/// What the arrays of an event may still have.
struct Room {
    elements: u64,
    labelled: u64,
}

impl Room {
    fn new() -> Self {
        Self {
            elements: MAX_ELEMENTS,
            labelled: MAX_LABELLED,
        }
    }

    /// Claims `count` elements of an array at `at`.
    fn take(&mut self, element: &Scalar, count: u64, at: usize) -> Result<(), RecordError> {
        let (left, what, limit) = match element {
            Scalar::Int(_) => (&mut self.elements, "elements", MAX_ELEMENTS),
            Scalar::Enum(..) => (&mut self.labelled, "elements with labels", MAX_LABELLED),
        };
        let rest = left.checked_sub(count);
        *left = rest.ok_or(RecordError::TooMany { what, limit, at })?;
        Ok(())
    }
}

/// The value of a field. Ranges are of bytes in the packet, so that a field
/// costs the same memory whatever the guest put into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// An integer, with or without labels.
    Int(i128),
    /// Text without its terminator.
    Text(Range<usize>),
    /// Elements of an array, undecoded.
    Array(Range<usize>),
}

/// An event, decoded as far as needed to know where it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The clock's cycles.
    pub timestamp: u64,
    /// What kind of event.
    pub class: Arc<EventClass>,
    /// Values of the stream's event context, then of the event's own fields.
    pub values: Vec<Value>,
}

impl Record {
    /// Reads the event that starts at `*at` and moves `*at` behind it.
    ///
    /// An event has at least the bytes of its header, which are not none, so
    /// whoever calls this in a loop comes to an end.
    pub fn decode(metadata: &Metadata, packet: &[u8], at: &mut usize) -> Result<Self, RecordError> {
        let header = &metadata.event_header;
        let mut head = Vec::with_capacity(header.fields.len());
        let room = &mut Room::new();
        decode_fields(&header.fields, packet, at, room, &mut head)?;
        let int = |n: usize| match head.get(n) {
            Some(Value::Int(value)) => *value as u64,
            _ => 0,
        };
        let id = header.id.map_or(0, int);
        let class = metadata.events.get(&id).ok_or(RecordError::Event(id))?;
        let count = metadata.event_context.len() + class.fields.len();
        let mut values = Vec::with_capacity(count);
        decode_fields(&metadata.event_context, packet, at, room, &mut values)?;
        let mut own = Vec::with_capacity(class.fields.len());
        decode_fields(&class.fields, packet, at, room, &mut own)?;
        values.append(&mut own);
        Ok(Self {
            timestamp: int(header.timestamp),
            class: Arc::clone(class),
            values,
        })
    }

    /// The fields with their values, in order, described by the metadata the
    /// record was decoded with or by one that extends it.
    pub fn fields<'a>(
        &'a self,
        metadata: &'a Metadata,
    ) -> impl Iterator<Item = (&'a Field, &'a Value)> {
        let class = metadata.events.get(&self.class.id).unwrap_or(&self.class);
        metadata
            .event_context
            .iter()
            .chain(&class.fields)
            .zip(&self.values)
    }
}

fn decode_fields(
    fields: &[Field],
    packet: &[u8],
    at: &mut usize,
    room: &mut Room,
    values: &mut Vec<Value>,
) -> Result<(), RecordError> {
    for field in fields {
        let value = match &field.ty {
            FieldType::Scalar(scalar) => {
                let int = scalar.int();
                let bytes = take(packet, at, u64::from(int.bytes))?;
                Value::Int(integer(int, &packet[bytes]))
            }
            FieldType::String => {
                let start = *at;
                let rest = packet.get(start..).unwrap_or_default();
                let len = rest.iter().position(|&b| b == 0);
                let len = len.ok_or(RecordError::Endless(start))?;
                *at = start + len + 1;
                Value::Text(start..start + len)
            }
            FieldType::Array(element, length) => array(element, *length, packet, at, room, values)?,
        };
        values.push(value);
    }
    Ok(())
}

fn array(
    element: &Scalar,
    length: Length,
    packet: &[u8],
    at: &mut usize,
    room: &mut Room,
    before: &[Value],
) -> Result<Value, RecordError> {
    let count = match length {
        Length::Fixed(count) => count,
        // The parser lets only unsigned integers be lengths.
        Length::Field(number) => match before.get(number) {
            Some(Value::Int(count)) => *count as u64,
            _ => 0,
        },
    };
    let start = *at;
    let int = element.int();
    let bytes = count
        .checked_mul(u64::from(int.bytes))
        .ok_or(RecordError::Truncated(start))?;
    let range = take(packet, at, bytes)?;
    let is_text = int.text && int.bytes == 1 && matches!(element, Scalar::Int(_));
    if !is_text {
        room.take(element, count, start)?;
        return Ok(Value::Array(range));
    }
    let text = &packet[range.clone()];
    let len = text.iter().position(|&b| b == 0).unwrap_or(text.len());
    Ok(Value::Text(range.start..range.start + len))
}

/// Claims `len` bytes of the packet.
fn take(packet: &[u8], at: &mut usize, len: u64) -> Result<Range<usize>, RecordError> {
    let start = *at;
    let left = packet.len().saturating_sub(start);
    match usize::try_from(len) {
        Ok(len) if len <= left => {
            *at = start + len;
            Ok(start..start + len)
        }
        _ => Err(RecordError::Truncated(start)),
    }
}

/// Reads an integer from exactly its bytes.
pub fn integer(int: IntType, bytes: &[u8]) -> i128 {
    let mut raw = [0; 8];
    let len = bytes.len().min(8);
    raw[..len].copy_from_slice(&bytes[..len]);
    let raw = u64::from_le_bytes(raw);
    if !int.signed || len == 0 {
        return i128::from(raw);
    }
    let unused = 64 - 8 * len as u32;
    i128::from((raw << unused) as i64 >> unused)
}

/// The elements of an array that was decoded from `bytes`.
pub fn elements(scalar: &Scalar, bytes: &[u8]) -> impl Iterator<Item = i128> {
    let int = scalar.int();
    bytes
        .chunks_exact(usize::from(int.bytes.max(1)))
        .map(move |chunk| integer(int, chunk))
}
