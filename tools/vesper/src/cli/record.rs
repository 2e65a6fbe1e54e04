// SPDX-License-Identifier: GPL-2.0

//! Arguments of `vesper record`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};

use super::{duration, scope, Scope};

/// Arguments of `vesper record`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Record {
    /// Modules, or guests with all their modules.
    #[arg(value_name = "DOMAIN[/MODULE]", value_parser = scope, required = true)]
    pub targets: Vec<Scope>,
    /// Directory for the trace: a new one, or an empty one.
    #[arg(short, long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub output: PathBuf,
    /// Stop after this time.
    #[arg(long = "for", value_parser = duration, value_name = "TIME")]
    pub time: Option<Duration>,
    /// Go on with a trace that is in the directory already.
    #[arg(long = "continue")]
    pub resume: bool,
    /// Wait for modules that are not there, and go on when all have ended, for
    /// those that come.
    #[arg(long)]
    pub wait: bool,
}
