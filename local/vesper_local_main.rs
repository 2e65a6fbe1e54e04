// SPDX-License-Identifier: GPL-2.0

//! The host as a domain: carries messages between `vesper_guest` and `vesper_host` of one kernel.
//!
//! To the former this is the device that a VMM gives to a guest, to the latter it is a VMM; so
//! neither is any different for it, nor is a probe. Paper §5.2; the layer is that of communication.

use kernel::{
    prelude::*,
    sync::Arc, //
};

mod bindings;
mod device;
#[path = "../common/later.rs"]
mod later;
mod sys;

use crate::{
    device::Local,
    sys::virtio::Registration, //
};

module! {
    type: VesperLocal,
    name: "vesper_local",
    authors: ["The VESPER developers"],
    description: "VESPER: the host itself as a domain",
    license: "GPL",
}

/// The module. Fields are dropped in order: first the driver loses the device, then the host the
/// domain.
struct VesperLocal {
    _registration: Registration<Local>,
    _attached: Attached,
}

struct Attached(Arc<Local>);

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.shut_down();
    }
}

impl kernel::Module for VesperLocal {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let attached = Attached(Local::new()?);
        Ok(Self {
            _registration: Registration::new(attached.0.clone())?,
            _attached: attached,
        })
    }
}
