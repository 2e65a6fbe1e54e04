// SPDX-License-Identifier: GPL-2.0

//! VESPER guest driver: loads probes for the host and lends it their relay buffers.
//!
//! Paper §3.1: `comm` is the communication layer, `loader` and `listener` are the action layer;
//! the probe API and the module parameters are what a user sees. `guest` puts them together.

use kernel::{
    prelude::*,
    sync::Arc, //
};

#[path = "../common/abi.rs"]
mod abi;
mod beat;
mod bindings;
mod clock;
mod comm;
mod foreign;
mod guest;
#[path = "../common/later.rs"]
mod later;
mod listener;
mod loader;
#[path = "../common/pattern.rs"]
mod pattern;
mod probe;
mod sys;
mod text;

module! {
    type: VesperGuest,
    name: "vesper_guest",
    authors: ["The VESPER developers"],
    description: "VESPER: guest side, probe loader and probe listener",
    license: "GPL",
}

/// Id of this boot, as [`comm`] tells it to the host, in the order of bytes in which it is printed.
pub(crate) fn boot_id() -> [u8; 16] {
    sys::boot_id::get()
}

/// The module. Fields are dropped in order: first nothing new comes in, then what is under way
/// ends, then the parts go.
struct VesperGuest {
    _driver: sys::virtio::Registration<guest::Guest>,
    _panic: sys::notifier::Notifier<guest::Guest>,
    _parts: Parts,
    _probes: probe::Probes,
}

/// What has no end of its own.
struct Parts {
    guest: Arc<guest::Guest>,
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.guest.drain();
        loader::withdraw();
        listener::withdraw();
    }
}

impl kernel::Module for VesperGuest {
    fn init(module: &'static ThisModule) -> Result<Self> {
        sys::boot_id::init();
        let _probes = probe::Probes::new()?;

        let comm = Arc::pin_init(comm::Comm::new(), GFP_KERNEL)?;
        let listener = Arc::pin_init(listener::Listener::new(comm.clone()), GFP_KERNEL)?;
        let loader = loader::Loader::new(comm.clone(), listener.clone())?;
        let foreign = foreign::Foreign::new(comm.clone())?;
        let guest = guest::Guest::new(comm, listener.clone(), loader.clone(), foreign)?;
        loader.publish()?;
        listener::publish(listener);
        let parts = Parts { guest };
        Ok(Self {
            _panic: sys::notifier::Notifier::on_panic(parts.guest.clone())?,
            _driver: sys::virtio::Registration::new(module, &guest::FEATURES, parts.guest.clone())?,
            _parts: parts,
            _probes,
        })
    }
}
