// SPDX-License-Identifier: GPL-2.0

//! The metadata, read again when a record has a value that it knows no label
//! for: the guest adds the name of a symbol when it first uses it.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vesper_ctf::decoder::{Item, ItemKind};
use vesper_ctf::metadata::{FieldType, Metadata, Scalar};
use vesper_ctf::record::{elements, Value};
use vesper_ctf::tsdl;

use crate::error::{Error, Result};
use crate::relay::ModuleFiles;
use crate::sys;

/// How often to look for a name that is waited for.
pub(super) const STEP: Duration = Duration::from_millis(20);
/// How long a name may be behind the record that needs it. All names that a batch needs are
/// waited for no longer than that: meanwhile other guests' records are not shown.
pub(super) const LATE: Duration = Duration::from_secs(1);
/// When so many more records had names that did not come than had names that did, nothing is
/// waited for.
const PATIENCE: usize = 3;
/// Reading again without waiting is not done more often than this.
const PAUSE: Duration = Duration::from_millis(200);
/// Values known to have no label; beyond this many, none are looked for.
const MAX_UNKNOWN: usize = 1 << 16;

/// The metadata of a module, kept up to date.
pub(super) struct Symbols {
    path: PathBuf,
    text: Vec<u8>,
    /// Tells a later text that could not be used.
    refused: Option<u64>,
    metadata: Arc<Metadata>,
    /// Values that no label was found for.
    unknown: HashSet<i128>,
    /// Searches in vain, less those that were not, from 0 to [`PATIENCE`].
    in_vain: usize,
    /// How long may still be waited in this batch.
    left: Duration,
    read_at: Instant,
}

impl Symbols {
    /// Reads the metadata of `target` for the first time. `files` have to be there as
    /// long as this.
    pub(super) fn load(files: &ModuleFiles, target: String) -> Result<Self> {
        let text = Self::first_text(files, &target)?;
        Self::of(files, target, text)
    }

    /// The text of which [`Symbols::of`] makes them.
    pub(super) fn first_text(files: &ModuleFiles, target: &str) -> Result<Vec<u8>> {
        let text = read(&files.metadata_path()).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NoMetadata(target.to_owned()),
            _ => files.metadata_error(error),
        })?;
        if text.trim_ascii().is_empty() {
            return Err(Error::NoMetadata(target.to_owned()));
        }
        Ok(text)
    }

    /// Those in a text that was read. It fails for what is in the text only.
    pub(super) fn of(files: &ModuleFiles, target: String, text: Vec<u8>) -> Result<Self> {
        let metadata = tsdl::parse(&text).map_err(|error| Error::Metadata { target, error })?;
        Ok(Self {
            path: files.metadata_path(),
            text,
            refused: None,
            metadata: Arc::new(metadata),
            unknown: HashSet::new(),
            in_vain: 0,
            left: LATE,
            read_at: Instant::now(),
        })
    }

    /// As last read.
    pub(super) fn metadata(&self) -> Arc<Metadata> {
        Arc::clone(&self.metadata)
    }

    /// From here on names may be waited for once more.
    pub(super) fn begin_batch(&mut self) {
        self.left = LATE;
    }

    /// Sees to it that the labels which `item` needs are there, if they come
    /// within a moment; without `wait`, if they are there now.
    pub(super) fn look_up(&mut self, item: &Item, wait: bool) {
        if self.missing(item).is_none() {
            return;
        }
        if wait && self.in_vain < PATIENCE && !self.left.is_zero() {
            self.wait_for(item);
        } else if self.read_at.elapsed() < PAUSE {
            return;
        } else {
            self.reload();
        }
        match self.missing(item) {
            None => self.in_vain = self.in_vain.saturating_sub(1),
            Some(missing) => self.give_up(missing),
        }
    }

    /// Reads again and again until `item` has its labels, or there is no more time for it.
    fn wait_for(&mut self, item: &Item) {
        let begun = Instant::now();
        while begun.elapsed() < self.left && !sys::interrupted() {
            std::thread::sleep(STEP);
            self.reload();
            if self.missing(item).is_none() {
                break;
            }
        }
        self.left = self.left.saturating_sub(begun.elapsed());
    }

    /// Looks no more for what no label was found for.
    fn give_up(&mut self, missing: Vec<i128>) {
        self.in_vain = PATIENCE.min(self.in_vain + 1);
        self.unknown.extend(missing);
    }

    /// Whether there are labels to wait for before `item` can be shown in full.
    pub(super) fn is_wanting(&self, item: &Item) -> bool {
        self.in_vain < PATIENCE && self.missing(item).is_some()
    }

    /// Whether `item` has all its labels by now. Never waits: who asks again does so
    /// after [`STEP`]. With `give_up`, what is missing then is missing for good.
    pub(super) fn is_settled(&mut self, item: &Item, give_up: bool) -> bool {
        if self.missing(item).is_some() && self.read_at.elapsed() >= STEP {
            self.reload();
        }
        match self.missing(item) {
            None => self.in_vain = self.in_vain.saturating_sub(1),
            Some(_) if !give_up => return false,
            Some(missing) => self.give_up(missing),
        }
        true
    }

    /// Array elements without a label that have not been given up.
    fn missing(&self, item: &Item) -> Option<Vec<i128>> {
        let ItemKind::Record(record, packet) = &item.kind else {
            return None;
        };
        if self.unknown.len() >= MAX_UNKNOWN {
            return None;
        }
        let mut missing = Vec::new();
        for (field, value) in record.fields(&self.metadata) {
            let (FieldType::Array(scalar @ Scalar::Enum(_, labels), _), Value::Array(range)) =
                (&field.ty, value)
            else {
                continue;
            };
            let values = elements(scalar, &packet[range.clone()]);
            let unknown = |v: &i128| labels.get(*v).is_none() && !self.unknown.contains(v);
            missing.extend(values.filter(unknown).take(MAX_UNKNOWN));
        }
        (!missing.is_empty()).then_some(missing)
    }

    /// Reads the file again; what can't be read or used leaves all as it is. False if there
    /// is a file that could not be read to its end.
    pub(super) fn reload(&mut self) -> bool {
        self.read_at = Instant::now();
        let text = match read(&self.path) {
            Ok(text) => text,
            Err(error) => return error.kind() == io::ErrorKind::NotFound,
        };
        if text == self.text {
            return true;
        }
        let print = fingerprint(&text);
        if self.refused == Some(print) {
            return true;
        }
        match tsdl::parse(&text) {
            Ok(metadata) if metadata.extends(&self.metadata) => {
                self.metadata = Arc::new(metadata);
                self.text = text;
            }
            _ => self.refused = Some(print),
        }
        true
    }
}

