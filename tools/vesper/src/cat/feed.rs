// SPDX-License-Identifier: GPL-2.0

//! Records of modules that come and go, for programs that judge them as they
//! arrive.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use vesper_ctf::decoder::{Item, ItemKind};

use super::symbols::{fingerprint, Symbols, LATE, STEP};
use super::{Files, Line, Module};
use crate::cli::Scope;
use crate::control::{Control, Host};
use crate::debugfs::Debugfs;
use crate::error::{Error, Result};
use crate::record::{Found, Lookup, Watch};
use crate::relay::ModuleFiles;
use crate::timeline::{Counter, Reading, WallClock};

/// Taken from one module before the others have their turn: a guest that writes
/// without end holds up nobody else. So many records, out of so many bytes.
const BATCH: usize = 1024;
const BATCH_BYTES: usize = 1 << 20;
/// Metadata come in pieces: what can't be read is tried again after as long as it has been
/// there, [`SOON`] at least and [`RETRY`] at most, and for [`PATIENCE`] it is not said that
/// it can't. What can't be opened is tried again after that.
const SOON: Duration = Duration::from_millis(5);
const RETRY: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(5);
/// Of all that has had one name, so many are followed at a time, and the metadata of so many
/// are parsed in one round: the oldest first. For what has the name now it is one more.
const GENERATIONS: usize = 4;
/// So many records of a module may wait for names at a time; others are told of as
/// they are.
const MAX_WAITING: usize = 64;
/// The same in bytes of packets: each keeps the whole one that it is in.
const MAX_WAITING_BYTES: usize = 16 << 20;
/// How often the host's clocks are read while there are records.
const READ: Duration = Duration::from_secs(1);

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
    modules: BTreeMap<u64, Followed>,
    /// Modules that can't be read.
    unread: BTreeMap<u64, Unread>,
    /// There are modules that have to wait until others of their name have ended.
    put_off: bool,
    /// Guests of which there are modules, or files of these, that are not followed yet.
    unseen: BTreeSet<String>,
    /// There may be modules or files that are not followed yet.
    stale: bool,
    /// Something could not be opened or read, as when too much is open: it is tried again then.
    again: Option<Instant>,
    /// Reads the host's wall clock beside its counters.
    read: fn() -> [Reading; 2],
    /// What it gave, and when it is to be read again.
    clocks: ([Reading; 2], Instant),
}

/// A module that can't be read.
struct Unread {
    /// When that was first seen; none once it has been said.
    since: Option<Instant>,
    /// What is to be said then.
    error: Option<Error>,
    /// Tells its metadata from others, if those are what is wrong.
    text: Option<u64>,
    /// When it may be tried again; never, if it can't become another.
    again: Option<Instant>,
}

impl Unread {
    fn is_due(&self) -> bool {
        self.again.is_some_and(|again| again <= Instant::now())
    }
}

/// One module, and what is still to be said of its records.
struct Followed {
    /// The guest, by the name that it has or had.
    guest: String,
    /// The module, by the same.
    name: String,
    module: Module,
    late: VecDeque<Late>,
    /// It has been said that not all of its files can be opened.
    lacks: bool,
}

/// A record that was handed on before all names in it were known.
struct Late {
    number: u64,
    item: Item,
    until: Instant,
}

/// What came of reading once.
#[derive(Debug, Default)]
pub struct Round {
    /// Why modules are followed no longer.
    pub failed: Vec<Error>,
    /// Guests of which there is more that poll() does not tell of: come back at once.
    pub behind: BTreeSet<String>,
    /// Guests of which there may be more in what could not be followed yet.
    pub unseen: BTreeSet<String>,
}

impl<C: Control> Feed<C> {
    /// A feed that follows nothing yet. `host` is asked for the time of guests.
    pub fn new(debugfs: Debugfs, host: Result<Host<C>>) -> Result<Self> {
        let read = || Reading::both(&WallClock::now());
        Ok(Self {
            read,
            clocks: (read(), Instant::now() + READ),
            lookup: Lookup::new(&debugfs, host),
            watch: Watch::new()?,
            debugfs,
            targets: Vec::new(),
            modules: BTreeMap::new(),
            unread: BTreeMap::new(),
            put_off: false,
            unseen: BTreeSet::new(),
            stale: true,
            again: None,
        })
    }

