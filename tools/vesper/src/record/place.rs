// SPDX-License-Identifier: GPL-2.0

//! Where the trace of a module goes: `DIR/<domain>/<module>`, and another
//! directory beside it for each further trace of the same name.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use vesper_ctf::tsdl;

use super::error::RecordError;
use crate::error::{Error, Result};

/// The file that describes a trace.
pub(super) const METADATA: &str = "metadata";
/// Digits of a boot id that tell boots of one guest apart.
const BOOT_DIGITS: usize = 8;

pub(super) fn file_error(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    |error| Error::File {
        path: path.to_owned(),
        error,
    }
}

/// Makes the directory of a recording, or takes one that is empty, or with
/// `resume` one that has a trace.
pub(super) fn open(dir: &Path, resume: bool) -> Result<()> {
    fs::create_dir_all(dir).map_err(file_error(dir))?;
    let mut entries = fs::read_dir(dir).map_err(file_error(dir))?;
    if !resume && entries.next().is_some() {
        return Err(RecordError::NotEmpty(dir.to_owned()).into());
    }
    Ok(())
}

/// The traces of a recording: whose metadata are read once, however many of a name follow.
pub(super) struct Places {
    dir: PathBuf,
    /// Those that were looked at, with the trace that each has, if any.
    known: HashMap<PathBuf, Option<[u8; 16]>>,
}

impl Places {
    /// Those below `dir`.
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            known: HashMap::new(),
        }
    }

    /// The directory of a trace: the one that has trace `uuid` already, or else a new
    /// one. `boot` is the text form of the guest's boot id, if it has one.
    ///
    /// One that is being written to is nobody else's; `writers` has the names of those who do
    /// so, and where. `None` if that is a trace of the same name: a channel that was closed
    /// and opened again goes on where it ended, once all of that is there.
    pub(super) fn choose(
        &mut self,
        domain: &str,
        module: &str,
        uuid: Option<&[u8; 16]>,
        boot: &str,
        writers: &[(&str, &Path)],
    ) -> Result<Option<PathBuf>> {
        let parent = self.dir.join(domain);
        fs::create_dir_all(&parent).map_err(file_error(&parent))?;
        let boot: String = boot.chars().take(BOOT_DIGITS).collect();
        let safe = boot.chars().all(|c| c.is_ascii_hexdigit());
        let with_boot = if safe && !boot.is_empty() {
            format!("{module}-{boot}")
        } else {
            format!("{module}-other")
        };
        let names = [module.to_owned(), with_boot.clone()].into_iter();
        for name in names.chain((2u64..).map(|n| format!("{with_boot}-{n}"))) {
            let place = parent.join(name);
            let there = match self.known.get(&place) {
                Some(there) => *there,
                None => match fs::create_dir(&place) {
                    Ok(()) => {
                        self.known.insert(place.clone(), uuid.copied());
                        return Ok(Some(place));
                    }
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        let there = uuid_in(&place);
                        self.known.insert(place.clone(), there);
                        there
                    }
                    Err(error) => return Err(file_error(&place)(error)),
                },
            };
            if uuid.is_none() || there.as_ref() != uuid {
                continue;
            }
            match writers.iter().find(|(_, at)| *at == place) {
                None => {
                    // Somebody may have removed it.
                    fs::create_dir_all(&place).map_err(file_error(&place))?;
                    return Ok(Some(place));
                }
                Some((name, _)) if *name == format!("{domain}/{module}") => return Ok(None),
                Some(_) => {}
            }
        }
        unreachable!("there is always another number")
    }
}

/// The trace that a directory has.
fn uuid_in(place: &Path) -> Option<[u8; 16]> {
    let text = fs::read(place.join(METADATA)).ok()?;
    tsdl::parse(&text).ok()?.uuid
}

/// Device and inode of a directory that is there.
pub(super) fn identity(dir: &Path) -> Option<(u64, u64)> {
    let found = fs::metadata(dir).ok()?;
    Some((found.dev(), found.ino()))
}

