// SPDX-License-Identifier: GPL-2.0

//! The host module as the commands see it, and errno values made sentences.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use vesper_abi::bindings::{
    vesper_buffer, vesper_domain, vesper_heartbeat, vesper_load, vesper_module, vesper_reap,
    vesper_share, vesper_shared, vesper_unload, VESPER_ABI_VERSION, VESPER_DOMAIN_BROKEN,
    VESPER_HEARTBEAT_SET_PERIOD, VESPER_HEARTBEAT_SET_THRESHOLD, VESPER_SHARE_STOP,
    VIRTIO_VESPER_ABI_VERSION,
};
use vesper_abi::check_version;
use vesper_abi::name::{label_field, text, NAME_LEN};
use vesper_abi::pattern::{pattern_field, PATTERN_LEN};
use zerocopy::FromZeros;

use crate::error::{Action, Error, Refusal, Result};
use crate::sys;

/// No list of the module is longer.
const MAX_ENTRIES: usize = 1 << 16;

/// The calls of /dev/vesper; a trait so that tests need no kernel module.
pub trait Control {
    /// Version of the ioctl ABI that the module speaks.
    fn abi_version(&self) -> nix::Result<u32>;
    /// The guests.
    fn domains(&self) -> nix::Result<Vec<vesper_domain>>;
    /// Modules of a guest.
    fn modules(&self, domain: &[u8; NAME_LEN]) -> nix::Result<Vec<vesper_module>>;
    /// Buffers of a guest.
    fn buffers(&self, domain: &[u8; NAME_LEN]) -> nix::Result<Vec<vesper_buffer>>;
    /// Loads; answers in `request`.
    fn load(&self, request: &mut vesper_load, image: &[u8], params: &[u8]) -> nix::Result<()>;
    /// Unloads; answers in `request`.
    fn unload(&self, request: &mut vesper_unload) -> nix::Result<()>;
    /// Throws away what is kept.
    fn reap(&self, request: &mut vesper_reap) -> nix::Result<()>;
    /// Shows channels of others, or shows them no more; answers in `request`.
    fn share(&self, request: &mut vesper_share) -> nix::Result<()>;
    /// What is shown of a guest's other channels.
    fn shared(&self, domain: &[u8; NAME_LEN]) -> nix::Result<Vec<vesper_shared>>;
    /// Asks about a heartbeat, or sets it up; answers in `request`.
    fn heartbeat(&self, request: &mut vesper_heartbeat) -> nix::Result<()>;
}

impl<C: Control> Control for &C {
    fn abi_version(&self) -> nix::Result<u32> {
        (**self).abi_version()
    }

    fn domains(&self) -> nix::Result<Vec<vesper_domain>> {
        (**self).domains()
    }

    fn modules(&self, domain: &[u8; NAME_LEN]) -> nix::Result<Vec<vesper_module>> {
        (**self).modules(domain)
    }

    fn buffers(&self, domain: &[u8; NAME_LEN]) -> nix::Result<Vec<vesper_buffer>> {
        (**self).buffers(domain)
    }

    fn load(&self, request: &mut vesper_load, image: &[u8], params: &[u8]) -> nix::Result<()> {
        (**self).load(request, image, params)
    }

    fn unload(&self, request: &mut vesper_unload) -> nix::Result<()> {
        (**self).unload(request)
    }

    fn reap(&self, request: &mut vesper_reap) -> nix::Result<()> {
        (**self).reap(request)
    }

    fn share(&self, request: &mut vesper_share) -> nix::Result<()> {
        (**self).share(request)
    }

    fn shared(&self, domain: &[u8; NAME_LEN]) -> nix::Result<Vec<vesper_shared>> {
        (**self).shared(domain)
    }

    fn heartbeat(&self, request: &mut vesper_heartbeat) -> nix::Result<()> {
        (**self).heartbeat(request)
    }
}

/// The real thing.
#[derive(Debug)]
pub struct Device(File);

