// SPDX-License-Identifier: GPL-2.0

//! The `vesper` command-line tool.

use std::io::{stdout, Write};
use std::process::ExitCode;

use clap::Parser;
use vesper_cli::cli::Cli;
use vesper_cli::run;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = stdout().lock();
    let done = run(&cli, &mut out).and_then(|()| Ok(out.flush()?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vesper: {error}");
            if let Some(remedy) = error.remedy() {
                eprintln!("vesper: {remedy}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}
