// SPDX-License-Identifier: GPL-2.0

//! What the metadata says: clocks, environment, and the layout of each event.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::clock::Clock;

/// How an integer wants to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Base {
    /// Base 2.
    Binary,
    /// Base 8.
    Octal,
    /// Base 10.
    #[default]
    Decimal,
    /// Base 16.
    Hexadecimal,
}

/// An integer of whole bytes, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntType {
    /// 1, 2, 4 or 8.
    pub bytes: u8,
    /// Two's complement if so.
    pub signed: bool,
    /// For display.
    pub base: Base,
    /// An array of it is text.
    pub text: bool,
    /// Number of the clock in [`Metadata::clocks`] that it counts.
    pub clock: Option<usize>,
}

/// Labels of an enumeration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels {
    /// By value; signed values as their bits in 64-bit two's complement.
    values: HashMap<u64, Box<[u8]>>,
    /// Mappings of more than one value, few.
    ranges: Vec<(i128, i128, Box<[u8]>)>,
}

impl Labels {
    /// Adds a label for one value, unless it has one.
    pub fn insert(&mut self, value: i128, label: Box<[u8]>) {
        self.values.entry(value as u64).or_insert(label);
    }

    /// Adds a label for a range of values.
    pub fn insert_range(&mut self, from: i128, to: i128, label: Box<[u8]>) {
        self.ranges.push((from, to, label));
    }

    /// Number of labels that stand for a range.
    pub fn ranges(&self) -> usize {
        self.ranges.len()
    }

    /// The label of an integer.
    pub fn get(&self, value: i128) -> Option<&[u8]> {
        let within = |(from, to, _): &&(i128, i128, Box<[u8]>)| (*from..=*to).contains(&value);
        self.values
            .get(&(value as u64))
            .or_else(|| self.ranges.iter().find(within).map(|(_, _, label)| label))
            .map(|label| &**label)
    }
}

/// A type whose size is known without looking at the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar {
    /// A plain integer.
    Int(IntType),
    /// An integer with labels.
    Enum(IntType, Arc<Labels>),
}

impl Scalar {
    /// The integer it is stored as.
    pub fn int(&self) -> IntType {
        match self {
            Self::Int(int) | Self::Enum(int, _) => *int,
        }
    }
}

/// How many elements an array has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// As many as the metadata says.
    Fixed(u64),
    /// As many as the integer field of this number in the same struct says.
    Field(usize),
}

/// Type of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldType {
    /// One integer.
    Scalar(Scalar),
    /// Bytes up to a NUL.
    String,
    /// Several integers.
    Array(Scalar, Length),
}

/// A field of a struct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name: an identifier of C.
    pub name: String,
    /// Its type.
    pub ty: FieldType,
    /// Whether it does nothing but tell the length of another.
    pub is_length: bool,
}

/// Fields one after the other, without padding.
pub type Struct = Vec<Field>;

/// A kind of event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventClass {
    /// Number in the event header.
    pub id: u64,
    /// Its name, as the guest wrote it.
    pub name: Vec<u8>,
    /// What a record of it carries.
    pub fields: Struct,
}

/// A value of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// A number.
    Integer(i128),
    /// Text, as the guest wrote it.
    Text(Vec<u8>),
}

/// The head of each event: which one, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventHeader {
    /// All fields of it.
    pub fields: Struct,
    /// Which of them is the number of the event class; without it, class 0.
    pub id: Option<usize>,
    /// Which of them is the time.
    pub timestamp: usize,
    /// Clock of that time, if it is mapped to one.
    pub clock: Option<usize>,
}

/// Everything that is needed to decode a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Of the trace, as in each packet's head.
    pub uuid: Option<[u8; 16]>,
    /// Where the trace comes from.
    pub env: Vec<(String, EnvValue)>,
    /// Clocks, in the order of the text.
    pub clocks: Vec<Clock>,
    /// Head of each event.
    pub event_header: EventHeader,
    /// Fields that each event has before its own.
    pub event_context: Struct,
    /// The events, by number.
    pub events: BTreeMap<u64, Arc<EventClass>>,
}

impl Metadata {
    /// The clock of the events.
    pub fn clock(&self) -> Clock {
        self.event_header
            .clock
            .or(if self.clocks.is_empty() {
                None
            } else {
                Some(0)
            })
            .and_then(|number| self.clocks.get(number).cloned())
            .unwrap_or_default()
    }

    /// Whether records decoded with `old` can be read with this: the text has
    /// only grown, by labels or events.
    pub fn extends(&self, old: &Self) -> bool {
        let events = |(id, class): (&u64, &Arc<EventClass>)| {
            let new = self.events.get(id);
            new.is_some_and(|new| same_layout(&new.fields, &class.fields))
        };
        self.uuid == old.uuid
            && same_layout(&self.event_header.fields, &old.event_header.fields)
            && same_layout(&self.event_context, &old.event_context)
            && old.events.iter().all(events)
    }

    /// A value of the environment that is text.
    pub fn env_text(&self, name: &str) -> Option<&[u8]> {
        self.env.iter().find_map(|(key, value)| match value {
            EnvValue::Text(text) if key == name => Some(text.as_slice()),
            _ => None,
        })
    }
}

/// Whether two structs have the same bytes and names, labels aside.
fn same_layout(a: &Struct, b: &Struct) -> bool {
    let same = |(a, b): (&Field, &Field)| {
        let types = match (&a.ty, &b.ty) {
            (FieldType::Scalar(a), FieldType::Scalar(b)) => a.int() == b.int(),
            (FieldType::String, FieldType::String) => true,
            (FieldType::Array(a, n), FieldType::Array(b, m)) => {
                let kinds = matches!(a, Scalar::Int(_)) == matches!(b, Scalar::Int(_));
                kinds && a.int() == b.int() && n == m
            }
            _ => false,
        };
        types && a.name == b.name
    };
    a.len() == b.len() && a.iter().zip(b).all(same)
}
