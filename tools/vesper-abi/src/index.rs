// SPDX-License-Identifier: GPL-2.0

//! Bounds of a buffer's index page, which the guest can rewrite at any moment:
//! a copy is checked, and only the copy is used.

use thiserror::Error;
use zerocopy::FromBytes;

use crate::bindings::{
    VIRTIO_VESPER_INDEX_VERSION, VIRTIO_VESPER_MAX_SUBBUFS, VIRTIO_VESPER_PAGE_SIZE,
    virtio_vesper_index,
};

/// What is wrong with an index page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IndexError {
    /// Fewer bytes than an index page has.
    #[error("an index page has {VIRTIO_VESPER_PAGE_SIZE} bytes, this one {0}")]
    Size(usize),
    /// Written by a guest that has another layout.
    #[error("index version {0}, only {VIRTIO_VESPER_INDEX_VERSION} is known")]
    Version(u32),
    /// The geometry is not the channel's.
    #[error("the index speaks of {found} sub-buffers, the channel has {expected}")]
    Subbufs {
        /// Number in the index page.
        found: u32,
        /// Number the channel was opened with.
        expected: u32,
    },
    /// The two counters are further apart than there are sub-buffers.
    #[error("produced {produced} and consumed {consumed} are more than {n_subbufs} apart")]
    Distance {
        /// Sub-buffers closed, as the guest says.
        produced: u64,
        /// Sub-buffers done with.
        consumed: u64,
        /// Sub-buffers of the buffer.
        n_subbufs: u32,
    },
    /// More padding than a sub-buffer has bytes.
    #[error("padding {padding} in sub-buffer {slot} of {subbuf_size} bytes")]
    Padding {
        /// Number of the sub-buffer in its buffer.
        slot: u32,
        /// Padding found.
        padding: u32,
        /// Bytes of a sub-buffer.
        subbuf_size: u32,
    },
    /// More committed bytes than a sub-buffer has.
    #[error("{committed} bytes committed in a sub-buffer of {subbuf_size}")]
    Committed {
        /// Bytes, as the guest says.
        committed: u32,
        /// Bytes of a sub-buffer.
        subbuf_size: u32,
    },
    /// The channel's own geometry is out of bounds.
    #[error("{n_subbufs} sub-buffers of {subbuf_size} bytes are out of bounds")]
    Geometry {
        /// Sub-buffers of the buffer.
        n_subbufs: u32,
        /// Bytes of a sub-buffer.
        subbuf_size: u32,
    },
}

/// Shape of a buffer, checked once when its channel opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    n_subbufs: u32,
    subbuf_size: u32,
}

impl Geometry {
    /// Checks number and size of the sub-buffers.
    pub fn new(n_subbufs: u32, subbuf_size: u32) -> Result<Self, IndexError> {
        let whole_pages = subbuf_size != 0 && subbuf_size % VIRTIO_VESPER_PAGE_SIZE == 0;
        let count = (1..=VIRTIO_VESPER_MAX_SUBBUFS).contains(&n_subbufs);
        if !whole_pages || !count || n_subbufs.checked_mul(subbuf_size).is_none() {
            return Err(IndexError::Geometry {
                n_subbufs,
                subbuf_size,
            });
        }
        Ok(Self {
            n_subbufs,
            subbuf_size,
        })
    }

    /// Number of sub-buffers.
    pub fn n_subbufs(self) -> u32 {
        self.n_subbufs
    }

    /// Bytes in a sub-buffer.
    pub fn subbuf_size(self) -> u32 {
        self.subbuf_size
    }
}

/// A checked copy of an index page.
#[derive(Debug, Clone)]
pub struct Index {
    geometry: Geometry,
    page: virtio_vesper_index,
}

impl Index {
    /// Checks a copy of an index page against the channel's geometry and the
    /// host's own count of what it is done with.
    ///
    /// `consumed` is the host's, never the page's: the guest could have
    /// rewritten the latter.
    pub fn check(page: &[u8], geometry: Geometry, consumed: u64) -> Result<Self, IndexError> {
        let (page, _) = virtio_vesper_index::read_from_prefix(page)
            .map_err(|_| IndexError::Size(page.len()))?;
        if page.version.get() != VIRTIO_VESPER_INDEX_VERSION {
            return Err(IndexError::Version(page.version.get()));
        }
        if page.n_subbufs.get() != geometry.n_subbufs {
            return Err(IndexError::Subbufs {
                found: page.n_subbufs.get(),
                expected: geometry.n_subbufs,
            });
        }
        let produced = page.produced.get();
        if produced.wrapping_sub(consumed) > u64::from(geometry.n_subbufs) {
            return Err(IndexError::Distance {
                produced,
                consumed,
                n_subbufs: geometry.n_subbufs,
            });
        }
        let index = Self { geometry, page };
        for number in 0..produced.wrapping_sub(consumed) {
            index.padding(consumed.wrapping_add(number))?;
        }
        index.committed()?;
        Ok(index)
    }

