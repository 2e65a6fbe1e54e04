// SPDX-License-Identifier: GPL-2.0

//! Learns of modules and CPUs that come and go: the directories of debugfs tell
//! as those of other file systems do.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::cli::Scope;
use crate::debugfs::Debugfs;
use crate::error::{Error, Result};

/// A module that is to be recorded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    pub(crate) domain: String,
    pub(crate) module: String,
}

/// A watch on the directories that matter to some targets.
pub(crate) struct Watch {
    inotify: Inotify,
}

impl Watch {
    pub(crate) fn new() -> Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC);
        let inotify = inotify.map_err(|errno| failed(Path::new("inotify"), errno))?;
        Ok(Self { inotify })
    }

    /// Watches the directory of the guests, or for it to be made, as when the host module is
    /// loaded.
    pub(crate) fn watch_root(&self, debugfs: &Debugfs) -> Result<()> {
        let root = debugfs.root();
        if self.add(root)? {
            return Ok(());
        }
        let parent = root.parent().unwrap_or(root);
        if !self.add(parent)? {
            return Err(failed(parent, Errno::ENOENT));
        }
        // It may have come in between.
        self.add(root).map(drop)
    }

    /// Empties the queue; true if there was anything: whatever it was, everything is
    /// looked at again.
    pub(crate) fn take(&self) -> bool {
        let mut any = false;
        while self
            .inotify
            .read_events()
            .is_ok_and(|events| !events.is_empty())
        {
            any = true;
        }
        any
    }

    /// Watches a directory from now on; false if it is not there. One that is
    /// watched already stays so.
    fn add(&self, path: &Path) -> Result<bool> {
        let flags = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        match self.inotify.add_watch(path, flags) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(false),
            Err(errno) => Err(failed(path, errno)),
        }
    }

    /// The modules of `targets` that are there, and where. Each directory is
    /// watched before it is looked at, so that nothing comes in between.
    pub(crate) fn find(
        &self,
        debugfs: &Debugfs,
        targets: &[Scope],
    ) -> Result<BTreeMap<Found, PathBuf>> {
        let mut found = BTreeMap::new();
        self.watch_root(debugfs)?;
        for target in targets {
            let dir = debugfs.root().join(&target.domain);
            if !self.add(&dir)? {
                continue;
            }
            let modules = match &target.module {
                Some(module) => vec![module.clone()],
                None => debugfs.modules_of(&target.domain).unwrap_or_default(),
            };
            for module in modules {
                let path = debugfs.module(&target.domain, &module);
                if self.add(&path)? {
                    let domain = target.domain.clone();
                    found.insert(Found { domain, module }, path);
                }
            }
        }
        Ok(found)
    }
}

fn failed(path: &Path, errno: Errno) -> Error {
    Error::File {
        path: path.to_owned(),
        error: errno.into(),
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
