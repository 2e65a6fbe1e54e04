// SPDX-License-Identifier: GPL-2.0

//! `vesper cat`: reads the relay files of modules, decodes, and shows.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use vesper_ctf::decoder::{Decoder, Item, Totals};
use vesper_ctf::merge::{Merge, Refill};
use vesper_ctf::metadata::Metadata;

use crate::cli::{self, Scope};
use crate::control::{Control, Host};
use crate::debugfs::Debugfs;
use crate::error::{Error, Result};
use crate::record::{Lookup, RecordError};
use crate::relay::{End, ModuleFiles, RelayFile};
use crate::{say, sys};

mod feed;
mod follow;
mod show;
mod symbols;

pub use feed::{Feed, Judge, Round};
use show::{Label, Show};
use symbols::Symbols;

/// What is taken from a file at a time.
const CHUNK: usize = 64 << 10;

/// One module of those that are shown.
struct Module {
    files: ModuleFiles,
    decoders: Vec<Decoder>,
    symbols: Symbols,
    label: Label,
    /// A copy of a directory: its files do not grow.
    is_copy: bool,
    /// All files have ended, and the metadata were read after that.
    over: bool,
}

/// What all of it works on.
struct Session<'a, W: Write> {
    modules: Vec<Module>,
    show: Show<'a, W>,
}

/// Shows what modules have recorded. Returns when there is no more for now, or
/// with `--follow` when the modules are gone, or when interrupted.
///
/// `debugfs` and `host` are asked for only if they are needed.
pub fn run<C: Control>(
    args: &cli::Cat,
    debugfs: impl FnOnce() -> Result<Debugfs>,
    host: impl FnOnce() -> Result<Host<C>>,
    out: &mut impl Write,
) -> Result<()> {
    let mut modules = match &args.from {
        Some(dir) => vec![Module::of_copy(dir)?],
        None => Module::of_targets(&args.targets, &debugfs()?, host)?,
    };
    for module in &mut modules {
        module.find_files()?;
    }
    let show = Show::new(out, args);
    let mut session = Session { modules, show };
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
        say(&summary(&totals));
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

impl Module {
    fn of_copy(dir: &Path) -> Result<Self> {
        let files = ModuleFiles::open_copy(dir)?;
        let symbols = Symbols::load(&files, dir.display().to_string())?;
        // A copy tells by itself where it comes from.
        let label = Label::of_copy(&symbols.metadata());
        let mut module = Self::new(files, symbols, label);
        module.is_copy = true;
        Ok(module)
    }

    fn of_targets<C: Control>(
        targets: &[Scope],
        debugfs: &Debugfs,
        host: impl FnOnce() -> Result<Host<C>>,
    ) -> Result<Vec<Self>> {
        let lookup = Lookup::new(debugfs, host());
        let mut modules = Vec::new();
        let mut left_out = None;
        // Two readers of one buffer take packets away from each other.
        let mut taken = HashSet::new();
        for Scope { domain, module } in targets {
            let names = match module {
                Some(module) => vec![module.clone()],
                None => debugfs.modules_of(domain).unwrap_or_default(),
            };
            if names.is_empty() {
                return Err(RecordError::Nothing(domain.clone()).into());
            }
            for name in names {
                if taken.contains(&(domain, name.clone())) {
                    continue;
                }
                let files = ModuleFiles::open(debugfs, domain, &name)?;
                let target = format!("{domain}/{name}");
                let named = Symbols::load(&files, target)
                    .map(|symbols| Self::named(files, symbols, domain, &name, &lookup));
                match named {
                    // A lent channel of other code, which nobody has asked for by name.
                    Err(error @ Error::NoMetadata(_)) if module.is_none() => {
                        say(&format!("vesper: {error}: it is left out"));
                        left_out = Some(error);
                    }
                    named => {
                        taken.insert((domain, name));
                        modules.push(named?);
                    }
                }
            }
        }
        if let (true, Some(error)) = (modules.is_empty(), left_out) {
            return Err(error);
        }
        // Where it matters for the order.
        if modules.len() > 1 {
            for (module, time) in &modules {
                say(&format!("vesper: {}: {time}", module.label));
            }
        }
        Ok(modules.into_iter().map(|(module, _)| module).collect())
    }

    /// A module on this host, and a sentence about its time.
    fn named<C: Control>(
        files: ModuleFiles,
        symbols: Symbols,
        domain: &str,
        name: &str,
        lookup: &Lookup<C>,
    ) -> (Self, String) {
        let metadata = symbols.metadata();
        let origin = lookup.origin(domain, Some(&metadata));
        let time = lookup.describe(&origin);
        let label = Label::new(domain, name, &metadata, origin);
        (Self::new(files, symbols, label), time)
    }

    fn new(files: ModuleFiles, symbols: Symbols, label: Label) -> Self {
        Self {
            files,
            decoders: Vec::new(),
            symbols,
            label,
            is_copy: false,
            over: false,
        }
    }

    /// Opens files that are there by now; true if there are new ones.
    fn find_files(&mut self) -> Result<bool> {
        let before = self.decoders.len();
        let scanned = self.files.rescan();
        // Also of those that were opened before one that can't be.
        for file in self.files.list().iter().skip(before) {
            let uuid = self.symbols.metadata().uuid;
            let mut decoder = Decoder::new(uuid, file.cpu());
            // A copy may be of any channel.
            if let Some(room) = file.packet_room() {
                decoder.set_room(usize::try_from(room).unwrap_or(usize::MAX));
            }
            self.decoders.push(decoder);
        }
        scanned?;
        Ok(self.decoders.len() > before)
    }

    /// Where what each file has now ends.
    fn ends(&self) -> Vec<End> {
        match self.is_copy {
            true => Vec::new(),
            false => self.files.list().iter().map(RelayFile::end).collect(),
        }
    }

    /// Looks at the metadata once more when nothing is left but them: the host keeps the
    /// directory until somebody has read all of them. False if that is to be tried again.
    fn read_last_metadata(&mut self) -> bool {
        let ended = !self.decoders.is_empty() && self.files.all_ended();
        self.over = ended && (self.over || self.symbols.reload());
        self.over == ended
    }
}

/// Reads files when what was read before has been shown.
struct Files<'a> {
    files: &'a mut ModuleFiles,
    buffer: Vec<u8>,
    /// Bytes that may still be read: packets need not have any records.
    left: usize,
    /// Where each file ends, with the bytes that were read of it; one that has none is read as
    /// long as there is something.
    ends: Vec<(End, usize)>,
}

