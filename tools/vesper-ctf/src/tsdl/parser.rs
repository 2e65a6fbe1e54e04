// SPDX-License-Identifier: GPL-2.0

//! The blocks of metadata text: trace, env, clock, stream, event, typealias.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::attributes::{Value, ValueKind};
use super::lexer::{Lexer, Token};
use super::{
    Blocks, ErrorKind, Located, MAX_CLOCKS, MAX_ENV, MAX_EVENTS, MAX_FIELDS, MAX_TEXT, MAX_TYPES,
};
use crate::clock::Clock;
use crate::metadata::{EnvValue, EventClass, EventHeader, FieldType, Metadata, Scalar, Struct};

/// What a name stands for.
pub(super) type Types = HashMap<String, FieldType>;

/// The state of one pass over the text.
pub(super) struct Parser<'a> {
    lexer: Lexer<'a>,
    /// One token ahead, and where it stands.
    pub(super) token: Token<'a>,
    pub(super) at: usize,
    pub(super) types: Types,
    pub(super) clocks: Vec<Clock>,
    /// So many labels have been met.
    pub(super) labels: usize,
    uuid: Option<[u8; 16]>,
    trace_seen: bool,
    env: Vec<(String, EnvValue)>,
    header: Option<EventHeader>,
    context: Struct,
    events: BTreeMap<u64, Arc<EventClass>>,
    blocks: Blocks,
}

/// Parses the whole text, and says where some of it stands.
pub(super) fn parse(text: &[u8]) -> Located<(Metadata, Blocks)> {
    if text.len() > MAX_TEXT {
        return Err((MAX_TEXT, ErrorKind::TooLong));
    }
    let mut parser = Parser {
        lexer: Lexer::new(text),
        token: Token::End,
        at: 0,
        types: Types::new(),
        clocks: Vec::new(),
        labels: 0,
        uuid: None,
        trace_seen: false,
        env: Vec::new(),
        header: None,
        context: Struct::new(),
        events: BTreeMap::new(),
        blocks: Blocks::default(),
    };
    parser.advance()?;
    while parser.token != Token::End {
        parser.block()?;
    }
    if !parser.trace_seen {
        return parser.error(ErrorKind::Missing("the trace block"));
    }
    let Some(event_header) = parser.header.take() else {
        return parser.error(ErrorKind::Missing("event.header of the stream block"));
    };
    let metadata = Metadata {
        uuid: parser.uuid,
        env: parser.env,
        clocks: parser.clocks,
        event_header,
        event_context: parser.context,
        events: parser.events,
    };
    Ok((metadata, parser.blocks))
}

impl<'a> Parser<'a> {
    pub(super) fn error<T>(&self, kind: ErrorKind) -> Located<T> {
        Err((self.at, kind))
    }

    pub(super) fn expected<T>(&self, expected: &'static str) -> Located<T> {
        self.error(ErrorKind::Expected {
            expected,
            found: self.token.describe(),
        })
    }

    pub(super) fn unsupported<T>(&self, what: &'static str, name: &str) -> Located<T> {
        self.error(ErrorKind::Unsupported {
            what,
            name: clip(name),
        })
    }

