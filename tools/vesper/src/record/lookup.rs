// SPDX-License-Identifier: GPL-2.0

//! What the host knows of a guest whose records are taken.

use std::fs;
use std::path::PathBuf;

use vesper_abi::bindings;
use vesper_ctf::clock::Clock;
use vesper_ctf::metadata::Metadata;

use super::origin::{described, parse_uuid, Origin, Time};
use crate::control::{Control, Host};
use crate::debugfs::Debugfs;
use crate::error::Result;
use crate::timeline::{Counter, Reading, Scaling, WallClock};

/// The name of the host itself, which no guest can have.
const HOST: &str = "host";

/// How the guest's driver describes that clock.
const TSC: &[u8] = b"TSC";

/// Why a guest has a clock of its own, and what would help.
const NO_TSC: &str = "its records do not have the TSC, which its kernel does not find constant \
    (QEMU's -cpu ...,+invtsc makes it so)";

/// What is the same for all guests.
pub(crate) struct Lookup<C> {
    /// Where debugfs is mounted.
    debugfs: PathBuf,
    /// The control device, if it can be used.
    control: Option<Host<C>>,
    host: String,
    time_line: [u8; 16],
    /// From the beginning of the recording, as all that is below.
    wall: WallClock,
    /// By TSC, and by the monotonic clock.
    first: [Reading; 2],
}

impl<C: Control> Lookup<C> {
    pub(crate) fn new(debugfs: &Debugfs, control: Result<Host<C>>) -> Self {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let boot_id = boot_id.unwrap_or_default();
        let host = nix::unistd::gethostname().unwrap_or_default();
        let wall = WallClock::now();
        Self {
            debugfs: debugfs.root().parent().unwrap_or(debugfs.root()).to_owned(),
            control: control.ok(),
            host: host.to_string_lossy().into_owned(),
            time_line: parse_uuid(boot_id.trim().as_bytes()).unwrap_or_default(),
            first: Reading::both(&wall),
            wall,
        }
    }

    /// The wall clock that all of it is on.
    pub(crate) fn wall(&self) -> &WallClock {
        &self.wall
    }

    /// Origin of the records of a module of `domain`.
    pub(crate) fn origin(&self, domain: &str, metadata: Option<&Metadata>) -> Origin {
        let (clock, boot_id) = described(metadata);
        Origin {
            time: self.time(domain, clock.as_ref(), boot_id),
            // What has made room for a new guest was called so.
            domain: domain.split('@').next().unwrap_or(domain).to_owned(),
            host: self.host.clone(),
            time_line: self.time_line,
            clock,
            boot_id,
        }
    }

    fn time(&self, domain: &str, clock: Option<&Clock>, boot_id: Option<[u8; 16]>) -> Time {
        let [by_tsc, by_clock] = self.first;
        let tsc = clock.is_some_and(|clock| clock.description == TSC);
        if domain == HOST {
            return match tsc {
                true => Time::Host(Counter::Tsc, Scaling::HOST, by_tsc),
                false => Time::Host(Counter::Monotonic, Scaling::HOST, by_clock),
            };
        }
        if !tsc {
            return Time::Guest(NO_TSC);
        }
        let Some(control) = &self.control else {
            return Time::Guest("the control device can't be used");
        };
        let Ok(found) = control.domain(domain) else {
            return Time::Guest("the host module does not know the guest any more");
        };
        if found.state == bindings::VESPER_DOMAIN_DEAD {
            return Time::Guest("its VMM is gone");
        }
        if boot_id != Some(found.boot_id) {
            return Time::Guest("it has booted again since");
        }
        match Scaling::of_process(&self.debugfs, found.vmm_pid) {
            Some(scaling) => Time::Host(Counter::Tsc, scaling, by_tsc),
            None => Time::Guest("KVM shows no TSC offset of its VMM"),
        }
    }

    /// A sentence about its time.
    pub(crate) fn describe(&self, origin: &Origin) -> String {
        let Some(block) = origin.guess() else {
            return "no metadata: its bytes are copied as they are".into();
        };
        match origin.time {
            Time::Guest(why) => format!("times are by the guest's own wall clock: {why}"),
            Time::Host(..) => {
                let cycles = u128::from(block.precision) * 1_000_000_000;
                let error = cycles.div_ceil(u128::from(block.clock.freq.max(1)));
                format!("times are on the host's wall clock, within {error} ns")
            }
        }
    }
}
