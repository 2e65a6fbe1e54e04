// SPDX-License-Identifier: GPL-2.0

//! `vesper record`: takes records from the host as they come and writes them as
//! a trace in the Common Trace Format, which other programs read.
//!
//! Nothing is done by time but what bounds a delay: poll() tells of records, and
//! inotify of modules and CPUs that come and go.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::SigSet;

use crate::cli;
use crate::control::{Control, Host};
use crate::debugfs::Debugfs;
use crate::error::{Error, Result};
use crate::relay;
use crate::sys;
use crate::timeline::WallClock;

mod check;
mod error;
mod lookup;
mod origin;
mod place;
mod source;
mod stream;
mod watch;

pub use error::RecordError;
pub(crate) use lookup::Lookup;
pub(crate) use origin::Origin;
use place::Places;
use source::Source;
use stream::Totals;
pub(crate) use watch::{Found, Watch};

/// What is taken from a file at a time.
const CHUNK: usize = 256 << 10;
/// The name of a symbol comes so much later than the record that first has it.
const SETTLE: Duration = Duration::from_millis(250);
/// Before asking again a file that was said to be readable, and was not.
const IDLE: Duration = Duration::from_millis(50);
/// Before metadata are looked at again that could not be read.
const AGAIN: Duration = Duration::from_secs(1);

/// What all of it works on.
struct Session<'a, C, W> {
    args: &'a cli::Record,
    debugfs: &'a Debugfs,
    watch: Watch,
    lookup: Lookup<C>,
    sources: Vec<Source>,
    /// Directories that have no file with records yet.
    empty: usize,
    /// Directories with more of a trace that is being written from another.
    waiting: usize,
    /// Directories whose modules have ended.
    done: Vec<(u64, u64)>,
    totals: Totals,
    places: Places,
    /// Where the traces of this recording are.
    begun: BTreeSet<PathBuf>,
    /// Modules whose metadata can't be used, or whose files can't be read.
    left_out: u64,
    /// Directories whose metadata could not be read the last time, and when that was.
    put_off: Vec<(u64, u64)>,
    looked: Instant,
    buffer: Vec<u8>,
    out: &'a mut W,
}

/// Records until everything has ended, the time is over, or Ctrl-C.
pub fn run<C: Control, W: Write>(
    args: &cli::Record,
    debugfs: &Debugfs,
    host: impl FnOnce() -> Result<Host<C>>,
    out: &mut W,
) -> Result<()> {
    let failed = |errno| Error::Ioctl {
        what: "installing the handler for Ctrl-C".into(),
        errno,
    };
    sys::catch_interrupts().map_err(failed)?;
    let open = sys::block_interrupts().map_err(failed)?;
    let mut session = Session {
        args,
        debugfs,
        watch: Watch::new()?,
        lookup: Lookup::new(debugfs, host()),
        sources: Vec::new(),
        empty: 0,
        waiting: 0,
        done: Vec::new(),
        totals: Totals::default(),
        places: Places::new(&args.output),
        begun: BTreeSet::new(),
        left_out: 0,
        put_off: Vec::new(),
        looked: Instant::now(),
        buffer: vec![0; CHUNK],
        out,
    };
    session.check()?;
    place::open(&args.output, args.resume)?;
    let recorded = session.record(&open);
    let finished = session.finish(recorded.is_ok());
    let said = session.summary();
    recorded.and(finished)?;
    let left_out = session.left_out + session.put_off.len() as u64;
    match (left_out, session.totals.malformed) {
        (0, 0) => said,
        (0, count) => Err(RecordError::Malformed(count).into()),
        (count, _) => Err(RecordError::LeftOut(count).into()),
    }
}

/// Notes at a source that its own files fail; other errors are everybody's.
fn aside<T: Default>(source: &mut Source, result: Result<T>) -> Result<T> {
    match result {
        Err(Error::Record(RecordError::Source(error))) => {
            source.failed.get_or_insert(error);
            Ok(T::default())
        }
        result => result,
    }
}

