// SPDX-License-Identifier: GPL-2.0

//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::event::Way;

/// Plans the runs of `make eval`, asks for the page meanwhile, and sums up.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "vesper-eval", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// List the runs that are still to be done, one a line: fault, way, number.
    Plan(Plan),
    /// Ask for a page all the time; a JSON line for each change between up and down.
    Client(Client),
    /// Write results.json, table.md and the plots from the raw events.
    Report(Report),
    /// Sum up the failure-free side, as JSON.
    Free(Free),
    /// Say whether findings of vesper-ha, on standard input, are about a fault: `yes` or `no`.
    Noticed(Noticed),
}

/// Arguments of `plan`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Plan {
    /// The raw events; none are there yet if the file is missing.
    #[arg(long, value_name = "FILE")]
    pub events: PathBuf,
    /// The faults, in their order.
    #[arg(long, value_delimiter = ' ', required = true)]
    pub faults: Vec<String>,
    /// The ways, in their order.
    #[arg(long, value_delimiter = ' ', required = true)]
    pub ways: Vec<Way>,
    /// Runs of each fault with each way.
    #[arg(long, default_value_t = 1)]
    pub runs: u32,
}

/// Arguments of `client`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Client {
    /// Whom to ask.
    pub address: SocketAddr,
    /// Milliseconds from the beginning of one request to that of the next.
    #[arg(long, default_value_t = 50)]
    pub every: u64,
    /// Milliseconds after which a request has failed.
    #[arg(long, default_value_t = 1000)]
    pub timeout: u64,
    /// End after so many seconds, and print how many requests were answered.
    #[arg(long)]
    pub count: Option<u64>,
}

/// Arguments of `report`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Report {
    /// The raw events.
    #[arg(long, value_name = "FILE")]
    pub events: PathBuf,
    /// Where the results go.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Arguments of `noticed`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Noticed {
    /// The fault.
    pub fault: String,
    /// When it was asked for, in nanoseconds since 1970: what was found before is not about it.
    #[arg(long, value_name = "NS", default_value_t = 0)]
    pub since: i64,
}

/// Arguments of `free`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Free {
    /// The raw lines.
    #[arg(long, value_name = "FILE")]
    pub events: PathBuf,
}
