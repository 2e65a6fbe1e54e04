// SPDX-License-Identifier: GPL-2.0

//! `vesper-ha run`: waits for events, judges them, and has done what rules ask for.
//!
//! Everything waits in one poll(): the control device tells of guests, inotify of
//! modules and files, the relay files of records. Time only ends what was set for a
//! time.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::poll::{ppoll, PollFd, PollFlags};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::SigSet;
use nix::sys::time::TimeSpec;
use serde_json::Value as Json;
use vesper_cli::cat::{self, Feed};
use vesper_cli::control::{Device, Host};
use vesper_cli::debugfs::Debugfs;
use vesper_cli::sys;

use crate::action::{log, Actor, Busy};
use crate::cli::{Places, Run};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::event::{Boot, Event};
use crate::guests::Guests;
use crate::journal::{now_ns, Found, Journal, Line};
use crate::judge::{Judge, Verdict};
use crate::latch::{Latch, Latches};

/// Runs until Ctrl-C or SIGTERM.
pub fn run(args: &Run, places: &Places, device: &Path, debugfs: Option<&Path>) -> Result<()> {
    let config = Config::read(&places.config)?;
    let failed = |what| move |errno| Error::System { what, errno };
    sys::catch_interrupts().map_err(failed("installing the handler for Ctrl-C"))?;
    let open = sys::block_interrupts().map_err(failed("blocking Ctrl-C"))?;
    let past = Journal::read(&places.state)?;
    let mut court = Court {
        judge: Judge::new((&config.limit).into()),
        guests: Guests::default(),
        latches: Latches::new(&places.latches),
        next: past.iter().filter_map(id_of).max().unwrap_or(0) + 1,
        back: BTreeMap::new(),
        actor: Arc::new(Actor {
            journal: Journal::open(&places.state)?,
            config,
            device: device.to_owned(),
            dry_run: args.dry_run,
            busy: Busy::default(),
        }),
    };
    log(&format!(
        "{} rules from {}{}",
        court.actor.config.rules.len(),
        places.config.display(),
        if args.dry_run { "; dry run" } else { "" }
    ));
    let Some(control) = wait_for(device, open)? else {
        return Ok(());
    };
    let host = Host::new(&control)?;
    court.look_at_guests(&host)?;
    court.remember(past);
    let mut feed = Feed::new(Debugfs::find(debugfs)?, Host::new(&control))?;
    while !sys::interrupted() {
        let follows = |guest: &str, probe: &str| court.actor.config.wants(guest, probe);
        let refused = feed.follow(follows)?;
        refused.iter().for_each(|error| log(&error.to_string()));
        // What guests there are comes before what they say.
        court.look_at_guests(&host)?;
        let failed = feed.take(&mut court);
        failed.iter().for_each(|error| log(&error.to_string()));
        let fds = std::iter::once(control.as_fd()).chain(feed.fds());
        if wait(fds, court.pause(), open)? {
            return Err(vesper_cli::error::Error::NoPoll.into());
        }
        court.take_back();
    }
    Ok(())
}

/// Waits until something is readable; true if the device can't be waited for.
fn wait<'a>(
    fds: impl Iterator<Item = BorrowedFd<'a>>,
    pause: Option<i64>,
    open: SigSet,
) -> Result<bool> {
    let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    if let Some(first) = fds.first_mut() {
        first.set_events(PollFlags::POLLIN | PollFlags::POLLOUT);
    }
    let pause = pause.map(|ns| TimeSpec::new(ns / 1_000_000_000, ns % 1_000_000_000));
    match ppoll(&mut fds, pause, Some(open)) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => {
            let what = "waiting for events";
            return Err(Error::System { what, errno });
        }
    }
    // A device without poll() is always ready for both.
    let first = fds.first().and_then(PollFd::revents);
    Ok(first.is_some_and(|events| events.contains(PollFlags::POLLOUT)))
}

