// SPDX-License-Identifier: GPL-2.0

//! Doing what a rule asks for. Each action has a thread of its own: a cluster that
//! does not answer holds up nothing else.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::eventfd::EventFd;
use rustix::process::{pidfd_open, pidfd_send_signal, Pid, PidfdFlags, Signal};
use vesper_abi::bindings::{self, vesper_domain};
use vesper_abi::escape::Shown;
use vesper_cli::control::{Device, Host};

use crate::attributes::Attributes;
use crate::cluster::{run, Failure, Pacemaker};
use crate::config::{Config, Manager};
use crate::event::{Boot, Event};
use crate::excerpt;
use crate::hold::Hold;
use crate::journal::{now_ns, Journal, Line};
use crate::latch::{Latch, Latches};
use crate::rule::Rule;
use crate::writer;

/// How long a program of the operator's may run.
const COMMAND: Duration = Duration::from_secs(60);
const GONE: &str = "its VMM is gone, or the guest has booted again";
/// The step in which a resource is failed.
pub const FAIL: &str = "fail";
/// Between two attempts to reach the cluster.
const PAUSE: Duration = Duration::from_millis(500);

/// What all actions need.
#[derive(Debug)]
pub struct Actor {
    /// The rules.
    pub config: Config,
    /// Where it is written down.
    pub journal: Arc<Journal>,
    /// The host module.
    pub device: PathBuf,
    /// Marks of failed guests.
    pub latches: Latches,
    /// Nothing is done, only said.
    pub dry_run: bool,
    /// What is set on the node.
    pub attributes: Attributes,
    /// Written to when a guest was left alone after all, so that somebody asks for it.
    pub woken: Option<EventFd>,
    /// Guests that were left alone after all, by which rules.
    spared: Mutex<Vec<Spared>>,
    /// What there was no thread for yet.
    due: Mutex<VecDeque<Act>>,
    /// Boots of guests whose resource was failed.
    failed: Mutex<BTreeSet<Boot>>,
    /// Guests that an operator has cleared, and the number of the first line in the journal
    /// that is of later.
    cleared: Mutex<BTreeMap<String, u64>>,
}

/// A guest that was left alone after all.
#[derive(Debug)]
pub struct Spared {
    /// By which rule.
    pub rule: usize,
    /// The guest.
    pub boot: Boot,
    /// It was failed before, for something else.
    pub failed: bool,
    /// It is in an operator's hands; else it is well.
    pub hands_off: bool,
}

/// Why there is nothing to be done about a guest any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    /// What was found is over.
    Well,
    /// The cluster does not look after it.
    HandsOff,
}

/// Something that a rule asks for.
#[derive(Debug, Clone)]
pub struct Act {
    /// Number of its line in the journal.
    pub id: u64,
    /// Number of the rule.
    pub rule: usize,
    /// What happened.
    pub event: Event,
    /// In which VMM; 0 if that is not known.
    pub vmm_pid: i32,
    /// The guest was failed before, for something else that was found in this boot.
    pub failed: bool,
    /// What an earlier run has done of it.
    pub done: BTreeSet<String>,
}

impl Actor {
    /// One that has done nothing yet.
    pub fn new(
        config: Config,
        journal: Journal,
        device: &Path,
        latches: Latches,
        dry_run: bool,
    ) -> Self {
        let journal = Arc::new(journal);
        let node = config.cluster.node.clone();
        let (pacemaker, writer) = (Pacemaker { node }, Arc::clone(&journal));
        let asked = pacemaker.clone();
        let set = move |name: &str, value: Option<&str>| match dry_run {
            true => Ok(format!("dry run: {name} is not touched")),
            false => pacemaker.set(name, value),
        };
        let has = move |name: &str| match dry_run {
            true => Ok(true),
            false => asked.has(name),
        };
        let tell = move |said: &str, lines: Vec<Line>| {
            log(said);
            // A dry run has nothing to take back for later ones.
            for line in lines.iter().filter(|_| !dry_run) {
                writer.write(line);
            }
        };
        Self {
            config,
            journal,
            device: device.to_owned(),
            latches,
            dry_run,
            attributes: Attributes::new(Box::new(set), Box::new(has), Box::new(tell)),
            woken: None,
            spared: Mutex::default(),
            due: Mutex::default(),
            failed: Mutex::default(),
            cleared: Mutex::default(),
        }
    }

