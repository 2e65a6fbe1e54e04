// SPDX-License-Identifier: GPL-2.0

//! The relay files of a module: found, opened, read, and seen to end.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use vesper_abi::bindings::{vesper_position, VESPER_POSITION_ENDED};
use vesper_abi::packet::MAX_PACKET;

use crate::debugfs::Debugfs;
use crate::error::{Error, Result};
use crate::sys;

/// The file beside the relay files that describes their format.
const METADATA: &str = "metadata";

/// No buffer has more bytes.
const LAP: usize = MAX_PACKET;

/// Where what a file has at some time ends. Who does not follow it reads no further: a guest
/// may write as fast as that.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    /// Behind so many sub-buffers since the channel opened.
    Produced(u64),
    /// Behind so many bytes from there, as the host module does not say.
    Bytes(usize),
}

/// One buffer.
#[derive(Debug)]
pub(crate) struct RelayFile {
    path: PathBuf,
    file: File,
    /// Number at the end of its name.
    cpu: u32,
    /// Device and inode, to tell it from a later file of the same name.
    identity: (u64, u64),
    /// Has said that no more will come.
    hung_up: bool,
    /// Is read to its end.
    ended: bool,
}

impl RelayFile {
    /// The CPU, as far as the name tells.
    pub(crate) fn cpu(&self) -> u32 {
        self.cpu
    }

    /// Its name in the directory.
    pub(crate) fn name(&self) -> &str {
        let name = self.path.file_name();
        // It was found by a name that is text.
        name.and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// The name without the number: that of the channel.
    pub(crate) fn channel(&self) -> &str {
        self.name().trim_end_matches(|c: char| c.is_ascii_digit())
    }

    /// Whether it has been read to its end.
    pub(crate) fn is_closed(&self) -> bool {
        self.ended
    }

    /// Whether nobody has read from it, as far as the host module says.
    pub(crate) fn is_untouched(&self) -> bool {
        sys::position(&self.file).is_ok_and(|position| position.consumed == position.lapped)
    }

    /// Most bytes that a packet can have, if the host module says.
    pub(crate) fn packet_room(&self) -> Option<u64> {
        let position = sys::position(&self.file).ok()?;
        Some(u64::from(position.subbuf_size))
    }

    /// Where what it has now ends.
    pub(crate) fn end(&self) -> End {
        let position = sys::position(&self.file);
        position.map_or(End::Bytes(LAP), |position| End::Produced(position.produced))
    }

    /// Whether it has been read as far as that, `taken` bytes since [`RelayFile::end`].
    pub(crate) fn is_at(&self, end: End, taken: usize) -> bool {
        match end {
            End::Produced(number) => sys::position(&self.file).is_ok_and(|at| is_at(&at, number)),
            End::Bytes(bytes) => taken >= bytes,
        }
    }

    /// Records dropped in the guest so far, if the host module says.
    pub(crate) fn lost(&self) -> Option<u64> {
        sys::position(&self.file).ok().map(|position| position.lost)
    }
}

/// The directory of a module: the one that was opened, whatever is called so by now.
#[derive(Debug)]
pub(crate) struct ModuleFiles {
    handle: File,
    /// By the open directory, as its name can be another's at any time.
    dir: PathBuf,
    /// The name that it had.
    shown: PathBuf,
    files: Vec<RelayFile>,
    known: HashSet<(u64, u64)>,
}

impl ModuleFiles {
    /// Looks whether there is such a module.
    pub(crate) fn open(debugfs: &Debugfs, domain: &str, module: &str) -> Result<Self> {
        let dir = debugfs.module(domain, module);
        Self::open_dir(&dir).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::NoFiles {
                domain: domain.to_owned(),
                module: module.to_owned(),
                root: debugfs.root().to_owned(),
                known: debugfs.modules().unwrap_or_default(),
            },
            _ => Error::File { path: dir, error },
        })
    }

    /// Takes a copy of a module's directory.
    pub(crate) fn open_copy(dir: &Path) -> Result<Self> {
        // A directory that can't be read is an error, one without files is not.
        Self::open_dir(dir).map_err(|error| Error::File {
            path: dir.to_owned(),
            error,
        })
    }

    /// Takes a directory that is there.
    pub(crate) fn open_dir(dir: &Path) -> io::Result<Self> {
        let handle = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_CLOEXEC)
            .open(dir)?;
        Ok(Self {
            dir: PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd())),
            shown: dir.to_owned(),
            handle,
            files: Vec::new(),
            known: HashSet::new(),
        })
    }

    /// Device and inode of the directory.
    pub(crate) fn identity(&self) -> io::Result<(u64, u64)> {
        let found = self.handle.metadata()?;
        Ok((found.dev(), found.ino()))
    }

    /// Where the metadata are, while this is there.
    pub(crate) fn metadata_path(&self) -> PathBuf {
        self.dir.join(METADATA)
    }

    /// An error with the metadata, by the name that the operator knows.
    pub(crate) fn metadata_error(&self, error: io::Error) -> Error {
        let path = self.shown.join(METADATA);
        Error::File { path, error }
    }

    pub(crate) fn list(&self) -> &[RelayFile] {
        &self.files
    }

    /// Opens the files that have come since the last time.
    pub(crate) fn rescan(&mut self) -> Result<()> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                let path = self.shown.clone();
                return Err(Error::File { path, error });
            }
        };
        let mut found: Vec<(u32, PathBuf)> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let cpu = buffer_number(path.file_name()?.to_str()?)?;
                Some((cpu, path))
            })
            .collect();
        found.sort();
        for (cpu, path) in found {
            match self.open_one(cpu, &path) {
                // Gone between being listed and being opened.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let path = self.shown.join(path.file_name().unwrap_or_default());
                    return Err(Error::File { path, error });
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    fn open_one(&mut self, cpu: u32, path: &Path) -> io::Result<()> {
        let meta = fs::symlink_metadata(path)?;
        if self.known.contains(&(meta.dev(), meta.ino())) || meta.is_dir() || meta.is_symlink() {
            return Ok(());
        }
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)?;
        let meta = file.metadata()?;
        let identity = (meta.dev(), meta.ino());
        if self.known.insert(identity) {
            self.files.push(RelayFile {
                path: path.to_owned(),
                file,
                cpu,
                identity,
                hung_up: false,
                ended: false,
            });
        }
        Ok(())
    }

    /// Reads from a file; 0 when there is nothing for now.
    pub(crate) fn read(&mut self, number: usize, buffer: &mut [u8]) -> Result<usize> {
        let relay = &mut self.files[number];
        if relay.ended {
            return Ok(0);
        }
        loop {
            let error = match relay.file.read(buffer) {
                Ok(len) => return Ok(len),
                Err(error) => error,
            };
            match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EINTR) if !sys::interrupted() => {}
                Some(Errno::EINTR | Errno::EAGAIN) => return Ok(0),
                // debugfs answers so once a file has been removed.
                Some(Errno::EIO | Errno::ENODEV | Errno::ENOENT) if relay.is_removed() => {
                    relay.ended = true;
                    return Ok(0);
                }
                _ => {
                    let path = self.shown.join(relay.name());
                    return Err(Error::File { path, error });
                }
            }
        }
    }

    /// Numbers of the files that are not at their end.
    pub(crate) fn live(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.files.len()).filter(|&number| !self.files[number].ended)
    }

    /// To be asked after a read that gave nothing: whether that looks like the
    /// end. Bytes may have come in between, so read once more before
    /// [`ModuleFiles::close`].
    pub(crate) fn at_end(&self, number: usize) -> bool {
        let relay = &self.files[number];
        relay.ended || relay.hung_up || relay.has_ended() || relay.is_removed()
    }

    /// The same, but only what the file itself says counts.
    pub(crate) fn is_drained(&self, number: usize) -> bool {
        let relay = &self.files[number];
        relay.ended || relay.hung_up || relay.has_ended() || relay.has_hung_up()
    }

    /// What to poll.
    pub(crate) fn fd(&self, number: usize) -> BorrowedFd<'_> {
        self.files[number].as_fd()
    }

    /// What poll() found at a file.
    pub(crate) fn note(&mut self, number: usize, events: PollFlags) {
        self.files[number].hung_up |=
            events.intersects(PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL);
    }

    /// Nothing more will be read from a file.
    pub(crate) fn close(&mut self, number: usize) {
        self.files[number].ended = true;
    }

    /// Whether nothing more will come from any file opened so far.
    pub(crate) fn all_ended(&self) -> bool {
        self.files.iter().all(|relay| relay.ended)
    }

    /// Whether the directory is gone.
    pub(crate) fn is_removed(&self) -> bool {
        self.handle.metadata().is_ok_and(|found| found.nlink() == 0)
    }
}

