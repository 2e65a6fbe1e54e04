// SPDX-License-Identifier: GPL-2.0

//! The `vesper-eval` tool.

use std::io::{stdout, Write};
use std::process::ExitCode;

use clap::Parser;
use vesper_eval::cli::Cli;
use vesper_eval::run;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = stdout().lock();
    match run(&cli, &mut out).and_then(|()| Ok(out.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vesper-eval: {error}");
            ExitCode::FAILURE
        }
    }
}
