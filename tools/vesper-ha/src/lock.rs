// SPDX-License-Identifier: GPL-2.0

//! One daemon for each directory: a second one would do everything twice.

use std::fs::{self, File, OpenOptions};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::error::{Error, Result};

/// Held until it is dropped, or the process ends.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] Flock<File>);

impl Lock {
    /// Takes a directory, which is made if need be, or says who cannot have it.
    pub fn take(dir: &Path, dry_run: bool) -> Result<Self> {
        let path = dir.join("lock");
        let open = || OpenOptions::new().create(true).append(true).open(&path);
        let file = fs::create_dir_all(dir).and_then(|()| open());
        let file = file.map_err(|error| Error::File {
            path: path.clone(),
            error,
        })?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Ok(Self(held)),
            Err((_, Errno::EWOULDBLOCK)) => Err(Error::Running {
                dir: dir.to_owned(),
                dry_run,
            }),
            Err((_, errno)) => Err(Error::File {
                path,
                error: errno.into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new");
        let first = Lock::take(&path, false).unwrap();
        let second = Lock::take(&path, true).unwrap_err();
        assert!(second.remedy().unwrap().contains("--state"));
        drop(first);
        Lock::take(&path, false).unwrap();
    }
}
