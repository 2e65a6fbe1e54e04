// SPDX-License-Identifier: GPL-2.0

//! What can go wrong, and what to do about it.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use thiserror::Error;

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;

/// How `vesper-ha monitor` ends if the guest has failed, and for no other reason: the monitor
/// script goes by it.
pub const LATCHED: u8 = 9;

/// Why the program can't go on.
#[derive(Debug, Error)]
pub enum Error {
    /// A file can't be used.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file of rules is wrong.
    #[error("{}: {}", path.display(), text.trim_end())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        text: String,
    },
    /// The host module, or what it shows, can't be used.
    #[error(transparent)]
    Vesper(#[from] vesper_cli::error::Error),
    /// A system call failed.
    #[error("{what}: {errno}")]
    System {
        /// What was done.
        what: &'static str,
        /// The error.
        errno: Errno,
    },
    /// Standard output can't be written to.
    #[error(transparent)]
    Output(#[from] io::Error),
    /// There is one already.
    #[error("another vesper-ha runs with {}", dir.display())]
    Running {
        /// The directory that both want.
        dir: PathBuf,
        /// Whether this one would only look.
        dry_run: bool,
    },
    /// The file of rules has slips.
    #[error("{0} slips in the rules")]
    Slips(usize),
    /// Which guest is meant?
    #[error("no guest is named, and no OCF_RESOURCE_INSTANCE is set")]
    NoGuest,
    /// The guest has failed.
    #[error("{0}")]
    Latched(String),
}

impl Error {
    /// What to do about it.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::File { path, error } if error.kind() == io::ErrorKind::NotFound => Some(format!(
                "write {}; there is an example in the documentation, or name another file with --config",
                path.display()
            )),
            Self::Vesper(error) => error.remedy(),
            Self::Running { dry_run: false, .. } => {
                Some("stop it first ('systemctl stop vesper-ha'): two would act twice".into())
            }
            Self::Running { dry_run: true, .. } => Some("stop it first, or give this one another --state; beside the other it takes records away from it all the same".into()),
            Self::NoGuest => Some("name the guest, or use this as monitor script of ocf:heartbeat:VirtualDomain".into()),
            _ => None,
        }
    }

    /// The exit status of the program.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Latched(_) => LATCHED,
            _ => 1,
        }
    }
}