    /// Modules that are to be followed, wherever they are loaded. Looks for them only
    /// if any has come or gone since the last time. Not many of one name are followed at a
    /// time: a guest that loads and unloads one without end holds up nobody else.
    pub fn follow(&mut self, wants: impl Fn(&str, &str) -> bool) -> Result<Vec<Error>> {
        let told = self.watch.take();
        let again = self.again.is_some_and(|again| again <= Instant::now());
        if !told && !self.stale && !again {
            return Ok(Vec::new());
        }
        self.stale = false;
        self.again = None;
        self.watch.watch_root(&self.debugfs)?;
        self.targets.clear();
        for domain in self.debugfs.domains().unwrap_or_default() {
            self.targets.push(Scope {
                domain,
                module: None,
            });
        }
        self.read_clocks();
        let mut refused = Vec::new();
        let mut unread = std::mem::take(&mut self.unread);
        let mut parsed: BTreeMap<(String, String), usize> = BTreeMap::new();
        self.put_off = false;
        self.unseen.clear();
        let mut all: Vec<_> = self
            .watch
            .find(&self.debugfs, &self.targets)?
            .into_iter()
            .collect();
        all.sort_by_key(|(found, _)| (generation(&found.domain), generation(&found.module)));
        for (found, path) in all {
            if !wants(base(&found.domain), base(&found.module)) {
                continue;
            }
            let Ok(meta) = std::fs::metadata(&path) else {
                continue;
            };
            let number = meta.ino();
            if self.modules.contains_key(&number) {
                continue;
            }
            let before = unread.remove(&number);
            let is_current = is_current(&found);
            let most = GENERATIONS + usize::from(is_current);
            let (guest, name) = (base(&found.domain), base(&found.module));
            let is_same = |of: &&Followed| of.guest == guest && of.name == name;
            let is_full = self.modules.values().filter(is_same).count() >= most;
            self.put_off |= is_full;
            if is_full || before.as_ref().is_some_and(|before| !before.is_due()) {
                if is_full || before.as_ref().is_some_and(|before| before.since.is_some()) {
                    self.unseen.insert(guest.to_owned());
                }
                if let Some(before) = before {
                    // Or else it is when others have ended.
                    if let (Some(again), false) = (before.again, is_full) {
                        self.look_again_at(again);
                    }
                    self.unread.insert(number, before);
                }
                continue;
            }
            let target = format!("{}/{}", found.domain, found.module);
            let opened =
                ModuleFiles::open(&self.debugfs, &found.domain, &found.module).and_then(|files| {
                    let text = Symbols::first_text(&files, &target)?;
                    Ok((files, text))
                });
            let (files, text) = match opened {
                // Another has taken the name meanwhile: that is what was opened.
                Ok((files, _)) if files.identity().ok() != Some((meta.dev(), number)) => {
                    self.stale = true;
                    self.unseen.insert(guest.to_owned());
                    continue;
                }
                Ok(opened) => opened,
                // It says what its records look like before the first of them;
                // the file that says so is watched for, and so is what goes.
                Err(Error::NoMetadata(_) | Error::NoFiles { .. }) => {
                    self.stale = true;
                    continue;
                }
                Err(error) => {
                    self.look_again_at(Instant::now() + PATIENCE);
                    self.unseen.insert(guest.to_owned());
                    let since = before.map_or(Some(Instant::now()), |before| before.since);
                    refused.extend(self.leave(number, since, None, Some(error), true));
                    continue;
                }
            };
            let print = fingerprint(&text);
            let since = match before {
                Some(before) if before.text == Some(print) => {
                    let (since, error) = (before.since, before.error);
                    self.unseen.extend(since.map(|_| guest.to_owned()));
                    refused.extend(self.leave(number, since, Some(print), error, is_current));
                    continue;
                }
                Some(before) => before.since,
                None => Some(Instant::now()),
            };
            let parsed = parsed
                .entry((guest.to_owned(), name.to_owned()))
                .or_default();
            if *parsed >= most {
                self.look_again_at(Instant::now() + RETRY);
                self.unseen.insert(guest.to_owned());
                continue;
            }
            *parsed += 1;
            match Symbols::of(&files, target, text) {
                Ok(symbols) => {
                    let (mut module, _) =
                        Module::named(files, symbols, &found.domain, &found.module, &self.lookup);
                    set_clock(&mut module, &self.clocks.0);
                    let followed = Followed {
                        guest: guest.to_owned(),
                        name: name.to_owned(),
                        module,
                        late: VecDeque::new(),
                        lacks: false,
                    };
                    self.modules.insert(number, followed);
                }
                Err(error) => {
                    self.unseen.extend(since.map(|_| guest.to_owned()));
                    refused.extend(self.leave(number, since, Some(print), Some(error), is_current));
                }
            }
        }
        for followed in self.modules.values_mut() {
            let found = followed.module.find_files();
            let lacks = found.is_err();
            let is_new = lacks && !followed.lacks;
            followed.lacks = lacks;
            if let Err(error) = found {
                self.unseen.insert(followed.guest.clone());
                let again = Instant::now() + PATIENCE;
                self.again = Some(self.again.map_or(again, |before| before.min(again)));
                refused.extend(is_new.then_some(error));
            }
        }
        Ok(refused)
    }