    /// Begins to do what a rule asks for, or has [`Actor::go_on`] begin.
    pub fn start(self: &Arc<Self>, act: Act) {
        self.due.hold().push_back(act);
        if !self.go_on() {
            log("there is no thread for all that is to be done: it is tried again");
        }
    }

    /// Begins what there was no thread for; false if there still is none for all of it.
    pub fn go_on(self: &Arc<Self>) -> bool {
        let mut due = self.due.hold();
        while let Some(act) = due.front().cloned() {
            let actor = Arc::clone(self);
            let begun = thread::Builder::new().spawn(move || actor.act(&act));
            if begun.is_err() {
                break;
            }
            due.pop_front();
        }
        due.is_empty() & self.attributes.go_on()
    }

    /// Guests that were left alone since the last time this was asked.
    pub fn spared(&self) -> Vec<Spared> {
        // Empty if nobody wrote.
        let _ = self.woken.as_ref().map(EventFd::read);
        std::mem::take(&mut self.spared.hold())
    }

    /// The guest's resource was failed in this boot: that is not done again. One whose driver
    /// never came is not told from the next.
    pub fn note_failed(&self, boot: Boot) {
        if !boot.id.is_empty() {
            self.failed.hold().insert(boot);
        }
    }

    /// The guest runs this now.
    pub fn booted(&self, now: &Boot) {
        let other = |boot: &Boot| boot.guest != now.guest || boot.id == now.id;
        self.failed.hold().retain(other);
    }

    /// Whether it was.
    pub fn was_failed(&self, boot: &Boot) -> bool {
        self.failed.hold().contains(boot)
    }

    /// An operator has cleared a guest: what was begun for lines before `next` is not
    /// gone on with.
    pub fn clear(&self, guest: &str, next: u64) {
        self.cleared.hold().insert(guest.to_owned(), next);
        self.failed.hold().retain(|boot| boot.guest != guest);
    }

    fn is_wanted(&self, act: &Act) -> Result<(), String> {
        match self.cleared.hold().get(&act.event.boot.guest) {
            Some(next) if act.id < *next => Err("an operator has cleared the guest".into()),
            _ => Ok(()),
        }
    }

    fn act(&self, act: &Act) {
        let (rule, event) = (&self.config.rules[act.rule], &act.event);
        let guest = &event.boot.guest;
        let step = |what: &str, run: &dyn Fn() -> Result<String, String>| {
            if act.done.contains(what) {
                return true;
            }
            let done = match self.dry_run {
                true => Ok("dry run: not done".into()),
                false => self.is_wanted(act).and_then(|()| run()),
            };
            let ok = done.is_ok();
            let (Ok(text) | Err(text)) = done;
            let text = excerpt::text(&text);
            log(&format!(
                "{}: {guest}: {what}{}: {text}",
                rule.name,
                if ok { "" } else { " FAILED" }
            ));
            self.journal.write(&Line::Step {
                id: act.id,
                what: what.into(),
                ok,
                text,
                at_ns: now_ns(),
            });
            ok
        };
        let over = Cell::new(None);
        let mut deadly = false;
        let resource = self.config.resource_of(guest);
        if rule.destroy {
            deadly |= step("destroy", &|| self.destroy(act, resource, &over));
        }
        if rule.fail {
            let before = Cell::new(false);
            let done = step(FAIL, &|| {
                if self.was_failed(&event.boot) {
                    before.set(true);
                    return Ok("was failed before".into());
                }
                let text = self.patiently(&over, |pacemaker| {
                    self.is_still_so(act, &over)?;
                    pacemaker.fail(resource, || self.is_still_so(act, &over))
                })?;
                self.note_failed(event.boot.clone());
                Ok(text)
            });
            deadly |= done && !before.get();
        }
        if let Some(over) = over.get().filter(|_| !deadly) {
            self.spare(act, over == Over::HandsOff);
        }
        for (name, _) in rule.settings(guest) {
            let patience = self.config.cluster.patience;
            step(&format!("attribute {name}"), &|| {
                self.attributes.wait(&name, patience)
            });
        }
        if let [program, args @ ..] = rule.command.as_slice() {
            step("command", &|| {
                let mut command = Command::new(program);
                command.args(args);
                environment(&mut command, rule, event);
                let ended = run(&mut command, COMMAND)?;
                match ended.code {
                    Some(0) => Ok(ended.text()),
                    _ => Err(ended.text()),
                }
            });
        }
        self.journal.write(&Line::Done { id: act.id });
    }

