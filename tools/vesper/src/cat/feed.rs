// SPDX-License-Identifier: GPL-2.0

//! Records of modules that come and go, for programs that judge them as they
//! arrive.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};

use serde_json::Value as Json;
use vesper_ctf::decoder::{Item, ItemKind};

use super::{Files, Line, Module, CHUNK};
use crate::cli::Scope;
use crate::control::{Control, Host};
use crate::debugfs::Debugfs;
use crate::error::{Error, Result};
use crate::record::{Lookup, Watch};
use crate::relay::ModuleFiles;

/// Who is handed what the feed reads, as `vesper cat --json` prints it.
pub trait Judge {
    /// One record, or what stands in the place of some that are lost. Names of
    /// symbols may be missing. Gives a number to be told more of it.
    fn item(&mut self, item: &Json) -> Option<u64>;

    /// The same record once more, now with the names of symbols that have come
    /// meanwhile.
    fn named(&mut self, number: u64, item: &Json);
}

/// Follows all modules of some names, in all guests: those there are, those that
/// come, and what is left of those that are gone.
///
/// Reading takes the records out of the buffers.
pub struct Feed<C> {
    debugfs: Debugfs,
    lookup: Lookup<C>,
    watch: Watch,
    targets: Vec<Scope>,
    /// By directory: it may change its name when the module is gone, and a new
    /// one may take that.
    modules: BTreeMap<u64, Module>,
}

impl<C: Control> Feed<C> {
    /// A feed that follows nothing yet. `host` is asked for the time of guests.
    pub fn new(debugfs: Debugfs, host: Result<Host<C>>) -> Result<Self> {
        Ok(Self {
            lookup: Lookup::new(&debugfs, host),
            watch: Watch::new()?,
            debugfs,
            targets: Vec::new(),
            modules: BTreeMap::new(),
        })
    }

    /// Modules that are to be followed, wherever they are loaded.
    pub fn follow(&mut self, wants: impl Fn(&str, &str) -> bool) -> Result<Vec<Error>> {
        self.watch.take();
        self.watch.watch_root(&self.debugfs)?;
        self.targets.clear();
        for domain in self.debugfs.domains().unwrap_or_default() {
            self.targets.push(Scope {
                domain,
                module: None,
            });
        }
        let mut refused = Vec::new();
        for (found, path) in self.watch.find(&self.debugfs, &self.targets)? {
            if !wants(base(&found.domain), base(&found.module)) {
                continue;
            }
            let Ok(meta) = std::fs::metadata(&path) else {
                continue;
            };
            let number = std::os::unix::fs::MetadataExt::ino(&meta);
            if self.modules.contains_key(&number) {
                continue;
            }
            let target = format!("{}/{}", found.domain, found.module);
            let opened =
                ModuleFiles::open(&self.debugfs, &found.domain, &found.module).and_then(|files| {
                    Module::named(files, &found.domain, &found.module, target, &self.lookup)
                });
            match opened {
                Ok((module, _)) => drop(self.modules.insert(number, module)),
                // It says what its records look like before the first of them;
                // the file that says so is watched for, and so is what goes.
                Err(Error::NoMetadata(_) | Error::NoFiles { .. }) => {}
                Err(error) => refused.push(error),
            }
        }
        for module in self.modules.values_mut() {
            if let Err(error) = module.find_files() {
                refused.push(error);
            }
        }
        Ok(refused)
    }

    /// What to poll: when any of these is readable, [`Feed::take`] has something
    /// to do. The first tells of modules that come and go, and wants
    /// [`Feed::follow`].
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let files = self.modules.values().flat_map(|module| {
            let live = module.files.live();
            live.map(|number| module.files.fd(number))
        });
        std::iter::once(self.watch.as_fd()).chain(files).collect()
    }

    /// Reads what there is, each module's records in order of time. What can't be
    /// read is followed no longer, and told of.
    pub fn take(&mut self, judge: &mut impl Judge) -> Vec<Error> {
        let mut failed = Vec::new();
        self.modules.retain(|_, module| match module.judge(judge) {
            Ok(more) => more,
            Err(error) => {
                failed.push(error);
                false
            }
        });
        failed
    }
}

impl Module {
    /// Reads all that the files have now; false if there will never be more.
    fn judge(&mut self, judge: &mut impl Judge) -> Result<bool> {
        self.drain(judge)?;
        let ending = |files: &ModuleFiles| -> Vec<usize> {
            files
                .live()
                .filter(|&number| files.is_drained(number))
                .collect()
        };
        let ended = ending(&self.files);
        if !ended.is_empty() {
            // What came before it was asked.
            self.drain(judge)?;
            for number in ended {
                self.files.close(number);
            }
        }
        Ok(!self.decoders.is_empty() && !self.files.all_ended() || !self.files.is_removed())
    }

    fn drain(&mut self, judge: &mut impl Judge) -> Result<()> {
        let mut later: Vec<(u64, Item)> = Vec::new();
        let source = Files(&mut self.files, vec![0; CHUNK]);
        let mut line = Line::new(&mut self.decoders, &mut self.symbols, &self.label, source)?;
        while let Some(item) = line.merge.next(&line.metadata, &mut line.source)? {
            let object = super::show::object(line.label, &line.metadata, &item);
            if let Some(number) = judge.item(&object) {
                later.push((number, item));
            }
        }
        // Names can be late, and nothing waits for them but the report.
        for (number, item) in later {
            self.symbols
                .look_up(&item, matches!(item.kind, ItemKind::Record(..)));
            let object = super::show::object(&self.label, &self.symbols.metadata(), &item);
            judge.named(number, &object);
        }
        Ok(())
    }
}

/// The name that a guest or module had before something new took it.
fn base(name: &str) -> &str {
    name.split('@').next().unwrap_or(name)
}
