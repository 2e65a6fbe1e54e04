// SPDX-License-Identifier: GPL-2.0

//! JSON that is as harmless to a terminal as the text output.

use std::io::{self, Write};

use serde::Serialize;
use vesper_abi::escape::is_unsafe;

/// Writes `value` on a line of its own.
pub fn write_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    write(out, value)?;
    writeln!(out)
}

/// Writes an array, one element a line.
pub fn write_array(out: &mut impl Write, values: &[impl Serialize]) -> io::Result<()> {
    write!(out, "[")?;
    for (n, value) in values.iter().enumerate() {
        if n > 0 {
            write!(out, ",\n ")?;
        }
        write(out, value)?;
    }
    writeln!(out, "]")
}

/// JSON itself escapes the C0 controls only. What else could harm a terminal
/// can stand nowhere but inside strings, so the text may be escaped as a whole.
fn write(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string(value)?;
    let mut plain = 0;
    for (at, c) in text.char_indices().filter(|&(_, c)| is_unsafe(c)) {
        out.write_all(&text.as_bytes()[plain..at])?;
        let mut units = [0; 2];
        for unit in c.encode_utf16(&mut units) {
            write!(out, "\\u{unit:04x}")?;
        }
        plain = at + c.len_utf8();
    }
    out.write_all(&text.as_bytes()[plain..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn arrays() {
        let text = |values: &[u32]| {
            let mut out = Vec::new();
            write_array(&mut out, values).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(&[]), "[]\n");
        assert_eq!(text(&[1]), "[1]\n");
        assert_eq!(text(&[1, 2]), "[1,\n 2]\n");
    }

    proptest! {
        #[test]
        fn harmless_and_still_the_same(text: String) {
            let mut out = Vec::new();
            write_line(&mut out, &text).unwrap();
            let out = String::from_utf8(out).unwrap();
            prop_assert!(!out.trim_end().chars().any(is_unsafe));
            prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }
    }
}
