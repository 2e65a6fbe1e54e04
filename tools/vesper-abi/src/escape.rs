// SPDX-License-Identifier: GPL-2.0

//! Guest text for a terminal: whatever could move the cursor, change colours,
//! reorder or hide text is shown as an escape sequence instead.

use core::fmt::{self, Write};

/// Displays bytes from a guest so that they can't harm a terminal.
///
/// Control characters, format characters (bidirectional overrides, zero-width
/// ones), line separators and bytes that are not UTF-8 are escaped; a backslash
/// is doubled, so that nothing can be mistaken for an escape.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a [u8]);

/// As [`Escaped`], in double quotes.
#[derive(Debug, Clone, Copy)]
pub struct Quoted<'a>(pub &'a [u8]);

/// Text of our own with a file's name or an argument in it: only what could harm
/// a terminal is escaped, so that what was escaped before stays as it is.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a>(pub &'a str);

/// Whether `c` must not reach a terminal as it is.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

fn write_char(f: &mut fmt::Formatter<'_>, c: char, quoted: bool) -> fmt::Result {
    match c {
        '\\' => f.write_str("\\\\"),
        '"' if quoted => f.write_str("\\\""),
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        c if c.is_ascii() && is_unsafe(c) => write!(f, "\\x{:02x}", u32::from(c)),
        c if is_unsafe(c) => write!(f, "\\u{{{:x}}}", u32::from(c)),
        c => f.write_char(c),
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\n' | '\\' => f.write_char(c),
            c => write_char(f, c, false),
        })
    }
}

fn write_bytes(f: &mut fmt::Formatter<'_>, bytes: &[u8], quoted: bool) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            write_char(f, c, quoted)?;
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_bytes(f, self.0, false)
    }
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        write_bytes(f, self.0, true)?;
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_what_a_terminal_would_obey() {
        let show = |s: &[u8]| Escaped(s).to_string();
        assert_eq!(show(b"plain"), "plain");
        assert_eq!(show("ng\u{e9}nx".as_bytes()), "ng\u{e9}nx");
        assert_eq!(show(b"\x1b[31mred"), "\\x1b[31mred");
        assert_eq!(show(b"a\nb\tc\r\x07\x7f"), "a\\nb\\tc\\r\\x07\\x7f");
        assert_eq!(show("\u{9b}31m".as_bytes()), "\\u{9b}31m");
        assert_eq!(show("a\u{202e}b".as_bytes()), "a\\u{202e}b");
        assert_eq!(show(b"a\xffb\xc3"), "a\\xffb\\xc3");
        assert_eq!(show(b"back\\slash"), "back\\\\slash");
        assert_eq!(Quoted(b"a\"b").to_string(), r#""a\"b""#);
    }

    #[test]
    fn own_text_is_escaped_once() {
        let text = "vesper: a\x1b[2J.ko: \\x1b\nnext \u{202e}line";
        assert_eq!(
            Shown(text).to_string(),
            "vesper: a\\x1b[2J.ko: \\x1b\nnext \\u{202e}line"
        );
    }

    proptest! {
        #[test]
        fn nothing_unsafe_comes_out(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let out = Quoted(&bytes).to_string();
            prop_assert!(!out.chars().any(is_unsafe));
        }
    }
}
