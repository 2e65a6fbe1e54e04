// SPDX-License-Identifier: GPL-2.0

//! UUIDs as text.
//!
//! `core` only, so that `cargo test` covers it.

/// Characters of an UUID.
pub(crate) const LEN: usize = 36;

/// Reads an UUID as 8-4-4-4-12 hexadecimal digits. Bytes in the order in which they are printed.
pub(crate) fn parse(text: &[u8; LEN]) -> Option<[u8; 16]> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_prints() {
        let id = parse(b"3b241101-e2bb-4255-8caf-4136c566a962").unwrap();
        assert_eq!(id[..5], [0x3b, 0x24, 0x11, 0x01, 0xe2]);
        assert_eq!(id[15], 0x62);
    }

    #[test]
    fn refuses_anything_else() {
        assert!(parse(b"3b241101-e2bb-4255-8caf+4136c566a962").is_none());
        assert!(parse(b"3b241101-e2bb-4255-8caf-4136c566a96g").is_none());
        assert!(parse(&[0; LEN]).is_none());
    }
}