impl Device {
    /// Opens the control device.
    pub fn open(path: &Path) -> Result<Self> {
        let opened = OpenOptions::new().read(true).write(true).open(path);
        let file = opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NoDevice(path.to_owned()),
            io::ErrorKind::PermissionDenied => Error::DevicePermission(path.to_owned()),
            // A node that is left over from a module that is gone.
            _ if matches!(
                error.raw_os_error().map(Errno::from_raw),
                Some(Errno::ENXIO | Errno::ENODEV)
            ) =>
            {
                Error::NoDevice(path.to_owned())
            }
            _ => Error::File {
                path: path.to_owned(),
                error,
            },
        })?;
        Ok(Self(file))
    }

    fn list<T: sys::Entry>(&self, domain: &[u8; NAME_LEN]) -> nix::Result<Vec<T>> {
        let mut room = 64;
        loop {
            let mut entries = vec![T::new_zeroed(); room];
            let count = sys::list(&self.0, domain, &mut entries)?;
            if count <= room || room == MAX_ENTRIES {
                entries.truncate(count);
                return Ok(entries);
            }
            // More may come while we ask again.
            room = (count + 16).min(MAX_ENTRIES);
        }
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Control for Device {
    fn abi_version(&self) -> nix::Result<u32> {
        Ok(sys::info(&self.0)?.abi_version)
    }

    fn domains(&self) -> nix::Result<Vec<vesper_domain>> {
        self.list(&[0; NAME_LEN])
    }

    fn modules(&self, domain: &[u8; NAME_LEN]) -> nix::Result<Vec<vesper_module>> {
        self.list(domain)
    }

    fn buffers(&self, domain: &[u8; NAME_LEN]) -> nix::Result<Vec<vesper_buffer>> {
        self.list(domain)
    }

    fn load(&self, request: &mut vesper_load, image: &[u8], params: &[u8]) -> nix::Result<()> {
        sys::load(&self.0, request, image, params)
    }

    fn unload(&self, request: &mut vesper_unload) -> nix::Result<()> {
        sys::unload(&self.0, request)
    }

    fn reap(&self, request: &mut vesper_reap) -> nix::Result<()> {
        sys::reap(&self.0, request)
    }

    fn share(&self, request: &mut vesper_share) -> nix::Result<()> {
        sys::share(&self.0, request)
    }

    fn shared(&self, domain: &[u8; NAME_LEN]) -> nix::Result<Vec<vesper_shared>> {
        self.list(domain)
    }

    fn heartbeat(&self, request: &mut vesper_heartbeat) -> nix::Result<()> {
        sys::heartbeat(&self.0, request)
    }
}

/// A control whose version has been compared, with errors that say what to do.
#[derive(Debug)]
pub struct Host<C>(C);

impl<C: Control> Host<C> {
    /// Makes sure that both sides speak of the same structs.
    pub fn new(control: C) -> Result<Self> {
        let theirs = control.abi_version().map_err(|errno| match errno {
            Errno::ENOTTY => Error::NotVesper,
            errno => ioctl("asking the host module", errno),
        })?;
        check_version(VESPER_ABI_VERSION, theirs).map_err(|older| Error::Abi {
            ours: VESPER_ABI_VERSION,
            theirs,
            older,
        })?;
        Ok(Self(control))
    }

    /// All guests, by name.
    pub fn domains(&self) -> Result<Vec<vesper_domain>> {
        let listed = self.0.domains();
        let mut domains = listed.map_err(|errno| ioctl("listing the domains", errno))?;
        domains.sort_by_key(|domain| domain.name);
        Ok(domains)
    }

    /// One guest.
    pub fn domain(&self, domain: &str) -> Result<vesper_domain> {
        let domains = self.domains()?;
        let found = domains.iter().find(|d| text(&d.name) == domain.as_bytes());
        found.copied().ok_or_else(|| self.no_domain(domain))
    }

    /// Modules of a guest, by name.
    pub fn modules(&self, domain: &str) -> Result<Vec<vesper_module>> {
        let listed = self.0.modules(&field(domain));
        let mut modules = listed.map_err(|errno| self.listing(domain, errno))?;
        modules.sort_by_key(|module| module.name);
        Ok(modules)
    }

    /// Buffers of a guest, by module, channel and number.
    pub fn buffers(&self, domain: &str) -> Result<Vec<vesper_buffer>> {
        let listed = self.0.buffers(&field(domain));
        let mut buffers = listed.map_err(|errno| self.listing(domain, errno))?;
        buffers.sort_by_key(|b| (b.module, b.channel, b.buffer));
        Ok(buffers)
    }

    /// Loads a module into a guest and waits for its answer; gives its remark,
    /// which may be empty.
    pub fn load(
        &self,
        domain: &str,
        module: &str,
        image: &[u8],
        params: &[u8],
        timeout: Duration,
    ) -> Result<Vec<u8>> {
        let mut request = vesper_load::new_zeroed();
        request.domain = field(domain);
        request.module = field(module);
        request.timeout_ms = milliseconds(timeout);
        self.0
            .load(&mut request, image, params)
            .map_err(|errno| self.request(Action::Load, domain, module, errno))?;
        answer(
            Action::Load,
            domain,
            module,
            request.status,
            request.stage,
            &request.text,
        )?;
        Ok(text(&request.text).to_vec())
    }

    /// Unloads a module from a guest and waits until it is gone.
    pub fn unload(&self, domain: &str, module: &str, timeout: Duration) -> Result<()> {
        let mut request = vesper_unload::new_zeroed();
        request.domain = field(domain);
        request.module = field(module);
        request.timeout_ms = milliseconds(timeout);
        self.0
            .unload(&mut request)
            .map_err(|errno| self.request(Action::Unload, domain, module, errno))?;
        answer(
            Action::Unload,
            domain,
            module,
            request.status,
            request.stage,
            &request.text,
        )
    }

    /// Throws away what is kept of a dead guest, or of a module that is gone; gives how many bytes
    /// of memory that was.
    pub fn reap(&self, domain: &str, module: Option<&str>) -> Result<u64> {
        let mut request = vesper_reap::new_zeroed();
        request.domain = field(domain);
        if let Some(module) = module {
            // An empty one would mean everything.
            request.module = label_field(module).map_err(|_| {
                let (domain, module) = (domain.to_owned(), module.to_owned());
                Error::NothingKept { domain, module }
            })?;
        }
        match self.0.reap(&mut request) {
            Ok(()) => Ok(request.bytes),
            Err(Errno::ENODEV) => Err(self.no_domain(domain)),
            Err(Errno::ENOENT) => Err(Error::NothingKept {
                domain: domain.to_owned(),
                module: module.unwrap_or_default().to_owned(),
            }),
            Err(Errno::EBUSY) => Err(Error::Live {
                domain: domain.to_owned(),
                module: module.map(str::to_owned),
            }),
            Err(errno) => Err(ioctl(format!("reaping of '{domain}'"), errno)),
        }
    }

    /// Has a guest show relay channels of others, or show them no more; gives what it says.
    pub fn share(
        &self,
        domain: &str,
        pattern: &str,
        stop: bool,
        timeout: Duration,
    ) -> Result<Vec<u8>> {
        let action = if stop { Action::Unshare } else { Action::Share };
        let mut request = vesper_share::new_zeroed();
        request.domain = field(domain);
        request.pattern = pattern_field(pattern).unwrap_or([0; PATTERN_LEN]);
        request.flags = if stop { VESPER_SHARE_STOP } else { 0 };
        request.timeout_ms = milliseconds(timeout);
        self.0.share(&mut request).map_err(|errno| match errno {
            Errno::EOPNOTSUPP | Errno::ENOTTY => Error::CannotShare {
                domain: domain.to_owned(),
                host: errno == Errno::ENOTTY,
            },
            errno => self.request(action, domain, pattern, errno),
        })?;
        answer(
            action,
            domain,
            pattern,
            request.status,
            request.stage,
            &request.text,
        )?;
        Ok(text(&request.text).to_vec())
    }

    /// The patterns of other channels that a guest shows, sorted.
    pub fn shared(&self, domain: &str) -> Result<Vec<Vec<u8>>> {
        let listed = self.0.shared(&field(domain));
        let listed = listed.map_err(|errno| self.listing(domain, errno))?;
        let mut patterns: Vec<_> = listed.iter().map(|s| text(&s.pattern).to_vec()).collect();
        patterns.sort();
        Ok(patterns)
    }

    /// What a guest's heartbeat says, after setting what is given.
    pub fn heartbeat(
        &self,
        domain: &str,
        threshold: Option<Duration>,
        period: Option<Duration>,
    ) -> Result<vesper_heartbeat> {
        let mut request = vesper_heartbeat::new_zeroed();
        request.domain = field(domain);
        if let Some(threshold) = threshold {
            request.flags |= VESPER_HEARTBEAT_SET_THRESHOLD;
            request.threshold_ms = milliseconds(threshold);
        }
        if let Some(period) = period {
            request.flags |= VESPER_HEARTBEAT_SET_PERIOD;
            request.period_ms = milliseconds(period);
        }
        match self.0.heartbeat(&mut request) {
            Ok(()) => Ok(request),
            Err(Errno::ENODEV) => Err(self.no_domain(domain)),
            Err(Errno::EINVAL) if request.flags != 0 => Err(Error::Heartbeat(domain.to_owned())),
            Err(Errno::ENOTTY) => Err(Error::NoHeartbeat),
            Err(errno) => Err(ioctl(format!("the heartbeat of '{domain}'"), errno)),
        }
    }

    fn no_domain(&self, domain: &str) -> Error {
        let known = self.0.domains().unwrap_or_default();
        let name = |d: &vesper_domain| String::from_utf8_lossy(text(&d.name)).into_owned();
        let mut known: Vec<_> = known.iter().map(name).collect();
        known.sort();
        Error::NoDomain {
            domain: domain.to_owned(),
            known,
        }
    }

    /// Why nobody listens in a guest.
    fn no_driver(&self, domain: String) -> Error {
        let found = self.domain(&domain);
        if found
            .as_ref()
            .is_ok_and(|it| it.state == VESPER_DOMAIN_BROKEN)
        {
            return Error::Broken(domain);
        }
        let theirs = found.map_or(0, |found| found.guest_abi);
        let ours = VIRTIO_VESPER_ABI_VERSION;
        match check_version(ours, theirs) {
            Err(older) if theirs != 0 => Error::GuestAbi {
                domain,
                ours,
                theirs,
                older,
            },
            _ => Error::NoDriver(domain),
        }
    }

    fn listing(&self, domain: &str, errno: Errno) -> Error {
        match errno {
            Errno::ENODEV => self.no_domain(domain),
            errno => ioctl(format!("listing what belongs to '{domain}'"), errno),
        }
    }

    /// What an errno value of load and unload means; the ABI header has them.
    fn request(&self, action: Action, domain: &str, module: &str, errno: Errno) -> Error {
        let (domain, module) = (domain.to_owned(), module.to_owned());
        match errno {
            Errno::ENODEV => self.no_domain(&domain),
            Errno::ENOTCONN => self.no_driver(domain),
            Errno::EPIPE => Error::Gone(domain),
            Errno::EEXIST => Error::Exists { domain, module },
            Errno::ENOENT => Error::NotLoaded { domain, module },
            Errno::ETIMEDOUT => Error::TimedOut {
                action,
                domain,
                module,
            },
            Errno::EINTR => Error::Interrupted {
                action,
                domain,
                module,
            },
            errno => ioctl(format!("{action} of '{module}' in guest '{domain}'"), errno),
        }
    }
}

fn answer(
    action: Action,
    domain: &str,
    module: &str,
    status: u32,
    stage: u32,
    words: &[u8],
) -> Result<()> {
    if status == 0 {
        return Ok(());
    }
    Err(Error::Refused(Refusal {
        action,
        domain: domain.to_owned(),
        module: module.to_owned(),
        status,
        stage,
        text: text(words).to_vec(),
    }))
}

fn ioctl(what: impl Into<String>, errno: Errno) -> Error {
    let what = what.into();
    Error::Ioctl { what, errno }
}

/// The command line has checked the name, so it fits; an empty field is what
/// the module refuses should that ever change.
fn field(name: &str) -> [u8; NAME_LEN] {
    label_field(name).unwrap_or([0; NAME_LEN])
}

/// A time-out for the module, which takes 0 for none at all.
fn milliseconds(timeout: Duration) -> u32 {
    u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX)
}
