// SPDX-License-Identifier: GPL-2.0

//! VESPER host module: guests' relay buffers as relay files of the host.

use kernel::prelude::*;

mod bindings;

module! {
    type: VesperHost,
    name: "vesper_host",
    authors: ["The VESPER developers"],
    description: "VESPER: see into guest kernels from the host",
    license: "GPL",
}

struct VesperHost;

impl kernel::Module for VesperHost {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        pr_info!("ABI {:#x} {}\n", bindings::VESPER_ABI_VERSION, core::mem::size_of::<bindings::rchan_buf>());
        Ok(VesperHost)
    }
}
