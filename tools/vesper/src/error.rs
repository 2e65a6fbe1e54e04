// SPDX-License-Identifier: GPL-2.0

//! What can go wrong, said with cause and remedy.

use std::fmt;
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use thiserror::Error;
use vesper_abi::bindings;
use vesper_abi::escape::Escaped;
use vesper_abi::Older;
use vesper_ctf::tsdl::TsdlError;

use crate::image::ImageError;
use crate::keep::config::ConfigError;
use crate::record::RecordError;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What a request was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `vesper load`.
    Load,
    /// `vesper unload`.
    Unload,
    /// `vesper share`.
    Share,
    /// `vesper share --stop`.
    Unshare,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Load => "load",
            Self::Unload => "unload",
            Self::Share => "share",
            Self::Unshare => "stop sharing",
        })
    }
}

/// A guest's answer that is not yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What was asked.
    pub action: Action,
    /// Of whom.
    pub domain: String,
    /// About which module.
    pub module: String,
    /// The guest's errno value.
    pub status: u32,
    /// Where it was decided, `VIRTIO_VESPER_STAGE_*`.
    pub stage: u32,
    /// The guest's own words, if any.
    pub text: Vec<u8>,
}

/// What ends a command without success.
#[derive(Debug, Error)]
pub enum Error {
    /// There is no control device.
    #[error("{} does not exist: the host module is not loaded", .0.display())]
    NoDevice(PathBuf),
    /// The control device is not for this user.
    #[error("no permission to open {}", .0.display())]
    DevicePermission(PathBuf),
    /// A file or directory that can't be used.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Some other file in the place of the control device.
    #[error("what is there is not the control device of the VESPER host module")]
    NotVesper,
    /// The two sides of the ioctl ABI do not fit.
    #[error(
        "the host module speaks version {} of the interface, this tool version {}: {}",
        .theirs >> 16, .ours >> 16,
        match older { Older::We => "this tool is older", Older::Peer => "the module is older" }
    )]
    Abi {
        /// The tool's.
        ours: u32,
        /// The module's.
        theirs: u32,
        /// Who has to follow.
        older: Older,
    },
    /// A name that no guest has.
    #[error("there is no domain '{domain}'")]
    NoDomain {
        /// The name.
        domain: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// A guest without the driver.
    #[error("there is no VESPER driver in guest '{0}'")]
    NoDriver(String),
    /// A guest that nothing more is taken from.
    #[error("guest '{0}' broke the protocol, and nothing more is taken from it")]
    Broken(String),
    /// A guest whose driver was turned away.
    #[error(
        "the VESPER driver in guest '{domain}' speaks version {} of the device interface, the \
         host version {}: {}",
        .theirs >> 16, .ours >> 16,
        match older {
            Older::We => "the host's modules are older",
            Older::Peer => "the guest's modules are older",
        }
    )]
    GuestAbi {
        /// The guest.
        domain: String,
        /// The host's version.
        ours: u32,
        /// The guest's.
        theirs: u32,
        /// Who has to follow.
        older: Older,
    },
    /// A guest or a VMM that went away in the middle.
    #[error("guest '{0}' went away before it answered")]
    Gone(String),
    /// A module that is there already.
    #[error("module '{module}' is loaded in guest '{domain}' already")]
    Exists {
        /// The guest.
        domain: String,
        /// The module.
        module: String,
    },
    /// A module that VESPER did not load.
    #[error("VESPER has loaded no module '{module}' into guest '{domain}'")]
    NotLoaded {
        /// The guest.
        domain: String,
        /// The module.
        module: String,
    },
    /// A module of which nothing is unread.
    #[error("nothing is kept of a module '{module}' of guest '{domain}'")]
    NothingKept {
        /// The guest.
        domain: String,
        /// The module.
        module: String,
    },
    /// Something that is not to be thrown away.
    #[error("{} is live: it is not reaped", live(domain, module.as_deref()))]
    Live {
        /// The guest.
        domain: String,
        /// The module, if one was named.
        module: Option<String>,
    },
    /// A guest that says no.
    #[error("{}", refused(.0))]
    Refused(Refusal),
    /// No answer in time.
    #[error("time-out: guest '{domain}' has not answered the request to {action} '{module}'")]
    TimedOut {
        /// What was asked.
        action: Action,
        /// Of whom.
        domain: String,
        /// About which module.
        module: String,
    },
    /// Ctrl-C.
    #[error(
        "interrupted: {action} of '{module}' is withdrawn if guest '{domain}' had not begun it"
    )]
    Interrupted {
        /// What was asked.
        action: Action,
        /// Of whom.
        domain: String,
        /// About which module.
        module: String,
    },
    /// Another error of an ioctl.
    #[error("{what}: {}", .errno.desc())]
    Ioctl {
        /// What was tried.
        what: String,
        /// How it ended.
        errno: Errno,
    },
    /// A module image that can't be used.
    #[error("{}: {error}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: ImageError,
    },
    /// More parameters than fit.
    #[error(
        "the parameters have more than {} bytes",
        bindings::VIRTIO_VESPER_MAX_PARAMS
    )]
    Params,
    /// An image for another kernel.
    #[error(
        "{} is built for kernel {}, guest '{domain}' runs {}",
        path.display(), Escaped(built), Escaped(runs)
    )]
    Vermagic {
        /// The image.
        path: PathBuf,
        /// The guest.
        domain: String,
        /// What the image says.
        built: Vec<u8>,
        /// What the guest says.
        runs: Vec<u8>,
    },
    /// debugfs is not there.
    #[error("debugfs is not mounted")]
    NoDebugfs,
    /// A module directory that is not there.
    #[error("there are no files of '{domain}/{module}' in {}", root.display())]
    NoFiles {
        /// The guest.
        domain: String,
        /// The module.
        module: String,
        /// Where they would be.
        root: PathBuf,
        /// Those that there are.
        known: Vec<String>,
    },
    /// A channel that says nothing about its format.
    #[error("'{0}' has no metadata: its records are not in a format that can be shown")]
    NoMetadata(String),
    /// Metadata that can't be used.
    #[error("{target}: {error}")]
    Metadata {
        /// Domain and module.
        target: String,
        /// What is wrong with it, and where.
        error: TsdlError,
    },
    /// A group that is in no probe directory.
    #[error("there is no group of probe points '{group}'")]
    NoGroup {
        /// What was asked for.
        group: String,
        /// The groups there are.
        known: Vec<String>,
        /// Where they were looked for.
        dirs: Vec<PathBuf>,
    },
    /// A group that is not built for the guest's kernel.
    #[error("group '{group}' is not built for kernel {release}: there is {}", .releases.join(", "))]
    NoBuild {
        /// The group.
        group: String,
        /// What the guest runs.
        release: String,
        /// What it is built for.
        releases: Vec<String>,
    },
    /// An option for one module, and several.
    #[error("--name is for one module, and {0} are to be loaded")]
    OneName(usize),
    /// Channels of others can't be shared.
    #[error("{} can't show relay channels of others", if *.host {
        "the host module".to_owned()
    } else {
        format!("guest '{domain}'")
    })]
    CannotShare {
        /// The guest.
        domain: String,
        /// It is the host module that knows nothing of it.
        host: bool,
    },
    /// Packets that were not as the metadata says.
    #[error("{0} malformed packets were skipped")]
    Malformed(u64),
    /// A recording.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// What is kept.
    #[error(transparent)]
    Keep(#[from] ConfigError),
    /// Settings that can't be.
    #[error("the heartbeat of '{0}' can't be set so")]
    Heartbeat(String),
    /// A host module that knows of no heartbeat.
    #[error("the host module is too old: it knows of no heartbeat")]
    NoHeartbeat,
    /// A host module whose control device does not tell of changes.
    #[error("the host module is too old: its control device does not tell when guests change")]
    NoPoll,
    /// Writing to standard output.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

fn live(domain: &str, module: Option<&str>) -> String {
    match module {
        Some(module) => format!("module '{module}' of guest '{domain}'"),
        None => format!("guest '{domain}'"),
    }
}

fn refused(refusal: &Refusal) -> String {
    let Refusal {
        action,
        domain,
        module,
        status,
        stage,
        text,
    } = refusal;
    let cause = match (*stage, Errno::from_raw(*status as i32)) {
        (bindings::VIRTIO_VESPER_STAGE_TRANSFER, _) => "the image did not arrive whole".into(),
        (bindings::VIRTIO_VESPER_STAGE_POLICY, _) => "its load policy forbids it".into(),
        (bindings::VIRTIO_VESPER_STAGE_SHARE, errno) => {
            format!("its buffers can't be shared: {}", errno.desc())
        }
        (bindings::VIRTIO_VESPER_STAGE_PROBE, Errno::EINVAL) => "it refuses its parameters".into(),
        (bindings::VIRTIO_VESPER_STAGE_PROBE, _) => "it can't start there".into(),
        (bindings::VIRTIO_VESPER_STAGE_FOREIGN, errno) => errno.desc().to_lowercase(),
        (_, Errno::ENOEXEC) => "exec format error".into(),
        (_, Errno::ENOKEY | Errno::EKEYREJECTED) => "required key not available".into(),
        (_, Errno::ENOENT) if *action == Action::Load => "unknown symbol in module".into(),
        (_, Errno::EEXIST) => "module already loaded".into(),
        (_, Errno::UnknownErrno) => format!("error {status}"),
        (_, errno) => errno.desc().to_lowercase(),
    };
    let cause = match Errno::from_raw(*status as i32) {
        Errno::UnknownErrno => cause,
        errno => format!("{cause} ({errno:?})"),
    };
    let mut message = format!("guest '{domain}' refused to {action} '{module}': {cause}");
    if !text.is_empty() {
        message += &format!("; it says: {}", Escaped(text));
    }
    message
}

fn refusal_remedy(refusal: &Refusal) -> Option<String> {
    let modprobe = "`dmesg` in the guest has the details";
    Some(
        match (refusal.stage, Errno::from_raw(refusal.status as i32)) {
            (bindings::VIRTIO_VESPER_STAGE_TRANSFER, _) => "try again".into(),
            (bindings::VIRTIO_VESPER_STAGE_POLICY, _) => {
                "the guest's administrator sets it with the parameter load_policy of vesper_guest \
             (any, signed, none)"
                    .into()
            }
            (bindings::VIRTIO_VESPER_STAGE_PROBE, Errno::EINVAL) => {
                "`vesper probes` shows its points and parameters".into()
            }
            (bindings::VIRTIO_VESPER_STAGE_PROBE, _) => modprobe.into(),
            (bindings::VIRTIO_VESPER_STAGE_FOREIGN, _) => {
                format!("`vesper share {}` lists what is shared", refusal.domain)
            }
            (_, Errno::ENOEXEC) => {
                format!("build the module for the kernel that the guest runs; {modprobe}")
            }
            (_, Errno::ENOKEY | Errno::EKEYREJECTED) => {
                "sign the module with a key that the guest's kernel trusts".into()
            }
            (bindings::VIRTIO_VESPER_STAGE_KERNEL, Errno::ENOENT)
                if refusal.action == Action::Load =>
            {
                format!("load the modules it depends on first; {modprobe}")
            }
            (bindings::VIRTIO_VESPER_STAGE_SHARE, Errno::EEXIST) => {
                "a module has one channel, or further ones without metadata: this is for the \
                 probe's author"
                    .into()
            }
            (_, Errno::EEXIST) => "unload it in the guest first, or give another one".into(),
            (_, Errno::EBUSY) => "something in the guest uses it or is at work on it".into(),
            (_, Errno::EINVAL) => format!("check the parameters; {modprobe}"),
            (_, Errno::ENOMEM) if refusal.stage == bindings::VIRTIO_VESPER_STAGE_SHARE => {
                memlock_remedy().into()
            }
            (_, Errno::ENOMEM) => "the guest is short of memory".into(),
            (_, Errno::ENOSPC) => {
                "smaller buffers, or fewer, fit (parameters of the module)".into()
            }
            (_, Errno::EPERM | Errno::EACCES) => {
                "a security module or lockdown in the guest forbids it".into()
            }
            _ => modprobe.into(),
        },
    )
}

fn memlock_remedy() -> &'static str {
    "the limit on locked memory of the guest's VMM is too small: raise RLIMIT_MEMLOCK \
     (LimitMEMLOCK= in its systemd unit, or hard_limit in libvirt's <memtune>) by the size of \
     the buffers"
}

