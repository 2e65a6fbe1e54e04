// SPDX-License-Identifier: GPL-2.0

//! Names of domains, modules and channels: one path component, and text in
//! fixed fields that ends with a NUL.

use thiserror::Error;

use crate::common::{self, name_ok};

/// Bytes of a name field, its terminating NUL included.
pub const NAME_LEN: usize = common::NAME_LEN;

/// Why a name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NameError {
    /// There is nothing in it.
    #[error("the name is empty")]
    Empty,
    /// It does not fit its field.
    #[error("the name is longer than {} bytes", NAME_LEN - 1)]
    TooLong,
    /// It would be hidden, or the directory itself, or its parent.
    #[error("the name begins with a dot")]
    LeadingDot,
    /// A byte that is not allowed.
    #[error("byte {0:#04x} in the name is not one of A-Z a-z 0-9 _ . -")]
    Byte(u8),
    /// A field of fixed size without a NUL in it.
    #[error("the name is not terminated")]
    Unterminated,
    /// A field with something after the NUL.
    #[error("the name has bytes after its end")]
    Trailing,
}

/// Checks that `name` is one path component of `[A-Za-z0-9_.-]` without a
/// leading dot, and fits a name field.
///
/// The rule is the kernel's; what is added is the reason.
pub fn check_name(name: &[u8]) -> Result<&str, NameError> {
    if !name_ok(name) {
        return Err(reason(name));
    }
    // What obeys the rule is ASCII, so this can't fail; it is only for the type.
    core::str::from_utf8(name).map_err(|_| reason(name))
}

fn reason(name: &[u8]) -> NameError {
    match name.first() {
        None => NameError::Empty,
        Some(b'.') => NameError::LeadingDot,
        Some(_) if name.len() >= NAME_LEN => NameError::TooLong,
        Some(_) => {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
            let bad = name.iter().copied().find(|&b| !allowed(b));
            NameError::Byte(bad.unwrap_or(0))
        }
    }
}

/// Reads a name out of a field: terminated, checked, and zero behind its end.
pub fn parse_name(field: &[u8]) -> Result<&str, NameError> {
    let end = field
        .iter()
        .position(|&b| b == 0)
        .ok_or(NameError::Unterminated)?;
    if field[end..].iter().any(|&b| b != 0) {
        return Err(NameError::Trailing);
    }
    check_name(&field[..end])
}

/// Puts a checked name into a field.
pub fn name_field(name: &str) -> Result<[u8; NAME_LEN], NameError> {
    let name = check_name(name.as_bytes())?;
    let mut field = [0; NAME_LEN];
    field[..name.len()].copy_from_slice(name.as_bytes());
    Ok(field)
}

/// Checks a name under which something is listed: a name as [`check_name`] has
/// it, or `NAME@N` of what has ended and waits for its readers, because a new
/// one has taken the name.
pub fn check_label(label: &[u8]) -> Result<&str, NameError> {
    let at = label.iter().position(|&b| b == b'@');
    let number = at.map(|at| &label[at + 1..]);
    if number.is_some_and(|n| n.is_empty() || !n.iter().all(u8::is_ascii_digit)) {
        return Err(NameError::Byte(b'@'));
    }
    check_name(&label[..at.unwrap_or(label.len())])?;
    if label.len() >= NAME_LEN {
        return Err(NameError::TooLong);
    }
    // As in `check_name`.
    core::str::from_utf8(label).map_err(|_| reason(label))
}

/// Puts a checked label into a field.
pub fn label_field(label: &str) -> Result<[u8; NAME_LEN], NameError> {
    let label = check_label(label.as_bytes())?;
    let mut field = [0; NAME_LEN];
    field[..label.len()].copy_from_slice(label.as_bytes());
    Ok(field)
}

/// The bytes of a text field up to its NUL, or all of them if there is none.
pub fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    &field[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn accepts_path_components() {
        for name in ["a", "web1", "my-guest_0.lan", "-", "x..y"] {
            assert_eq!(check_name(name.as_bytes()), Ok(name));
        }
        let longest = "x".repeat(NAME_LEN - 1);
        assert_eq!(check_name(longest.as_bytes()), Ok(longest.as_str()));
    }

    #[test]
    fn refuses_the_rest() {
        assert_eq!(check_name(b""), Err(NameError::Empty));
        assert_eq!(check_name(b"."), Err(NameError::LeadingDot));
        assert_eq!(check_name(b".."), Err(NameError::LeadingDot));
        assert_eq!(check_name(b".hidden"), Err(NameError::LeadingDot));
        assert_eq!(check_name(b"a/b"), Err(NameError::Byte(b'/')));
        assert_eq!(check_name(b"a\0"), Err(NameError::Byte(0)));
        assert_eq!(check_name(b"a b"), Err(NameError::Byte(b' ')));
        assert_eq!(check_name("ä".as_bytes()), Err(NameError::Byte(0xc3)));
        assert_eq!(check_name(&[b'x'; NAME_LEN]), Err(NameError::TooLong));
    }

    #[test]
    fn labels_may_have_a_number() {
        for label in ["web1", "web1@1", "x.y@123"] {
            assert_eq!(check_label(label.as_bytes()), Ok(label));
            assert_eq!(text(&label_field(label).unwrap()), label.as_bytes());
        }
        for bad in ["@1", "a@", "a@b", "a@1@2", ".a@1", "a/b@1", "a@1/"] {
            assert!(check_label(bad.as_bytes()).is_err(), "{bad}");
        }
        let long = "x".repeat(NAME_LEN - 2) + "@1";
        assert_eq!(check_label(long.as_bytes()), Err(NameError::TooLong));
    }

    #[test]
    fn fields_must_end_and_stay_ended() {
        assert_eq!(parse_name(b"web1\0\0\0\0"), Ok("web1"));
        assert_eq!(parse_name(b"web1"), Err(NameError::Unterminated));
        assert_eq!(parse_name(b"web1\0x\0"), Err(NameError::Trailing));
        assert_eq!(parse_name(b"\0\0"), Err(NameError::Empty));
        assert_eq!(text(b"abc\0def"), b"abc");
        assert_eq!(text(b"abc"), b"abc");
    }

    proptest! {
        #[test]
        fn field_round_trip(name in "[A-Za-z0-9_-][A-Za-z0-9_.-]{0,62}") {
            let field = name_field(&name).unwrap();
            prop_assert_eq!(parse_name(&field), Ok(name.as_str()));
        }

        #[test]
        fn what_is_accepted_is_a_path_component(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(name) = check_name(&bytes) {
                prop_assert!(!name.contains('/') && name != "." && name != "..");
                prop_assert!(name.len() < NAME_LEN);
                prop_assert_eq!(std::path::Path::new(name).components().count(), 1);
            }
        }
    }
}
