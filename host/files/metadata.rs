// SPDX-License-Identifier: GPL-2.0

//! The text beside a module's channel files that says how to read them.

use super::DomainDir;
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
    inner: Mutex<Inner>,
    /// Directory that stays until somebody has read this. Taken after `modules` and `inner`.
    #[pin]
    needed_by: Mutex<Option<(Arc<DomainDir>, u64)>>,
}

struct Inner {
    sections: [KVVec<u8>; SECTIONS],
    /// Somebody has read all of it.
    read: bool,
    /// Something outlived its channel that cannot be understood without this.
    outlived: bool,
    /// Somebody has read all of it since.
    read_since: bool,
}

impl Metadata {
    /// Makes an empty one.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                inner <- new_mutex!(
                    Inner {
                        sections: [const { KVVec::new() }; SECTIONS],
                        read: false,
                        outlived: false,
                        read_since: false,
                    },
                    "vesper::metadata"
                ),
                needed_by <- new_mutex!(None, "vesper::metadata_needed"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Adds to a section. `EINVAL`: no such section; `ENOSPC`: too much in all.
    pub(crate) fn append(&self, section: u32, text: &[u8]) -> Result {
        let mut inner = self.inner.lock();
        let total = inner
            .sections
            .iter()
            .fold(text.len(), |sum, s| sum.saturating_add(s.len()));
        let section = inner.sections.get_mut(section as usize).ok_or(EINVAL)?;
        if total > MAX_BYTES {
            return Err(ENOSPC);
        }
        section.extend_from_slice(text, GFP_KERNEL_ACCOUNT)?;
        inner.read = false;
        inner.read_since = false;
        Ok(())
    }

    /// Without this text what is left to be read in module directory `id` of `dir` cannot be
    /// understood: unless it has been read already, the directory waits for that, too.
    pub(crate) fn need(&self, dir: &Arc<DomainDir>, id: u64) {
        let mut inner = self.inner.lock();
        inner.outlived = true;
        if !inner.read {
            *self.needed_by.lock() = Some((dir.clone(), id));
        }
    }

    /// Somebody begins to read in module directory `id` of `dir` what outlives its channel. That
    /// need not be the one who has read this before, so it is needed until somebody has read it
    /// since. Can be called while a file is being opened.
    pub(super) fn need_again(&self, dir: &Arc<DomainDir>, id: u64) {
        let mut inner = self.inner.lock();
        inner.outlived = true;
        if !inner.read_since {
            inner.read = false;
            *self.needed_by.lock() = Some((dir.clone(), id));
        }
    }

    /// Says whether the directory waits for this to be read.
    pub(crate) fn needed(&self) -> bool {
        self.needed_by.lock().is_some()
    }

    /// Nobody needs it any more.
    pub(crate) fn forget(&self) {
        // Not the last reference: that is the directory's.
        let needed_by = self.needed_by.lock().take();
        drop(needed_by);
    }

    /// Bytes in all sections.
    pub(crate) fn len(&self) -> usize {
        self.inner
            .lock()
            .sections
            .iter()
            .fold(0usize, |sum, s| sum.saturating_add(s.len()))
    }
}

impl Text for Metadata {
    fn copy(&self, mut offset: usize, out: &mut [u8]) -> usize {
        let mut inner = self.inner.lock();
        let mut done = 0;
        for section in inner.sections.iter() {
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
        if done == 0 && !out.is_empty() {
            inner.read = true;
            inner.read_since = inner.outlived;
        }
        done
    }

    fn closed(&self) {
        let needed_by = {
            let inner = self.inner.lock();
            if !inner.read {
                return;
            }
            self.needed_by.lock().take()
        };
        if let Some((dir, id)) = needed_by {
            dir.leave(id, |_| ());
        }
    }
}
