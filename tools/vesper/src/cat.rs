// SPDX-License-Identifier: GPL-2.0

//! `vesper cat`: reads the relay files of a module, decodes, and shows.

use std::io::Write;

use vesper_ctf::decoder::{Decoder, Item, Totals};
use vesper_ctf::merge::{Merge, Refill};

use crate::cli;
use crate::debugfs::Debugfs;
use crate::error::{Error, Result};
use crate::relay::ModuleFiles;
use crate::sys;

mod follow;
mod show;
mod symbols;

use show::Show;
use symbols::Symbols;

/// What is taken from a file at a time.
const CHUNK: usize = 64 << 10;

/// What all of it works on.
struct Session<'a, W: Write> {
    files: ModuleFiles,
    decoders: Vec<Decoder>,
    symbols: Symbols,
    show: Show<'a, W>,
}

/// Shows what a module has recorded. Returns when there is no more for now, or
/// with `--follow` when the module is gone, or when interrupted.
///
/// `debugfs` is asked for only if it is needed.
pub fn run(
    args: &cli::Cat,
    debugfs: impl FnOnce() -> Result<Debugfs>,
    out: &mut impl Write,
) -> Result<()> {
    let (files, name) = match (&args.from, &args.target) {
        (Some(dir), _) => (ModuleFiles::open_copy(dir)?, dir.display().to_string()),
        (None, Some(target)) => (
            ModuleFiles::open(&debugfs()?, target)?,
            format!("{}/{}", target.domain, target.module),
        ),
        (None, None) => unreachable!("the command line asks for one of the two"),
    };
    let symbols = Symbols::load(files.metadata_path(), name)?;
    let show = Show::new(out, args, &symbols.metadata());
    let mut session = Session {
        files,
        decoders: Vec::new(),
        symbols,
        show,
    };
    session.find_files()?;
    let shown = if args.follow {
        session.follow()
    } else {
        session.drain()
    };
    match shown {
        Err(error) if error.is_broken_pipe() => return Ok(()),
        shown => shown?,
    }
    let totals = session.totals();
    let trouble = totals.lost > 0 || totals.missing > 0 || totals.malformed > 0;
    if args.follow || sys::interrupted() || trouble {
        eprintln!("{}", summary(&totals));
    }
    if totals.malformed > 0 {
        return Err(Error::Malformed(totals.malformed));
    }
    Ok(())
}

/// One line about what was met.
fn summary(totals: &Totals) -> String {
    let mut line = format!("{} records, {} lost", totals.records, totals.lost);
    if totals.missing > 0 {
        line += &format!(", {} packets missing", totals.missing);
    }
    if totals.malformed > 0 {
        line += &format!(", {} malformed packets", totals.malformed);
    }
    line
}

impl<W: Write> Session<'_, W> {
    /// Opens files that are there by now; true if there are new ones.
    fn find_files(&mut self) -> Result<bool> {
        let before = self.decoders.len();
        self.files.rescan()?;
        for file in self.files.list().iter().skip(before) {
            let uuid = self.symbols.metadata().uuid;
            self.decoders.push(Decoder::new(uuid, file.cpu()));
        }
        Ok(self.decoders.len() > before)
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for decoder in &self.decoders {
            totals += decoder.totals();
        }
        totals
    }

    /// Everything there is, in order of time.
    fn drain(&mut self) -> Result<()> {
        struct Files<'a>(&'a mut ModuleFiles, Vec<u8>);

        impl Refill for Files<'_> {
            type Error = Error;

            fn refill(&mut self, number: usize, decoder: &mut Decoder) -> Result<bool> {
                if sys::interrupted() {
                    return Ok(false);
                }
                let len = self.0.read(number, &mut self.1)?;
                decoder.push(&self.1[..len]);
                Ok(len > 0)
            }
        }

        let mut source = Files(&mut self.files, vec![0; CHUNK]);
        let metadata = self.symbols.metadata();
        let mut merge = Merge::new(&mut self.decoders, &metadata, &mut source)?;
        while !sys::interrupted() {
            let Some(item) = merge.next(&metadata, &mut source)? else {
                break;
            };
            self.symbols.look_up(&item, false);
            self.show.item(&self.symbols.metadata(), &item)?;
        }
        self.finish()
    }

    /// What is left over when nothing more will come.
    fn finish(&mut self) -> Result<()> {
        let metadata = self.symbols.metadata();
        // After Ctrl-C the rest of a packet is still in the file.
        if !sys::interrupted() {
            let left: Vec<Item> = self
                .decoders
                .iter_mut()
                .filter_map(Decoder::finish)
                .collect();
            for item in &left {
                self.show.item(&metadata, item)?;
            }
        }
        self.show.flush()
    }
}