    /// Leaves a module that can't be read until later; the error, once it is to be said.
    fn leave(
        &mut self,
        number: u64,
        since: Option<Instant>,
        text: Option<u64>,
        error: Option<Error>,
        may_change: bool,
    ) -> Option<Error> {
        let now = Instant::now();
        let age = since.map_or(RETRY, |first| now.duration_since(first));
        let waits = since.is_some() && age < PATIENCE;
        let again = now + age.clamp(SOON, RETRY);
        if waits {
            self.look_again_at(again);
        }
        let (kept, said) = match (waits, since) {
            (true, _) => (error, None),
            (false, Some(_)) => (None, error),
            (false, None) => (None, None),
        };
        let unread = Unread {
            since: since.filter(|_| waits),
            error: kept,
            text,
            again: (waits || may_change).then_some(again),
        };
        self.unread.insert(number, unread);
        said
    }

    /// Whatever else there is, then it is looked for modules again.
    fn look_again_at(&mut self, time: Instant) {
        self.again = Some(self.again.map_or(time, |again| again.min(time)));
    }

    /// What to poll: when any of these is readable, [`Feed::take`] has something
    /// to do. The first tells of modules that come and go, and wants
    /// [`Feed::follow`].
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let files = self.modules.values().flat_map(|Followed { module, .. }| {
            let live = module.files.live();
            live.map(|number| module.files.fd(number))
        });
        std::iter::once(self.watch.as_fd()).chain(files).collect()
    }

    /// How long to poll at most before [`Feed::follow`] or [`Feed::take`] has
    /// something to do that no file tells of.
    pub fn pause(&self) -> Option<Duration> {
        let waiting = self.modules.values().any(|of| !of.late.is_empty());
        let again = self.again;
        let again = again.map(|again| again.saturating_duration_since(Instant::now()));
        let steps = [waiting.then_some(STEP), again];
        steps.into_iter().flatten().min()
    }

    /// Reads some of what there is, each module's records in order of time. What
    /// can't be read is followed no longer, and told of.
    pub fn take(&mut self, judge: &mut impl Judge) -> Round {
        let mut round = Round {
            unseen: self.unseen.clone(),
            ..Round::default()
        };
        self.read_clocks();
        let (before, mut failed) = (self.modules.len(), Vec::new());
        self.modules.retain(|&number, followed| {
            let last = match followed.take(judge) {
                Ok(Taken::More) => {
                    round.behind.insert(followed.guest.clone());
                    false
                }
                Ok(Taken::All) => false,
                Ok(Taken::AllButMetadata) => {
                    self.again.get_or_insert(Instant::now() + PATIENCE);
                    false
                }
                Ok(Taken::Last) => true,
                Err(error) => {
                    round.failed.push(error);
                    failed.push(number);
                    true
                }
            };
            followed.tell_late(judge, last);
            !last
        });
        for number in failed {
            // It does not take the place of the next one.
            let unread = Unread {
                since: None,
                error: None,
                text: None,
                again: Some(Instant::now() + PATIENCE),
            };
            self.unread.insert(number, unread);
        }
        if self.put_off && self.modules.len() < before {
            self.look_again_at(Instant::now());
        }
        round
    }

    /// The host's wall clock may have been set, or goes at another rate: from here on times are
    /// what it shows now.
    fn read_clocks(&mut self) {
        let now = Instant::now();
        if now < self.clocks.1 {
            return;
        }
        self.clocks = ((self.read)(), now + READ);
        for followed in self.modules.values_mut() {
            set_clock(&mut followed.module, &self.clocks.0);
        }
    }
}

