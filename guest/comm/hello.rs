// SPDX-License-Identifier: GPL-2.0

//! The first message: who we are.

use super::{
    Comm,
    Config, //
};
use crate::{
    abi, bindings, clock,
    later::EPROTONOSUPPORT,
    sys::{
        boot_id,
        module, //
    },
};
use kernel::prelude::*;

/// Copies a string to a field, cut to fit with its terminator.
fn field<const N: usize>(text: &CStr) -> [u8; N] {
    let mut field = [0; N];
    for (to, from) in field[..N - 1].iter_mut().zip(text.to_bytes()) {
        *to = *from;
    }
    field
}

impl Comm {
    /// Introduces this guest to the host; fails if the two can't understand each other. That is
    /// for the host to hear, too, so it is told whatever `config` says. Process context.
    pub(crate) fn hello(&self, config: &Config, load_policy: u32, features: u32) -> Result {
        let anchor = clock::anchor();
        let hello = bindings::virtio_vesper_hello {
            abi_version: bindings::VIRTIO_VESPER_ABI_VERSION.to_le(),
            nr_cpus: kernel::cpu::nr_cpu_ids().to_le(),
            boot_id: boot_id::get(),
            tsc_khz: u64::from(clock::frequency_khz()).to_le(),
            tsc_anchor: anchor.now.to_le(),
            realtime_ns: anchor.realtime_ns.to_le(),
            load_policy: load_policy.to_le(),
            features: features.to_le(),
            release: field(module::release()),
            vermagic: field(module::vermagic()),
            ..Zeroable::zeroed()
        };
        let answer = self.request(bindings::VIRTIO_VESPER_C_HELLO, hello, &[]);
        check_version(config.abi_version)?;
        check_version(answer?)
    }

    /// Takes leave: nothing is lent any more. Process context.
    pub(crate) fn goodbye(&self) -> Result {
        let bye: bindings::virtio_vesper_hdr = Zeroable::zeroed();
        self.request(bindings::VIRTIO_VESPER_C_GOODBYE, bye, &[])?;
        Ok(())
    }
}

/// Compares the version of the device ABI that the host has with ours.
fn check_version(version: u32) -> Result {
    let ours = bindings::VIRTIO_VESPER_ABI_VERSION;
    let older = match abi::versions(ours, version) {
        abi::Versions::Match => return Ok(()),
        abi::Versions::WeAreOlder => "this guest's vesper_guest",
        abi::Versions::PeerIsOlder => "the host's vesper_host",
    };
    pr_err!(
        "device ABI {}.{} here, {}.{} on the other side: {} is older and must be updated\n",
        ours >> 16,
        ours & 0xffff,
        version >> 16,
        version & 0xffff,
        older,
    );
    Err(EPROTONOSUPPORT)
}
