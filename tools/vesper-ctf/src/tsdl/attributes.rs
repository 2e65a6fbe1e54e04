// SPDX-License-Identifier: GPL-2.0

//! What stands right of the `=` of an attribute, and which values it may have.

use super::{ErrorKind, Located};

/// A value of an attribute, with the offset where it stands.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) at: usize,
    pub(super) kind: ValueKind,
}

#[derive(Debug, Clone)]
pub(super) enum ValueKind {
    Number(i128),
    Text(Vec<u8>),
    /// A word, or several joined by dots.
    Word(String),
}

impl Value {
    pub(super) fn error<T>(&self, message: &'static str) -> Located<T> {
        Err((self.at, ErrorKind::Value(message)))
    }

    pub(super) fn number(&self) -> Located<i128> {
        match self.kind {
            ValueKind::Number(number) => Ok(number),
            _ => self.error("a number is needed"),
        }
    }

    pub(super) fn unsigned(&self) -> Located<u64> {
        let number = self.number()?;
        u64::try_from(number).or_else(|_| self.error("a number from 0 to 2^64-1 is needed"))
    }

    pub(super) fn signed(&self) -> Located<i64> {
        let number = self.number()?;
        i64::try_from(number).or_else(|_| self.error("a number that fits 63 bits is needed"))
    }

    /// A word or a text: TSDL writes names both ways.
    pub(super) fn name(&self) -> Located<&[u8]> {
        match &self.kind {
            ValueKind::Text(text) => Ok(text),
            ValueKind::Word(word) => Ok(word.as_bytes()),
            ValueKind::Number(_) => self.error("a name is needed"),
        }
    }

    pub(super) fn boolean(&self) -> Located<bool> {
        match &self.kind {
            ValueKind::Word(word) if matches!(word.as_str(), "true" | "TRUE") => Ok(true),
            ValueKind::Word(word) if matches!(word.as_str(), "false" | "FALSE") => Ok(false),
            ValueKind::Number(0) => Ok(false),
            ValueKind::Number(1) => Ok(true),
            _ => self.error("true or false is needed"),
        }
    }

    /// A UUID in its text form.
    pub(super) fn uuid(&self) -> Located<[u8; 16]> {
        const MESSAGE: &str = "a UUID in its text form is needed";
        let ValueKind::Text(text) = &self.kind else {
            return self.error(MESSAGE);
        };
        let dashes = [8, 13, 18, 23];
        if text.len() != 36 || dashes.iter().any(|&n| text[n] != b'-') {
            return self.error(MESSAGE);
        }
        let mut uuid = [0; 16];
        let mut digits = (0..36).filter(|n| !dashes.contains(n)).map(|n| text[n]);
        for byte in &mut uuid {
            for _ in 0..2 {
                let digit = digits.next().and_then(|d| char::from(d).to_digit(16));
                let Some(digit) = digit else {
                    return self.error(MESSAGE);
                };
                *byte = (*byte << 4) | digit as u8;
            }
        }
        Ok(uuid)
    }
}
