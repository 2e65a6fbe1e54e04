// SPDX-License-Identifier: GPL-2.0

//! The modules of a guest that were loaded from here: what the guest said of them last.

use crate::{
    abi::NAME_LEN,
    bindings::{
        VESPER_MODULE_LIVE,
        VESPER_MODULE_LOADING,
        VESPER_MODULE_UNLOADING,
        VESPER_TEXT_LEN, //
    },
    message::Outcome,
    sys::time::real_ns,
};
use kernel::prelude::*;

/// Most modules that are known of a domain.
const MAX_MODULES: usize = 256;

/// A sentence, terminated.
type Text = [u8; VESPER_TEXT_LEN as usize];

/// What is known of a module.
pub(crate) struct Known {
    /// Its name.
    pub(crate) name: [u8; NAME_LEN],
    /// `VESPER_MODULE_*`.
    pub(crate) state: u32,
    /// Errno value of the last request on it that failed, or 0.
    pub(crate) status: u32,
    /// Bytes of its image.
    pub(crate) image_len: u32,
    /// Wall clock of the load.
    pub(crate) loaded_ns: u64,
    /// What it has to say. Beside the list, which would be long with it.
    pub(crate) text: KBox<Text>,
    /// The request under way on it.
    request: u32,
}

/// Room for a module that is going to be asked for.
pub(super) struct Room(KBox<Text>);

/// The modules of a domain.
pub(super) struct Modules(KVec<Known>);

impl Modules {
    /// None.
    pub(super) fn new() -> Self {
        Self(KVec::new())
    }

    /// All of them.
    pub(super) fn list(&self) -> &[Known] {
        &self.0
    }

    /// The guest has none any more.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Makes room for one more of that name. `EEXIST`; `EBUSY`: too many.
    pub(super) fn reserve(&mut self, name: &[u8; NAME_LEN]) -> Result<Room> {
        if self.0.iter().any(|m| m.name == *name) {
            return Err(EEXIST);
        }
        if self.0.len() >= MAX_MODULES {
            return Err(EBUSY);
        }
        self.0.reserve(1, GFP_KERNEL)?;
        let text = KBox::new([0; VESPER_TEXT_LEN as usize], GFP_KERNEL_ACCOUNT)?;
        Ok(Room(text))
    }

    /// Request `request` is to load it.
    pub(super) fn loading(
        &mut self,
        room: Room,
        name: &[u8; NAME_LEN],
        image_len: u32,
        request: u32,
    ) -> Result {
        let known = Known {
            name: *name,
            state: VESPER_MODULE_LOADING,
            status: 0,
            image_len,
            loaded_ns: 0,
            text: room.0,
            request,
        };
        Ok(self.0.push(known, GFP_KERNEL)?)
    }

    /// Whether a request to unload it makes sense. `ENOENT`: not loaded this way; `EBUSY`: one is
    /// under way on it.
    pub(super) fn may_unload(&self, name: &[u8; NAME_LEN]) -> Result {
        let known = self.0.iter().find(|m| m.name == *name).ok_or(ENOENT)?;
        match known.state {
            VESPER_MODULE_LIVE => Ok(()),
            _ => Err(EBUSY),
        }
    }

    /// Request `request` is to unload it.
    pub(super) fn unloading(&mut self, name: &[u8; NAME_LEN], request: u32) {
        if let Some(known) = self.0.iter_mut().find(|m| m.name == *name) {
            known.state = VESPER_MODULE_UNLOADING;
            known.request = request;
        }
    }

    /// A request was withdrawn before the guest had it.
    pub(super) fn withdrawn(&mut self, request: u32, unload: bool) {
        let Some(at) = self.0.iter().position(|m| m.request == request) else {
            return;
        };
        if unload {
            self.0[at].state = VESPER_MODULE_LIVE;
            self.0[at].request = 0;
        } else {
            let _ = self.0.remove(at);
        }
    }

    /// What the guest says unasked of a module, see `struct virtio_vesper_result`. While there is a
    /// request on the module, its answer will tell.
    pub(super) fn news(&mut self, outcome: &Outcome) {
        let at = self.0.iter().position(|m| m.name == outcome.module);
        let gone = outcome.status == ENOENT.to_errno().unsigned_abs();
        match at {
            Some(at) if gone && self.0[at].state == VESPER_MODULE_LIVE => {
                let _ = self.0.remove(at);
            }
            Some(at) if outcome.status == 0 && self.0[at].state != VESPER_MODULE_LOADING => {
                *self.0[at].text = outcome.text;
            }
            None if outcome.status == 0 && outcome.module[0] != 0 && self.0.len() < MAX_MODULES => {
                // Without memory it can't be unloaded from here, and is none the worse for it.
                let Ok(text) = KBox::new(outcome.text, GFP_KERNEL_ACCOUNT) else {
                    return;
                };
                let known = Known {
                    name: outcome.module,
                    state: VESPER_MODULE_LIVE,
                    status: 0,
                    image_len: 0,
                    loaded_ns: 0,
                    text,
                    request: 0,
                };
                // As above.
                let _ = self.0.push(known, GFP_KERNEL_ACCOUNT);
            }
            _ => {}
        }
    }

    /// The guest's answer to a request.
    pub(super) fn learn(&mut self, request: u32, unload: bool, outcome: &Outcome) {
        let Some(at) = self.0.iter().position(|m| m.request == request) else {
            return;
        };
        // What the guest does not have any more was removed there.
        let there = match unload {
            true => outcome.status != 0 && outcome.status != ENOENT.to_errno().unsigned_abs(),
            false => outcome.status == 0,
        };
        if !there {
            let _ = self.0.remove(at);
            return;
        }
        // The guest's kernel has the last word on the name, unless that would hide another.
        let free = outcome.module[0] != 0 && !self.0.iter().any(|m| m.name == outcome.module);
        let known = &mut self.0[at];
        known.request = 0;
        known.state = VESPER_MODULE_LIVE;
        known.status = outcome.status;
        if !unload {
            // With a status of 0 the sentence is not of a failure, but of what it does without.
            *known.text = outcome.text;
            known.loaded_ns = real_ns();
            if free {
                known.name = outcome.module;
            }
        }
    }
}
