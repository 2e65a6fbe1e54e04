// SPDX-License-Identifier: GPL-2.0

//! UI layer of the listener: what is seen below `/sys/kernel/debug/vesper`.
//!
//! `<domain>/<module>/<channel><cpu>` and `<domain>/<module>/metadata`, and nothing else that is not
//! hidden, so that a copy of the directory is a trace. Hidden are `<domain>/.heartbeat` and the control
//! files `.control/<channel><cpu>.produced` and `.consumed`. A directory is there as long as a channel of the module is
//! open or a file in it has something to read; if that was so when the module went, also until
//! somebody has read the metadata, without which the rest is worth nothing. One that only waits for its readers makes room for
//! a new one of the same name by taking the name `<name>@<n>`.
//!
//! Lock order: `modules` is taken before the VFS's own locks, and no lock of this module after it
//! but that of a metadata text.

use crate::{
    abi::{
        self,
        NAME_LEN, //
    },
    bindings,
    changes::Changes,
    domain::Domain,
    heartbeat::Heartbeat,
    sys::{
        debugfs::Entry,
        inode::Inode,
        number_file::{
            self,
            Number, //
        },
        relay_file,
        text_file, //
    },
};
use core::fmt::Write as _;
use kernel::{
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        Arc,
        Mutex, //
    },
};

mod metadata;
pub(crate) use metadata::Metadata;

/// Most directories of a domain in which there is metadata and nothing else.
const MAX_IDLE_TEXTS: usize = 16;

/// Directory of a domain.
#[pin_data]
pub(crate) struct DomainDir {
    #[pin]
    modules: Mutex<Modules>,
    changes: Arc<Changes>,
}

struct Modules {
    // Before the directory in which they are.
    list: KVec<Module>,
    next_id: u64,
    /// Number for the next one that makes room.
    next_label: u64,
    /// The file of the heartbeat, and what it shows.
    heartbeat: Option<(Entry, Arc<Heartbeat>)>,
    /// The directory, until it is removed.
    entry: Option<Entry>,
    /// Whom to tell when there is no module left.
    waiting: Option<Arc<Domain>>,
}

/// Directory of a module.
struct Module {
    id: u64,
    name: [u8; NAME_LEN],
    /// Name that the directory has.
    label: [u8; NAME_LEN],
    /// Channels that are open in the guest.
    channels: usize,
    /// Names of the files that are there: debugfs would put it in the log if one came twice.
    files: KVec<CString>,
    /// The guest's module is gone, and the directory has another name.
    renamed: bool,
    // Entries before what they point to, and before the directory in which they are.
    metadata: Option<(Entry, Arc<Metadata>)>,
    /// The control files, if there is any file.
    control: Option<Entry>,
    entry: Entry,
}

/// What is told about a module's directory.
pub(crate) struct ModuleFacts {
    /// The module's name.
    pub(crate) name: [u8; NAME_LEN],
    /// Name under which its files are found.
    pub(crate) label: [u8; NAME_LEN],
    /// Channels that are open in the guest.
    pub(crate) channels: usize,
}

/// Makes a terminated name for an entry out of a checked name and a number.
fn entry_name(name: &[u8], mark: &str, number: u64) -> Result<CString> {
    let name = core::str::from_utf8(name)?;
    CString::try_from_fmt(fmt!("{name}{mark}{number}"))
}

/// Renames `entry`, of which `name` is the proper name, to the first `<name>@<n>` that is free, n
/// not below `from`. A name that would grow too long for a field loses its end.
/// Returns the new name.
fn make_room(entry: &Entry, name: &[u8], from: u64) -> Result<[u8; NAME_LEN]> {
    for n in from..from.saturating_add(u64::from(u16::MAX)) {
        let label = entry_name(name, "@", n)?;
        let excess = label.to_bytes().len().saturating_sub(NAME_LEN - 1);
        let name = name
            .get(..name.len().saturating_sub(excess))
            .unwrap_or(name);
        let label = entry_name(name, "@", n)?;
        match entry.rename(&label) {
            Ok(()) => return field(label.to_bytes()),
            Err(err) if err == EEXIST => {}
            Err(err) => return Err(err),
        }
    }
    Err(ENOSPC)
}

/// A name as a field has it.
fn field(name: &[u8]) -> Result<[u8; NAME_LEN]> {
    let mut field = [0; NAME_LEN];
    field
        .get_mut(..name.len())
        .filter(|room| room.len() < NAME_LEN)
        .ok_or(EINVAL)?
        .copy_from_slice(name);
    Ok(field)
}