    /// Nothing was done to the guest, which is well again or in an operator's hands: neither
    /// the cluster's monitor nor the next event is to find otherwise.
    pub(crate) fn spare(&self, act: &Act, hands_off: bool) {
        let (id, boot, at_ns) = (act.id, &act.event.boot, now_ns());
        self.journal.write(&Line::Spared {
            id,
            at_ns,
            hands_off,
        });
        let own = |latch: &Latch| latch.boot_id == boot.id && !act.failed;
        if self
            .latches
            .get(&boot.guest)
            .is_ok_and(|latch| latch.as_ref().is_some_and(own))
        {
            if let Err(error) = self.latches.clear(&boot.guest) {
                log(&error.to_string());
            }
        }
        let spared = Spared {
            rule: act.rule,
            boot: boot.clone(),
            failed: act.failed,
            hands_off,
        };
        self.spared.hold().push(spared);
        // It fails only if so many were not heard yet.
        let _ = self.woken.as_ref().map(|woken| woken.write(1));
    }

    /// Asks the cluster until it has an answer. If that is that it does not look after the
    /// guest, there is nothing to be done any more, also later: this sets `over`.
    fn patiently(
        &self,
        over: &Cell<Option<Over>>,
        ask: impl Fn(&Pacemaker) -> Result<String, Failure>,
    ) -> Result<String, String> {
        let pacemaker = Pacemaker {
            node: self.config.cluster.node.clone(),
        };
        let began = Instant::now();
        loop {
            match ask(&pacemaker) {
                Ok(text) => return Ok(text),
                Err(Failure::Final(text)) => return Err(text),
                Err(Failure::HandsOff(text)) => {
                    over.set(Some(Over::HandsOff));
                    return Err(text);
                }
                Err(Failure::Again(text)) if began.elapsed() > self.config.cluster.patience => {
                    return Err(format!("{text}; given up"));
                }
                Err(Failure::Again(_)) => thread::sleep(PAUSE),
            }
        }
    }

    /// Refuses if the guest was started or has booted again, or has been cleared, or what
    /// happened is over by now, which sets `over`.
    fn is_still_so(&self, act: &Act, over: &Cell<Option<Over>>) -> Result<(), Failure> {
        self.is_wanted(act).map_err(Failure::Final)?;
        let event = &act.event;
        let host = Device::open(&self.device).and_then(Host::new);
        let Ok(found) = host.and_then(|host| host.domain(&event.boot.guest)) else {
            return Ok(());
        };
        if let Some(why) = is_another(act, &found) {
            return Err(Failure::Final(why.into()));
        }
        if let Some(why) = is_over(event, &found) {
            over.set(Some(Over::Well));
            return Err(Failure::Final(why.into()));
        }
        Ok(())
    }