/// Tells one text from another.
pub(super) fn fingerprint(text: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The file, or as much of it as tells that it is too long.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?
        .take(tsdl::MAX_TEXT as u64 + 1)
        .read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;
    use vesper_ctf::decoder::Decoder;
    use vesper_ctf::writer::{signal_event, signal_metadata, PacketWriter, UUID};

    use super::*;

    /// A module whose metadata have no names yet.
    fn symbols() -> (TempDir, Symbols) {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("metadata"), signal_metadata(&[])).unwrap();
        let files = ModuleFiles::open_copy(dir.path()).unwrap();
        let mut symbols = Symbols::load(&files, "web1/signal".into()).unwrap();
        // That of the files goes with them.
        symbols.path = dir.path().join("metadata");
        (dir, symbols)
    }

    /// A record that needs the name of `address`.
    fn record(symbols: &Symbols, address: u64) -> Item {
        let mut decoder = Decoder::new(Some(UUID), 0);
        decoder.push(&PacketWriter::new(0).packet(&[signal_event(1, 1, "a", 1, &[address])]));
        decoder.next_item(&symbols.metadata).unwrap()
    }

    #[test]
    fn a_batch_waits_only_so_long_for_all_its_names() {
        let (_dir, mut symbols) = symbols();
        symbols.look_up(&record(&symbols, 5), true);
        assert!(symbols.left.is_zero() && symbols.unknown.contains(&5));
        // The next neither waits nor, as it was read just now, looks.
        symbols.read_at = Instant::now() + Duration::from_secs(3600);
        symbols.look_up(&record(&symbols, 6), true);
        assert!(!symbols.unknown.contains(&6));
        symbols.begin_batch();
        symbols.look_up(&record(&symbols, 6), true);
        assert!(symbols.left.is_zero() && symbols.unknown.contains(&6));
    }

    #[test]
    fn a_text_that_can_not_be_used_is_parsed_once() {
        let (dir, mut symbols) = symbols();
        let write = |text: &str| fs::write(dir.path().join("metadata"), text).unwrap();
        write("rubbish");
        assert!(symbols.reload());
        assert_eq!(symbols.refused, Some(fingerprint(b"rubbish")));
        // One that would be taken, if it were not for that.
        let text = signal_metadata(&[("late+0/1", 100)]);
        symbols.refused = Some(fingerprint(text.as_bytes()));
        write(&text);
        assert!(symbols.reload());
        assert_ne!(symbols.text, text.as_bytes());
        symbols.refused = None;
        assert!(symbols.reload());
        assert_eq!(symbols.text, text.as_bytes());
    }

    #[test]
    fn a_name_that_comes_makes_up_for_one_that_does_not() {
        let (dir, mut symbols) = symbols();
        for address in 1..=PATIENCE as u64 + 5 {
            assert!(symbols.is_settled(&record(&symbols, address), true));
        }
        let (late, next) = (record(&symbols, 100), record(&symbols, 101));
        assert!(!symbols.is_wanting(&late));
        let text = signal_metadata(&[("late+0/1", 100)]);
        fs::write(dir.path().join("metadata"), text).unwrap();
        while !symbols.is_settled(&late, false) {
            std::thread::sleep(STEP);
        }
        assert!(symbols.is_wanting(&next));
        assert!(symbols.is_settled(&next, true));
        assert!(!symbols.is_wanting(&record(&symbols, 102)));
    }
}
