// SPDX-License-Identifier: GPL-2.0

//! Man pages and completion scripts, out of the definition of the command line.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::cli::{Cli, Generated};
use crate::error::{Error, Result};

/// `vesper completions`.
pub fn completions(shell: Shell, out: &mut impl Write) {
    clap_complete::generate(shell, &mut Cli::command(), "vesper", out);
}

/// Writes what belongs to a program of this name.
pub fn generate(mut command: Command, name: &str, what: Generated, dir: &Path) -> Result<()> {
    let written = fs::create_dir_all(dir).and_then(|()| match what {
        Generated::Man => man_pages(command, dir),
        Generated::Completion => completion_scripts(&mut command, name, dir),
    });
    written.map_err(|error| Error::File {
        path: dir.to_owned(),
        error,
    })
}

fn man_pages(command: Command, dir: &Path) -> io::Result<()> {
    clap_mangen::generate_to(command.disable_help_subcommand(true), dir)
}

fn completion_scripts(command: &mut Command, name: &str, dir: &Path) -> io::Result<()> {
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, command, name, dir)?;
    }
    Ok(())
}