    /// Kills the VMM of a guest that is still in the same boot, and that the cluster,
    /// if there is one, has in its care on this node.
    fn destroy(
        &self,
        act: &Act,
        resource: &str,
        over: &Cell<Option<Over>>,
    ) -> Result<String, String> {
        let event = &act.event;
        if self.config.cluster.manager == Manager::Pacemaker {
            self.patiently(over, |pacemaker| {
                self.is_still_so(act, over)?;
                pacemaker.may_end(resource)
            })?;
        }
        let boot = &event.boot;
        let host = Device::open(&self.device).and_then(Host::new);
        let host = host.map_err(|error| error.to_string())?;
        let vmm = || -> Result<i32, String> {
            let found = host
                .domain(&boot.guest)
                .map_err(|error| error.to_string())?;
            match found.vmm_pid {
                // The number of a process that is gone may be another's.
                _ if found.state == bindings::VESPER_DOMAIN_DEAD => return Err(GONE.into()),
                pid if pid > 0 && Boot::of(&found) == *boot => {}
                _ => return Err(GONE.into()),
            }
            if let Some(why) = is_over(event, &found) {
                over.set(Some(Over::Well));
                return Err(why.into());
            }
            Ok(found.vmm_pid)
        };
        let pid = vmm()?;
        let named = Pid::from_raw(pid).ok_or("there is no process 0")?;
        let held = pidfd_open(named, PidfdFlags::empty()).map_err(|error| error.to_string())?;
        // What is held now is the VMM if its number still belongs to it.
        if vmm()? != pid {
            return Err("its VMM has changed".into());
        }
        self.is_wanted(act)?;
        pidfd_send_signal(&held, Signal::KILL).map_err(|error| error.to_string())?;
        Ok(format!("process {pid} killed"))
    }
}

/// Why what is there now is not what failed: the cluster may have been faster, and the next
/// one is healthy, also while it boots.
fn is_another(act: &Act, found: &vesper_domain) -> Option<&'static str> {
    let is_dead = found.state == bindings::VESPER_DOMAIN_DEAD;
    let known = act.vmm_pid != 0 && found.vmm_pid != 0;
    if !is_dead && known && found.vmm_pid != act.vmm_pid {
        return Some("the guest has been started again");
    }
    let is_ready = found.state == bindings::VESPER_DOMAIN_READY;
    (is_ready && Boot::of(found) != act.event.boot).then_some("the guest has booted again")
}

/// Why there is nothing more to be done about what happened: a guest that was found hung may
/// have been out of luck only, and one that its VMM had stopped may have been let go on.
fn is_over(event: &Event, found: &vesper_domain) -> Option<&'static str> {
    let beats = [bindings::VESPER_BEAT_ALIVE, bindings::VESPER_BEAT_IDLE];
    if event.is_hang() && beats.contains(&found.heartbeat) {
        return Some("the guest beats again");
    }
    let runs = found.run_state == bindings::VESPER_RUN_RUNNING;
    (event.is_failure() && runs).then_some("the guest runs again")
}

/// Tells a program what has happened.
fn environment(command: &mut Command, rule: &Rule, event: &Event) {
    command
        .env("VESPER_RULE", &rule.name)
        .env("VESPER_GUEST", &event.boot.guest)
        .env("VESPER_BOOT_ID", &event.boot.id)
        .env("VESPER_PROBE", &event.probe)
        .env("VESPER_EVENT", &event.name)
        .env("VESPER_TIME_NS", event.time_ns.to_string())
        .env(
            "VESPER_FIELDS",
            serde_json::Value::Object(event.fields.clone()).to_string(),
        );
}

