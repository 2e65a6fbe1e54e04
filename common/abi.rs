// SPDX-License-Identifier: GPL-2.0

//! Rules of the ABI that no struct can state: names, and bounds of a buffer.
//!
//! `core` only: both modules and the user space tools compile this very file, and `cargo test`
//! covers it. C headers: `include/uapi/linux/virtio_vesper.h`, `include/uapi/linux/vesper.h`.

#![allow(dead_code)] // Each user takes the part it needs.

/// Bytes of a name, its terminating NUL included.
pub(crate) const NAME_LEN: usize = 64;

/// Unit of every loan, in bytes.
pub(crate) const PAGE_SIZE: usize = 4096;

/// Most sub-buffers whose padding an index page can hold.
pub(crate) const MAX_SUBBUFS: usize = 960;

/// Most bytes of one buffer: 16 MiB, on each CPU.
pub(crate) const MAX_BUFFER: usize = 16 << 20;

/// Name under which the host's own probes are shown, so no guest may have it.
pub(crate) const HOST_DOMAIN: &[u8] = b"host";

/// Returns the name in `field`, without its terminator, if it obeys the rule: one path component
/// of `[A-Za-z0-9_.-]`, not empty, no leading dot, terminated, and nothing but zeros behind the
/// terminator.
pub(crate) fn name(field: &[u8; NAME_LEN]) -> Option<&[u8]> {
    let len = field.iter().position(|&b| b == 0)?;
    let (name, rest) = field.split_at(len);
    if rest.iter().any(|&b| b != 0) || !name_ok(name) {
        return None;
    }
    Some(name)
}

/// Says whether `name`, without a terminator, obeys the rule of [`name`].
pub(crate) fn name_ok(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() < NAME_LEN
        && name[0] != b'.'
        && name
            .iter()
            .all(|&b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Shape of one buffer of a channel, checked: the product cannot overflow and every sub-buffer
/// starts on a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    subbuf_size: usize,
    n_subbufs: usize,
}

impl Geometry {
    /// Checks sizes that came from the other side or from a parameter, in bytes and sub-buffers.
    pub(crate) fn new(subbuf_size: u32, n_subbufs: u32) -> Option<Self> {
        let (subbuf_size, n_subbufs) = (subbuf_size as usize, n_subbufs as usize);
        if subbuf_size == 0 || subbuf_size % PAGE_SIZE != 0 {
            return None;
        }
        if n_subbufs == 0 || n_subbufs > MAX_SUBBUFS {
            return None;
        }
        match subbuf_size.checked_mul(n_subbufs) {
            Some(bytes) if bytes <= MAX_BUFFER => Some(Self {
                subbuf_size,
                n_subbufs,
            }),
            _ => None,
        }
    }

    /// Bytes in a sub-buffer.
    pub(crate) fn subbuf_size(self) -> usize {
        self.subbuf_size
    }

    /// Sub-buffers in a buffer.
    pub(crate) fn n_subbufs(self) -> usize {
        self.n_subbufs
    }

    /// Bytes in a buffer.
    pub(crate) fn bytes(self) -> usize {
        self.subbuf_size.wrapping_mul(self.n_subbufs)
    }

    /// Pages in a buffer.
    pub(crate) fn pages(self) -> usize {
        self.bytes() / PAGE_SIZE
    }

    /// Place of sub-buffer number `number` in the buffer, counted in sub-buffers.
    pub(crate) fn slot(self, number: u64) -> usize {
        number.checked_rem(self.n_subbufs as u64).unwrap_or(0) as usize
    }

    /// Says whether a writer that claims `produced` can be believed by a reader who has seen
    /// `seen` produced and is done with `consumed`: it never goes back, and without overwriting it
    /// is never more than a lap ahead.
    pub(crate) fn produced_ok(self, seen: u64, consumed: u64, produced: u64) -> bool {
        produced >= seen && produced.wrapping_sub(consumed) <= self.n_subbufs as u64
    }

    /// Says whether a closed sub-buffer can have this much padding: an empty one is never closed.
    pub(crate) fn padding_ok(self, padding: u32) -> bool {
        (padding as usize) < self.subbuf_size
    }
}

/// The word `open` of an index page, taken apart: number of the open sub-buffer, as far as its low
/// half goes, and bytes committed in it.
pub(crate) fn open_word(number: u64, committed: u32) -> u64 {
    (number << 32) | u64::from(committed)
}

/// Bytes committed in the open sub-buffer, which is number `produced`, if `open` speaks of it and
/// the length is possible.
pub(crate) fn committed(geometry: Geometry, produced: u64, open: u64) -> Option<usize> {
    let bytes = open as u32 as usize;
    if (open >> 32) as u32 != produced as u32 || bytes > geometry.subbuf_size {
        return None;
    }
    Some(bytes)
}

/// Which side of an ABI has to be brought up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Versions {
    /// They understand each other.
    Match,
    /// We are the older side.
    WeAreOlder,
    /// The peer is the older side.
    PeerIsOlder,
}

