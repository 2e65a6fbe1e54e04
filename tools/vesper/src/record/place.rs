// SPDX-License-Identifier: GPL-2.0

//! Where the trace of a module goes: `DIR/<domain>/<module>`, and another
//! directory beside it for each further trace of the same name.

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

/// The directory of a trace: the one that has trace `uuid` already, or else a new
/// one. `boot` is the text form of the guest's boot id, if it has one.
///
/// One that is being written to is nobody else's; `writers` has the names of those who do
/// so, and where. `None` if that is a trace of the same name: a channel that was closed and
/// opened again goes on where it ended, once all of that is there.
pub(super) fn choose(
    dir: &Path,
    domain: &str,
    module: &str,
    uuid: Option<&[u8; 16]>,
    boot: &str,
    writers: &[(&str, &Path)],
) -> Result<Option<PathBuf>> {
    let parent = dir.join(domain);
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
        match fs::create_dir(&place) {
            Ok(()) => return Ok(Some(place)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(file_error(&place)(error)),
        }
        let there = fs::read(place.join(METADATA)).ok();
        let there = there.and_then(|text| tsdl::parse(&text).ok());
        if uuid.is_none() || there.and_then(|metadata| metadata.uuid).as_ref() != uuid {
            continue;
        }
        match writers.iter().find(|(_, at)| *at == place) {
            None => return Ok(Some(place)),
            Some((name, _)) if *name == format!("{domain}/{module}") => return Ok(None),
            Some(_) => {}
        }
    }
    unreachable!("there is always another number")
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
        let place = |uuid: &[u8; 16], boot: &str| {
            let place = choose(dir.path(), "web1", "signal", Some(uuid), boot, &[]).unwrap();
            let place = place.unwrap();
            place.strip_prefix(dir.path()).unwrap().to_owned()
        };
        let first = place(&UUID, "0123-4567");
        assert_eq!(first, Path::new("web1/signal"));
        let text = signal_metadata(&[]);
        write_metadata(&dir.path().join(&first), text.as_bytes()).unwrap();
        assert_eq!(place(&UUID, "0123-4567"), first);
        let other = [9; 16];
        assert_eq!(
            place(&other, "abcdef0123"),
            Path::new("web1/signal-abcdef01")
        );
        assert_eq!(
            place(&other, "abcdef0123"),
            Path::new("web1/signal-abcdef01-2")
        );
        assert_eq!(place(&other, "../x"), Path::new("web1/signal-other"));
        assert!(open(dir.path(), false).is_err());
        assert!(open(dir.path(), true).is_ok());
    }

    #[test]
    fn a_trace_has_one_writer() {
        let dir = TempDir::new().unwrap();
        let choose = |module: &str, writers: &[(&str, &Path)]| {
            choose(dir.path(), "web1", module, Some(&UUID), "01234567", writers).unwrap()
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
