// SPDX-License-Identifier: GPL-2.0

//! Text that grows.

use kernel::{
    fmt,
    prelude::*, //
};

/// Text in kernel memory. Writing to it allocates, and fails where there is no memory.
pub(crate) struct Text(KVec<u8>);

impl Text {
    /// No text.
    pub(crate) const fn new() -> Self {
        Self(KVec::new())
    }

    /// Bytes in it.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes away what is behind byte `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Copies from byte `from` on, as much as there is and fits. Returns how much that was.
    pub(crate) fn copy(&self, from: usize, to: &mut [u8]) -> usize {
        let rest = self.0.get(from..).unwrap_or(&[]);
        let len = rest.len().min(to.len());
        if let (Some(rest), Some(to)) = (rest.get(..len), to.get_mut(..len)) {
            to.copy_from_slice(rest);
        }
        len
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0
            .extend_from_slice(text.as_bytes(), GFP_KERNEL)
            .map_err(|_| fmt::Error)
    }
}