impl DomainDir {
    /// Makes the directory of the domain `name`, a checked name, below `root`. `changes` is told
    /// when the set of modules changes, or what is told of them.
    pub(crate) fn new(root: &Entry, name: &[u8], changes: Arc<Changes>) -> Result<Arc<Self>> {
        let name = CString::try_from_fmt(fmt!("{}", Name(name)))?;
        let entry = Entry::dir(&name, Some(root))?;
        Arc::pin_init(
            pin_init!(Self {
                modules <- new_mutex!(
                    Modules {
                        list: KVec::new(),
                        next_id: 1,
                        next_label: 1,
                        heartbeat: None,
                        entry: Some(entry),
                        waiting: None,
                    },
                    "vesper::modules"
                ),
                changes,
            }),
            GFP_KERNEL,
        )
    }

    /// Makes the file that shows the heartbeat, hidden, as modules have their directories here.
    pub(crate) fn show(&self, heartbeat: &Arc<Heartbeat>) -> Result {
        let mut modules = self.modules.lock();
        let parent = modules.entry.as_ref().ok_or(ENODEV)?;
        let entry = text_file::create(heartbeat, c".heartbeat", parent)?;
        modules.heartbeat = Some((entry, heartbeat.clone()));
        Ok(())
    }

    /// Gives up the name `name`; returns the new one.
    pub(crate) fn make_room(&self, name: &[u8]) -> Result<[u8; NAME_LEN]> {
        let modules = self.modules.lock();
        make_room(modules.entry.as_ref().ok_or(ENODEV)?, name, 1)
    }

    /// Removes the directory, with everything in it. Whoever still refers to this, as an open
    /// file may, finds nothing.
    pub(crate) fn remove(&self) {
        let mut modules = self.modules.lock();
        modules.list.clear();
        modules.heartbeat = None;
        modules.entry = None;
        let waiting = modules.waiting.take();
        drop(modules);
        drop(waiting);
    }

    /// Has `domain`, whose directory this is, look at itself whenever no module is left here.
    pub(crate) fn tell_when_empty(&self, domain: &Arc<Domain>) {
        let mut modules = self.modules.lock();
        if modules.entry.is_some() {
            modules.waiting = Some(domain.clone());
        }
    }

    /// Says whether there is no module here.
    pub(crate) fn is_empty(&self) -> bool {
        self.modules.lock().list.is_empty()
    }

    /// Takes part in the directory of module `name` for a channel, and makes the directory if
    /// need be. `metadata` says that the channel brings some: `EEXIST` if another one does.
    pub(crate) fn open(
        self: &Arc<Self>,
        name: &[u8; NAME_LEN],
        metadata: bool,
    ) -> Result<ChannelPlace> {
        let text = abi::name(name).ok_or(EINVAL)?;
        let mut modules = self.modules.lock();
        let modules = &mut *modules;
        modules.forget_oldest_texts();
        let mut found = None;
        for (at, module) in modules.list.iter_mut().enumerate() {
            if module.name != *name || module.renamed {
                continue;
            }
            if module.channels != 0 {
                found = Some(at);
            } else {
                module.label = make_room(&module.entry, text, modules.next_label)?;
                modules.next_label = modules.next_label.wrapping_add(1);
                module.renamed = true;
            }
            break;
        }
        let at = match found {
            Some(at) => at,
            None => {
                let id = modules.next_id;
                modules.next_id = id.wrapping_add(1);
                let label = CString::try_from_fmt(fmt!("{}", Name(text)))?;
                let parent = modules.entry.as_ref().ok_or(ENODEV)?;
                let entry = Entry::dir(&label, Some(parent))?;
                modules.list.push(
                    Module {
                        id,
                        name: *name,
                        label: *name,
                        channels: 0,
                        files: KVec::new(),
                        renamed: false,
                        metadata: None,
                        control: None,
                        entry,
                    },
                    GFP_KERNEL,
                )?;
                modules.list.len().wrapping_sub(1)
            }
        };
        let result = modules
            .list
            .get_mut(at)
            .ok_or(EINVAL)
            .and_then(|module| Self::join(module, metadata));
        match result {
            Ok((id, text)) => Ok(ChannelPlace {
                dir: self.clone(),
                id,
                metadata: text,
            }),
            Err(err) => {
                modules.sweep();
                Err(err)
            }
        }
    }

