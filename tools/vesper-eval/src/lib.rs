// SPDX-License-Identifier: GPL-2.0

//! What `make eval` is made of besides shell: which runs are missing, the client, and
//! the sums.

use std::io::{stdin, Write};

pub mod cli;
pub mod client;
pub mod error;
pub mod event;
pub mod fault;
pub mod free;
pub mod plan;
pub mod plot;
pub mod report;
pub mod times;

use cli::{Cli, Command};
use error::Result;
use event::Finding;

/// Does what the command line says.
pub fn run(cli: &Cli, out: &mut impl Write) -> Result<()> {
    match &cli.command {
        Command::Plan(args) => {
            let done = event::read(&args.events)?;
            for run in plan::missing(&done, &args.faults, &args.ways, args.runs) {
                writeln!(out, "{} {} {}", run.fault, run.way.name(), run.number)?;
            }
            Ok(())
        }
        Command::Client(args) => client::client(args, out),
        Command::Report(args) => report::report(args, out),
        Command::Free(args) => free::free(args, out),
        Command::Noticed(args) => {
            let found: Vec<Finding> = serde_json::from_reader(stdin())?;
            let about = |found: &Finding| {
                found.at_ns >= args.since && fault::told_by(&args.fault, &found.rule)
            };
            let answer = if found.iter().any(about) { "yes" } else { "no" };
            Ok(writeln!(out, "{answer}")?)
        }
    }
}
