// SPDX-License-Identifier: GPL-2.0

//! The file that has what is kept: TOML, an entry for each probe of each guest.
//! What is changed here leaves comments and order as they are.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use toml_edit::{de, value, Array, ArrayOfTables, DocumentMut, Item, Table};
use vesper_abi::name::check_name;

/// What is wrong with the file.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// It can't be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is not TOML, or has other entries.
    #[error("{}: {}", path.display(), text.trim_end())]
    Text {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        text: String,
    },
    /// There is no such entry.
    #[error("{} is kept for '{domain}'", match probe {
        Some(probe) => format!("no probe '{probe}'"),
        None => "nothing".into(),
    })]
    NotKept {
        /// The guest.
        domain: String,
        /// The probe that was named.
        probe: Option<String>,
    },
}

/// A probe that is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The guest.
    pub domain: String,
    /// A group, or a file.
    pub probe: String,
    /// Its parameters.
    #[serde(default)]
    pub params: Vec<String>,
    /// Name of the module, if not its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Kept {
    /// What tells it from others of the same guest.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.probe)
    }
}

/// All of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    #[serde(default)]
    keep: Vec<Kept>,
}

/// What a text says is kept.
pub fn parse(text: &str) -> Result<Vec<Kept>, String> {
    let whole: Whole = de::from_str(text).map_err(|error| error.to_string())?;
    for (number, kept) in whole.keep.iter().enumerate() {
        let names = [Some(&kept.domain), kept.name.as_ref()];
        for name in names.into_iter().flatten() {
            check_name(name.as_bytes())
                .map_err(|error| format!("entry {}: '{name}': {error}", number + 1))?;
        }
        if kept.probe.is_empty() || kept.params.iter().any(|param| param.contains('\0')) {
            return Err(format!(
                "entry {}: no probe, or a parameter with a NUL",
                number + 1
            ));
        }
    }
    Ok(whole.keep)
}

/// The file.
#[derive(Debug, Clone)]
pub struct Config(PathBuf);

impl Config {
    /// At `path`; it need not be there.
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn file(&self, error: io::Error) -> ConfigError {
        ConfigError::File {
            path: self.0.clone(),
            error,
        }
    }

    fn text(&self) -> Result<String, ConfigError> {
        match fs::read_to_string(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            read => read.map_err(|error| self.file(error)),
        }
    }

    /// What is kept.
    pub fn read(&self) -> Result<Vec<Kept>, ConfigError> {
        parse(&self.text()?).map_err(|text| ConfigError::Text {
            path: self.0.clone(),
            text,
        })
    }

    /// The tables of the file, and how many were taken out for which `gone` is true.
    fn without(&self, gone: impl Fn(&Kept) -> bool) -> Result<(DocumentMut, usize), ConfigError> {
        let kept = self.read()?;
        let text = self.text()?;
        let document = text.parse::<DocumentMut>();
        let mut document = document.map_err(|error| ConfigError::Text {
            path: self.0.clone(),
            text: error.to_string(),
        })?;
        let mut removed = 0;
        match document.get_mut("keep") {
            // Back to front, so that numbers stay what they are.
            Some(Item::ArrayOfTables(tables)) => {
                for number in (0..kept.len()).rev().filter(|&number| gone(&kept[number])) {
                    tables.remove(number);
                    removed += 1;
                }
            }
            // `keep = [{...}]` says the same.
            Some(item) => {
                let rest = kept.iter().filter(|kept| !gone(kept));
                let tables: ArrayOfTables = rest.map(table).collect();
                removed = kept.len() - tables.len();
                *item = Item::ArrayOfTables(tables);
            }
            None => {}
        }
        Ok((document, removed))
    }

    /// Held while the file is changed: by a file beside it, as the file itself is replaced, that
    /// nobody else can open.
    fn lock(&self) -> Result<Flock<File>, ConfigError> {
        let dir = match self.0.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let mut path = self.0.clone().into_os_string();
        path.push(".lock");
        let mut options = File::options();
        options.write(true).create(true).truncate(false).mode(0o600);
        let opened = fs::create_dir_all(dir).and_then(|()| options.open(path));
        let opened = opened.map_err(|error| self.file(error))?;
        Flock::lock(opened, FlockArg::LockExclusive).map_err(|(_, errno)| self.file(errno.into()))
    }

