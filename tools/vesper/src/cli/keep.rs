// SPDX-License-Identifier: GPL-2.0

//! Arguments of `vesper keep`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use super::{name, parameter, Json, ProbeDirs};

/// Arguments of `vesper keep`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Keep {
    /// What to do.
    #[command(subcommand)]
    pub action: KeepAction,
    /// The file that has what is kept.
    #[arg(long, global = true, env = "VESPER_KEEP", value_name = "FILE")]
    #[arg(default_value = "/etc/vesper/keep.toml", value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
}

/// What can be done with what is kept.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum KeepAction {
    /// Keep a probe for a guest. One that is kept with the same name gives way.
    Add(KeepAdd),
    /// Keep a probe no longer, or none of a guest's. What is loaded stays.
    Remove {
        /// The guest.
        #[arg(value_parser = name)]
        domain: String,
        /// A group, a file by any path to it, or the name.
        probe: Option<String>,
    },
    /// List what is kept.
    List {
        /// The guest; all of them if left out.
        #[arg(value_parser = name)]
        domain: Option<String>,
        /// Output for programs.
        #[command(flatten)]
        json: Json,
    },
    /// Load what is kept, now and whenever a guest has booted; does not end.
    Run {
        /// Where groups are.
        #[command(flatten)]
        probes: ProbeDirs,
    },
}

/// Arguments of `vesper keep add`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct KeepAdd {
    /// The guest.
    #[arg(value_parser = name)]
    pub domain: String,
    /// A group of probe points, or a .ko file.
    #[arg(value_name = "GROUP|FILE", value_hint = ValueHint::FilePath)]
    pub probe: String,
    /// Parameters of it.
    #[arg(value_name = "PARAM=VALUE", value_parser = parameter)]
    pub params: Vec<String>,
    /// Name under which the module is listed, if not its own.
    #[arg(long, value_parser = name)]
    pub name: Option<String>,
}
