// SPDX-License-Identifier: GPL-2.0

//! Probe API: what the modules of probes link against (paper §5.1).
//!
//! A [`channel`] has a [`lane`] for each CPU, on which records are put into CTF packets by a
//! [`writer`]. What is lent to the host is a [`store`], the way to tell it an [`outlet`]. Probes
//! come in through [`capi`], with a description of their records that [`spec`] reads, and have their
//! handlers called at [`points`].

use kernel::prelude::*;

mod awaited;
mod capi;
mod channel;
mod choice;
mod debugfs;
mod hook;
mod lane;
mod outlet;
mod points;
mod registry;
mod remark;
mod spec;
pub(crate) mod standing;
mod store;
mod symbols;
mod text;
mod tsdl;
mod writer;

pub(crate) use lane::silence;
pub(crate) use remark::Listening;

/// The API, ready for probes. Dropped when the module goes.
pub(crate) struct Probes {
    _registry: registry::Guard,
}

impl Probes {
    /// Gets the API ready. Called once, by the module, before a probe can be loaded.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: As below.
        unsafe {
            remark::init();
            standing::init();
        }
        Ok(Self {
            // SAFETY: Called once, by the module's own `init`, before which no module that uses its
            // symbols can be loaded.
            _registry: unsafe { registry::init()? },
        })
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        standing::exit();
        remark::exit();
    }
}
