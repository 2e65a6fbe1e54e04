// SPDX-License-Identifier: GPL-2.0

//! The metadata, read again when a record has a value that it knows no label
//! for: the guest adds the name of a symbol when it first uses it.

use std::collections::HashSet;
use std::fs::File;
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

/// How long a name may be behind the record that needs it, in steps.
pub(super) const STEP: Duration = Duration::from_millis(20);
const STEPS: u32 = 50;
/// After that no name is waited for.
pub(super) const LATE: Duration = STEP.saturating_mul(STEPS);
/// After so many records in a row whose names did not come, nothing is waited for.
const PATIENCE: usize = 3;
/// Reading again without waiting is not done more often than this.
const PAUSE: Duration = Duration::from_millis(200);
/// Values known to have no label; beyond this many, none are looked for.
const MAX_UNKNOWN: usize = 1 << 16;

/// The metadata of a module, kept up to date.
pub(super) struct Symbols {
    path: PathBuf,
    text: Vec<u8>,
    metadata: Arc<Metadata>,
    /// Values that no label was found for.
    unknown: HashSet<i128>,
    /// Searches in vain since the last one that was not.
    in_vain: usize,
    read_at: Instant,
}

impl Symbols {
    /// Reads the metadata of `target` for the first time. `files` have to be there as
    /// long as this.
    pub(super) fn load(files: &ModuleFiles, target: String) -> Result<Self> {
        let path = files.metadata_path();
        let text = read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NoMetadata(target.clone()),
            _ => files.metadata_error(error),
        })?;
        if text.trim_ascii().is_empty() {
            return Err(Error::NoMetadata(target));
        }
        let metadata = tsdl::parse(&text).map_err(|error| Error::Metadata { target, error })?;
        Ok(Self {
            path,
            text,
            metadata: Arc::new(metadata),
            unknown: HashSet::new(),
            in_vain: 0,
            read_at: Instant::now(),
        })
    }

    /// As last read.
    pub(super) fn metadata(&self) -> Arc<Metadata> {
        Arc::clone(&self.metadata)
    }

    /// Sees to it that the labels which `item` needs are there, if they come
    /// within a moment; without `wait`, if they are there now.
    pub(super) fn look_up(&mut self, item: &Item, wait: bool) {
        let Some(mut missing) = self.missing(item) else {
            return;
        };
        let patient = wait && self.in_vain < PATIENCE;
        for _ in 0..if patient { STEPS } else { 1 } {
            if patient {
                std::thread::sleep(STEP);
            } else if self.read_at.elapsed() < PAUSE {
                return;
            }
            self.reload();
            missing = match self.missing(item) {
                None => {
                    self.in_vain = 0;
                    return;
                }
                Some(missing) => missing,
            };
        }
        self.in_vain = self.in_vain.saturating_add(1);
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
            None => self.in_vain = 0,
            Some(_) if !give_up => return false,
            Some(missing) => {
                self.in_vain = self.in_vain.saturating_add(1);
                self.unknown.extend(missing);
            }
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
        if let Ok(metadata) = tsdl::parse(&text) {
            if metadata.extends(&self.metadata) {
                self.metadata = Arc::new(metadata);
                self.text = text;
            }
        }
        true
    }
}

/// The file, or as much of it as tells that it is too long.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?
        .take(tsdl::MAX_TEXT as u64 + 1)
        .read_to_end(&mut text)?;
    Ok(text)
}