    /// Adds an entry, or changes the one of the same guest and label.
    pub fn add(&self, new: &Kept) -> Result<(), ConfigError> {
        let _lock = self.lock()?;
        let same = |old: &Kept| old.domain == new.domain && old.label() == new.label();
        let first = self.read()?.iter().position(same);
        let (mut document, _) = self.without(|_| false)?;
        let tables = document
            .entry("keep")
            .or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
        if let Item::ArrayOfTables(tables) = tables {
            match first.and_then(|number| tables.get_mut(number)) {
                Some(old) => {
                    // With the comments in front of it.
                    let decor = old.decor().clone();
                    *old = table(new);
                    *old.decor_mut() = decor;
                }
                None => tables.push(table(new)),
            }
        }
        self.write(&document.to_string())
    }

    /// Removes the entries of a guest that bear `probe` as their name or probe, or `path` as
    /// their probe; all of them without `probe`.
    pub fn remove(
        &self,
        domain: &str,
        probe: Option<&str>,
        path: Option<&str>,
    ) -> Result<usize, ConfigError> {
        let _lock = self.lock()?;
        let gone = |kept: &Kept| {
            let by_path = path.is_some_and(|path| kept.probe == path);
            let named = probe.is_none_or(|probe| kept.label() == probe || kept.probe == probe);
            kept.domain == domain && (named || by_path)
        };
        let (document, removed) = self.without(gone)?;
        if removed == 0 {
            return Err(ConfigError::NotKept {
                domain: domain.to_owned(),
                probe: probe.map(str::to_owned),
            });
        }
        self.write(&document.to_string())?;
        Ok(removed)
    }

    /// The whole of it at once, so that nobody reads half.
    fn write(&self, text: &str) -> Result<(), ConfigError> {
        let mut new = self.0.clone().into_os_string();
        new.push(".new");
        let new = PathBuf::from(new);
        let written = || -> io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &self.0)
        };
        written().map_err(|error| {
            let _ = fs::remove_file(&new);
            self.file(error)
        })
    }
}

fn table(kept: &Kept) -> Table {
    let mut table = Table::new();
    table.insert("domain", value(&kept.domain));
    table.insert("probe", value(&kept.probe));
    if !kept.params.is_empty() {
        let params: Array = kept.params.iter().map(String::as_str).collect();
        table.insert("params", value(params));
    }
    if let Some(name) = &kept.name {
        table.insert("name", value(name));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn kept(domain: &str, probe: &str, params: &[&str]) -> Kept {
        Kept {
            domain: domain.into(),
            probe: probe.into(),
            params: params.iter().map(|&param| param.into()).collect(),
            name: None,
        }
    }

    #[test]
    fn entries_come_and_go_and_comments_stay() {
        let dir = TempDir::new().unwrap();
        let config = Config::new(&dir.path().join("etc/keep.toml"));
        assert_eq!(config.read().unwrap(), []);
        let (a, b) = (
            kept("web1", "memory", &["pid=3", "comm=a b\"c"]),
            kept("web2", "net", &[]),
        );
        config.add(&a).unwrap();
        config.add(&b).unwrap();
        assert_eq!(config.read().unwrap(), [a.clone(), b.clone()]);

        let text = fs::read_to_string(config.path()).unwrap();
        fs::write(config.path(), format!("# ours\n{text}")).unwrap();
        let other = kept("web1", "memory", &[]);
        config.add(&other).unwrap();
        assert_eq!(config.read().unwrap(), [other, b.clone()]);
        assert!(fs::read_to_string(config.path())
            .unwrap()
            .contains("# ours"));

        assert_eq!(config.remove("web1", Some("memory"), None).unwrap(), 1);
        assert_eq!(config.read().unwrap(), [b]);
        assert!(config.remove("web1", None, None).is_err());
        assert_eq!(config.remove("web2", None, None).unwrap(), 1);
        assert_eq!(config.read().unwrap(), []);
    }

    #[test]
    fn inline_tables_are_entries_too() {
        let dir = TempDir::new().unwrap();
        let config = Config::new(&dir.path().join("keep.toml"));
        let text = "keep = [{ domain = \"web1\", probe = \"x.ko\", name = \"y\" }]\n";
        fs::write(config.path(), text).unwrap();
        let net = kept("web1", "net", &[]);
        config.add(&net).unwrap();
        assert_eq!(config.read().unwrap().len(), 2);
        config.remove("web1", Some("y"), None).unwrap();
        assert_eq!(config.read().unwrap(), [net]);
    }

    #[test]
    fn mistakes_are_told() {
        for (text, word) in [
            ("keep = 3", "sequence"),
            ("[[keep]]\nprobe = \"x\"", "domain"),
            (
                "[[keep]]\ndomain = \"web1\"\nprobe = \"x\"\nparam = 1",
                "param",
            ),
            ("[[keep]]\ndomain = \"../x\"\nprobe = \"x\"", "entry 1"),
            ("[[keep]]\ndomain = \"web1\"\nprobe = \"\"", "entry 1"),
            ("[[keep]\n", "TOML"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