/// A line for the service's log; the guest had a hand in it. Nobody waits until it is said.
pub fn log(text: &str) {
    let text = Shown(text).to_string();
    match cfg!(test) {
        // Shown with a test that fails, and else not.
        true => eprintln!("{text}"),
        false => writer::say(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    #[test]
    fn the_next_one_is_told_from_what_failed() {
        let mut domain = vesper_domain::new_zeroed();
        (domain.state, domain.vmm_pid) = (bindings::VESPER_DOMAIN_READY, 7);
        domain.boot_id = [1; 16];
        let act = Act {
            id: 1,
            rule: 0,
            event: Event::of_guest("panicked", &domain, 0),
            vmm_pid: 7,
            failed: false,
            done: BTreeSet::new(),
        };
        let mut another = |state, vmm_pid, boot| {
            (domain.state, domain.vmm_pid, domain.boot_id) = (state, vmm_pid, [boot; 16]);
            is_another(&act, &domain).is_some()
        };
        let (ready, attached) = (
            bindings::VESPER_DOMAIN_READY,
            bindings::VESPER_DOMAIN_ATTACHED,
        );
        assert!(!another(ready, 7, 1));
        assert!(another(ready, 7, 2));
        // It boots yet.
        assert!(another(attached, 8, 0));
        assert!(!another(attached, 7, 0));
        assert!(!another(bindings::VESPER_DOMAIN_DEAD, 7, 1));
    }

    #[test]
    fn hangs_that_are_over() {
        let mut domain = vesper_domain::new_zeroed();
        domain.run_state = bindings::VESPER_RUN_RUNNING;
        let mut over = |name: &str, heartbeat| {
            domain.heartbeat = heartbeat;
            is_over(&Event::of_guest(name, &domain, 0), &domain).is_some()
        };
        assert!(over("hung", bindings::VESPER_BEAT_ALIVE));
        assert!(over("stuck", bindings::VESPER_BEAT_IDLE));
        assert!(!over("hung", bindings::VESPER_BEAT_HUNG));
        assert!(!over("hung", bindings::VESPER_BEAT_PAUSED));
        assert!(!over("panicked", bindings::VESPER_BEAT_ALIVE));
    }

    #[test]
    fn errors_that_are_over() {
        let mut domain = vesper_domain::new_zeroed();
        domain.heartbeat = bindings::VESPER_BEAT_PAUSED;
        let mut event = Event::of_guest("failed", &domain, 0);
        let mut over = |event: &Event, run_state| {
            domain.run_state = run_state;
            is_over(event, &domain).is_some()
        };
        assert!(over(&event, bindings::VESPER_RUN_RUNNING));
        assert!(!over(&event, bindings::VESPER_RUN_FAILED));
        assert!(!over(&event, bindings::VESPER_RUN_PAUSED));
        // A record that is only called so.
        event.probe = "failed".into();
        assert!(!over(&event, bindings::VESPER_RUN_RUNNING));
    }

    #[test]
    fn what_the_cluster_does_not_look_after_is_left_alone_for_good() {
        let dir = tempfile::tempdir().unwrap();
        let actor = Actor::new(
            Config::default(),
            Journal::open(dir.path()).unwrap(),
            &dir.path().join("no device"),
            Latches::new(dir.path()),
            false,
        );
        let over = Cell::new(None);
        let another = |_: &Pacemaker| Err(Failure::Final("another node's".into()));
        assert!(actor.patiently(&over, another).is_err());
        assert_eq!(over.get(), None);
        let off = |_: &Pacemaker| Err(Failure::HandsOff("in maintenance".into()));
        assert!(actor.patiently(&over, off).is_err());
        assert_eq!(over.get(), Some(Over::HandsOff));
        let domain = vesper_domain::new_zeroed();
        let mut event = Event::of_guest("panicked", &domain, 0);
        event.boot.guest = "web1".into();
        let latch = Latch {
            boot_id: String::new(),
            rule: "killed".into(),
            cause: "exit".into(),
            time_ns: 0,
        };
        actor.latches.set("web1", &latch).unwrap();
        let act = Act {
            id: 1,
            rule: 0,
            event,
            vmm_pid: 0,
            failed: false,
            done: BTreeSet::new(),
        };
        actor.spare(&act, true);
        assert!(actor.latches.get("web1").unwrap().is_none());
        assert_eq!(actor.spared().len(), 1);
    }
}
