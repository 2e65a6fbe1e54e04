// SPDX-License-Identifier: GPL-2.0

//! Bytes to tokens, one at a time, each looked at once.

use vesper_abi::escape::{Escaped, Quoted};

use super::parser::too_many;
use super::{ErrorKind, Located, MAX_STRING, MAX_WORD};

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// An identifier or keyword.
    Word(&'a str),
    /// A string literal, its escapes resolved.
    Text(Vec<u8>),
    /// An integer literal without its sign.
    Number(u64),
    /// A mark: one of `{}[]();=,:.-` or `:=` or `...`.
    Mark(&'static str),
    /// Nothing follows.
    End,
}

impl Token<'_> {
    /// For error messages: short, and harmless to a terminal.
    pub(super) fn describe(&self) -> String {
        const SHOWN: usize = 40;
        match self {
            Self::Word(word) => format!("'{}'", Escaped(&word.as_bytes()[..word.len().min(SHOWN)])),
            Self::Text(text) => Quoted(&text[..text.len().min(SHOWN)]).to_string(),
            Self::Number(number) => number.to_string(),
            Self::Mark(mark) => format!("'{mark}'"),
            Self::End => "the end of the text".to_owned(),
        }
    }
}

const MARKS: [&str; 15] = [
    ":=", "...", "{", "}", "[", "]", "(", ")", ";", "=", ",", ":", ".", "-", "+",
];

/// Reads tokens from metadata text.
#[derive(Debug, Clone)]
pub(super) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// The next token and the offset of its first byte.
    pub(super) fn next(&mut self) -> Located<(usize, Token<'a>)> {
        self.skip_blanks()?;
        let start = self.at;
        let rest = &self.text[start..];
        let token = match rest.first() {
            None => Token::End,
            Some(b'"') => Token::Text(self.text()?),
            Some(b) if b.is_ascii_digit() => self.number()?,
            Some(b) if b.is_ascii_alphabetic() || *b == b'_' => self.word()?,
            Some(&b) => {
                let mark = MARKS.iter().find(|mark| rest.starts_with(mark.as_bytes()));
                let mark = mark.ok_or((start, ErrorKind::Byte(b)))?;
                self.at += mark.len();
                Token::Mark(mark)
            }
        };
        Ok((start, token))
    }

    fn skip_blanks(&mut self) -> Located<()> {
        loop {
            let rest = &self.text[self.at..];
            if rest.first().is_some_and(u8::is_ascii_whitespace) {
                self.at += 1;
            } else if rest.starts_with(b"/*") {
                let end = rest[2..].windows(2).position(|pair| pair == b"*/");
                let end = end.ok_or((self.at, ErrorKind::Endless("a comment")))?;
                self.at += 2 + end + 2;
            } else if rest.starts_with(b"//") {
                let end = rest.iter().position(|&b| b == b'\n');
                self.at += end.unwrap_or(rest.len());
            } else {
                return Ok(());
            }
        }
    }

    /// Takes the bytes for which `belongs` holds; they are ASCII.
    fn take(&mut self, belongs: impl Fn(u8) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let len = rest.iter().position(|&b| !belongs(b)).unwrap_or(rest.len());
        self.at += len;
        std::str::from_utf8(&rest[..len]).unwrap_or_default()
    }

    fn word(&mut self) -> Located<Token<'a>> {
        let start = self.at;
        let word = self.take(|b| b.is_ascii_alphanumeric() || b == b'_');
        if word.len() > MAX_WORD {
            return Err((start, too_many("bytes in a word", MAX_WORD)));
        }
        Ok(Token::Word(word))
    }

    fn number(&mut self) -> Located<Token<'a>> {
        let start = self.at;
        let digits = self.take(|b| b.is_ascii_alphanumeric() || b == b'_');
        // Suffixes of C, as in 5ULL.
        let bare = digits.trim_end_matches(['u', 'U', 'l', 'L']);
        let value = match bare.as_bytes() {
            [b'0', b'x' | b'X', ..] => u64::from_str_radix(&bare[2..], 16),
            [b'0', b'b' | b'B', ..] => u64::from_str_radix(&bare[2..], 2),
            [b'0', _, ..] => u64::from_str_radix(&bare[1..], 8),
            _ => bare.parse(),
        };
        let value = value.map_err(|_| (start, ErrorKind::Number))?;
        Ok(Token::Number(value))
    }

    fn text(&mut self) -> Located<Vec<u8>> {
        let start = self.at;
        let endless = (start, ErrorKind::Endless("a string"));
        let mut out = Vec::new();
        self.at += 1;
        loop {
            let byte = *self.text.get(self.at).ok_or_else(|| endless.clone())?;
            self.at += 1;
            match byte {
                b'"' => return Ok(out),
                b'\n' => return Err(endless),
                b'\\' => {
                    let escape = *self.text.get(self.at).ok_or_else(|| endless.clone())?;
                    self.at += 1;
                    match escape {
                        b'n' => out.push(b'\n'),
                        b't' => out.push(b'\t'),
                        b'r' => out.push(b'\r'),
                        b'0' => out.push(0),
                        b'"' | b'\\' | b'\'' | b'?' => out.push(escape),
                        // No escape that is in use: both characters stand.
                        _ => out.extend([b'\\', escape]),
                    }
                }
                other => out.push(other),
            }
            if out.len() > MAX_STRING {
                return Err((start, too_many("bytes in a string", MAX_STRING)));
            }
        }
    }
}
