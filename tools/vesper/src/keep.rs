// SPDX-License-Identifier: GPL-2.0

//! `vesper keep`: probes that belong to a guest and are loaded again whenever it
//! has booted, or a new one takes its name.

use std::io::Write;

use crate::cli::{self, KeepAction};
use crate::error::Result;
use crate::json;
use crate::table;

pub mod config;
mod run;

use config::{Config, Kept};

/// `vesper keep`.
pub fn keep(args: &cli::Keep, device: &std::path::Path, out: &mut impl Write) -> Result<()> {
    let config = Config::new(&args.config);
    match &args.action {
        KeepAction::Add(add) => {
            let kept = Kept {
                domain: add.domain.clone(),
                probe: absolute(&add.probe)?,
                params: add.params.clone(),
                name: add.name.clone(),
            };
            config.add(&kept)?;
            writeln!(out, "{}: kept for {}", kept.label(), kept.domain)?;
            Ok(())
        }
        KeepAction::Remove { domain, probe } => {
            // By the path that it was kept with, too. Without the file that may not be known.
            let path = probe.as_deref().and_then(|probe| absolute(probe).ok());
            let count = config.remove(domain, probe.as_deref(), path.as_deref())?;
            writeln!(out, "{domain}: {count} kept no longer")?;
            Ok(())
        }
        KeepAction::List { domain, json } => {
            let mut kept = config.read()?;
            kept.retain(|kept| domain.as_ref().is_none_or(|domain| kept.domain == *domain));
            list(&kept, json.json, out)
        }
        KeepAction::Run { probes } => run::run(&config, probes, device),
    }
}

/// A file by a path that means the same from everywhere; a group by its name.
fn absolute(probe: &str) -> Result<String> {
    let path = std::path::Path::new(probe);
    if !crate::load::is_file(path) {
        return Ok(probe.to_owned());
    }
    let found = path
        .canonicalize()
        .map_err(|error| crate::error::Error::File {
            path: path.to_owned(),
            error,
        })?;
    Ok(found.to_string_lossy().into_owned())
}

fn list(kept: &[Kept], as_json: bool, out: &mut impl Write) -> Result<()> {
    if as_json {
        return Ok(json::write_array(out, kept)?);
    }
    let row = |kept: &Kept| {
        let name = kept.name.clone();
        [
            kept.domain.clone(),
            kept.probe.clone(),
            name.unwrap_or_else(|| "-".into()),
            kept.params.join(" "),
        ]
    };
    let rows: Vec<_> = kept.iter().map(row).collect();
    Ok(table::write(
        out,
        ["DOMAIN", "PROBE", "NAME", "PARAMETERS"],
        &rows,
    )?)
}
