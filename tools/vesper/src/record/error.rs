// SPDX-License-Identifier: GPL-2.0

//! What can go wrong when a trace is written.

use std::io;
use std::path::PathBuf;

use thiserror::Error as ThisError;

use crate::error::Error;

/// What ends a recording without success.
#[derive(Debug, ThisError)]
pub enum RecordError {
    /// A directory that something else is in.
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// A target that is not there, or has no modules.
    #[error("there is nothing to record of '{0}'")]
    Nothing(String),
    /// Output that takes no more. Everything that was read is written.
    #[error("{}: {error}: recording has stopped, and all that was read is written", path.display())]
    Full {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Output that failed behind a read.
    #[error("{}: {error}: {bytes} bytes that were read could not be written", path.display())]
    Unwritten {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
        /// How many.
        bytes: u64,
    },
    /// What a guest wrote is not what it should be.
    #[error("{0} malformed packets are not in the trace")]
    Malformed(u64),
    /// What a guest wrote to describe its records is not what it should be, or can't be read.
    #[error("{0} modules are not in the trace, or not to their end")]
    LeftOut(u64),
    /// A description that does not stand still.
    #[error("{0}: the metadata grow faster than they can be read")]
    Growing(String),
    /// A description whose times are no reader's.
    #[error("{0}: the metadata describe no clock that readers of traces could take")]
    Clock(String),
    /// The files of one module, which the recording of others does without.
    #[error("{0}")]
    Source(Box<Error>),
}

impl RecordError {
    /// What the operator can do about it.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::NotEmpty(_) => {
                Some("give another directory, or --continue to go on with the trace in it")
            }
            Self::Nothing(_) => {
                Some("`vesper list` shows what is loaded; --wait waits for what is not there yet")
            }
            Self::Full { .. } => Some(
                "what is unread stays with the host, as far as the buffers hold it: make room, \
                 and go on with --continue",
            ),
            Self::Unwritten { .. } => Some("the trace ends before them on that CPU"),
            Self::Malformed(_) => Some(
                "whole ones whose times or events readers would refuse are in the directory \
                 'rejected' of the module",
            ),
            Self::LeftOut(_) => Some(
                "their records stay with the host, as far as the buffers hold them: copy the \
                 files of debugfs",
            ),
            Self::Growing(_) | Self::Clock(_) | Self::Source(_) => None,
        }
    }
}
