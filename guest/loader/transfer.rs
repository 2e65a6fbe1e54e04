// SPDX-License-Identifier: GPL-2.0

//! How far a transfer is: an image and its parameter string come in pieces, in order.
//!
//! `core` only, so that `cargo test` covers it.

/// Sizes that were announced, and how much of it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    image_len: usize,
    params_len: usize,
    received: usize,
}

/// Where the bytes of a piece belong: so many to the image, so many to the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) image: usize,
    pub(crate) params: usize,
}

impl Progress {
    /// Begins a transfer of so many bytes. `None` if that is nothing, or more than is allowed.
    pub(crate) fn new(
        (image_len, max_image): (u32, u32),
        (params_len, max_params): (u32, u32),
    ) -> Option<Self> {
        if image_len == 0 || image_len > max_image || params_len > max_params {
            return None;
        }
        Some(Self {
            image_len: image_len as usize,
            params_len: params_len as usize,
            received: 0,
        })
    }

    /// Bytes that there will be.
    fn total(&self) -> usize {
        self.image_len.wrapping_add(self.params_len)
    }

    /// Takes a piece of `len` bytes that says of itself that it begins at `offset`. `None` if it is
    /// empty, out of order, or too long: then nothing has changed.
    pub(crate) fn accept(&mut self, offset: u32, len: usize) -> Option<Piece> {
        if offset as usize != self.received || len == 0 {
            return None;
        }
        if len > self.total().checked_sub(self.received)? {
            return None;
        }
        let image = len.min(self.image_len.saturating_sub(self.received));
        self.received = self.received.wrapping_add(len);
        Some(Piece {
            image,
            params: len.wrapping_sub(image),
        })
    }

    /// Whether all of it is there.
    pub(crate) fn is_complete(&self) -> bool {
        self.received == self.total()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(image: u32, params: u32) -> Option<Progress> {
        Progress::new((image, 1000), (params, 100))
    }

    #[test]
    fn limits() {
        assert!(progress(0, 0).is_none());
        assert!(progress(1001, 0).is_none());
        assert!(progress(1, 101).is_none());
        assert!(progress(u32::MAX, u32::MAX).is_none());
        assert!(progress(1000, 100).is_some());
    }

    #[test]
    fn pieces_in_order() {
        let mut p = progress(10, 4).unwrap();
        assert_eq!(
            p.accept(0, 8),
            Some(Piece {
                image: 8,
                params: 0
            })
        );
        assert_eq!(
            p.accept(8, 4),
            Some(Piece {
                image: 2,
                params: 2
            })
        );
        assert!(!p.is_complete());
        assert_eq!(
            p.accept(12, 2),
            Some(Piece {
                image: 0,
                params: 2
            })
        );
        assert!(p.is_complete());
        assert_eq!(p.accept(14, 1), None);
        assert_eq!(p.accept(14, 0), None);
    }

    #[test]
    fn anything_else_is_refused_and_changes_nothing() {
        let mut p = progress(10, 4).unwrap();
        let before = p;
        for (offset, len) in [(0, 0), (0, 15), (0, usize::MAX), (1, 1), (u32::MAX, 1)] {
            assert_eq!(p.accept(offset, len), None);
            assert_eq!(p, before);
        }
    }
}
