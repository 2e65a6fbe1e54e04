// SPDX-License-Identifier: GPL-2.0

//! Patterns that say which relay channels of others are to be shown.
//!
//! `core` only: both modules and the user space tools compile this very file, and `cargo test`
//! covers it. C header: `include/uapi/linux/virtio_vesper.h`, `struct virtio_vesper_share`.

#![allow(dead_code)] // Each user takes the part it needs.

/// Bytes of a pattern, its terminating NUL included.
pub(crate) const PATTERN_LEN: usize = 128;

/// Returns the pattern in `field`, without its terminator, if it obeys the rule: terminated, with
/// nothing but zeros behind, and [`pattern_ok`].
pub(crate) fn pattern(field: &[u8; PATTERN_LEN]) -> Option<&[u8]> {
    let len = field.iter().position(|&b| b == 0)?;
    let (pattern, rest) = field.split_at(len);
    if rest.iter().any(|&b| b != 0) || !pattern_ok(pattern) {
        return None;
    }
    Some(pattern)
}

/// Says whether `pattern`, without a terminator, obeys the rule: not empty, no slash at its start
/// or end, and of the characters that the header has.
pub(crate) fn pattern_ok(pattern: &[u8]) -> bool {
    let allowed = |&b: &u8| b.is_ascii_alphanumeric() || b"_.:/@+,*?-".contains(&b);
    pattern.len() < PATTERN_LEN
        && pattern.first().is_some_and(|&b| b != b'/')
        && pattern.last().is_some_and(|&b| b != b'/')
        && pattern.iter().all(allowed)
}

/// Says whether `path` is one that `pattern` stands for.
pub(crate) fn matches(pattern: &[u8], path: &[u8]) -> bool {
    let (mut p, mut t) = (pattern, path);
    // Where to go on if what follows the last star does not fit: behind the star, and with one
    // character more taken by it.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (p.split_first(), t.split_first()) {
            (Some((b'*', rest)), _) => {
                retry = Some((rest, t));
                p = rest;
                continue;
            }
            (Some((&want, p_rest)), Some((&got, t_rest)))
                if want == got || (want == b'?' && got != b'/') =>
            {
                (p, t) = (p_rest, t_rest);
                continue;
            }
            (None, None) => return true,
            _ => {}
        }
        match retry.and_then(|(after, from)| Some((after, from.split_first()?))) {
            Some((after, (&taken, rest))) if taken != b'/' => {
                retry = Some((after, rest));
                (p, t) = (after, rest);
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(s: &str) -> [u8; PATTERN_LEN] {
        let mut f = [0; PATTERN_LEN];
        f[..s.len()].copy_from_slice(s.as_bytes());
        f
    }

    #[test]
    fn rule() {
        assert_eq!(
            pattern(&field("block/vd?/trace*")),
            Some(&b"block/vd?/trace*"[..])
        );
        for bad in ["", "/a", "a/", "a b", "a\n", "a\\b", "[a]", "\u{e4}"] {
            assert_eq!(pattern(&field(bad)), None, "{bad:?}");
        }
        assert_eq!(pattern(&[b'a'; PATTERN_LEN]), None, "not terminated");
        let mut f = field("ab");
        f[5] = b'x';
        assert_eq!(pattern(&f), None, "bytes behind the terminator");
    }

    #[test]
    fn what_it_stands_for() {
        for (pattern, path, wanted) in [
            ("block/vda/trace", "block/vda/trace", true),
            ("block/vda/trace", "block/vda/trac", false),
            ("block/vda/trac", "block/vda/trace", false),
            ("block/*/trace", "block/vda/trace", true),
            ("block/*/trace", "block/vda/x/trace", false),
            ("block/*", "block/vda/trace", false),
            ("*/*/*", "block/vda/trace", true),
            ("*", "cpu", true),
            ("*", "", true),
            ("*", "a/b", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("*ab", "aab", true),
            ("*ab", "aabb", false),
            ("vd?", "vda", true),
            ("vd?", "vd", false),
            ("a?b", "a/b", false),
            ("**", "ab", true),
        ] {
            let got = matches(pattern.as_bytes(), path.as_bytes());
            assert_eq!(got, wanted, "{pattern} {path}");
        }
    }
}
