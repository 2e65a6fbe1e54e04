// SPDX-License-Identifier: GPL-2.0

//! The command line: one definition for parsing, help, man pages, completion.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use vesper_cli::cli::{Generated, Json, ProbeDirs};

/// Fails guests over at the moment they fail: follows what VESPER's probes record,
/// judges it by rules, and tells the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "vesper-ha", version, propagate_version = true)]
#[command(after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Where things are.
    #[command(flatten)]
    pub places: Places,

    /// Where the probes are that rules speak of.
    #[command(flatten)]
    pub probes: ProbeDirs,

    /// Control device of the host module.
    #[arg(long, global = true, hide = true, env = "VESPER_DEVICE")]
    #[arg(default_value = "/dev/vesper")]
    pub device: PathBuf,

    /// Directory to take for debugfs, instead of where it is mounted.
    #[arg(long, global = true, hide = true, env = "VESPER_DEBUGFS")]
    pub debugfs: Option<PathBuf>,
}

const EXIT_CODES: &str = "\
Exit status:
  0    done
  1    failed
  2    wrong usage
  9    monitor: the guest has failed";

/// Files and directories.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Places {
    /// The file of rules.
    #[arg(long, global = true, value_name = "FILE", env = "VESPER_HA_CONFIG")]
    #[arg(default_value = "/etc/vesper/ha.toml", value_hint = ValueHint::FilePath)]
    pub config: PathBuf,

    /// Where the journal is.
    #[arg(long, global = true, value_name = "DIR", env = "VESPER_HA_STATE")]
    #[arg(default_value = "/var/lib/vesper-ha", value_hint = ValueHint::DirPath)]
    pub state: PathBuf,

    /// Where the marks of failed guests are; a boot of the host has to empty it.
    #[arg(long, global = true, value_name = "DIR", env = "VESPER_HA_LATCHES")]
    #[arg(default_value = "/run/vesper-ha", value_hint = ValueHint::DirPath)]
    pub latches: PathBuf,
}

/// The subcommands.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Follow all guests and act by the rules, until interrupted.
    ///
    /// Takes the records of the modules that the rules name out of the buffers.
    Run(Run),

    /// Check the file of rules, whether there are such records and fields, and whether
    /// the probes that write them are loaded.
    Check,

    /// Show what was found in guests, why, and what was done about it; then how many records
    /// were lost before a rule could see them.
    Explain(Explain),

    /// Fail with a sentence if the guest has failed since it booted.
    ///
    /// Asked by vesper-ha-monitor, a monitor script of ocf:heartbeat:VirtualDomain, so
    /// that a report which did not reach the cluster is found by its next monitor.
    /// Without a guest, the one whose resource OCF_RESOURCE_INSTANCE names. Ends with 9
    /// if the guest has failed. Succeeds, with a word to stderr, if the mark can't be
    /// read or nobody knows which boot the guest is in.
    Monitor {
        /// The guest.
        guest: Option<String>,
    },

    /// Take back the mark of a failed guest, and have the daemon forget what it has
    /// found in it: it may be failed again in the same boot, and what was set on the
    /// node because of it is taken back ("host": the node's health). Records of before that
    /// are read later are only reported.
    Clear {
        /// The guest.
        guest: String,
    },

    /// Write man pages or completion scripts, for installation.
    #[command(hide = true)]
    Generate {
        /// What to write.
        what: Generated,
        /// Where to.
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },
}

/// Arguments of `vesper-ha run`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Run {
    /// Judge and report, but do nothing. The records are taken all the same: beside the
    /// service this wants a --state of its own, and the service does not see what this
    /// one has taken.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `vesper-ha explain`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Explain {
    /// Only this guest.
    pub guest: Option<String>,
    /// So many of the newest.
    #[arg(short = 'n', long, default_value_t = 10)]
    pub last: usize,
    /// Output for programs.
    #[command(flatten)]
    pub json: Json,
}
