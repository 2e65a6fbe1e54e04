// SPDX-License-Identifier: GPL-2.0

//! What of a channel is lent to the host: buffers, index pages, metadata. It lives until the last
//! page is back, which may be after the probe that opened the channel is gone.

use super::{
    registry,
    symbols::Symbols,
    text::Text, //
};
use crate::{
    abi,
    listener::{
        BufferPages,
        Description,
        Source, //
    },
    sys::{
        index::Index,
        relay, //
    },
};
use kernel::{
    cpu,
    prelude::*,
    sync::{
        Arc,
        SetOnce, //
    },
};

/// Sections of the metadata file.
pub(crate) const SECTION_PREAMBLE: u32 = 0;
pub(crate) const SECTION_SYMBOLS: u32 = 1;
pub(crate) const SECTION_EVENTS: u32 = 2;

/// Memory of one buffer.
pub(crate) struct Buffer {
    pub(crate) view: relay::View,
    pub(crate) index: Arc<Index>,
}

/// See the module.
#[pin_data]
pub(crate) struct Store {
    description: Description,
    /// By CPU; filled in when the CPU first comes up.
    buffers: KVec<SetOnce<Buffer>>,
    relay: Arc<relay::Channel>,
    preamble: Text,
    events: Text,
    #[pin]
    pub(crate) symbols: Symbols,
}

impl Store {
    /// Puts it together. The buffers come later.
    pub(crate) fn new(
        description: Description,
        relay: Arc<relay::Channel>,
        preamble: Text,
        events: Text,
    ) -> Result<Arc<Self>> {
        let mut buffers = KVec::new();
        for _ in 0..cpu::nr_cpu_ids() {
            buffers.push(SetOnce::new(), GFP_KERNEL)?;
        }
        Arc::pin_init(
            try_pin_init!(Self {
                description,
                buffers,
                relay,
                preamble,
                events,
                symbols <- Symbols::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// The relay channel.
    pub(crate) fn relay(&self) -> &Arc<relay::Channel> {
        &self.relay
    }

    /// Bytes of a section of the metadata.
    pub(crate) fn metadata_len(&self, section: u32) -> usize {
        match section {
            SECTION_PREAMBLE => self.preamble.len(),
            SECTION_SYMBOLS => self.symbols.len(),
            SECTION_EVENTS => self.events.len(),
            _ => 0,
        }
    }

    /// The buffer of `cpu`.
    pub(crate) fn get(&self, cpu: u32) -> Option<&Buffer> {
        self.buffers.get(cpu as usize)?.as_ref()
    }

    /// Puts the buffer of `cpu` in its place.
    pub(crate) fn put(&self, cpu: u32, buffer: Buffer) -> Result {
        let place = self.buffers.get(cpu as usize).ok_or(EINVAL)?;
        if place.populate(buffer) {
            Ok(())
        } else {
            Err(EEXIST)
        }
    }
}

impl Source for Store {
    fn description(&self) -> &Description {
        &self.description
    }

    fn buffer(&self, cpu: u32) -> Option<BufferPages<'_>> {
        let buffer = self.get(cpu)?;
        Some(BufferPages {
            pages: buffer.view.pages(),
            index: buffer.index.page()?,
        })
    }

    fn metadata(&self, section: u32, from: usize, text: &mut [u8]) -> usize {
        match section {
            SECTION_PREAMBLE => self.preamble.copy(from, text),
            SECTION_SYMBOLS => self.symbols.copy(from, text),
            SECTION_EVENTS => self.events.copy(from, text),
            _ => 0,
        }
    }

    fn flush(&self) {
        registry::flush(self);
    }

    fn catch_up(&self) {
        registry::catch_up(self);
    }
}

/// The name in a field of a [`Description`].
pub(crate) fn name(field: &[u8; abi::NAME_LEN]) -> &[u8] {
    abi::name(field).unwrap_or(b"?")
}
