// SPDX-License-Identifier: GPL-2.0

//! `vesper load`: module files, and groups of probe points by name.

use std::io::Write;
use std::path::{Path, PathBuf};

use vesper_abi::bindings::{self, vesper_domain};
use vesper_abi::escape::Escaped;
use vesper_abi::name::text;

use crate::catalogue::{is_module, Catalogue};
use crate::cli;
use crate::control::{Control, Host};
use crate::error::{Error, Result};
use crate::image::{fits, Image};

/// A module that is to be loaded, with its parameters.
struct Wanted<'a> {
    /// A file, or a group.
    what: &'a Path,
    params: Vec<&'a str>,
}

/// A module ready to be sent.
struct Ready {
    name: String,
    image: Image,
    params: String,
}

/// Whether a word names a file and not a group.
pub(crate) fn is_file(what: &Path) -> bool {
    what.components().count() > 1 || what.has_root() || is_module(what.file_name())
}

/// Whether a word is a parameter: `NAME=VALUE`, where no path has its first `=`
/// behind a slash.
fn is_param(word: &str) -> bool {
    let equals = word.find('=');
    equals.is_some_and(|at| !word[..at].contains('/'))
}

/// The modules of the command line, each with the parameters that follow it.
fn wanted(args: &cli::Load) -> Vec<Wanted<'_>> {
    let mut all = vec![Wanted {
        what: &args.image,
        params: Vec::new(),
    }];
    for word in &args.params {
        match all.last_mut() {
            Some(last) if is_param(word) => last.params.push(word),
            _ => all.push(Wanted {
                what: Path::new(word),
                params: Vec::new(),
            }),
        }
    }
    all
}

/// The parameters as `insmod` would pass them: a value with blanks in quotes.
fn parameters(params: &[&str]) -> Result<String> {
    let quote = |param: &&str| match param.split_once('=') {
        Some((name, value)) if value.contains(char::is_whitespace) && !value.contains('"') => {
            format!("{name}=\"{value}\"")
        }
        _ => (*param).to_owned(),
    };
    let line = params.iter().map(quote).collect::<Vec<_>>().join(" ");
    if line.len() > bindings::VIRTIO_VESPER_MAX_PARAMS as usize {
        return Err(Error::Params);
    }
    Ok(line)
}

fn prepare(
    args: &cli::Load,
    domain: &vesper_domain,
    wanted: &Wanted<'_>,
    catalogue: &mut Option<Catalogue>,
) -> Result<Ready> {
    let (vermagic, release) = (text(&domain.vermagic), text(&domain.release));
    let path: PathBuf = if is_file(wanted.what) {
        wanted.what.to_owned()
    } else {
        let catalogue = catalogue.get_or_insert_with(|| Catalogue::find(&args.probes.dirs));
        let group = wanted.what.to_string_lossy();
        catalogue.build(&group, vermagic, release)?.path.clone()
    };
    let image = Image::read(&path)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => image.module_name(&path).map_err(|error| Error::Image {
            path: path.clone(),
            error,
        })?,
    };
    if !fits(&image.vermagic, vermagic, release) {
        let runs = if vermagic.is_empty() {
            release
        } else {
            vermagic
        };
        return Err(Error::Vermagic {
            path,
            domain: args.domain.clone(),
            built: image.vermagic,
            runs: runs.trim_ascii().to_vec(),
        });
    }
    let params = parameters(&wanted.params)?;
    Ok(Ready {
        name,
        image,
        params,
    })
}

/// `vesper load`. What is wrong with any of the modules here is found before the
/// first is sent; the guest may still refuse a later one.
pub fn load(host: &Host<impl Control>, args: &cli::Load, out: &mut impl Write) -> Result<()> {
    let domain = host.domain(&args.domain)?;
    let wanted = wanted(args);
    if args.name.is_some() && wanted.len() > 1 {
        return Err(Error::OneName(wanted.len()));
    }
    let mut catalogue = None;
    let prepare = |wanted| prepare(args, &domain, wanted, &mut catalogue);
    let ready: Vec<_> = wanted.iter().map(prepare).collect::<Result<_>>()?;
    for Ready {
        name,
        image,
        params,
    } in &ready
    {
        let bytes = &image.bytes;
        let remark = host.load(&args.domain, name, bytes, params.as_bytes(), args.timeout)?;
        writeln!(out, "{name}: loaded into {}", args.domain)?;
        if !remark.is_empty() {
            writeln!(out, "{name}: {} says: {}", args.domain, Escaped(&remark))?;
        }
        out.flush()?;
    }
    Ok(())
}