/// Opens the control device, as soon as there is one; none after Ctrl-C.
fn wait_for(device: &Path, open: SigSet) -> Result<Option<Device>> {
    let failed = |errno| Error::System {
        what: "waiting for the control device",
        errno,
    };
    let flags = InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC;
    let inotify = Inotify::init(flags).map_err(failed)?;
    let dir = device.parent().unwrap_or(Path::new("/dev"));
    let flags = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_MOVED_TO;
    inotify.add_watch(dir, flags).map_err(failed)?;
    let mut told = false;
    while !sys::interrupted() {
        while inotify.read_events().is_ok_and(|events| !events.is_empty()) {}
        match Device::open(device) {
            Ok(device) => return Ok(Some(device)),
            Err(error @ vesper_cli::error::Error::NoDevice(_)) if !told => {
                log(&format!("{error}; waiting for it"));
                told = true;
            }
            Err(vesper_cli::error::Error::NoDevice(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let mut fds = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut fds, None, Some(open)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(None)
}

fn id_of(line: &Line) -> Option<u64> {
    match line {
        Line::Found(found) => Some(found.id),
        _ => None,
    }
}

/// Where events are judged.
struct Court {
    judge: Judge,
    guests: Guests,
    latches: Latches,
    /// Number of the next line in the journal.
    next: u64,
    /// What is to be taken back, and when: by rule and guest.
    back: BTreeMap<(usize, String), i64>,
    actor: Arc<Actor>,
}

impl Court {
    /// Looks which guests there are, and judges what became of them.
    fn look_at_guests(&mut self, host: &Host<&Device>) -> Result<()> {
        let domains = host.domains()?;
        let news = self.guests.update(&domains, i128::from(now_ns()));
        for event in news.events {
            self.event(event);
        }
        for boot in news.booted {
            self.judge.booted(&boot);
            match self.latches.booted(&boot) {
                Ok(true) => log(&format!("{} has booted: its mark is gone", boot.guest)),
                Ok(false) => {}
                Err(error) => log(&error.to_string()),
            }
        }
        Ok(())
    }

    /// Takes up where an earlier run ended: what it had begun is begun again, what
    /// it had done is not.
    fn remember(&mut self, past: Vec<Line>) {
        let now = now_ns();
        let done: std::collections::BTreeSet<u64> = past
            .iter()
            .filter_map(|line| match line {
                Line::Done { id } => Some(*id),
                _ => None,
            })
            .collect();
        let actor = Arc::clone(&self.actor);
        let rules = &actor.config.rules;
        let number_of = |name: &str| rules.iter().position(|rule| rule.name == name);
        for line in past {
            let found = match line {
                Line::Found(found) => found,
                Line::TakenBack { rule, guest, .. } => {
                    if let Some(number) = number_of(&rule) {
                        self.back.remove(&(number, guest));
                    }
                    continue;
                }
                _ => continue,
            };
            let Some(number) = number_of(&found.rule) else {
                continue;
            };
            if let (Some(after), None) = (rules[number].clear_after, &found.refrained) {
                let key = (number, found.guest.clone());
                self.back.insert(key, later(found.at_ns, after));
            }
            let boot = found.boot();
            if self
                .guests
                .boot_of(&found.guest)
                .is_some_and(|now| now != boot)
            {
                continue;
            }
            if found.until_ns > now {
                let until = i128::from(found.until_ns);
                self.judge.note_held(number, boot.clone(), until);
            }
            if found.refrained.is_some() {
                continue;
            }
            if rules[number].is_deadly() {
                self.judge.note_failed(boot.clone());
            }
            if !done.contains(&found.id) && self.guests.boot_of(&found.guest) == Some(boot.clone())
            {
                log(&format!(
                    "{}: {}: begun before, done again",
                    found.rule, found.guest
                ));
                let event = Event {
                    boot,
                    probe: found.probe,
                    name: found.event,
                    time_ns: i128::from(found.time_ns),
                    fields: found.fields,
                };
                self.actor.start(found.id, number, event);
            }
        }
    }

    /// Judges; gives the number of the last line in the journal about it.
    fn event(&mut self, event: Event) -> Option<u64> {
        let actor = Arc::clone(&self.actor);
        let rules = &actor.config.rules;
        let current = self.guests.boot_of(&event.boot.guest);
        let now = now_ns();
        let verdicts = self
            .judge
            .judge(rules, &event, current.as_ref(), i128::from(now));
        // More of the same puts off the end of what was set for a time.
        for (number, rule) in rules.iter().enumerate() {
            let key = (number, event.boot.guest.clone());
            if let (Some(after), Some(end)) = (rule.clear_after, self.back.get_mut(&key)) {
                if rule.matches(&event) {
                    *end = later(now, after);
                }
            }
        }
        let mut last = None;
        for verdict in verdicts {
            let (number, held_back, refrained) = match verdict {
                Verdict::Act { rule, held_back } => (rule, held_back, None),
                Verdict::Refrain { rule, why } => (rule, 0, Some(why.text().to_owned())),
            };
            let rule = &rules[number];
            let (id, act) = (self.next, refrained.is_none());
            self.next += 1;
            last = Some(id);
            let found = Found {
                id,
                rule: rule.name.clone(),
                guest: event.boot.guest.clone(),
                boot_id: event.boot.id.clone(),
                probe: event.probe.clone(),
                event: event.name.clone(),
                time_ns: i64::try_from(event.time_ns).unwrap_or(now),
                at_ns: now,
                fields: event.fields.clone(),
                held_back,
                until_ns: later(now, rule.hold),
                refrained,
            };
            let why = found.refrained.as_ref();
            let why = why.map_or(String::new(), |why| format!("; nothing is done: {why}"));
            log(&format!("{}: {event}{why}", rule.name));
            self.actor.journal.write(&Line::Found(found));
            if !act {
                continue;
            }
            if rule.is_deadly() && !self.actor.dry_run {
                self.mark(&event, &rule.name, now);
            }
            if let Some(after) = rule.clear_after {
                let key = (number, event.boot.guest.clone());
                self.back.insert(key, later(now, after));
            }
            self.actor.start(id, number, event.clone());
        }
        last
    }

    /// For the cluster's own monitor.
    fn mark(&self, event: &Event, rule: &str, now: i64) {
        let latch = Latch {
            boot_id: event.boot.id.clone(),
            rule: rule.to_owned(),
            cause: event.to_string(),
            time_ns: now,
        };
        if let Err(error) = self.latches.set(&event.boot.guest, &latch) {
            log(&error.to_string());
        }
    }

    /// How long there is nothing to do but to wait for events.
    fn pause(&self) -> Option<i64> {
        let first = self.back.values().min()?;
        Some((first - now_ns()).max(0))
    }

    /// Ends what was set for a time that is over.
    fn take_back(&mut self) {
        let now = now_ns();
        let due: Vec<_> = self
            .back
            .iter()
            .filter(|(_, end)| **end <= now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            self.back.remove(&key);
            self.actor.take_back(key.0, key.1);
        }
    }
}

impl cat::Judge for Court {
    fn item(&mut self, item: &Json) -> Option<u64> {
        match Event::of_record(item) {
            Some(event) => self.event(event),
            None => {
                let at_ns = now_ns();
                let text = item.to_string();
                log(&text);
                self.actor.journal.write(&Line::Note { at_ns, text });
                None
            }
        }
    }

    fn named(&mut self, id: u64, item: &Json) {
        let fields = item.get("fields").and_then(Json::as_object);
        if let Some(fields) = fields.cloned() {
            self.actor.journal.write(&Line::Named { id, fields });
        }
    }
}

fn later(now: i64, by: std::time::Duration) -> i64 {
    now.saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX))
}

/// The boot that a latch is about, as far as the host module knows it.
pub fn current_boot(device: &Path, guest: &str) -> Option<Boot> {
    let host = Device::open(device).and_then(Host::new).ok()?;
    host.domain(guest).ok().map(|domain| Boot::of(&domain))
}