impl RelayFile {
    /// Whether the directory has this file no longer.
    fn is_removed(&self) -> bool {
        match fs::symlink_metadata(&self.path) {
            Ok(meta) => (meta.dev(), meta.ino()) != self.identity,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Whether the host module says so; other files know nothing of it.
    fn has_ended(&self) -> bool {
        sys::position(&self.file).is_ok_and(|position| {
            position.flags & VESPER_POSITION_ENDED != 0 && position.produced == position.consumed
        })
    }

    /// Whether poll() says so. On a host that is locked down nothing else does.
    fn has_hung_up(&self) -> bool {
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::empty())];
        let polled = poll(&mut fds, PollTimeout::ZERO);
        polled.is_ok_and(|count| count > 0)
    }
}

/// Whether readers are done with `number` sub-buffers; never if no more will come, as then all
/// that is there comes to an end.
fn is_at(position: &vesper_position, number: u64) -> bool {
    position.flags & VESPER_POSITION_ENDED == 0 && position.consumed >= number
}

impl AsFd for RelayFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Whether there is a relay file in a directory.
pub(crate) fn has_files(dir: &Path) -> bool {
    let named = |name: &OsStr| name.to_str().and_then(buffer_number).is_some();
    fs::read_dir(dir).is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|entry| named(&entry.file_name())))
    })
}

/// The number at the end of the name of a relay file.
fn buffer_number(name: &str) -> Option<u32> {
    let base = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if base.is_empty() {
        return None;
    }
    name[base.len()..].parse().ok()
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    #[test]
    fn who_does_not_follow_reads_what_was_there() {
        let mut position = vesper_position::new_zeroed();
        position.consumed = 6;
        position.produced = 9;
        assert!(!is_at(&position, 7));
        position.consumed = 7;
        assert!(is_at(&position, 7));
        position.consumed = 8;
        assert!(is_at(&position, 7));
        position.flags = VESPER_POSITION_ENDED;
        assert!(!is_at(&position, 7));
    }

    #[test]
    fn relay_files_end_in_a_number() {
        assert_eq!(buffer_number("signal0"), Some(0));
        assert_eq!(buffer_number("block2_17"), Some(17));
        assert_eq!(buffer_number("metadata"), None);
        assert_eq!(buffer_number("control"), None);
        assert_eq!(buffer_number("17"), None);
        assert_eq!(buffer_number("x99999999999"), None);
    }
}
