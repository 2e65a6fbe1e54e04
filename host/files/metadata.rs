// SPDX-License-Identifier: GPL-2.0

//! The text beside a module's channel files that says how to read them.

use crate::{
    bindings::VIRTIO_VESPER_MAX_SECTIONS,
    sys::text_file::Text, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};

const SECTIONS: usize = VIRTIO_VESPER_MAX_SECTIONS as usize;

/// Most bytes of all sections.
const MAX_BYTES: usize = 1 << 20;

/// Text in sections, each of which only grows.
#[pin_data]
pub(crate) struct Metadata {
    #[pin]
    sections: Mutex<[KVVec<u8>; SECTIONS]>,
}

impl Metadata {
    /// Makes an empty one.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                sections <- new_mutex!([const { KVVec::new() }; SECTIONS], "vesper::metadata"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Adds to a section. `EINVAL`: no such section; `ENOSPC`: too much in all.
    pub(crate) fn append(&self, section: u32, text: &[u8]) -> Result {
        let mut sections = self.sections.lock();
        let total = sections
            .iter()
            .fold(text.len(), |sum, s| sum.saturating_add(s.len()));
        let section = sections.get_mut(section as usize).ok_or(EINVAL)?;
        if total > MAX_BYTES {
            return Err(ENOSPC);
        }
        Ok(section.extend_from_slice(text, GFP_KERNEL_ACCOUNT)?)
    }

    /// Bytes in all sections.
    pub(crate) fn len(&self) -> usize {
        self.sections
            .lock()
            .iter()
            .fold(0usize, |sum, s| sum.saturating_add(s.len()))
    }
}

impl Text for Metadata {
    fn copy(&self, mut offset: usize, out: &mut [u8]) -> usize {
        let sections = self.sections.lock();
        let mut done = 0;
        for section in sections.iter() {
            let Some(rest) = section.get(offset..) else {
                offset = offset.wrapping_sub(section.len());
                continue;
            };
            offset = 0;
            let Some(room) = out.get_mut(done..) else {
                break;
            };
            let len = rest.len().min(room.len());
            room[..len].copy_from_slice(&rest[..len]);
            done = done.wrapping_add(len);
        }
        done
    }
}