impl<'a> Files<'a> {
    /// Reads what there is, but not more than `left` bytes.
    fn new(files: &'a mut ModuleFiles, left: usize) -> Self {
        let buffer = vec![0; CHUNK];
        Self {
            files,
            buffer,
            left,
            ends: Vec::new(),
        }
    }

    /// Reads as far as `ends`.
    fn up_to(files: &'a mut ModuleFiles, ends: Vec<End>) -> Self {
        let ends = ends.into_iter().map(|end| (end, 0)).collect();
        Self {
            ends,
            ..Self::new(files, usize::MAX)
        }
    }

    /// Whether nothing more is to be begun of a file.
    fn is_at_end(&self, number: usize) -> bool {
        let file = &self.files.list()[number];
        let end = self.ends.get(number);
        end.is_some_and(|&(end, taken)| file.is_at(end, taken))
    }
}

impl Refill for Files<'_> {
    type Error = Error;

    fn refill(&mut self, number: usize, decoder: &mut Decoder) -> Result<bool> {
        // After Ctrl-C, and at its end, no more than the rest of a packet of which some has
        // been taken.
        let room = match sys::interrupted() || self.is_at_end(number) {
            true => decoder.wanting().min(CHUNK),
            false => CHUNK,
        };
        if room == 0 || self.left == 0 {
            return Ok(false);
        }
        let len = self.files.read(number, &mut self.buffer[..room])?;
        decoder.push(&self.buffer[..len]);
        self.left = self.left.saturating_sub(len);
        if let Some((_, taken)) = self.ends.get_mut(number) {
            *taken += len;
        }
        Ok(len > 0)
    }
}

/// The items of one module, in order.
struct Line<'a, R> {
    merge: Merge<'a>,
    source: R,
    symbols: &'a mut Symbols,
    metadata: Arc<Metadata>,
    label: &'a Label,
}

impl<'a, R: Refill<Error = Error>> Line<'a, R> {
    fn new(
        decoders: &'a mut [Decoder],
        symbols: &'a mut Symbols,
        label: &'a Label,
        mut source: R,
    ) -> Result<Self> {
        symbols.begin_batch();
        let metadata = symbols.metadata();
        Ok(Self {
            merge: Merge::new(decoders, &metadata, &mut source)?,
            source,
            symbols,
            metadata,
            label,
        })
    }
}

/// Shows all that several modules have, on one time line; `wait` for symbols that
/// are on their way.
fn show_all<R: Refill<Error = Error>, W: Write>(
    mut lines: Vec<Line<'_, R>>,
    show: &mut Show<'_, W>,
    wait: bool,
) -> Result<()> {
    loop {
        let time = |line: &Line<'_, R>| {
            let cycles = line.merge.peek()?;
            Some(line.label.clock.nanoseconds(cycles))
        };
        let times = lines.iter().enumerate();
        let times = times.filter_map(|(number, line)| Some((time(line)?, number)));
        let Some((_, number)) = times.min() else {
            return Ok(());
        };
        let line = &mut lines[number];
        let Some(item) = line.merge.next(&line.metadata, &mut line.source)? else {
            continue;
        };
        line.symbols.look_up(&item, wait);
        show.item(line.label, &line.symbols.metadata(), &item)?;
    }
}

impl<W: Write> Session<'_, W> {
    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for decoder in self.modules.iter().flat_map(|module| &module.decoders) {
            totals += decoder.totals();
        }
        totals
    }

    /// Everything that is there now, in order of time.
    fn drain(&mut self) -> Result<()> {
        let mut lines = Vec::new();
        // Of all, before any is read.
        let ends: Vec<_> = self.modules.iter().map(Module::ends).collect();
        for (module, ends) in self.modules.iter_mut().zip(ends) {
            let source = Files::up_to(&mut module.files, ends);
            let (decoders, symbols) = (&mut module.decoders, &mut module.symbols);
            lines.push(Line::new(decoders, symbols, &module.label, source)?);
        }
        show_all(lines, &mut self.show, false)?;
        self.finish()
    }

    /// What is left over when nothing more will come.
    fn finish(&mut self) -> Result<()> {
        // After Ctrl-C the rest of a packet is still in the file.
        if !sys::interrupted() {
            for module in &mut self.modules {
                let metadata = module.symbols.metadata();
                let left = module.decoders.iter_mut().filter_map(Decoder::finish);
                let left: Vec<Item> = left.collect();
                for item in &left {
                    self.show.item(&module.label, &metadata, item)?;
                }
            }
        }
        self.show.flush()
    }
}
