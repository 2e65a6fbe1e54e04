// SPDX-License-Identifier: GPL-2.0

//! Texts: what the kernel prints is read back here, as there is no other way to the values, and
//! what is sent is cut into pieces.
//!
//! `core` only, so that `cargo test` covers it.

/// Characters of an UUID.
pub(crate) const UUID_LEN: usize = 36;

/// Reads an UUID as 8-4-4-4-12 hexadecimal digits. Bytes in the order in which they are printed.
pub(crate) fn uuid(text: &[u8; UUID_LEN]) -> Option<[u8; 16]> {
    let mut id = [0; 16];
    let mut digits = 0usize;
    for (i, &c) in text.iter().enumerate() {
        if matches!(i, 8 | 13 | 18 | 23) {
            if c != b'-' {
                return None;
            }
            continue;
        }
        let digit = (c as char).to_digit(16)? as u8;
        let byte = id.get_mut(digits / 2)?;
        *byte = (*byte << 4) | digit;
        digits = digits.wrapping_add(1);
    }
    Some(id)
}

/// Reads what `sprint_symbol()` says of an address, `name+0x4/0x90`: the offset, if the symbol is
/// `name`.
pub(crate) fn symbol_offset(text: &[u8], name: &[u8]) -> Option<usize> {
    let rest = text.strip_prefix(name)?.strip_prefix(b"+0x")?;
    let digits = rest.iter().position(|&c| c == b'/')?;
    if digits == 0 {
        return None;
    }
    rest.get(..digits)?.iter().try_fold(0usize, |offset, &c| {
        let digit = (c as char).to_digit(16)? as usize;
        Some(offset.checked_mul(16)? | digit)
    })
}

/// The lines at the start of a text that are whole; all of it if it has none.
pub(crate) fn whole_lines(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|&c| c == b'\n');
    end.and_then(|at| text.get(..=at)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_whole() {
        assert_eq!(whole_lines(b"one\ntwo\nthr"), b"one\ntwo\n");
        assert_eq!(whole_lines(b"one\ntwo\n"), b"one\ntwo\n");
        assert_eq!(whole_lines(b"\n"), b"\n");
        assert_eq!(
            whole_lines(b"more than there is room for"),
            b"more than there is room for"
        );
        assert_eq!(whole_lines(b""), b"");
    }

    #[test]
    fn uuid_as_the_kernel_prints_it() {
        let id = uuid(b"3b241101-e2bb-4255-8caf-4136c566a962").unwrap();
        assert_eq!(id[..5], [0x3b, 0x24, 0x11, 0x01, 0xe2]);
        assert_eq!(id[15], 0x62);
    }

    #[test]
    fn uuid_and_nothing_else() {
        assert!(uuid(b"3b241101-e2bb-4255-8caf+4136c566a962").is_none());
        assert!(uuid(b"3b241101-e2bb-4255-8caf-4136c566a96g").is_none());
        assert!(uuid(&[0; UUID_LEN]).is_none());
    }

    #[test]
    fn symbol_with_its_offset() {
        assert_eq!(symbol_offset(b"mm_alloc+0x0/0x80", b"mm_alloc"), Some(0));
        assert_eq!(symbol_offset(b"mm_alloc+0x4/0x80", b"mm_alloc"), Some(4));
        assert_eq!(
            symbol_offset(b"mm_alloc+0x1f/0x80", b"mm_alloc"),
            Some(0x1f)
        );
    }

    #[test]
    fn symbol_of_another_name() {
        assert_eq!(symbol_offset(b"mm_alloc_one+0x4/0x80", b"mm_alloc"), None);
        assert_eq!(symbol_offset(b"0xffffffff81000000", b"mm_alloc"), None);
        assert_eq!(symbol_offset(b"mm_alloc+0x/0x80", b"mm_alloc"), None);
        assert_eq!(symbol_offset(b"mm_alloc+0x4", b"mm_alloc"), None);
        assert_eq!(symbol_offset(b"", b"mm_alloc"), None);
        let long = b"f+0xfffffffffffffffff/0x1";
        assert_eq!(symbol_offset(long, b"f"), None);
    }
}
