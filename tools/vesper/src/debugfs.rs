// SPDX-License-Identifier: GPL-2.0

//! Where the relay files are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use vesper_abi::name::check_label;

use crate::error::{Error, Result};

/// The directory `vesper` in debugfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debugfs(PathBuf);

impl Debugfs {
    /// Finds it in the mount table, unless told where it is.
    pub fn find(given: Option<&Path>) -> Result<Self> {
        if let Some(path) = given {
            return Ok(Self(path.join("vesper")));
        }
        let table = "/proc/self/mountinfo";
        let mounts = fs::read(table).map_err(|error| Error::File {
            path: table.into(),
            error,
        })?;
        let mount = mount_point(&mounts).ok_or(Error::NoDebugfs)?;
        Ok(Self(mount.join("vesper")))
    }

    /// `vesper` itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// The directory of a module.
    pub fn module(&self, domain: &str, module: &str) -> PathBuf {
        self.0.join(domain).join(module)
    }

    /// The domains that have files.
    pub fn domains(&self) -> io::Result<Vec<String>> {
        names(&self.0)
    }

    /// The modules of a domain that have files.
    pub fn modules_of(&self, domain: &str) -> io::Result<Vec<String>> {
        names(&self.0.join(domain))
    }

    /// All modules that have files, as domain/module.
    pub fn modules(&self) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        for domain in names(&self.0)? {
            for module in names(&self.0.join(&domain))? {
                found.push(format!("{domain}/{module}"));
            }
        }
        Ok(found)
    }
}

/// Directories below `path` that are named as domains and modules are.
fn names(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        if let (true, Ok(name)) = (
            entry.file_type()?.is_dir(),
            check_label(name.as_encoded_bytes()),
        ) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The first mount point of debugfs in a text as of /proc/self/mountinfo; the
/// usual one if it is among them.
fn mount_point(mountinfo: &[u8]) -> Option<PathBuf> {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    let mounts = mountinfo.split(|&b| b == b'\n').filter_map(|line| {
        let fields: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
        let dash = fields.iter().position(|field| *field == b"-")?;
        let is_debugfs = *fields.get(dash + 1)? == b"debugfs";
        // Only the root of the file system has our directory in it.
        let whole = *fields.get(3)? == b"/";
        let path = unescape(fields.get(4)?);
        (is_debugfs && whole).then(|| PathBuf::from(OsString::from_vec(path)))
    });
    let mounts: Vec<_> = mounts.collect();
    let usual = Path::new("/sys/kernel/debug");
    let usual = mounts.iter().find(|path| *path == usual);
    usual.or(mounts.first()).cloned()
}

/// Resolves `\040` and the like, as the kernel writes blanks in paths.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                Some(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'))
            }
            _ => None,
        };
        out.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &rest[4..] } else { tail };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 254:0 / / rw shared:1 - ext4 /dev/vda rw
31 22 0:7 / /mnt/my\\040debug rw - debugfs none rw
32 22 0:7 /sub /elsewhere rw - debugfs none rw
33 22 0:7 / /sys/kernel/debug rw,nosuid shared:9 master:2 - debugfs debugfs rw
";

    #[test]
    fn the_usual_mount_point_is_preferred() {
        assert_eq!(
            mount_point(TABLE.as_bytes()),
            Some("/sys/kernel/debug".into())
        );
        let odd = TABLE.replace("/sys/kernel/debug", "/d");
        assert_eq!(mount_point(odd.as_bytes()), Some("/mnt/my debug".into()));
        assert_eq!(mount_point(b"22 1 254:0 / / rw - ext4 x rw\n\n - \n"), None);
    }
}