    fn join(module: &mut Module, metadata: bool) -> Result<(u64, Option<Arc<Metadata>>)> {
        let text = if metadata {
            if module.metadata.is_some() {
                return Err(EEXIST);
            }
            let text = Metadata::new()?;
            let entry = text_file::create(&text, c"metadata", &module.entry)?;
            module.metadata = Some((entry, text.clone()));
            Some(text)
        } else {
            None
        };
        module.channels = module.channels.wrapping_add(1);
        Ok((module.id, text))
    }

    /// Tells of each module.
    pub(crate) fn for_each(&self, mut tell: impl FnMut(&ModuleFacts) -> Result) -> Result {
        for module in self.modules.lock().list.iter() {
            tell(&ModuleFacts {
                name: module.name,
                label: module.label,
                channels: module.channels,
            })?;
        }
        Ok(())
    }

    /// The directory called `label`: its number, and how many channels are open in the guest.
    pub(crate) fn find(&self, label: &[u8; NAME_LEN]) -> Option<(u64, usize)> {
        let modules = self.modules.lock();
        let module = modules.list.iter().find(|m| m.label == *label)?;
        Some((module.id, module.channels))
    }

    /// Has directory `id` wait for nobody to read its metadata.
    pub(crate) fn forget_text(&self, id: u64) {
        self.leave(id, |m| {
            if let Some((_, text)) = &m.metadata {
                text.forget();
            }
        });
    }

    /// The same for each directory.
    pub(crate) fn forget_texts(&self) {
        let mut modules = self.modules.lock();
        for module in modules.list.iter() {
            if let Some((_, text)) = &module.metadata {
                text.forget();
            }
        }
        modules.sweep();
        self.changes.note();
    }

    /// Bytes of metadata that are kept only for files whose channel is closed.
    pub(crate) fn kept_text(&self) -> usize {
        let modules = self.modules.lock();
        modules
            .list
            .iter()
            .filter(|m| m.channels == 0)
            .filter_map(|m| m.metadata.as_ref())
            .fold(0usize, |sum, (_, text)| sum.saturating_add(text.len()))
    }

    fn leave(&self, id: u64, change: impl FnOnce(&mut Module)) {
        let mut modules = self.modules.lock();
        if let Some(module) = modules.list.iter_mut().find(|m| m.id == id) {
            change(module);
        }
        modules.sweep();
        self.changes.note();
    }
}

impl Modules {
    /// Removes directories in which there is but the text of what was read, the oldest first, if
    /// they are too many: it may be that nobody ever comes for it.
    fn forget_oldest_texts(&mut self) {
        let idle = |m: &Module| m.channels == 0 && m.files.is_empty();
        let idlers = self.list.iter().filter(|m| idle(m)).count();
        let mut excess = idlers.saturating_sub(MAX_IDLE_TEXTS);
        self.list.retain(|m| {
            let goes = excess != 0 && idle(m);
            excess = excess.saturating_sub(usize::from(goes));
            !goes
        });
    }

    /// Removes the directories that nobody needs. Nothing opened in them takes `modules`, so the
    /// lock may be held.
    fn sweep(&mut self) {
        self.list.retain(|m| {
            let text_needed = m.metadata.as_ref().is_some_and(|(_, text)| text.needed());
            m.channels != 0 || !m.files.is_empty() || text_needed
        });
        if self.list.is_empty() {
            if let Some(domain) = &self.waiting {
                domain.look();
            }
        }
    }
}

/// A checked name, for formatting.
pub(crate) struct Name<'a>(pub(crate) &'a [u8]);

impl kernel::fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut kernel::fmt::Formatter<'_>) -> kernel::fmt::Result {
        for &byte in self.0.iter().take_while(|&&b| b != 0) {
            f.write_char(char::from(byte))?;
        }
        Ok(())
    }
}

/// What is shown as a relay file, with its control files.
pub(crate) trait Shown: relay_file::Owner {
    /// What `<name>.produced` shows.
    type Produced: Number<Owner = Self>;
    /// What `<name>.consumed` shows, and takes.
    type Consumed: Number<Owner = Self>;
}

/// An open channel's part in the directory of its module.
pub(crate) struct ChannelPlace {
    dir: Arc<DomainDir>,
    id: u64,
    metadata: Option<Arc<Metadata>>,
}

