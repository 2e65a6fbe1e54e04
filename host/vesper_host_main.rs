// SPDX-License-Identifier: GPL-2.0

//! VESPER host module: guests' relay buffers as relay files of the host.
//!
//! Layers (paper, figure 2): UI is `control` and `files`; action is `loader` and `listener`;
//! communication is `attach`, the only part that knows how a VMM reaches us, and `carrier`, which is
//! the same for this very kernel. `domain` and `host` hold them together, `sys` wraps the kernel.

use kernel::{
    prelude::*,
    sync::Arc, //
};

#[path = "../common/abi.rs"]
mod abi;
mod attach;
mod bindings;
mod carrier;
mod changes;
mod control;
mod desk;
mod domain;
mod files;
mod heartbeat;
mod host;
#[path = "../common/later.rs"]
mod later;
mod listener;
mod loader;
mod message;
#[path = "../common/pattern.rs"]
mod pattern;
mod sys;
mod uapi;

use crate::{
    attach::Attachment,
    control::Operator,
    heartbeat::{
        Settings,
        Watcher, //
    },
    host::{
        Host,
        Limits, //
    },
    later::Param,
    sys::node::Device, //
};

module! {
    type: VesperHost,
    name: "vesper_host",
    authors: ["The VESPER developers"],
    description: "VESPER: see into guest kernels from the host",
    license: "GPL",
    params: {
        max_domains: u32 {
            default: 64,
            description: "guests attached at a time",
        },
        max_channels: u32 {
            default: 64,
            description: "channels a guest may have open",
        },
        max_buffer_pages: u32 {
            default: 4096,
            description: "pages of one buffer",
        },
        max_lent_pages: u32 {
            default: 262144,
            description: "pages a guest may have lent",
        },
        max_kept_mib: u32 {
            default: 256,
            description: "MiB kept of a guest for readers after the guest gave them back",
        },
        max_kept_total_mib: u32 {
            default: 1024,
            description: "MiB kept so of all guests",
        },
        max_dead: u32 {
            default: 16,
            description: "guests that are gone of which unread data is kept",
        },
        max_requests: u32 {
            default: 16,
            description: "load and unload requests of a guest under way",
        },
        heartbeat_threshold_ms: u32 {
            default: 2000,
            description: "time a guest's CPU may have had without a beat, unless told otherwise",
        },
        heartbeat_period_ms: u32 {
            default: 100,
            description: "time between beats of a guest's CPU, unless told otherwise",
        },
    },
}

struct VesperHost {
    // The nodes go first: from then on nothing new begins.
    _attach: Pin<KBox<Device<Attachment>>>,
    _control: Pin<KBox<Device<Operator>>>,
    _watcher: Watcher,
    _host: ShutDown,
}

/// The module's own reference; dropping it lets go of what is left.
struct ShutDown(Arc<Host>);

impl Drop for ShutDown {
    fn drop(&mut self) {
        carrier::withdraw();
        self.0.shut_down();
    }
}

impl kernel::Module for VesperHost {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let host = ShutDown(Host::new(Limits {
            max_domains: module_parameters::max_domains.get() as usize,
            max_channels: module_parameters::max_channels.get() as usize,
            max_buffer_pages: module_parameters::max_buffer_pages.get() as usize,
            max_lent_pages: module_parameters::max_lent_pages.get() as usize,
            max_kept_bytes: (module_parameters::max_kept_mib.get() as usize) << 20,
            max_kept_total: (module_parameters::max_kept_total_mib.get() as usize) << 20,
            max_dead: module_parameters::max_dead.get() as usize,
            max_requests: module_parameters::max_requests.get() as usize,
            heartbeat: Settings {
                threshold_ms: module_parameters::heartbeat_threshold_ms.get(),
                period_ms: module_parameters::heartbeat_period_ms.get(),
            }
            .check()
            .inspect_err(|_| {
                pr_err!("heartbeat_threshold_ms, heartbeat_period_ms: out of range\n")
            })?,
        })?);
        carrier::publish(host.0.clone());
        let watcher = Watcher::start(host.0.clone())?;
        // Files can be opened when nothing can fail any more.
        let attach = KBox::pin_init(
            Device::register(c"vesper-attach", host.0.clone(), false),
            GFP_KERNEL,
        )?;
        let control = KBox::pin_init(
            Device::register(c"vesper", host.0.clone(), true),
            GFP_KERNEL,
        )?;
        attach.admit();
        Ok(Self {
            _attach: attach,
            _control: control,
            _watcher: watcher,
            _host: host,
        })
    }
}