    /// Sub-buffers closed since the channel opened.
    pub fn produced(&self) -> u64 {
        self.page.produced.get()
    }

    /// Records dropped since the channel opened.
    pub fn lost(&self) -> u64 {
        self.page.lost.get()
    }

    /// Unused bytes at the end of sub-buffer `number`, counted since the
    /// channel opened.
    pub fn padding(&self, number: u64) -> Result<u32, IndexError> {
        let slot = (number % u64::from(self.geometry.n_subbufs)) as u32;
        // Geometry bounds n_subbufs by the length of the array.
        let padding = self.page.padding[slot as usize].get();
        if padding > self.geometry.subbuf_size {
            return Err(IndexError::Padding {
                slot,
                padding,
                subbuf_size: self.geometry.subbuf_size,
            });
        }
        Ok(padding)
    }

    /// Bytes committed in the open sub-buffer; 0 if the word speaks of another.
    pub fn committed(&self) -> Result<u32, IndexError> {
        let word = self.page.open.get();
        let (number, committed) = ((word >> 32) as u32, word as u32);
        if number != self.produced() as u32 {
            return Ok(0);
        }
        if committed > self.geometry.subbuf_size {
            return Err(IndexError::Committed {
                committed,
                subbuf_size: self.geometry.subbuf_size,
            });
        }
        Ok(committed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endian::{Le32, Le64};
    use proptest::prelude::*;
    use zerocopy::{FromZeros, IntoBytes};

    fn page(n_subbufs: u32, produced: u64) -> virtio_vesper_index {
        let mut page = virtio_vesper_index::new_zeroed();
        page.version = Le32::new(VIRTIO_VESPER_INDEX_VERSION);
        page.n_subbufs = Le32::new(n_subbufs);
        page.produced = Le64::new(produced);
        page
    }

    #[test]
    fn the_page_is_a_page() {
        assert_eq!(
            size_of::<virtio_vesper_index>(),
            VIRTIO_VESPER_PAGE_SIZE as usize
        );
    }

    #[test]
    fn geometry_is_bounded() {
        assert!(Geometry::new(1, 4096).is_ok());
        assert!(Geometry::new(960, 4096).is_ok());
        for (n, size) in [(0, 4096), (961, 4096), (4, 0), (4, 100), (960, 0xffff_f000)] {
            assert!(Geometry::new(n, size).is_err(), "{n} x {size}");
        }
    }

    #[test]
    fn counters_wrap() {
        let geometry = Geometry::new(4, 4096).unwrap();
        let index = page(4, 2);
        assert!(Index::check(index.as_bytes(), geometry, u64::MAX).is_ok());
        assert!(Index::check(index.as_bytes(), geometry, 3).is_err());
        assert!(matches!(
            Index::check(page(4, 5).as_bytes(), geometry, 0),
            Err(IndexError::Distance { .. })
        ));
    }

    #[test]
    fn only_unread_padding_counts() {
        let geometry = Geometry::new(4, 4096).unwrap();
        let mut index = page(4, 6);
        index.padding[0] = Le32::new(5000);
        assert!(Index::check(index.as_bytes(), geometry, 5).is_ok());
        assert!(matches!(
            Index::check(index.as_bytes(), geometry, 4),
            Err(IndexError::Padding { slot: 0, .. })
        ));
    }

    #[test]
    fn the_open_word_belongs_to_a_sub_buffer() {
        let geometry = Geometry::new(4, 4096).unwrap();
        let mut index = page(4, 0x1_0000_0007);
        let consumed = 0x1_0000_0007;
        index.open = Le64::new((7 << 32) | 100);
        let checked = Index::check(index.as_bytes(), geometry, consumed).unwrap();
        assert_eq!(checked.committed(), Ok(100));
        index.open = Le64::new((6 << 32) | 100);
        let checked = Index::check(index.as_bytes(), geometry, consumed).unwrap();
        assert_eq!(checked.committed(), Ok(0));
        index.open = Le64::new((7 << 32) | 4097);
        assert!(Index::check(index.as_bytes(), geometry, consumed).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 4096), consumed: u64,
                        n in 1..=960u32, sane: bool) {
            if sane {
                bytes[..4].copy_from_slice(&VIRTIO_VESPER_INDEX_VERSION.to_le_bytes());
                bytes[4..8].copy_from_slice(&n.to_le_bytes());
            }
            let geometry = Geometry::new(n, 4096).unwrap();
            if let Ok(index) = Index::check(&bytes, geometry, consumed) {
                prop_assert!(index.produced().wrapping_sub(consumed) <= u64::from(n));
            }
        }
    }
}