/// Compares two ABI versions, `major << 16 | minor`: only the major number must agree.
pub(crate) fn versions(ours: u32, peers: u32) -> Versions {
    match (ours >> 16).cmp(&(peers >> 16)) {
        core::cmp::Ordering::Equal => Versions::Match,
        core::cmp::Ordering::Less => Versions::WeAreOlder,
        core::cmp::Ordering::Greater => Versions::PeerIsOlder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(s: &str) -> [u8; NAME_LEN] {
        let mut f = [0; NAME_LEN];
        f[..s.len()].copy_from_slice(s.as_bytes());
        f
    }

    #[test]
    fn names() {
        assert_eq!(name(&field("web1")), Some(&b"web1"[..]));
        assert_eq!(name(&field("a.b-c_D9")), Some(&b"a.b-c_D9"[..]));
        for bad in ["", ".", "..", ".x", "a/b", "a b", "ä", "a\n"] {
            assert_eq!(name(&field(bad)), None, "{bad:?}");
        }
        assert_eq!(name(&[b'a'; NAME_LEN]), None, "not terminated");
        let mut f = field("ab");
        f[5] = b'x';
        assert_eq!(name(&f), None, "bytes behind the terminator");
        assert!(name_ok(&[b'a'; NAME_LEN - 1]));
        assert!(!name_ok(&[b'a'; NAME_LEN]));
    }

    #[test]
    fn geometry() {
        assert!(Geometry::new(4096, 1).is_some());
        assert!(Geometry::new(4096, 960).is_some());
        assert!(Geometry::new(16 << 20, 1).is_some());
        for (size, n) in [
            (0, 1),
            (4096, 0),
            (4095, 4),
            (4096, 961),
            (16 << 20, 2),
            (u32::MAX & !4095, 960),
        ] {
            assert!(Geometry::new(size, n).is_none(), "{size} x {n}");
        }
    }

    #[test]
    fn produced_moves_forward_by_at_most_a_lap() {
        let g = Geometry::new(4096, 4).unwrap();
        assert!(g.produced_ok(0, 0, 4));
        assert!(!g.produced_ok(0, 0, 5));
        assert!(!g.produced_ok(3, 0, 2));
        assert!(g.produced_ok(7, 7, 7));
        assert!(!g.produced_ok(7, 7, u64::MAX));
        assert_eq!(g.slot(9), 1);
    }

    #[test]
    fn padding_leaves_something() {
        let g = Geometry::new(4096, 4).unwrap();
        assert!(g.padding_ok(0));
        assert!(g.padding_ok(4095));
        assert!(!g.padding_ok(4096));
        assert!(!g.padding_ok(u32::MAX));
    }

    #[test]
    fn open_word_counts_only_for_its_own_sub_buffer() {
        let g = Geometry::new(4096, 4).unwrap();
        let n = 0x1_0000_0005;
        assert_eq!(committed(g, n, open_word(n, 80)), Some(80));
        assert_eq!(committed(g, n + 1, open_word(n, 80)), None);
        assert_eq!(committed(g, n, open_word(n, 4097)), None);
    }

    #[test]
    fn version_mismatch_names_the_older() {
        assert_eq!(versions(0x1_0000, 0x1_0007), Versions::Match);
        assert_eq!(versions(0x1_0000, 0x2_0000), Versions::WeAreOlder);
        assert_eq!(versions(0x2_0000, 0x1_0003), Versions::PeerIsOlder);
    }
}
