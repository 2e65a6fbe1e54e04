// SPDX-License-Identifier: GPL-2.0

//! Groups of probe points: module images in directories, by what they say of
//! themselves.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::image::Image;

/// Directories below a probe directory that are looked into: a release's, or a
/// group's in a tree where they are built.
const DEPTH: usize = 2;

/// A group as it was built for one kernel.
#[derive(Debug, Clone)]
pub struct Build {
    /// The module file.
    pub path: PathBuf,
    /// What the group is called: as the module, where it says nothing else.
    pub group: String,
    /// The module's own name.
    pub module: String,
    /// The kernel's release.
    pub release: String,
    /// The kernel's version magic.
    pub vermagic: Vec<u8>,
    /// What the group has.
    pub contents: Contents,
}

/// What a group has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Contents {
    /// What it is.
    pub description: String,
    /// What can be chosen of it.
    pub points: Vec<Point>,
    /// Kinds of record.
    pub events: Vec<Event>,
    /// What it can be told at load.
    pub params: Vec<Param>,
}

/// Something that a probe can watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Point {
    /// What it is called.
    pub name: String,
    /// Whether it is watched if nothing is chosen.
    pub default: bool,
    /// What it is.
    pub text: String,
}

/// A kind of record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// What it is called.
    pub name: String,
    /// What it is.
    pub text: String,
    /// What is in it.
    pub fields: Vec<Field>,
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Field {
    /// What it is called.
    pub name: String,
    /// How it is written: U8 ... S64, X32, X64 (hexadecimal), ENUM, STRING,
    /// BYTES, SYMBOL, STACK.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is.
    pub text: String,
}

/// A parameter of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Param {
    /// What it is called.
    pub name: String,
    /// As modinfo(8) has it.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its value if none is given, where the module says so.
    pub default: Option<String>,
    /// What it is.
    pub text: String,
}

/// The first `N` parts of a text with colons between them, blanks taken off;
/// the last has what colons are left.
fn parts<const N: usize>(text: &str) -> [String; N] {
    let mut parts = text.splitn(N, ':').map(str::trim);
    std::array::from_fn(|_| parts.next().unwrap_or_default().to_owned())
}

impl Contents {
    /// Reads what an image says of itself.
    pub fn read(image: &Image) -> Self {
        let point = |text: String| {
            let [name, state, text] = parts(&text);
            let default = state == "ON";
            Point {
                name,
                default,
                text,
            }
        };
        let event = |text: String| {
            let [of, text] = parts(&text);
            let fields = image.infos("vesper_field").filter_map(|field| {
                let [path, kind, text] = parts(&field);
                let (event, field) = path.rsplit_once('.')?;
                let name = field.to_owned();
                (event == of).then_some(Field { name, kind, text })
            });
            let fields = fields.collect();
            Event {
                name: of,
                text,
                fields,
            }
        };
        let defaults: BTreeMap<String, String> = image
            .infos("vesper_default")
            .map(|text| {
                let [name, default] = parts(&text);
                (name, default)
            })
            .collect();
        let kinds: BTreeMap<String, String> = image
            .infos("parmtype")
            .map(|text| {
                let [name, kind] = parts(&text);
                (name, kind)
            })
            .collect();
        let param = |text: String| {
            let [name, text] = parts(&text);
            Param {
                kind: kinds.get(&name).cloned().unwrap_or_default(),
                default: defaults.get(&name).cloned(),
                name,
                text,
            }
        };
        Self {
            description: image.infos("description").next().unwrap_or_default(),
            points: image.infos("vesper_point").map(point).collect(),
            events: image.infos("vesper_event").map(event).collect(),
            params: image.infos("parm").map(param).collect(),
        }
    }
}

impl Build {
    /// Looks into a module file; nothing if it is no probe.
    fn read(path: PathBuf) -> Option<Self> {
        let image = Image::read(&path).ok()?;
        let contents = Contents::read(&image);
        if contents.points.is_empty() && contents.events.is_empty() {
            return None;
        }
        let module = image.module_name(&path).ok()?;
        let release = image.vermagic.split(|&b| b == b' ').next();
        let group = image.infos("vesper_group").next();
        Some(Self {
            group: group.unwrap_or_else(|| module.clone()),
            release: String::from_utf8_lossy(release.unwrap_or_default()).into_owned(),
            vermagic: image.vermagic,
            module,
            path,
            contents,
        })
    }
}

