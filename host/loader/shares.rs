// SPDX-License-Identifier: GPL-2.0

//! Patterns of relay channels that a guest was asked to show: what the guest said of them last.

use crate::{
    bindings,
    message::{
        Outcome,
        PATTERN_LEN, //
    },
};
use kernel::prelude::*;

/// Most patterns that are known of a domain.
const MAX_SHARES: usize = 64;

/// A request to show channels, or to show them no more.
pub(crate) struct Share {
    /// Which; a pattern by the rule.
    pub(crate) pattern: [u8; PATTERN_LEN],
    /// No more.
    pub(crate) stop: bool,
}

/// The patterns of a domain.
pub(super) struct Shares(KVec<[u8; PATTERN_LEN]>);

impl Shares {
    /// None.
    pub(super) fn new() -> Self {
        Self(KVec::new())
    }

    /// All of them.
    pub(super) fn list(&self) -> &[[u8; PATTERN_LEN]] {
        &self.0
    }

    /// Makes room for one more, so that an answer needs no memory. `EBUSY`: too many.
    pub(super) fn reserve(&mut self) -> Result {
        match self.0.len() < MAX_SHARES {
            true => Ok(self.0.reserve(MAX_SHARES, GFP_KERNEL_ACCOUNT)?),
            false => Err(EBUSY),
        }
    }

    /// The guest has answered.
    pub(super) fn learn(&mut self, share: &Share, outcome: &Outcome) {
        let status = outcome.status;
        let said = |err: Error| status == err.to_errno().unsigned_abs();
        if share.stop {
            if status == 0 || said(ENOENT) {
                self.0.retain(|p| *p != share.pattern);
            }
        } else if (status == 0 || said(EEXIST)) && !self.0.contains(&share.pattern) {
            // There is room, unless the guest makes answers up.
            let _ = self.0.push_within_capacity(share.pattern);
        }
    }

    /// The guest, or its driver, went away.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

const _: () = assert!(PATTERN_LEN == bindings::VESPER_PATTERN_LEN as usize);
