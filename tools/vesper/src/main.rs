// SPDX-License-Identifier: GPL-2.0

//! The `vesper` command-line tool.

use std::io::{stdout, Write};
use std::process::ExitCode;

use clap::Parser;
use vesper_abi::escape::{is_unsafe, Shown};
use vesper_cli::cli::Cli;
use vesper_cli::{run, say};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let text = error.render().to_string();
            // It repeats the arguments, and file names among them can be anybody's.
            if text.chars().all(|c| c == '\n' || !is_unsafe(c)) {
                error.exit();
            }
            say(Shown(&text).to_string().trim_end());
            return ExitCode::from(2);
        }
    };
    let mut out = stdout().lock();
    let done = run(&cli, &mut out).and_then(|()| Ok(out.flush()?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("vesper: {}", Shown(&error.to_string())));
            if let Some(remedy) = error.remedy() {
                say(&format!("vesper: {}", Shown(&remedy)));
            }
            ExitCode::from(error.exit_code())
        }
    }
}
