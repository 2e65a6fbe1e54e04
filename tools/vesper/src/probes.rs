// SPDX-License-Identifier: GPL-2.0

//! `vesper probes`: the groups of probe points, as their images describe them.

use std::io::{self, Write};

use serde::Serialize;

use crate::catalogue::{Build, Catalogue, Contents};
use crate::cli;
use crate::error::Result;
use crate::json;
use crate::table;

#[derive(Serialize)]
struct GroupJson<'a> {
    group: &'a str,
    module: &'a str,
    releases: Vec<&'a str>,
    files: Vec<String>,
    #[serde(flatten)]
    contents: &'a Contents,
}

/// Releases that a group is built for, each once.
fn releases<'a>(builds: &[&'a Build]) -> Vec<&'a str> {
    let mut releases: Vec<_> = builds.iter().map(|build| build.release.as_str()).collect();
    releases.sort_unstable();
    releases.dedup();
    releases
}

fn object<'a>(builds: &[&'a Build]) -> Option<GroupJson<'a>> {
    let first = builds.first()?;
    Some(GroupJson {
        group: &first.group,
        module: &first.module,
        releases: releases(builds),
        files: builds
            .iter()
            .map(|build| build.path.display().to_string())
            .collect(),
        contents: &first.contents,
    })
}

/// What a module says of itself, without what all of them begin with.
fn short(description: &str) -> &str {
    description
        .strip_prefix("VESPER probe: ")
        .unwrap_or(description)
}

/// `vesper probes`.
pub fn probes(args: &cli::Probes, out: &mut impl Write) -> Result<()> {
    let catalogue = Catalogue::find(&args.probes.dirs);
    let chosen: Vec<Vec<&Build>> = match &args.group {
        Some(group) => vec![catalogue.group(group)?],
        None => catalogue.groups().into_values().collect(),
    };
    if args.json.json {
        let objects: Vec<_> = chosen.iter().filter_map(|builds| object(builds)).collect();
        return Ok(json::write_array(out, &objects)?);
    }
    if let (Some(_), Some(builds)) = (&args.group, chosen.first()) {
        return Ok(describe(out, builds)?);
    }
    let row = |builds: &Vec<&Build>| {
        let first = builds.first()?;
        let points = first
            .contents
            .points
            .iter()
            .map(|point| point.name.as_str());
        Some([
            first.group.clone(),
            points.collect::<Vec<_>>().join(","),
            releases(builds).join(","),
            short(&first.contents.description).to_owned(),
        ])
    };
    let rows: Vec<_> = chosen.iter().filter_map(row).collect();
    Ok(table::write(
        out,
        ["GROUP", "POINTS", "KERNELS", "WHAT IT RECORDS"],
        &rows,
    )?)
}

/// All of one group.
fn describe(out: &mut impl Write, builds: &[&Build]) -> io::Result<()> {
    let Some(Build {
        group,
        module,
        contents,
        ..
    }) = builds.first()
    else {
        return Ok(());
    };
    writeln!(out, "{group}: {}", short(&contents.description))?;
    if module != group {
        writeln!(out, "module: {module}")?;
    }
    writeln!(out, "kernels: {}", releases(builds).join(", "))?;

    writeln!(
        out,
        "\nPoints, those with * unless others are chosen (points=NAME,...):"
    )?;
    let width = |names: &mut dyn Iterator<Item = &str>| names.map(str::len).max().unwrap_or(0);
    let wide = width(&mut contents.points.iter().map(|point| point.name.as_str()));
    for point in &contents.points {
        let mark = if point.default { '*' } else { ' ' };
        writeln!(out, "  {mark} {:wide$}  {}", point.name, point.text)?;
    }

    writeln!(out, "\nRecords and their fields:")?;
    for event in &contents.events {
        writeln!(out, "  {}  {}", event.name, event.text)?;
        let wide = width(&mut event.fields.iter().map(|field| field.name.as_str()));
        for field in &event.fields {
            writeln!(
                out,
                "    {:wide$}  {:6}  {}",
                field.name, field.kind, field.text
            )?;
        }
    }

    writeln!(out, "\nParameters (NAME=VALUE) and their defaults:")?;
    let shown = |name: &str, default: &Option<String>| match default {
        Some(default) => format!("{name}={default}"),
        None => name.to_owned(),
    };
    let params: Vec<_> = contents.params.iter().collect();
    let wide = params
        .iter()
        .map(|p| shown(&p.name, &p.default).len())
        .max()
        .unwrap_or(0);
    for param in params {
        let name = shown(&param.name, &param.default);
        writeln!(out, "  {name:wide$}  {:6}  {}", param.kind, param.text)?;
    }
    Ok(())
}
