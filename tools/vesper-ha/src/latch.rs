// SPDX-License-Identifier: GPL-2.0

//! A mark for each guest that has failed, which holds until it boots again. The
//! cluster's own monitor looks at it, so that a report that was lost on its way is
//! found all the same.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::event::Boot;
use crate::journal::now_ns;

/// End of the name of a mark.
const MARK: &str = ".latch";
/// End of the name of a word to the daemon.
const ASKED: &str = "clear";

/// A mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latch {
    /// The boot that failed.
    pub boot_id: String,
    /// By which rule.
    pub rule: String,
    /// What happened, in a line.
    pub cause: String,
    /// When, in nanoseconds since 1970.
    pub time_ns: i64,
}

/// The directory of marks. It is on a file system that the host's boot empties.
#[derive(Debug, Clone)]
pub struct Latches(PathBuf);

impl Latches {
    /// Those in a directory.
    pub fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// Marks a guest.
    pub fn set(&self, guest: &str, latch: &Latch) -> Result<()> {
        let path = self.path(guest);
        let written = fs::create_dir_all(&self.0).and_then(|()| {
            // In one step: a monitor may be looking.
            let new = path.with_extension("new");
            fs::write(&new, serde_json::to_vec(latch)?)?;
            fs::rename(&new, &path)
        });
        written.map_err(|error| Error::File { path, error })
    }

    /// The mark of a guest.
    pub fn get(&self, guest: &str) -> Result<Option<Latch>> {
        let path = self.path(guest);
        let read = fs::read(&path).and_then(|text| Ok(serde_json::from_slice(&text)?));
        match read {
            Ok(latch) => Ok(Some(latch)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::File { path, error }),
        }
    }

    /// Takes the mark away; false if there was none.
    pub fn clear(&self, guest: &str) -> Result<bool> {
        let path = self.path(guest);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::File { path, error }),
        }
    }

    /// The guest runs this now: takes a mark of an earlier boot away, or one that
    /// nobody can read.
    pub fn booted(&self, now: &Boot) -> Result<bool> {
        match self.get(&now.guest) {
            Ok(Some(latch)) if latch.boot_id != now.id => self.clear(&now.guest),
            Ok(_) => Ok(false),
            Err(_) => self.clear(&now.guest),
        }
    }

    /// Leaves word for the daemon, which may not run now, that a guest is well.
    pub fn ask_to_forget(&self, guest: &str) -> Result<()> {
        let path = self.path(guest).with_extension(ASKED);
        let asked = fs::create_dir_all(&self.0).and_then(|()| {
            // As something that is moved in: the daemon waits for that.
            let new = path.with_extension("ask");
            fs::write(&new, "")?;
            fs::rename(&new, &path)
        });
        asked.map_err(|error| Error::File { path, error })
    }

    /// Guests for which there is such word, and when it was left, in nanoseconds since 1970; it
    /// is gone then.
    pub fn asked_to_forget(&self) -> Vec<(String, i64)> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let guest = |entry: fs::DirEntry| {
            let path = entry.path();
            let name = path.file_name()?.to_str()?;
            let guest = name.strip_suffix(ASKED)?.strip_suffix('.')?.to_owned();
            let of = |meta: fs::Metadata| {
                let seconds = meta.mtime().saturating_mul(1_000_000_000);
                seconds.saturating_add(meta.mtime_nsec())
            };
            let at_ns = entry.metadata().map_or_else(|_| now_ns(), of);
            fs::remove_file(&path).ok().map(|()| (guest, at_ns))
        };
        entries.filter_map(guest).collect()
    }

    /// Where they are.
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// Guests' names are path components without a leading dot: the host module
    /// takes no others.
    fn path(&self, guest: &str) -> PathBuf {
        let safe = guest.replace('/', "_");
        self.0.join(format!("{safe}{MARK}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    #[test]
    fn holds_until_the_next_boot() {
        let dir = tempfile::tempdir().unwrap();
        let latches = Latches::new(&dir.path().join("new"));
        let latch = Latch {
            boot_id: "1".into(),
            rule: "panic".into(),
            cause: "panic".into(),
            time_ns: 1,
        };
        let boot = |id: &str| Boot {
            guest: "web1".into(),
            id: id.into(),
        };
        assert_eq!(latches.get("web1").unwrap(), None);
        latches.set("web1", &latch).unwrap();
        assert!(!latches.booted(&boot("1")).unwrap());
        assert_eq!(latches.get("web1").unwrap(), Some(latch));
        assert!(latches.booted(&boot("2")).unwrap());
        assert_eq!(latches.get("web1").unwrap(), None);
        assert!(!latches.clear("web1").unwrap());
    }

    #[test]
    fn a_mark_that_nobody_can_read_goes_with_the_next_boot() {
        let dir = tempfile::tempdir().unwrap();
        let latches = Latches::new(dir.path());
        fs::write(dir.path().join("web1.latch"), "{").unwrap();
        assert!(latches.get("web1").is_err());
        let boot = Boot {
            guest: "web1".into(),
            id: "2".into(),
        };
        assert!(latches.booted(&boot).unwrap());
        assert_eq!(latches.get("web1").unwrap(), None);
    }

    #[test]
    fn words_are_found_once() {
        let dir = tempfile::tempdir().unwrap();
        let latches = Latches::new(&dir.path().join("new"));
        assert!(latches.asked_to_forget().is_empty());
        latches.ask_to_forget("web.1").unwrap();
        // It is found later than it was left.
        let word = File::open(dir.path().join("new/web.1.clear")).unwrap();
        let left = Duration::new(1_700_000_000, 1_000_000);
        word.set_modified(SystemTime::UNIX_EPOCH + left).unwrap();
        let at_ns = left.as_nanos() as i64;
        assert_eq!(latches.asked_to_forget(), [("web.1".to_owned(), at_ns)]);
        assert!(latches.asked_to_forget().is_empty());
    }
}
