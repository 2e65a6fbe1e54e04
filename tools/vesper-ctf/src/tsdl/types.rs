// SPDX-License-Identifier: GPL-2.0

//! Types: integers, enumerations, strings, and structs of those.

use std::collections::HashMap;
use std::sync::Arc;

use super::attributes::Value;
use super::lexer::Token;
use super::parser::{clip, too_many, twice, unsupported, Parser};
use super::{ErrorKind, Located, MAX_FIELDS, MAX_LABELS, MAX_RANGES};
use crate::metadata::{Base, Field, FieldType, IntType, Labels, Length, Scalar, Struct};

impl Parser<'_> {
    /// A type: by name, or written out.
    pub(super) fn any_type(&mut self) -> Located<FieldType> {
        let at = self.at;
        match self.word("a type")? {
            "integer" => Ok(FieldType::Scalar(Scalar::Int(self.integer(at)?))),
            "enum" => Ok(FieldType::Scalar(self.enumeration()?)),
            "string" => {
                if self.token == Token::Mark("{") {
                    self.attributes(|_, at, name, value| match (name, value) {
                        ("encoding", Some(value)) => encoding(&value).map(|_| ()),
                        (name, _) => Err((at, unsupported("the attribute", name))),
                    })?;
                }
                Ok(FieldType::String)
            }
            word @ ("struct" | "variant" | "floating_point" | "typedef" | "const") => {
                Err((at, unsupported("the type", word)))
            }
            name => self.types.get(name).cloned().ok_or_else(|| {
                let name = clip(name);
                (at, ErrorKind::Unknown { what: "type", name })
            }),
        }
    }

    /// What stands behind `integer`, which is at `at`.
    fn integer(&mut self, at: usize) -> Located<IntType> {
        let mut size = None;
        let mut align = None;
        let mut int = IntType {
            bytes: 0,
            signed: false,
            base: Base::Decimal,
            text: false,
            clock: None,
        };
        self.attributes(|this, at, name, value| {
            let Some(value) = value else {
                return Err((at, unsupported("the attribute", name)));
            };
            match name {
                "size" => size = Some(value.unsigned()?),
                "align" => align = Some(value.unsigned()?),
                "signed" => int.signed = value.boolean()?,
                "base" => int.base = base(&value)?,
                "encoding" => int.text = encoding(&value)?,
                "byte_order" => {
                    if !matches!(value.name()?, b"le" | b"native") {
                        return value.error("VESPER writes little-endian, 'le'");
                    }
                }
                "map" => int.clock = Some(this.clock_of(&value)?),
                name => return Err((at, unsupported("the attribute", name))),
            }
            Ok(())
        })?;
        int.bytes = match size {
            Some(8) => 1,
            Some(16) => 2,
            Some(32) => 4,
            Some(64) => 8,
            Some(_) => {
                let message = "the size of an integer is 8, 16, 32 or 64 bits";
                return Err((at, ErrorKind::Value(message)));
            }
            None => return Err((at, ErrorKind::Missing("size of the integer"))),
        };
        // Without it, whole bytes are aligned to 8 bits by the standard.
        if !matches!(align, None | Some(8)) {
            let message = "records are packed: align is 8 bits";
            return Err((at, ErrorKind::Value(message)));
        }
        Ok(int)
    }

    /// Resolves `clock.NAME.value`.
    fn clock_of(&self, value: &Value) -> Located<usize> {
        let path = value.name()?;
        let path = std::str::from_utf8(path).unwrap_or_default();
        let name = path
            .strip_prefix("clock.")
            .and_then(|rest| rest.strip_suffix(".value"));
        let Some(name) = name else {
            return value.error("clock.NAME.value is needed");
        };
        let found = self.clocks.iter().position(|clock| clock.name == name);
        found.ok_or_else(|| {
            let name = clip(name);
            let what = "clock";
            (value.at, ErrorKind::Unknown { what, name })
        })
    }

    fn enumeration(&mut self) -> Located<Scalar> {
        self.mark(":")?;
        let at = self.at;
        let no_integer = (at, ErrorKind::Value("an enumeration is made of an integer"));
        // Else the guest would have this call itself as often as it writes the word.
        if self.token == Token::Word("enum") {
            return Err(no_integer);
        }
        let FieldType::Scalar(Scalar::Int(int)) = self.any_type()? else {
            return Err(no_integer);
        };
        let mut labels = Labels::default();
        let mut next = 0;
        self.mark("{")?;
        while !self.accept("}")? {
            let at = self.at;
            self.labels += 1;
            if self.labels > MAX_LABELS {
                return Err((at, too_many("labels in enumerations", MAX_LABELS)));
            }
            let label = match self.advance()? {
                Token::Text(text) => text,
                Token::Word(word) => word.as_bytes().to_vec(),
                found => {
                    let expected = "a label or '}'";
                    let found = found.describe();
                    return Err((at, ErrorKind::Expected { expected, found }));
                }
            };
            let (mut from, mut to) = (next, next);
            if self.accept("=")? {
                from = self.signed_number("the value of a label")?;
                to = from;
                if self.accept("...")? {
                    to = self.signed_number("the last value of a range")?;
                }
            }
            for value in [from, to] {
                if !fits(int, value) {
                    return Err((at, ErrorKind::DoesNotFit(value)));
                }
            }
            if from == to {
                labels.insert(from, label.into());
            } else if labels.ranges() < MAX_RANGES {
                labels.insert_range(from, to, label.into());
            } else {
                return Err((at, too_many("ranges in an enumeration", MAX_RANGES)));
            }
            next = to + 1;
            if !self.accept(",")? && self.token != Token::Mark("}") {
                return self.expected("',' or '}'");
            }
        }
        Ok(Scalar::Enum(int, Arc::new(labels)))
    }

    /// `struct { … }`.
    pub(super) fn structure(&mut self) -> Located<Struct> {
        let at = self.at;
        if self.word("struct")? != "struct" {
            return Err((at, ErrorKind::Value("a struct is needed")));
        }
        let mut fields = Struct::new();
        let mut numbers = HashMap::new();
        self.mark("{")?;
        while !self.accept("}")? {
            let at = self.at;
            if fields.len() >= MAX_FIELDS {
                return Err((at, too_many("fields in a struct", MAX_FIELDS)));
            }
            let ty = self.any_type()?;
            let at = self.at;
            let name = self.word("the name of a field")?.to_owned();
            let ty = self.array_suffix(ty, &mut fields, &numbers)?;
            self.mark(";")?;
            if numbers.insert(name.clone(), fields.len()).is_some() {
                return Err((at, twice("the field", &name)));
            }
            let is_length = false;
            fields.push(Field {
                name,
                ty,
                is_length,
            });
        }
        if self.token == Token::Word("align") {
            return self.unsupported("the attribute", "align");
        }
        Ok(fields)
    }

    /// What may stand behind the name of a field: `[5]`, `[other_field]`.
    fn array_suffix(
        &mut self,
        ty: FieldType,
        fields: &mut Struct,
        numbers: &HashMap<String, usize>,
    ) -> Located<FieldType> {
        let at = self.at;
        if !self.accept("[")? {
            return Ok(ty);
        }
        let FieldType::Scalar(element) = ty else {
            return Err((at, ErrorKind::Value("only integers can be in an array")));
        };
        let length = match self.token {
            Token::Number(length) => {
                self.advance()?;
                Length::Fixed(length)
            }
            Token::Word(name) => {
                let number = numbers.get(name).copied();
                let unsigned = number.is_some_and(
                    |n| matches!(&fields[n].ty, FieldType::Scalar(scalar) if !scalar.int().signed),
                );
                let Some(number) = number.filter(|_| unsigned) else {
                    let what = "unsigned integer earlier in the struct that is called";
                    let name = clip(name);
                    return self.error(ErrorKind::Unknown { what, name });
                };
                self.advance()?;
                fields[number].is_length = true;
                Length::Field(number)
            }
            _ => return self.expected("the length of an array"),
        };
        self.mark("]")?;
        if self.token == Token::Mark("[") {
            return self.unsupported("the type", "array of arrays");
        }
        Ok(FieldType::Array(element, length))
    }
}

