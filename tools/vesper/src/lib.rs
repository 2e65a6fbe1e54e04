// SPDX-License-Identifier: GPL-2.0

//! The `vesper` command-line tool: everything but `main`, so that tests reach
//! it.

use std::io::Write;

pub mod cat;
pub mod catalogue;
pub mod cli;
pub mod commands;
pub mod control;
pub mod debugfs;
pub mod error;
pub mod generate;
pub mod heartbeat;
pub mod image;
pub mod json;
pub mod keep;
pub mod load;
pub mod pace;
pub mod probes;
pub mod record;
mod relay;
pub mod sys;
pub mod table;
pub mod time;
pub mod timeline;

use clap::CommandFactory;

use cli::{Cli, Command};
use control::{Device, Host};
use debugfs::Debugfs;
use error::{Error, Result};

/// A line on standard error, or nothing where that can't be written to: it is no reason to
/// end, as eprintln!() would have it.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Does what the command line asks for, and prints to `out`.
pub fn run(cli: &Cli, out: &mut impl Write) -> Result<()> {
    let host = || Host::new(Device::open(&cli.device)?);
    match &cli.command {
        Command::Domains(args) => commands::domains(&host()?, args, out),
        Command::Load(args) => {
            catch_interrupts()?;
            load::load(&host()?, args, out)
        }
        Command::Probes(args) => probes::probes(args, out),
        Command::List(args) => commands::list(&host()?, args, out),
        Command::Share(args) => {
            catch_interrupts()?;
            commands::share(&host()?, args, out)
        }
        Command::Unload(args) => {
            catch_interrupts()?;
            commands::unload(&host()?, args, out)
        }
        Command::Reap(args) => commands::reap(&host()?, args, out),
        Command::Cat(args) => {
            catch_interrupts()?;
            sys::allow_many_files();
            cat::run(args, || Debugfs::find(cli.debugfs.as_deref()), host, out)
        }
        Command::Record(args) => {
            sys::allow_many_files();
            let debugfs = Debugfs::find(cli.debugfs.as_deref())?;
            record::run(args, &debugfs, host, out)
        }
        Command::Keep(args) => keep::keep(args, &cli.device, out),
        Command::Heartbeat(args) => heartbeat::heartbeat(&host()?, args, out),
        Command::Stat(args) => commands::stat(&host()?, args, out),
        Command::Completions { shell } => {
            generate::completions(*shell, out);
            Ok(())
        }
        Command::Generate { what, dir } => generate::generate(Cli::command(), "vesper", *what, dir),
    }
}

fn catch_interrupts() -> Result<()> {
    sys::catch_interrupts().map_err(|errno| Error::Ioctl {
        what: "installing the handler for Ctrl-C".into(),
        errno,
    })
}
