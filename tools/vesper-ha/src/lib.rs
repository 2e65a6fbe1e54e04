// SPDX-License-Identifier: GPL-2.0

//! The `vesper-ha` daemon: everything but `main`, so that tests reach it.
//!
//! [`event`] and [`rule`] say what happened and what it means, [`judge`] what is to
//! be done, [`action`], [`attributes`] and [`cluster`] do it, [`journal`] and [`latch`]
//! remember it, and [`court`] has all of it together; [`mod@run`] has the loop.

use std::io::Write;

use clap::CommandFactory;
use vesper_abi::bindings::vesper_domain;
use vesper_abi::escape::Shown;
use vesper_cli::control::{Device, Host};
use vesper_cli::generate;

pub mod action;
pub mod attributes;
pub mod carry;
pub mod check;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod court;
pub mod error;
pub mod event;
pub mod excerpt;
pub mod explain;
pub mod guests;
pub mod hold;
pub mod journal;
pub mod judge;
pub mod latch;
pub mod lock;
pub mod losses;
pub mod notes;
pub mod refused;
pub mod resident;
pub mod rule;
pub mod run;
pub mod stale;
pub mod standing;
pub mod writer;

use cli::{Cli, Command};
use config::Config;
use error::{Error, Result};
use event::Boot;
use journal::Journal;
use latch::{Latch, Latches};

/// Does what the command line asks for, and prints to `out`.
pub fn run(cli: &Cli, out: &mut impl Write) -> Result<()> {
    let latches = Latches::new(&cli.places.latches);
    match &cli.command {
        Command::Run(args) => run::run(args, &cli.places, &cli.device, cli.debugfs.as_deref()),
        Command::Check => check::check(cli, out),
        Command::Explain(args) => explain::explain(args, Journal::read(&cli.places.state)?, out),
        Command::Monitor { guest } => monitor(cli, &latches, guest.as_deref()),
        Command::Clear { guest } => {
            let had = latches.clear(guest)?;
            latches.ask_to_forget(guest)?;
            let text = match had {
                true => "its mark is gone, and what was found is forgotten",
                false => "it had no mark; what was found is forgotten",
            };
            Ok(writeln!(out, "{guest}: {text}")?)
        }
        Command::Generate { what, dir } => {
            Ok(generate::generate(Cli::command(), "vesper-ha", *what, dir)?)
        }
    }
}

/// `vesper-ha monitor`: fails only if the guest is known to run the boot that failed.
/// What cannot be known must not keep a healthy guest from being one.
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
    let now = || Device::open(&cli.device).and_then(Host::new)?.domains();
    let (verdict, remark) = judge_mark(&guest, latches.get(&guest), now);
    if let Some(remark) = remark {
        vesper_cli::say(&format!("vesper-ha: {}", Shown(&remark)));
    }
    verdict
}

/// What a guest's mark means, and what there is to say of it.
fn judge_mark(
    guest: &str,
    latch: Result<Option<Latch>>,
    domains: impl FnOnce() -> vesper_cli::error::Result<Vec<vesper_domain>>,
) -> (Result<()>, Option<String>) {
    let latch = match latch {
        Ok(Some(latch)) => latch,
        Ok(None) => return (Ok(()), None),
        Err(error) => {
            let text = format!(
                "the mark of '{guest}' says nothing: {error}; 'vesper-ha clear {guest}' removes it"
            );
            return (Ok(()), Some(text));
        }
    };
    let domains = match domains() {
        Ok(domains) => domains,
        Err(error) => {
            let text =
                format!("'{guest}' is marked, and which boot it runs cannot be found out: {error}");
            return (Ok(()), Some(text));
        }
    };
    let failed = Boot {
        guest: guest.to_owned(),
        id: latch.boot_id,
    };
    // The daemon may not run, and the guest may have booted since. Of a guest whose driver
    // was never there no boot is known, and the next one is not to be blamed for it.
    let is_it = |domain: &vesper_domain| !failed.id.is_empty() && Boot::of(domain) == failed;
    match domains.iter().any(is_it) {
        true => (
            Err(Error::Latched(format!("{}: {}", latch.rule, latch.cause))),
            None,
        ),
        false => (Ok(()), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    #[test]
    fn marks_count_for_their_own_boot_only() {
        let dir = tempfile::tempdir().unwrap();
        let latches = Latches::new(dir.path());
        let mut domain = vesper_domain::new_zeroed();
        domain.name = vesper_abi::name::label_field("web1").unwrap();
        domain.boot_id = [1; 16];
        let latch = |boot_id: &str| Latch {
            boot_id: boot_id.into(),
            rule: "panic".into(),
            cause: "panic".into(),
            time_ns: 0,
        };
        let no_device = || Err(vesper_cli::error::Error::NoDevice("/dev/vesper".into()));
        let fails = |domains: vesper_cli::error::Result<Vec<vesper_domain>>| {
            let (verdict, remark) = judge_mark("web1", latches.get("web1"), || domains);
            (verdict.is_err(), remark.is_some())
        };
        assert_eq!(fails(Ok(vec![domain])), (false, false));
        latches.set("web1", &latch(&Boot::of(&domain).id)).unwrap();
        assert_eq!(fails(Ok(vec![domain])), (true, false));
        // The guest is not there, or nobody knows.
        assert_eq!(fails(Ok(vec![])), (false, false));
        assert_eq!(fails(no_device()), (false, true));
        latches.set("web1", &latch("2")).unwrap();
        assert_eq!(fails(Ok(vec![domain])), (false, false));
        // A guest that ended before its driver came, and is started again.
        let starting = vesper_domain {
            boot_id: [0; 16],
            ..domain
        };
        latches.set("web1", &latch("")).unwrap();
        assert_eq!(fails(Ok(vec![starting])), (false, false));
        std::fs::write(dir.path().join("web1.latch"), "rubbish").unwrap();
        assert_eq!(fails(Ok(vec![domain])), (false, true));
    }
}
