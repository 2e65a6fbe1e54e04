// SPDX-License-Identifier: GPL-2.0

//! VESPER guest driver: loads probes for the host and lends it their relay buffers.

// Until the probe API uses the listener.
#![allow(dead_code, unused_imports)]

use kernel::prelude::*;

#[path = "../common/abi.rs"]
mod abi;
mod bindings;
mod clock;
mod listener;
mod sys;

module! {
    type: VesperGuest,
    name: "vesper_guest",
    authors: ["The VESPER developers"],
    description: "VESPER: guest side, probe loader and probe listener",
    license: "GPL",
}

struct VesperGuest;

impl kernel::Module for VesperGuest {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(VesperGuest)
    }
}