impl<C: Control, W: Write> Session<'_, C, W> {
    /// Whether there is something for each target, unless it is waited for.
    fn check(&mut self) -> Result<()> {
        if self.args.wait {
            return Ok(());
        }
        let found = self.watch.find(self.debugfs, &self.args.targets)?;
        for target in &self.args.targets {
            let domain = &target.domain;
            let module = |name: &String| target.module.as_ref().is_none_or(|m| m == name);
            if found
                .keys()
                .any(|f| f.domain == *domain && module(&f.module))
            {
                continue;
            }
            return Err(match &target.module {
                Some(module) => Error::NoFiles {
                    domain: domain.clone(),
                    module: module.clone(),
                    root: self.debugfs.root().to_owned(),
                    known: self.debugfs.modules().unwrap_or_default(),
                },
                None => RecordError::Nothing(domain.clone()).into(),
            });
        }
        Ok(())
    }

    fn record(&mut self, open: &SigSet) -> Result<()> {
        let end = self.args.time.map(|time| Instant::now() + time);
        self.look()?;
        loop {
            if self.end_those_over()? && self.waiting > 0 {
                self.look()?;
            }
            let none = self.sources.is_empty() && self.put_off.is_empty();
            if none && self.empty == 0 && !self.args.wait {
                return Ok(());
            }
            if sys::interrupted() || end.is_some_and(|end| end <= Instant::now()) {
                return Ok(());
            }
            self.refresh()?;
            let (changed, ready) = self.wait(open, end)?;
            let mut got = changed;
            for (source, number) in ready {
                let source = &mut self.sources[source];
                if source.failed.is_some() {
                    continue;
                }
                let before = source.live().count();
                let drained = source.drain(number, &mut self.buffer);
                got |= aside(source, drained)? > 0;
                got |= source.live().count() < before || source.failed.is_some();
            }
            let again = !self.put_off.is_empty() && self.looked.elapsed() >= AGAIN;
            if changed || again {
                self.look()?;
            } else if !got {
                // A signal, a time that is over, or a file that is not as it says.
                std::thread::sleep(IDLE);
            }
        }
    }

    /// Takes up modules and CPUs that have come.
    fn look(&mut self) -> Result<()> {
        self.watch.take();
        for source in &mut self.sources {
            let found = source.find_streams();
            aside(source, found)?;
        }
        let put_off = std::mem::take(&mut self.put_off);
        (self.empty, self.waiting) = (0, 0);
        for (found, path) in self.watch.find(self.debugfs, &self.args.targets)? {
            let Some(identity) = place::identity(&path) else {
                continue;
            };
            let known = self.sources.iter().any(|s| s.identity == identity);
            if known || self.done.contains(&identity) {
                continue;
            }
            // The host makes the directory first, then all of the metadata, and then
            // the files of the CPUs: with them it is complete.
            if !relay::has_files(&path) {
                self.empty += 1;
                continue;
            }
            let (domain, module) = (&found.domain, &found.module);
            let lookup = &self.lookup;
            let origin = |metadata: Option<&_>| lookup.origin(domain, metadata);
            let writers = self
                .sources
                .iter()
                .map(|s| (s.name.as_str(), s.place.as_path()));
            let writers: Vec<_> = writers.collect();
            let places = &mut self.places;
            let opened = Source::open(&path, domain, module, places, &writers, origin);
            let mut source = match opened {
                Ok(Some(source)) => source,
                Ok(None) => {
                    self.waiting += 1;
                    continue;
                }
                // Gone between being found and being opened.
                Err(Error::Record(RecordError::Source(_)))
                    if sys::interrupted() || !path.exists() =>
                {
                    continue;
                }
                // Guests' doing, which is not to end the recording of others.
                Err(Error::Record(error @ RecordError::Growing(_))) => {
                    if !put_off.contains(&identity) {
                        self.say(&format!("left out for now: {error}"));
                    }
                    self.put_off.push(identity);
                    continue;
                }
                Err(
                    error @ (Error::Metadata { .. }
                    | Error::NoMetadata(_)
                    | Error::Record(RecordError::Source(_) | RecordError::Clock(_))),
                ) => {
                    self.leave_out(&error);
                    self.done.push(identity);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let (name, at) = (&source.name, source.place.display());
            let time = lookup.describe(&source.origin);
            self.say(&format!("{name}: recording into {at}\n{name}: {time}"));
            if !self.begun.insert(source.place.clone()) {
                source.set_goes_on();
            }
            self.sources.push(source);
        }
        self.looked = Instant::now();
        Ok(())
    }

    /// Says that there will be nothing, or nothing more, of a module.
    fn leave_out(&mut self, error: &Error) {
        let remedy = error.remedy().map(|remedy| format!("; {remedy}"));
        self.say(&format!("left out: {error}{}", remedy.unwrap_or_default()));
        self.left_out += 1;
    }

    /// Waits for records, changes, or the time to do something else. Tells whether
    /// directories have changed, and which files of which sources are ready.
    fn wait(&mut self, open: &SigSet, end: Option<Instant>) -> Result<(bool, Vec<(usize, usize)>)> {
        let settled = self.sources.iter().filter_map(|s| s.stale_since);
        let again = (!self.put_off.is_empty()).then_some(self.looked + AGAIN);
        let next = settled.map(|since| since + SETTLE);
        let next = next.chain(end).chain(again).min();
        let now = Instant::now();
        let time = next.map(|next| next.saturating_duration_since(now));
        let live = |(n, source): (usize, &Source)| -> Vec<_> {
            source.live().map(|number| (n, number)).collect()
        };
        let live: Vec<(usize, usize)> = self.sources.iter().enumerate().flat_map(live).collect();
        let mut fds = vec![PollFd::new(self.watch.as_fd(), PollFlags::POLLIN)];
        fds.extend(live.iter().map(|&(source, number)| {
            PollFd::new(self.sources[source].files().fd(number), PollFlags::POLLIN)
        }));
        sys::wait(&mut fds, time, open).map_err(|errno| {
            let what = "waiting for records".into();
            Error::Ioctl { what, errno }
        })?;
        let events = |fd: &PollFd<'_>| fd.revents().unwrap_or(PollFlags::POLLERR);
        let changed = !events(&fds[0]).is_empty();
        let found: Vec<PollFlags> = fds[1..].iter().map(events).collect();
        let mut ready = Vec::new();
        for ((source, number), events) in live.into_iter().zip(found) {
            if !events.is_empty() {
                self.sources[source].note(number, events);
                ready.push((source, number));
            }
        }
        Ok((changed, ready))
    }

    /// Looks at the metadata of those that have had records for a moment.
    fn refresh(&mut self) -> Result<()> {
        for source in &mut self.sources {
            if source
                .stale_since
                .is_some_and(|since| since.elapsed() >= SETTLE)
            {
                let clock = source.origin.guess();
                source.refresh(clock)?;
            }
        }
        Ok(())
    }

    /// Ends what is over; whether there was anything.
    fn end_those_over(&mut self) -> Result<bool> {
        let before = self.sources.len();
        let over = |source: &Source| source.is_over() || source.failed.is_some();
        while let Some(at) = self.sources.iter().position(over) {
            let mut source = self.sources.swap_remove(at);
            if source.failed.is_some() {
                let completed = source.complete_all(&mut self.buffer);
                aside(&mut source, completed)?;
            } else {
                self.say(&format!("{}: ended", source.name));
            }
            self.done.push(source.identity);
            self.end(&mut source)?;
        }
        // None that is there any more can come again.
        if self.done.len() > MAX_DONE {
            self.done.drain(..MAX_DONE / 2);
        }
        Ok(self.sources.len() < before)
    }

    /// Makes a trace complete.
    fn end(&mut self, source: &mut Source) -> Result<()> {
        if let Some(error) = source.failed.take() {
            self.leave_out(&error);
        }
        self.totals += source.totals();
        source.trim();
        let clock = source.origin.measure(self.lookup.wall());
        source.refresh(clock)
    }

    /// Ends what is not over; `healthy` says that more may be read.
    fn finish(&mut self, healthy: bool) -> Result<()> {
        let mut result = Ok(());
        let mut sources = std::mem::take(&mut self.sources);
        if healthy {
            for source in &mut sources {
                let stopped = source.stop(&mut self.buffer);
                result = result.and(aside(source, stopped));
            }
        } else {
            for source in &mut sources {
                let completed = source.complete_all(&mut self.buffer);
                result = result.and(aside(source, completed));
            }
        }
        if healthy && sources.iter().any(|source| source.stale_since.is_some()) {
            std::thread::sleep(SETTLE);
        }
        for source in &mut sources {
            let ended = self.end(source);
            result = result.and(ended);
        }
        result
    }

    /// A line that nobody may be there to read: records are taken all the same.
    fn say(&mut self, line: &str) {
        let _ = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
    }

    fn summary(&mut self) -> Result<()> {
        let Totals {
            packets,
            bytes,
            discarded,
            missing,
            malformed,
        } = self.totals;
        let traces = self.begun.len();
        write!(
            self.out,
            "{traces} traces, {packets} packets, {bytes} bytes, {discarded} records discarded in the \
             guest"
        )?;
        if missing > 0 {
            write!(self.out, ", {missing} packets missing")?;
        }
        if malformed > 0 {
            write!(self.out, ", {malformed} malformed")?;
        }
        writeln!(self.out)?;
        let set_ns = self.lookup.wall().set_until(&WallClock::now());
        if set_ns != 0 {
            let by = set_ns as f64 / 1e9;
            writeln!(
                self.out,
                "the host's wall clock was set by {by:+.3} s meanwhile: all times are by it as it was \
                 at the beginning"
            )?;
        }
        Ok(self.out.flush()?)
    }
}

/// Directories remembered although nothing is in them any more.
const MAX_DONE: usize = 4096;