fn fits(int: IntType, value: i128) -> bool {
    let bits = u32::from(int.bytes) * 8;
    if int.signed {
        let half = 1i128 << (bits - 1);
        (-half..half).contains(&value)
    } else {
        (0..1i128 << bits).contains(&value)
    }
}

fn base(value: &Value) -> Located<Base> {
    if let Ok(number) = value.number() {
        return match number {
            2 => Ok(Base::Binary),
            8 => Ok(Base::Octal),
            10 => Ok(Base::Decimal),
            16 => Ok(Base::Hexadecimal),
            _ => value.error("a base is 2, 8, 10 or 16"),
        };
    }
    match value.name()? {
        b"binary" | b"b" => Ok(Base::Binary),
        b"octal" | b"oct" | b"o" => Ok(Base::Octal),
        b"decimal" | b"dec" | b"d" | b"i" | b"u" => Ok(Base::Decimal),
        b"hexadecimal" | b"hex" | b"x" | b"X" | b"p" => Ok(Base::Hexadecimal),
        _ => value.error("a base is decimal, hex, octal or binary"),
    }
}

/// Whether the integer is a character.
fn encoding(value: &Value) -> Located<bool> {
    match value.name()? {
        b"none" => Ok(false),
        b"UTF8" | b"utf8" | b"ASCII" | b"ascii" => Ok(true),
        _ => value.error("an encoding is none, UTF8 or ASCII"),
    }
}
