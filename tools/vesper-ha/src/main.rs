// SPDX-License-Identifier: GPL-2.0

//! The `vesper-ha` daemon and its tool.

use std::io::{stdout, Write};
use std::process::ExitCode;

use clap::Parser;
use vesper_abi::escape::Shown;
use vesper_cli::say;
use vesper_ha::cli::Cli;
use vesper_ha::run;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = stdout().lock();
    match run(&cli, &mut out).and_then(|()| Ok(out.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("vesper-ha: {}", Shown(&error.to_string())));
            if let Some(remedy) = error.remedy() {
                say(&format!("vesper-ha: {}", Shown(&remedy)));
            }
            error.exit_code().into()
        }
    }
}