/// Puts metadata into a trace, the whole of it at once: whoever opens the file
/// finds one text or the other.
pub(super) fn write_metadata(place: &Path, text: &[u8]) -> Result<()> {
    // Readers of traces take names with a dot in front for none of theirs.
    let new = place.join(".metadata.new");
    let path = place.join(METADATA);
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(text)?;
        file.sync_all()
    });
    written
        .and_then(|()| fs::rename(&new, &path))
        .map_err(|error| {
            let _ = fs::remove_file(&new);
            Error::from(RecordError::Full { path, error })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;
    use vesper_ctf::writer::{signal_metadata, UUID};

    #[test]
    fn traces_are_not_mixed() {
        let dir = TempDir::new().unwrap();
        let mut places = Places::new(dir.path());
        let mut place = |uuid: &[u8; 16], boot: &str| {
            let place = places.choose("web1", "signal", Some(uuid), boot, &[]);
            let place = place.unwrap().unwrap();
            place.strip_prefix(dir.path()).unwrap().to_owned()
        };
        let first = place(&UUID, "0123-4567");
        assert_eq!(first, Path::new("web1/signal"));
        let text = signal_metadata(&[]);
        write_metadata(&dir.path().join(&first), text.as_bytes()).unwrap();
        assert_eq!(place(&UUID, "0123-4567"), first);
        let others = [[9; 16], [10; 16], [11; 16]];
        assert_eq!(
            place(&others[0], "abcdef0123"),
            Path::new("web1/signal-abcdef01")
        );
        assert_eq!(
            place(&others[1], "abcdef0123"),
            Path::new("web1/signal-abcdef01-2")
        );
        assert_eq!(place(&others[2], "../x"), Path::new("web1/signal-other"));
        assert!(open(dir.path(), false).is_err());
        assert!(open(dir.path(), true).is_ok());
    }

    #[test]
    fn earlier_traces_are_read_once() {
        let dir = TempDir::new().unwrap();
        let first = dir.path().join("web1/signal");
        fs::create_dir_all(&first).unwrap();
        write_metadata(&first, signal_metadata(&[]).as_bytes()).unwrap();
        let mut places = Places::new(dir.path());
        let mut place = |uuid: [u8; 16]| {
            let place = places.choose("web1", "signal", Some(&uuid), "", &[]);
            place.unwrap().unwrap()
        };
        assert_eq!(place(UUID), first);
        // Whoever read these again would find another trace in each.
        fs::remove_file(first.join(METADATA)).unwrap();
        assert_eq!(place(UUID), first);
        let other = place([9; 16]);
        assert_eq!(other, dir.path().join("web1/signal-other"));
        write_metadata(&other, signal_metadata(&[]).as_bytes()).unwrap();
        assert_eq!(place([9; 16]), other);
        assert_eq!(place([10; 16]), dir.path().join("web1/signal-other-2"));
    }

    #[test]
    fn a_trace_has_one_writer() {
        let dir = TempDir::new().unwrap();
        let mut places = Places::new(dir.path());
        let mut choose = |module: &str, writers: &[(&str, &Path)]| {
            let uuid = Some(&UUID);
            let place = places.choose("web1", module, uuid, "01234567", writers);
            place.unwrap()
        };
        let first = choose("signal", &[]).unwrap();
        write_metadata(&first, signal_metadata(&[]).as_bytes()).unwrap();
        assert_eq!(choose("signal", &[("web1/signal", &first)]), None);
        let other = dir.path().join("web1/signal-01234567");
        let taken = choose("signal", &[("web1/other", &first)]);
        assert_eq!(taken.as_ref(), Some(&other));
        write_metadata(&other, signal_metadata(&[]).as_bytes()).unwrap();
        // Named as the trace of another's boot is.
        let named = choose("signal-01234567", &[("web1/signal", &other)]);
        assert_eq!(
            named,
            Some(dir.path().join("web1/signal-01234567-01234567"))
        );
        assert_eq!(choose("signal", &[]), Some(first));
    }
}
