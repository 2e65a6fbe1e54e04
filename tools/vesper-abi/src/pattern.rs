// SPDX-License-Identifier: GPL-2.0

//! Patterns that name relay channels of others, see `struct virtio_vesper_share`.

use thiserror::Error;

use crate::common_pattern;

/// Bytes of a pattern, its terminating NUL included.
pub const PATTERN_LEN: usize = common_pattern::PATTERN_LEN;

/// What is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a pattern is the path of a channel's files, as block/vda/trace, with * and ? where any \
     character but / will do; {limit} characters at most",
    limit = PATTERN_LEN - 1
)]
pub struct PatternError;

/// `pattern` as a field has it.
pub fn pattern_field(pattern: &str) -> Result<[u8; PATTERN_LEN], PatternError> {
    if !common_pattern::pattern_ok(pattern.as_bytes()) {
        return Err(PatternError);
    }
    let mut field = [0; PATTERN_LEN];
    field[..pattern.len()].copy_from_slice(pattern.as_bytes());
    Ok(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let field = pattern_field("block/*/trace").expect("a pattern");
        assert_eq!(common_pattern::pattern(&field), Some(&b"block/*/trace"[..]));
        assert_eq!(pattern_field(""), Err(PatternError));
        assert_eq!(pattern_field(&"a".repeat(PATTERN_LEN)), Err(PatternError));
        assert!(pattern_field(&"a".repeat(PATTERN_LEN - 1)).is_ok());
    }
}