fn set_clock(module: &mut Module, [by_tsc, by_clock]: &[Reading; 2]) {
    module.label.set_clock(|counter| match counter {
        Counter::Tsc => *by_tsc,
        Counter::Monotonic => *by_clock,
    });
}

/// What a module had.
enum Taken {
    /// More than one module is given at a time.
    More,
    /// All that is there for now.
    All,
    /// The same, but its metadata could not be read for the last time.
    AllButMetadata,
    /// All that there ever will be.
    Last,
}

impl Followed {
    fn take(&mut self, judge: &mut impl Judge) -> Result<Taken> {
        if !self.drain(judge)? {
            return Ok(Taken::More);
        }
        let files = &self.module.files;
        let ended: Vec<usize> = files
            .live()
            .filter(|&number| files.is_drained(number))
            .collect();
        if !ended.is_empty() {
            // What came before it was asked.
            if !self.drain(judge)? {
                return Ok(Taken::More);
            }
            for number in ended {
                self.module.files.close(number);
            }
        }
        let all_read = self.module.read_last_metadata();
        let Module {
            files, decoders, ..
        } = &self.module;
        let lives = !decoders.is_empty() && !files.all_ended() || !files.is_removed();
        Ok(match (lives, all_read) {
            (false, _) => Taken::Last,
            (true, false) => Taken::AllButMetadata,
            (true, true) => Taken::All,
        })
    }

    /// Reads what the files have now; false if that is more than one batch.
    fn drain(&mut self, judge: &mut impl Judge) -> Result<bool> {
        let module = &mut self.module;
        let source = Files::new(&mut module.files, BATCH_BYTES);
        let mut line = Line::new(
            &mut module.decoders,
            &mut module.symbols,
            &module.label,
            source,
        )?;
        for _ in 0..BATCH {
            // What is still to be read of one CPU may be older than what is there of others.
            if line.source.left == 0 {
                break;
            }
            let Some(item) = line.merge.next(&line.metadata, &mut line.source)? else {
                return Ok(true);
            };
            let object = super::show::object(line.label, &line.metadata, &item);
            let number = judge.item(&object);
            // Names can be late, and nothing waits for them but the report.
            let Some(number) = number.filter(|_| line.symbols.is_wanting(&item)) else {
                continue;
            };
            if has_room(&self.late, &item) {
                let until = Instant::now() + LATE;
                self.late.push_back(Late {
                    number,
                    item,
                    until,
                });
            }
        }
        Ok(false)
    }

    /// Tells of records whose names have come, or will not; with `at_once` of all.
    fn tell_late(&mut self, judge: &mut impl Judge, at_once: bool) {
        let module = &mut self.module;
        self.late.retain(|late| {
            let give_up = at_once || Instant::now() >= late.until;
            let settled = module.symbols.is_settled(&late.item, give_up);
            if settled {
                let metadata = module.symbols.metadata();
                let object = super::show::object(&module.label, &metadata, &late.item);
                judge.named(late.number, &object);
            }
            !settled
        });
    }
}

/// Whether one more record may wait for names.
fn has_room(late: &VecDeque<Late>, item: &Item) -> bool {
    let packets: BTreeMap<*const u8, usize> = late
        .iter()
        .map(|late| &late.item)
        .chain([item])
        .filter_map(|item| match &item.kind {
            ItemKind::Record(_, packet) => Some((packet.as_ptr(), packet.len())),
            _ => None,
        })
        .collect();
    late.len() < MAX_WAITING && packets.values().sum::<usize>() <= MAX_WAITING_BYTES
}

/// The name that a guest or module had before something new took it.
fn base(name: &str) -> &str {
    name.split('@').next().unwrap_or(name)
}

/// Where it stands among those of one name: the longer ago it had that, the earlier.
fn generation(name: &str) -> u64 {
    let number = name.split_once('@').map(|(_, number)| number.parse());
    match number {
        None => u64::MAX,
        Some(number) => number.unwrap_or(0),
    }
}