/// The domain that the host itself is.
const HOST_DOMAIN: &str = "host";

impl Error {
    /// What the operator can do about it.
    pub fn remedy(&self) -> Option<String> {
        let list = |known: &[String]| match known {
            [] => "there are none at the moment".to_owned(),
            known => format!("there are: {}", known.join(", ")),
        };
        Some(match self {
            Self::NoDevice(_) => "load it with `modprobe vesper_host`".into(),
            Self::DevicePermission(_) => "loading code into guests is for root".into(),
            Self::Abi { older, .. } => match older {
                Older::We => "install the tool that belongs to the module".into(),
                Older::Peer => "install and load the module that belongs to the tool".into(),
            },
            Self::NoDomain { domain, .. } if domain == HOST_DOMAIN => {
                "`modprobe vesper_local` makes the host a domain".into()
            }
            Self::NoDomain { known, .. } | Self::NoFiles { known, .. } => list(known),
            Self::NoDriver(domain) if domain == HOST_DOMAIN => {
                "load it here with `modprobe vesper_guest`".into()
            }
            Self::NoDriver(_) => "load it there with `modprobe vesper_guest`".into(),
            Self::Broken(_) => "the host's kernel log has what was wrong; it ends with a reset of \
                 the guest, or when its driver is bound again"
                .into(),
            Self::CannotShare { host: true, .. } => "install and load one that can".into(),
            Self::CannotShare { domain, .. } if domain == HOST_DOMAIN => {
                "the host's own are read where they are".into()
            }
            Self::CannotShare { .. } => {
                "its vesper_guest, or the QEMU that it runs in, is too old: update them".into()
            }
            Self::GuestAbi { older, .. } => match older {
                Older::We => "update vesper_host to the version that the guest has",
                Older::Peer => "update vesper_guest in the guest to the version of the host",
            }
            .into(),
            Self::Gone(_) => "`vesper domains` shows what became of it".into(),
            Self::Exists { domain, module } => {
                format!("`vesper unload {domain} {module}` first")
            }
            Self::NotLoaded { domain, .. } => {
                format!("`vesper list {domain}` shows those that it has loaded")
            }
            Self::NothingKept { domain, .. } => {
                format!("`vesper list {domain}` shows what is draining")
            }
            Self::Live {
                domain,
                module: Some(module),
            } => format!("`vesper unload {domain} {module}` first"),
            Self::Live { .. } => "only a guest whose VMM is gone, or a module of it that was \
                 unloaded, can be reaped; `vesper domains` and `vesper list` show their state"
                .into(),
            Self::Refused(refusal) => return refusal_remedy(refusal),
            Self::TimedOut {
                action: Action::Load,
                domain,
                ..
            } => format!(
                "`vesper list {domain}` shows whether it is still initialising there; a load that \
                 the guest had not begun, as when it is paused, is withdrawn; --timeout gives it \
                 longer"
            ),
            Self::TimedOut {
                action: Action::Share | Action::Unshare,
                domain,
                ..
            }
            | Self::Interrupted {
                action: Action::Share | Action::Unshare,
                domain,
                ..
            } => format!("`vesper share {domain}` lists what is shared"),
            Self::TimedOut { domain, .. } => {
                format!("something may still use it, see `vesper list {domain}`")
            }
            Self::Interrupted { domain, .. } => {
                format!("`vesper list {domain}` shows whether it is there")
            }
            Self::Ioctl { errno, .. } => match errno {
                Errno::ENOMEM => "the host is short of memory".into(),
                Errno::EBUSY => "other requests are queued: try again".into(),
                Errno::EPERM | Errno::EACCES => "this is for root".into(),
                _ => return None,
            },
            Self::Image { error, .. } => return error.remedy(),
            Self::Heartbeat(_) => format!(
                "the period is {} ms to {} s, the threshold at least {} periods and at most an hour",
                bindings::VESPER_BEAT_MIN_PERIOD_MS,
                bindings::VESPER_BEAT_MAX_PERIOD_MS / 1000,
                bindings::VESPER_BEAT_MIN_PERIODS,
            ),
            Self::NoHeartbeat => "install and load the module that belongs to the tool".into(),
            Self::NoPoll => "install and load the module that belongs to the tool".into(),
            Self::Keep(ConfigError::NotKept { .. }) => "`vesper keep list` shows what is".into(),
            Self::Record(error) => return error.remedy().map(str::to_owned),
            Self::Vermagic { .. } => {
                "build the module against the headers of the guest's kernel".into()
            }
            Self::NoGroup { known, dirs, .. } => {
                let dirs: Vec<_> = dirs.iter().map(|dir| dir.display().to_string()).collect();
                format!(
                    "{}, in {}; a module file is named with a slash or .ko, a parameter as \
                     NAME=VALUE",
                    list(known),
                    dirs.join(", ")
                )
            }
            Self::NoBuild { release, .. } => format!(
                "build and install it in VESPER's source tree: `make probes_install \
                 KDIR=/lib/modules/{release}/build`"
            ),
            Self::OneName(_) => "load them one by one".into(),
            Self::Params => "the guest's kernel takes no more: leave out what is default".into(),
            Self::NoDebugfs => "mount it with `mount -t debugfs none /sys/kernel/debug`".into(),
            Self::File { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                "this is for root; lockdown mode can forbid it even then".into()
            }
            _ => return None,
        })
    }

    /// The exit status of the tool.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 3,
            Self::TimedOut { .. } => 4,
            Self::Interrupted { .. } => 130,
            _ => 1,
        }
    }

    /// Whether the reader of our output has gone, which is no failure.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
