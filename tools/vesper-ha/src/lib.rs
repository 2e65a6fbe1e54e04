// SPDX-License-Identifier: GPL-2.0

//! The `vesper-ha` daemon: everything but `main`, so that tests reach it.
//!
//! [`event`] and [`rule`] say what happened and what it means, [`judge`] what is to
//! be done, [`action`] and [`cluster`] do it, [`journal`] and [`latch`] remember it;
//! [`mod@run`] has the loop.

use std::io::Write;

use clap::CommandFactory;
use vesper_cli::control::{Device, Host};
use vesper_cli::generate;

pub mod action;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod error;
pub mod event;
pub mod explain;
pub mod guests;
pub mod journal;
pub mod judge;
pub mod latch;
pub mod rule;
pub mod run;

use cli::{Cli, Command};
use config::Config;
use error::{Error, Result};
use journal::Journal;
use latch::Latches;
use rule::HOST;

/// Does what the command line asks for, and prints to `out`.
pub fn run(cli: &Cli, out: &mut impl Write) -> Result<()> {
    let latches = Latches::new(&cli.places.latches);
    match &cli.command {
        Command::Run(args) => run::run(args, &cli.places, &cli.device, cli.debugfs.as_deref()),
        Command::Check => check(cli, out),
        Command::Explain(args) => explain::explain(args, Journal::read(&cli.places.state)?, out),
        Command::Monitor { guest } => monitor(cli, &latches, guest.as_deref()),
        Command::Clear { guest } => {
            let text = match latches.clear(guest)? {
                true => "its mark is gone",
                false => "it had no mark",
            };
            Ok(writeln!(out, "{guest}: {text}")?)
        }
        Command::Generate { what, dir } => {
            Ok(generate::generate(Cli::command(), "vesper-ha", *what, dir)?)
        }
    }
}

/// `vesper-ha check`.
fn check(cli: &Cli, out: &mut impl Write) -> Result<()> {
    let config = Config::read(&cli.places.config)?;
    writeln!(out, "{} rules", config.rules.len())?;
    let host = Host::new(Device::open(&cli.device)?)?;
    let own = |name: &str| !name.contains('@');
    for domain in host.domains()? {
        let guest = event::Boot::of(&domain).guest;
        if !own(&guest) {
            continue;
        }
        let modules = host.modules(&guest)?;
        let loaded = |probe: &str| {
            let mut names = modules
                .iter()
                .map(|module| vesper_abi::name::text(&module.name));
            names.any(|name| name == probe.as_bytes())
        };
        let needs = config.rules.iter().filter(|rule| rule.is_for(&guest));
        let mut missing: Vec<&str> = needs
            .map(|rule| rule.probe.as_str())
            .filter(|probe| *probe != event::GUEST && !loaded(probe))
            .collect();
        missing.sort_unstable();
        missing.dedup();
        let verb = if guest == HOST { "load" } else { "keep add" };
        for probe in missing {
            writeln!(
                out,
                "{guest}: probe '{probe}' is not loaded; 'vesper {verb} {guest} {probe}' loads it"
            )?;
        }
    }
    Ok(())
}

/// `vesper-ha monitor`.
fn monitor(cli: &Cli, latches: &Latches, guest: Option<&str>) -> Result<()> {
    let resource = std::env::var("OCF_RESOURCE_INSTANCE").ok();
    let guest = match (guest, &resource) {
        (Some(guest), _) => guest.to_owned(),
        (None, Some(resource)) => {
            // A file that can't be read must not bring guests down.
            let config = Config::read(&cli.places.config).unwrap_or_default();
            config.guest_of(resource).to_owned()
        }
        (None, None) => return Err(Error::NoGuest),
    };
    let Some(latch) = latches.get(&guest)? else {
        return Ok(());
    };
    let now = run::current_boot(&cli.device, &guest);
    // The daemon may not run, and the guest may have booted since.
    if now.is_some_and(|now| now.id != latch.boot_id) {
        return Ok(());
    }
    Err(Error::Latched(format!("{}: {}", latch.rule, latch.cause)))
}