impl ChannelPlace {
    /// The text that this channel supplies.
    pub(crate) fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_deref()
    }

    /// Makes the file `<channel><number>` of `owner`, and its control files. `EEXIST` if there is
    /// one of that name.
    pub(crate) fn create<T: Shown>(
        &self,
        owner: &Arc<T>,
        channel: &[u8; NAME_LEN],
        number: u32,
    ) -> Result<(FilePlace, Inode)> {
        let name = abi::name(channel).ok_or(EINVAL)?;
        let name = entry_name(name, "", u64::from(number))?;
        let mut modules = self.dir.modules.lock();
        let module = modules
            .list
            .iter_mut()
            .find(|m| m.id == self.id)
            .ok_or(ENOENT)?;
        if module.files.iter().any(|n| **n == *name) {
            return Err(EEXIST);
        }
        let listed = entry_name(abi::name(channel).ok_or(EINVAL)?, "", u64::from(number))?;
        module.files.reserve(1, GFP_KERNEL_ACCOUNT)?;
        if module.control.is_none() {
            module.control = Some(Entry::dir(c".control", Some(&module.entry))?);
        }
        let control = module.control.as_ref().ok_or(ENOENT)?;
        let text = core::str::from_utf8(name.to_bytes())?;
        let file = CString::try_from_fmt(fmt!("{text}.produced"))?;
        let produced = number_file::create::<T::Produced>(owner, &file, control)?;
        let file = CString::try_from_fmt(fmt!("{text}.consumed"))?;
        let consumed = number_file::create::<T::Consumed>(owner, &file, control)?;
        let entry = relay_file::create(owner, &name, &module.entry)?;
        let inode = entry.inode()?;
        module.files.push(listed, GFP_KERNEL_ACCOUNT)?;
        let metadata = module.metadata.as_ref().map(|(_, text)| text.clone());
        Ok((
            FilePlace {
                entries: Some([entry, produced, consumed]),
                name,
                dir: self.dir.clone(),
                id: self.id,
                metadata,
            },
            inode,
        ))
    }
}

impl Drop for ChannelPlace {
    fn drop(&mut self) {
        self.dir
            .leave(self.id, |m| m.channels = m.channels.saturating_sub(1));
    }
}

/// Directory of a relay file.
pub(crate) struct FileDirectory {
    dir: Arc<DomainDir>,
    id: u64,
    /// What was there when the file was made.
    metadata: Option<Arc<Metadata>>,
}

impl FileDirectory {
    /// The name it has now.
    pub(crate) fn label(&self) -> Option<[u8; NAME_LEN]> {
        let modules = self.dir.modules.lock();
        let module = modules.list.iter().find(|m| m.id == self.id)?;
        Some(module.label)
    }

    /// Says that a file in it outlives its channel, with something to be read.
    pub(crate) fn outlive(&self) {
        let modules = self.dir.modules.lock();
        if let Some(module) = modules.list.iter().find(|m| m.id == self.id) {
            if let Some((_, text)) = &module.metadata {
                text.need(&self.dir, self.id);
            }
        }
    }

    /// Says that such a file is being opened, and so takes none of the locks under which files are
    /// removed.
    pub(crate) fn opened_late(&self) {
        if let Some(text) = &self.metadata {
            text.need_again(&self.dir, self.id);
        }
    }
}

/// A relay file and its control files; dropping it removes them, and then the directory if it was
/// the last.
pub(crate) struct FilePlace {
    entries: Option<[Entry; 3]>,
    name: CString,
    dir: Arc<DomainDir>,
    id: u64,
    metadata: Option<Arc<Metadata>>,
}

impl FilePlace {
    /// Number of the directory in which it is.
    pub(crate) fn directory_id(&self) -> u64 {
        self.id
    }

    /// The directory in which it is.
    pub(crate) fn directory(&self) -> FileDirectory {
        FileDirectory {
            dir: self.dir.clone(),
            id: self.id,
            metadata: self.metadata.clone(),
        }
    }
}

impl Drop for FilePlace {
    fn drop(&mut self) {
        // First the files, then the directory.
        self.entries = None;
        let name = &self.name;
        self.dir
            .leave(self.id, |m| m.files.retain(|n| **n != **name));
    }
}

/// Name of the directory that holds those of the domains.
pub(crate) fn root() -> Result<Entry> {
    Entry::dir(c"vesper", None)
}

const _: () = assert!(bindings::VESPER_NAME_LEN as usize == NAME_LEN);