/// Whether it has the name still.
fn is_current(found: &Found) -> bool {
    [&found.domain, &found.module].map(|name| generation(name)) == [u64::MAX; 2]
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use vesper_ctf::decoder::Decoder;
    use vesper_ctf::tsdl;
    use vesper_ctf::writer::{signal_event, signal_metadata, PacketWriter};

    use super::*;
    use crate::control::Device;

    const DAY: i128 = 86_400_000_000_000;

    /// Of the records, when they were.
    #[derive(Default)]
    struct Times(Vec<i128>);

    impl Judge for Times {
        fn item(&mut self, item: &Json) -> Option<u64> {
            let time = item["timestamp_ns"].as_i64().unwrap();
            self.0.push(time.into());
            None
        }

        fn named(&mut self, _: u64, _: &Json) {}
    }

    fn two_days_on() -> [Reading; 2] {
        let mut now = Reading::both(&WallClock::now());
        for reading in &mut now {
            reading.nanoseconds += 2 * DAY;
        }
        now
    }

    #[test]
    fn times_follow_the_clock() {
        let root = tempfile::tempdir().unwrap();
        let write = |module: &str| {
            let dir = root.path().join("vesper/host").join(module);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("metadata"), signal_metadata(&[])).unwrap();
            let mut writer = PacketWriter::new(0);
            let events = vec![signal_event(1_000_000_000, 1, "sh", 15, &[]); BATCH + 1];
            let packets = events.chunks(32).map(|events| writer.packet(events));
            let packets = packets.collect::<Vec<_>>().concat();
            fs::write(dir.join(format!("{module}0")), packets).unwrap();
        };
        write("signal");
        let debugfs = Debugfs::find(Some(root.path())).unwrap();
        let mut feed = Feed::<Device>::new(debugfs, Err(Error::NoDevice("none".into()))).unwrap();
        feed.follow(|_, _| true).unwrap();
        let mut times = Times::default();
        feed.take(&mut times);
        let before = times.0[0];
        assert_eq!(times.0, [before; BATCH]);
        // Nobody asks the clock more often.
        (feed.read, feed.clocks.1) = (two_days_on, Instant::now() + 1000 * READ);
        write("process");
        feed.follow(|_, _| true).unwrap();
        times.0.clear();
        feed.take(&mut times);
        assert_eq!(times.0.len(), BATCH + 1);
        assert!(times.0.iter().all(|time| time - before < DAY));
        // One that was taken up before, and one that is.
        feed.clocks.1 = Instant::now();
        write("exec");
        feed.follow(|_, _| true).unwrap();
        times.0.clear();
        feed.take(&mut times);
        assert_eq!(times.0.len(), BATCH + 1);
        assert!(times.0.iter().all(|time| time - before > DAY));
    }

    /// Directories of modules of the host, and a feed of them.
    fn generations(names: &[String], text: &str) -> (tempfile::TempDir, Feed<Device>) {
        let root = tempfile::tempdir().unwrap();
        for name in names {
            let dir = module(root.path(), name);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("metadata"), text).unwrap();
        }
        let debugfs = Debugfs::find(Some(root.path())).unwrap();
        let feed = Feed::new(debugfs, Err(Error::NoDevice("none".into()))).unwrap();
        (root, feed)
    }

    fn module(root: &Path, name: &str) -> PathBuf {
        root.join("vesper/host").join(name)
    }

    fn number(dir: &Path) -> u64 {
        fs::metadata(dir).unwrap().ino()
    }

    #[test]
    fn the_oldest_of_a_name_are_followed_first() {
        let mut names: Vec<_> = (1..=12).map(|n| format!("signal@{n}")).collect();
        names.extend(["signal".to_owned(), "other".to_owned()]);
        let (root, mut feed) = generations(&names, &signal_metadata(&[]));
        let followed = |feed: &Feed<Device>| {
            let is_followed = |name: &&String| {
                feed.modules
                    .contains_key(&number(&module(root.path(), name)))
            };
            let names: Vec<&str> = names.iter().filter(is_followed).map(|n| &**n).collect();
            names.join(" ")
        };
        feed.follow(|_, _| true).unwrap();
        let first = "signal@1 signal@2 signal@3 signal@4 signal other";
        assert_eq!(followed(&feed), first);
        let unseen = |feed: &Feed<Device>| feed.unseen.iter().cloned().collect::<Vec<_>>();
        assert_eq!(unseen(&feed), ["host"]);
        feed.stale = true;
        feed.follow(|_, _| true).unwrap();
        assert_eq!(followed(&feed), first);
        // They are gone, and that is reason enough to look again.
        for name in &names[..3] {
            let dir = module(root.path(), name);
            fs::rename(&dir, root.path().join(name)).unwrap();
            feed.modules.remove(&number(&root.path().join(name)));
        }
        feed.follow(|_, _| true).unwrap();
        let names = &names[3..];
        let is_followed = |name: &&String| {
            feed.modules
                .contains_key(&number(&module(root.path(), name)))
        };
        let now: Vec<_> = names.iter().filter(is_followed).collect();
        assert_eq!(now, ["signal@4", "signal@5", "signal@6", "signal", "other"]);
        assert_eq!(unseen(&feed), ["host"]);
        for name in &names[3..9] {
            fs::rename(module(root.path(), name), root.path().join(name)).unwrap();
        }
        feed.modules.clear();
        feed.stale = true;
        feed.follow(|_, _| true).unwrap();
        assert!(unseen(&feed).is_empty());
    }

    #[test]
    fn metadata_that_can_not_be_used_are_parsed_once() {
        let names = ["signal".to_owned()];
        let (root, mut feed) = generations(&names, "rubbish");
        let dir = module(root.path(), "signal");
        let follow = |feed: &mut Feed<Device>| {
            for unread in feed.unread.values_mut() {
                unread.again = Some(Instant::now());
            }
            feed.stale = true;
            feed.follow(|_, _| true).unwrap()
        };
        assert!(follow(&mut feed).is_empty());
        assert_eq!(feed.unseen.len(), 1);
        let print = feed.unread[&number(&dir)].text;
        assert_eq!(print, Some(fingerprint(b"rubbish")));
        // One that would parse, if it were not taken for what did not.
        let good = signal_metadata(&[]);
        fs::write(dir.join("metadata"), &good).unwrap();
        let unread = feed.unread.get_mut(&number(&dir)).unwrap();
        unread.text = Some(fingerprint(good.as_bytes()));
        assert!(follow(&mut feed).is_empty());
        assert!(feed.modules.is_empty());
        // What is wrong is said all the same, and once.
        let unread = feed.unread.get_mut(&number(&dir)).unwrap();
        unread.since = unread.since.and_then(|since| since.checked_sub(PATIENCE));
        assert_eq!(follow(&mut feed).len(), 1);
        assert!(follow(&mut feed).is_empty());
        fs::write(dir.join("metadata"), good + "\n").unwrap();
        assert!(follow(&mut feed).is_empty());
        assert_eq!(feed.modules.len(), 1);
        assert!(feed.unread.is_empty() && feed.unseen.is_empty());
    }

    #[test]
    fn what_can_not_be_used_keeps_nobody_from_the_rest() {
        let mut names: Vec<_> = (1..=12).map(|n| format!("signal@{n}")).collect();
        let (root, mut feed) = generations(&names, "rubbish");
        names.push("signal@13".into());
        let last = module(root.path(), "signal@13");
        fs::create_dir_all(&last).unwrap();
        fs::write(last.join("metadata"), signal_metadata(&[])).unwrap();
        for tried in [4, 8, 12] {
            feed.stale = true;
            feed.follow(|_, _| true).unwrap();
            assert_eq!((feed.unread.len(), feed.modules.len()), (tried, 0));
            assert!(feed.pause().is_some_and(|pause| pause <= RETRY));
        }
        feed.stale = true;
        feed.follow(|_, _| true).unwrap();
        assert!(feed.modules.contains_key(&number(&last)));
    }

    /// How many of these records, in packets of so many, can wait.
    fn waiting(records: usize, in_packet: usize, comm: usize) -> usize {
        let metadata = tsdl::parse(signal_metadata(&[]).as_bytes()).unwrap();
        let comm = "x".repeat(comm);
        let events = vec![signal_event(1, 1, &comm, 1, &[5]); in_packet];
        let (mut decoder, mut writer) = (Decoder::new(None, 0), PacketWriter::new(0));
        let mut late = VecDeque::new();
        for _ in 0..records / in_packet {
            decoder.push(&writer.packet(&events));
            while let Some(item) = decoder.next_item(&metadata) {
                if has_room(&late, &item) {
                    let until = Instant::now();
                    let number = 0;
                    late.push_back(Late {
                        number,
                        item,
                        until,
                    });
                }
            }
        }
        late.len()
    }

    #[test]
    fn what_waits_is_bounded_in_number_and_bytes() {
        assert_eq!(waiting(100, 1, 10), MAX_WAITING);
        assert_eq!(waiting(20, 1, 1 << 20), 15);
        // A packet is kept once for all of its records.
        assert_eq!(waiting(100, 100, 100 << 10), MAX_WAITING);
    }
}
