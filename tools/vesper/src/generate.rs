// SPDX-License-Identifier: GPL-2.0

//! Man pages and completion scripts, out of the definition of the command line.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::{Cli, Generated};
use crate::error::{Error, Result};

/// `vesper completions`.
pub fn completions(shell: Shell, out: &mut impl Write) {
    clap_complete::generate(shell, &mut Cli::command(), "vesper", out);
}

/// `vesper generate`.
pub fn generate(what: Generated, dir: &Path) -> Result<()> {
    let written = fs::create_dir_all(dir).and_then(|()| match what {
        Generated::Man => man_pages(dir),
        Generated::Completion => completion_scripts(dir),
    });
    written.map_err(|error| Error::File {
        path: dir.to_owned(),
        error,
    })
}

fn man_pages(dir: &Path) -> io::Result<()> {
    let command = Cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command, dir)
}

fn completion_scripts(dir: &Path) -> io::Result<()> {
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut Cli::command(), "vesper", dir)?;
    }
    Ok(())
}
