// SPDX-License-Identifier: GPL-2.0

//! JSON lines that are as harmless to a terminal as the text output.

use std::io::{self, Write};

use serde::Serialize;
use vesper_abi::escape::is_unsafe;

/// Writes `value` on a line of its own.
///
/// JSON itself escapes the C0 controls only. What else could harm a terminal
/// can stand nowhere but inside strings, so the line may be escaped as a whole.
pub fn write_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let line = serde_json::to_string(value)?;
    let mut plain = 0;
    for (at, c) in line.char_indices().filter(|&(_, c)| is_unsafe(c)) {
        out.write_all(&line.as_bytes()[plain..at])?;
        let mut units = [0; 2];
        for unit in c.encode_utf16(&mut units) {
            write!(out, "\\u{unit:04x}")?;
        }
        plain = at + c.len_utf8();
    }
    writeln!(out, "{}", &line[plain..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