/// The groups that there are.
#[derive(Debug, Clone)]
pub struct Catalogue {
    dirs: Vec<PathBuf>,
    builds: Vec<Build>,
}

impl Catalogue {
    /// Looks into directories, those of the operator's choice or, if there are
    /// none, those where probes are installed or built. What is found first
    /// counts.
    pub fn find(chosen: &[PathBuf]) -> Self {
        let dirs = if chosen.is_empty() {
            usual(env::current_exe().ok().as_deref())
        } else {
            chosen.to_vec()
        };
        let mut files = Vec::new();
        for dir in &dirs {
            collect(dir, DEPTH, &mut files);
        }
        let builds = files.into_iter().filter_map(Build::read).collect();
        Self { dirs, builds }
    }

    /// All groups by name, each with the builds that there are.
    pub fn groups(&self) -> BTreeMap<&str, Vec<&Build>> {
        let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for build in &self.builds {
            groups.entry(build.group.as_str()).or_default().push(build);
        }
        groups
    }

    /// The builds of a group.
    pub fn group(&self, group: &str) -> Result<Vec<&Build>> {
        let mut groups = self.groups();
        // A module whose name is not the group's goes by either.
        let builds = groups.remove(group).unwrap_or_else(|| {
            let mut all = self.builds.iter();
            all.by_ref().filter(|build| build.module == group).collect()
        });
        if builds.is_empty() {
            return Err(Error::NoGroup {
                group: group.to_owned(),
                known: groups.keys().map(|&name| name.to_owned()).collect(),
                dirs: self.dirs.clone(),
            });
        }
        Ok(builds)
    }

    /// The build of a group that a kernel takes; any, of a kernel that has not
    /// said what it is.
    pub fn build(&self, group: &str, vermagic: &[u8], release: &[u8]) -> Result<&Build> {
        let builds = self.group(group)?;
        let fits = |build: &&&Build| crate::image::fits(&build.vermagic, vermagic, release);
        if let Some(build) = builds.iter().find(fits) {
            return Ok(build);
        }
        let mut releases: Vec<_> = builds.iter().map(|build| build.release.clone()).collect();
        releases.sort();
        releases.dedup();
        Err(Error::NoBuild {
            group: group.to_owned(),
            release: String::from_utf8_lossy(release).into_owned(),
            releases,
        })
    }
}

/// Where probes are installed beside this program, or built with it, and where
/// they are installed on any machine.
fn usual(program: Option<&Path>) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    if let Some(bin) = program.and_then(Path::parent) {
        if bin.ends_with("build/bin") {
            dirs.extend(bin.ancestors().nth(2).map(|top| top.join("probes")));
        }
        dirs.extend(bin.parent().map(|prefix| prefix.join("lib/vesper/probes")));
    }
    for prefix in ["/usr/local", "/usr"] {
        let dir = Path::new(prefix).join("lib/vesper/probes");
        if !dirs.contains(&dir) {
            dirs.push(dir);
        }
    }
    dirs
}

/// Module files in a directory and those below it, in the order of their names.
/// What can't be read is not there.
fn collect(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if depth > 0 {
                collect(&path, depth - 1, files);
            }
        } else if is_module(path.file_name()) {
            files.push(path);
        }
    }
}

/// Whether a file is called like a module.
pub fn is_module(name: Option<&OsStr>) -> bool {
    let name = name.and_then(OsStr::to_str).unwrap_or_default();
    name.ends_with(".ko") || name.ends_with(".ko.xz")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colons_belong_to_the_last_part() {
        assert_eq!(parts("a:ON: what: it is "), ["a", "ON", "what: it is"]);
        assert_eq!(parts("a"), ["a", "", ""]);
    }

    #[test]
    fn directories_of_an_installed_and_of_a_built_program() {
        let of = |program: &str| {
            let dirs = usual(Some(Path::new(program)));
            let dirs = dirs.iter().map(|dir| dir.display().to_string());
            dirs.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            of("/opt/x/bin/vesper"),
            "/opt/x/lib/vesper/probes /usr/local/lib/vesper/probes /usr/lib/vesper/probes"
        );
        assert_eq!(
            of("/usr/bin/vesper"),
            "/usr/lib/vesper/probes /usr/local/lib/vesper/probes"
        );
        assert!(of("/src/vesper/build/bin/vesper").starts_with("/src/vesper/probes "));
    }
}
