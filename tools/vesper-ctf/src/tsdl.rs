// SPDX-License-Identifier: GPL-2.0

//! Parser of the part of TSDL (the metadata language of CTF 1.8) that VESPER
//! probes use. Anything else is an error that names line and column.

use std::ops::Range;

use thiserror::Error;
use vesper_abi::escape::Quoted;

use crate::metadata::Metadata;

mod attributes;
mod lexer;
mod parser;
mod types;

/// Metadata text is refused beyond this many bytes.
pub const MAX_TEXT: usize = 8 << 20;
/// Bytes of a word, such as the name of a field: each record is shown with it. Those that
/// probes have are about half as long.
pub const MAX_WORD: usize = 128;
/// Bytes of a string, such as a label: a record of few bytes may be shown with many. The
/// kernel's longest symbols have about 650.
pub const MAX_STRING: usize = 1024;
/// Named types.
pub const MAX_TYPES: usize = 1024;
/// Fields of one struct.
pub const MAX_FIELDS: usize = 256;
/// Event classes.
pub const MAX_EVENTS: usize = 1024;
/// Clocks.
pub const MAX_CLOCKS: usize = 16;
/// Values of the environment.
pub const MAX_ENV: usize = 256;
/// Labels of one enumeration that stand for more than one value.
pub const MAX_RANGES: usize = 256;
/// Labels of all enumerations: each takes far more room than its text. A guest's text has room
/// for half as many names of symbols.
pub const MAX_LABELS: usize = 1 << 16;

/// A place in the text, counted from 1 as editors do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column, in bytes.
    pub column: usize,
}

impl Place {
    /// Where byte `offset` of `text` is.
    fn of(text: &[u8], offset: usize) -> Self {
        let before = &text[..offset.min(text.len())];
        let line = 1 + before.iter().filter(|&&b| b == b'\n').count();
        let start = before
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(0, |n| n + 1);
        Self {
            line,
            column: 1 + before.len() - start,
        }
    }
}

/// Metadata that can't be used, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("metadata, line {}, column {}: {kind}", place.line, place.column)]
pub struct TsdlError {
    /// Where.
    pub place: Place,
    /// What.
    pub kind: ErrorKind,
}

/// What is wrong with metadata. Text of the guest in it is escaped.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ErrorKind {
    /// Longer than [`MAX_TEXT`].
    #[error("the text is longer than {MAX_TEXT} bytes")]
    TooLong,
    /// A byte that begins no token.
    #[error("unexpected byte {0:#04x}")]
    Byte(u8),
    /// A comment or string that does not end.
    #[error("{0} without an end")]
    Endless(&'static str),
    /// A number that is too large or no number.
    #[error("not a number that fits 64 bits")]
    Number,
    /// Another token than the grammar has here.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What the grammar has.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A word of TSDL that is outside the subset, or no word of TSDL.
    #[error("{what} {} is not supported", Quoted(.name.as_bytes()))]
    Unsupported {
        /// What kind of word.
        what: &'static str,
        /// The word.
        name: String,
    },
    /// A name that nothing defines.
    #[error("there is no {what} {}", Quoted(.name.as_bytes()))]
    Unknown {
        /// What was looked for.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The same thing twice.
    #[error("{what} {} is there twice", Quoted(.name.as_bytes()))]
    Twice {
        /// What.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A value outside what the attribute can have.
    #[error("{0}")]
    Value(&'static str),
    /// More of something than a limit allows.
    #[error("more than {limit} {what}")]
    TooMany {
        /// What.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A value that does not fit the integer under an enumeration.
    #[error("{0} does not fit the integer type of the enumeration")]
    DoesNotFit(i128),
    /// Something that has to be there is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
}

/// Where blocks stand in the text, from their first word to their `;`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Blocks {
    /// Of the environment.
    pub env: Vec<Range<usize>>,
    /// One for each of [`Metadata::clocks`].
    pub clocks: Vec<Range<usize>>,
}

/// Parses metadata text.
pub fn parse(text: &[u8]) -> Result<Metadata, TsdlError> {
    parse_blocks(text).map(|(metadata, _)| metadata)
}

/// The same for who wants to change the text.
pub fn parse_blocks(text: &[u8]) -> Result<(Metadata, Blocks), TsdlError> {
    parser::parse(text).map_err(|(offset, kind)| TsdlError {
        place: Place::of(text, offset),
        kind,
    })
}

/// An error and the offset of the byte it is about.
type Located<T> = Result<T, (usize, ErrorKind)>;

#[cfg(test)]
mod tests;
