// SPDX-License-Identifier: GPL-2.0

//! Which side of an ABI is behind the other.

use crate::common::{versions, Versions};

/// The side that has to be brought up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Older {
    /// The caller.
    We,
    /// The other side.
    Peer,
}

/// Compares two versions, `major << 16 | minor`: the major numbers must agree.
pub fn check_version(ours: u32, peers: u32) -> Result<(), Older> {
    match versions(ours, peers) {
        Versions::Match => Ok(()),
        Versions::WeAreOlder => Err(Older::We),
        Versions::PeerIsOlder => Err(Older::Peer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_major_number_counts() {
        assert_eq!(check_version(0x1_0000, 0x1_0009), Ok(()));
        assert_eq!(check_version(0x1_0000, 0x2_0000), Err(Older::We));
        assert_eq!(check_version(0x3_0000, 0x2_0000), Err(Older::Peer));
    }
}