    /// Steps to the next token and gives back the one that was ahead.
    pub(super) fn advance(&mut self) -> Located<Token<'a>> {
        let (at, token) = self.lexer.next()?;
        self.at = at;
        Ok(std::mem::replace(&mut self.token, token))
    }

    /// Steps over `mark` if it is ahead.
    pub(super) fn accept(&mut self, mark: &'static str) -> Located<bool> {
        let found = self.token == Token::Mark(mark);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    pub(super) fn mark(&mut self, mark: &'static str) -> Located<()> {
        if self.accept(mark)? {
            return Ok(());
        }
        self.expected(mark)
    }

    pub(super) fn word(&mut self, expected: &'static str) -> Located<&'a str> {
        match self.token {
            Token::Word(word) => {
                self.advance()?;
                Ok(word)
            }
            _ => self.expected(expected),
        }
    }

    /// Words joined by dots.
    pub(super) fn dotted(&mut self, expected: &'static str) -> Located<String> {
        let mut name = self.word(expected)?.to_owned();
        while self.accept(".")? {
            name.push('.');
            name.push_str(self.word("a word")?);
        }
        Ok(name)
    }

    pub(super) fn value(&mut self) -> Located<Value> {
        let at = self.at;
        let kind = match &mut self.token {
            Token::Word(_) => ValueKind::Word(self.dotted("a value")?),
            Token::Text(text) => {
                let text = std::mem::take(text);
                self.advance()?;
                ValueKind::Text(text)
            }
            _ => ValueKind::Number(self.signed_number("a value")?),
        };
        Ok(Value { at, kind })
    }

    pub(super) fn signed_number(&mut self, expected: &'static str) -> Located<i128> {
        let negative = self.accept("-")?;
        if !negative {
            self.accept("+")?;
        }
        match self.token {
            Token::Number(number) => {
                self.advance()?;
                let number = i128::from(number);
                Ok(if negative { -number } else { number })
            }
            _ => self.expected(expected),
        }
    }

    /// Runs `entry` for each attribute of a block in braces: with its name, and
    /// with its value or, after `:=`, with none and the struct still ahead.
    pub(super) fn attributes(
        &mut self,
        mut entry: impl FnMut(&mut Self, usize, &str, Option<Value>) -> Located<()>,
    ) -> Located<()> {
        self.mark("{")?;
        while !self.accept("}")? {
            let at = self.at;
            let name = self.dotted("an attribute or '}'")?;
            let value = if self.accept(":=")? {
                None
            } else {
                self.mark("=")?;
                Some(self.value()?)
            };
            entry(self, at, &name, value)?;
            self.mark(";")?;
        }
        Ok(())
    }

    fn block(&mut self) -> Located<()> {
        let at = self.at;
        let word = self.word("a block")?;
        match word {
            "typealias" => self.typealias()?,
            "trace" => self.trace()?,
            "env" => self.environment()?,
            "clock" => self.clock(at)?,
            "stream" => self.stream(at)?,
            "event" => self.event(at)?,
            _ => {
                let name = clip(word);
                let what = "the block";
                return Err((at, ErrorKind::Unsupported { what, name }));
            }
        }
        // The mark is one byte long.
        let end = self.at + 1;
        self.mark(";")?;
        match word {
            "env" => self.blocks.env.push(at..end),
            "clock" => self.blocks.clocks.push(at..end),
            _ => {}
        }
        Ok(())
    }

    fn typealias(&mut self) -> Located<()> {
        let ty = self.any_type()?;
        self.mark(":=")?;
        let at = self.at;
        let name = self.word("a name for the type")?.to_owned();
        if self.types.len() >= MAX_TYPES {
            return Err((at, too_many("types", MAX_TYPES)));
        }
        if self.types.contains_key(&name) {
            return Err((at, twice("the type", &name)));
        }
        self.types.insert(name, ty);
        Ok(())
    }

    fn trace(&mut self) -> Located<()> {
        if std::mem::replace(&mut self.trace_seen, true) {
            return self.error(twice("the block", "trace"));
        }
        let mut order = false;
        self.attributes(|this, at, name, value| {
            match (name, value) {
                ("major", Some(value)) if value.number()? != 1 => {
                    return value.error("this is not CTF 1.8");
                }
                ("minor", Some(value)) if value.number()? != 8 => {
                    return value.error("this is not CTF 1.8");
                }
                ("major" | "minor", Some(_)) => {}
                ("uuid", Some(value)) => this.uuid = Some(value.uuid()?),
                ("byte_order", Some(value)) => {
                    if value.name()? != b"le" {
                        return value.error("VESPER writes little-endian, 'le'");
                    }
                    order = true;
                }
                ("packet.header", None) => {
                    let fields = this.structure()?;
                    check_head(&fields, &[4, 16, 4]).map_err(|kind| (at, kind))?;
                }
                (name, _) => return Err((at, unsupported("the attribute", name))),
            }
            Ok(())
        })?;
        if !order {
            return self.error(ErrorKind::Missing("byte_order of the trace block"));
        }
        Ok(())
    }

    fn environment(&mut self) -> Located<()> {
        self.attributes(|this, at, name, value| {
            let value = match value.map(|value| value.kind) {
                Some(ValueKind::Number(number)) => EnvValue::Integer(number),
                Some(ValueKind::Text(text)) => EnvValue::Text(text),
                Some(ValueKind::Word(word)) => EnvValue::Text(word.into_bytes()),
                None => return Err((at, unsupported("the attribute", name))),
            };
            if this.env.len() >= MAX_ENV {
                return Err((at, too_many("values in env", MAX_ENV)));
            }
            this.env.push((name.to_owned(), value));
            Ok(())
        })
    }

    fn clock(&mut self, at: usize) -> Located<()> {
        if self.clocks.len() >= MAX_CLOCKS {
            return Err((at, too_many("clocks", MAX_CLOCKS)));
        }
        let mut clock = Clock::default();
        self.attributes(|_, at, name, value| {
            let Some(value) = value else {
                return Err((at, unsupported("the attribute", name)));
            };
            match name {
                "name" => clock.name = String::from_utf8_lossy(value.name()?).into_owned(),
                "freq" => {
                    clock.freq = value.unsigned()?;
                    if clock.freq == 0 {
                        return value.error("a clock can't have the frequency 0");
                    }
                }
                "offset_s" => clock.offset_s = value.signed()?,
                "offset" => clock.offset = value.signed()?,
                "absolute" => {
                    value.boolean()?;
                }
                "uuid" => {
                    value.uuid()?;
                }
                "precision" => {
                    value.unsigned()?;
                }
                "description" => {
                    if let ValueKind::Text(text) = value.kind {
                        clock.description = text;
                    }
                }
                name => return Err((at, unsupported("the attribute", name))),
            }
            Ok(())
        })?;
        if clock.name.is_empty() {
            return Err((at, ErrorKind::Missing("name of the clock block")));
        }
        if self.clocks.iter().any(|other| other.name == clock.name) {
            return Err((at, twice("the clock", &clock.name)));
        }
        self.clocks.push(clock);
        Ok(())
    }

    fn stream(&mut self, at: usize) -> Located<()> {
        if self.header.is_some() {
            return Err((at, twice("the block", "stream")));
        }
        let mut header = None;
        self.attributes(|this, at, name, value| {
            match (name, value) {
                ("id", Some(value)) => stream_zero(&value)?,
                ("packet.context", None) => {
                    let fields = this.structure()?;
                    check_head(&fields, &[4, 4, 8, 8, 8, 8, 8, 8]).map_err(|kind| (at, kind))?;
                }
                ("event.header", None) => header = Some((at, this.structure()?)),
                ("event.context", None) => this.context = this.structure()?,
                (name, _) => return Err((at, unsupported("the attribute", name))),
            }
            Ok(())
        })?;
        if let Some((at, fields)) = header {
            self.header = Some(event_header(fields).map_err(|kind| (at, kind))?);
        }
        Ok(())
    }

    fn event(&mut self, at: usize) -> Located<()> {
        let (mut id, mut name, mut fields) = (0, Vec::new(), Struct::new());
        self.attributes(|this, at, attribute, value| {
            match (attribute, value) {
                ("id", Some(value)) => id = value.unsigned()?,
                ("name", Some(value)) => name = value.name()?.to_owned(),
                ("stream_id", Some(value)) => stream_zero(&value)?,
                ("loglevel", Some(value)) => {
                    value.number()?;
                }
                ("model.emf.uri", Some(value)) => {
                    value.name()?;
                }
                ("fields", None) => fields = this.structure()?,
                (attribute, _) => return Err((at, unsupported("the attribute", attribute))),
            }
            Ok(())
        })?;
        if name.is_empty() {
            return Err((at, ErrorKind::Missing("name of the event block")));
        }
        if self.events.len() >= MAX_EVENTS {
            return Err((at, too_many("events", MAX_EVENTS)));
        }
        let class = Arc::new(EventClass { id, name, fields });
        if self.events.insert(id, class).is_some() {
            return Err((at, twice("the event id", &id.to_string())));
        }
        Ok(())
    }
}

fn stream_zero(value: &Value) -> Located<()> {
    if value.unsigned()? != 0 {
        return value.error("the only stream is number 0");
    }
    Ok(())
}

/// The device ABI fixes the head of a packet; metadata that describes another
/// one would only make other readers stumble.
fn check_head(fields: &Struct, sizes: &[u64]) -> Result<(), ErrorKind> {
    use crate::metadata::Length;
    let size = |ty: &FieldType| match ty {
        FieldType::Scalar(scalar) => Some(u64::from(scalar.int().bytes)),
        FieldType::Array(scalar, Length::Fixed(n)) => u64::from(scalar.int().bytes).checked_mul(*n),
        _ => None,
    };
    let same = fields.len() == sizes.len()
        && fields
            .iter()
            .zip(sizes)
            .all(|(field, &bytes)| size(&field.ty) == Some(bytes));
    if same {
        return Ok(());
    }
    Err(ErrorKind::Value(
        "the packet's head is not the one of struct virtio_vesper_packet",
    ))
}

fn event_header(fields: Struct) -> Result<EventHeader, ErrorKind> {
    let int = |n: usize| match &fields[n].ty {
        FieldType::Scalar(Scalar::Int(int)) => Some(*int),
        _ => None,
    };
    if (0..fields.len()).any(|n| int(n).is_none()) {
        return Err(ErrorKind::Value("event.header has integers only"));
    }
    let find = |name: &str| fields.iter().position(|field| field.name == name);
    let timestamp = (0..fields.len())
        .find(|&n| int(n).is_some_and(|int| int.clock.is_some()))
        .or_else(|| find("timestamp"))
        .ok_or(ErrorKind::Missing("the timestamp in event.header"))?;
    let clock = match int(timestamp) {
        Some(int) if int.bytes == 8 && !int.signed => int.clock,
        _ => return Err(ErrorKind::Value("the timestamp is not a 64-bit integer")),
    };
    let id = find("id").filter(|&n| n != timestamp);
    if id.is_some_and(|n| int(n).is_some_and(|int| int.signed)) {
        return Err(ErrorKind::Value("the event id is a signed integer"));
    }
    debug_assert!(fields.len() <= MAX_FIELDS);
    Ok(EventHeader {
        id,
        timestamp,
        clock,
        fields,
    })
}

/// A word for an error message; words can be as long as the text.
pub(super) fn clip(name: &str) -> String {
    name.chars().take(64).collect()
}

pub(super) fn twice(what: &'static str, name: &str) -> ErrorKind {
    let name = clip(name);
    ErrorKind::Twice { what, name }
}

pub(super) fn unsupported(what: &'static str, name: &str) -> ErrorKind {
    let name = clip(name);
    ErrorKind::Unsupported { what, name }
}

pub(super) fn too_many(what: &'static str, limit: usize) -> ErrorKind {
    ErrorKind::TooMany { what, limit }
}
