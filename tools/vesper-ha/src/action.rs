// SPDX-License-Identifier: GPL-2.0

//! Doing what a rule asks for. Each action has a thread of its own: a cluster that
//! does not answer holds up nothing else.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{pidfd_open, pidfd_send_signal, Pid, PidfdFlags, Signal};
use vesper_abi::bindings;
use vesper_abi::escape::Shown;
use vesper_cli::control::{Device, Host};

use crate::cluster::{run, Failure, Pacemaker};
use crate::config::Config;
use crate::event::{Boot, Event};
use crate::journal::{now_ns, Journal, Line};
use crate::rule::Rule;

/// How long a program of the operator's may run.
const COMMAND: Duration = Duration::from_secs(60);
/// Between two attempts to reach the cluster.
const PAUSE: Duration = Duration::from_millis(500);
/// The node's health, as far as this program has something to say.
const HEALTH: &str = "#health-vesper";

/// What all actions need.
#[derive(Debug)]
pub struct Actor {
    /// The rules.
    pub config: Config,
    /// Where it is written down.
    pub journal: Journal,
    /// The host module.
    pub device: PathBuf,
    /// Nothing is done, only said.
    pub dry_run: bool,
    /// What is being done.
    pub busy: Busy,
}

/// Rules that are being acted by, each with the guest that it is about.
#[derive(Debug, Default)]
pub struct Busy {
    acts: Mutex<Vec<(usize, String)>>,
    over: Condvar,
}

impl Busy {
    fn begin(&self, rule: usize, guest: &str) {
        let mut acts = self.acts.lock().unwrap_or_else(PoisonError::into_inner);
        acts.push((rule, guest.to_owned()));
    }

    fn end(&self, rule: usize, guest: &str) {
        let mut acts = self.acts.lock().unwrap_or_else(PoisonError::into_inner);
        let at = acts.iter().position(|act| act.0 == rule && act.1 == guest);
        at.map(|at| acts.swap_remove(at));
        self.over.notify_all();
    }

    /// Waits until nothing is done any more by that rule about that guest.
    fn wait(&self, rule: usize, guest: &str) {
        let acts = self.acts.lock().unwrap_or_else(PoisonError::into_inner);
        let busy = |acts: &mut Vec<(usize, String)>| {
            acts.iter().any(|act| act.0 == rule && act.1 == guest)
        };
        drop(self.over.wait_while(acts, busy));
    }
}

impl Actor {
    /// Begins to do what a rule asks for about an event; `id` is that of its line
    /// in the journal.
    pub fn start(self: &Arc<Self>, id: u64, rule: usize, event: Event) {
        let actor = Arc::clone(self);
        self.busy.begin(rule, &event.boot.guest);
        thread::spawn(move || {
            actor.act(id, &actor.config.rules[rule], &event);
            actor.busy.end(rule, &event.boot.guest);
        });
    }

    /// Takes back what a rule has set on the node.
    pub fn take_back(self: &Arc<Self>, rule: usize, guest: String) {
        let actor = Arc::clone(self);
        thread::spawn(move || {
            // A cluster that was away may not have been told yet.
            actor.busy.wait(rule, &guest);
            let rule = &actor.config.rules[rule];
            let mut all = true;
            for (name, _) in settings(rule, &guest) {
                if actor.dry_run {
                    log(&format!("{}: dry run: would take {name} back", rule.name));
                    continue;
                }
                let done = actor.patiently(|pacemaker| pacemaker.set(&name, None));
                all &= done.is_ok();
                let (Ok(text) | Err(text)) = done;
                log(&format!("{}: {guest}: {text}", rule.name));
            }
            // What could not be, is tried again by the next run.
            if all {
                actor.journal.write(&Line::TakenBack {
                    rule: rule.name.clone(),
                    guest,
                    at_ns: now_ns(),
                });
            }
        });
    }

    fn act(&self, id: u64, rule: &Rule, event: &Event) {
        let guest = &event.boot.guest;
        let step = |what: &str, act: &dyn Fn() -> Result<String, String>| {
            let done = match self.dry_run {
                true => Ok("dry run: not done".into()),
                false => act(),
            };
            let ok = done.is_ok();
            let (Ok(text) | Err(text)) = done;
            log(&format!(
                "{}: {guest}: {what}{}: {text}",
                rule.name,
                if ok { "" } else { " FAILED" }
            ));
            self.journal.write(&Line::Step {
                id,
                what: what.into(),
                ok,
                text,
                at_ns: now_ns(),
            });
        };
        if rule.destroy {
            step("destroy", &|| self.destroy(&event.boot));
        }
        if rule.fail {
            let resource = self.config.resource_of(guest);
            step("fail", &|| {
                self.patiently(|pacemaker| {
                    // The cluster may have been faster, and the next boot is a healthy one.
                    match self.booted_since(&event.boot) {
                        true => Err(Failure::Final("the guest has booted again".into())),
                        false => pacemaker.fail(resource),
                    }
                })
            });
        }
        for (name, value) in settings(rule, guest) {
            step("attribute", &|| {
                self.patiently(|pacemaker| pacemaker.set(&name, Some(&value)))
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
        self.journal.write(&Line::Done { id });
    }

    /// Asks the cluster until it has an answer.
    fn patiently(
        &self,
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
                Err(Failure::Again(text)) if began.elapsed() > self.config.cluster.patience => {
                    return Err(format!("{text}; given up"));
                }
                Err(Failure::Again(_)) => thread::sleep(PAUSE),
            }
        }
    }

    /// Whether the guest's driver is there, in another boot.
    fn booted_since(&self, boot: &Boot) -> bool {
        let host = Device::open(&self.device).and_then(Host::new);
        let found = host.and_then(|host| host.domain(&boot.guest));
        found.is_ok_and(|found| {
            found.state == bindings::VESPER_DOMAIN_READY && Boot::of(&found) != *boot
        })
    }

    /// Kills the VMM of a guest that is still in the same boot.
    fn destroy(&self, boot: &Boot) -> Result<String, String> {
        let host = Device::open(&self.device).and_then(Host::new);
        let host = host.map_err(|error| error.to_string())?;
        let vmm = || -> Result<i32, String> {
            let found = host
                .domain(&boot.guest)
                .map_err(|error| error.to_string())?;
            match found.vmm_pid {
                pid if pid > 0 && Boot::of(&found) == *boot => Ok(pid),
                _ => Err("its VMM is gone, or the guest has booted again".into()),
            }
        };
        let pid = vmm()?;
        let named = Pid::from_raw(pid).ok_or("there is no process 0")?;
        let held = pidfd_open(named, PidfdFlags::empty()).map_err(|error| error.to_string())?;
        // What is held now is the VMM if its number still belongs to it.
        if vmm()? != pid {
            return Err("its VMM has changed".into());
        }
        pidfd_send_signal(&held, Signal::KILL).map_err(|error| error.to_string())?;
        Ok(format!("process {pid} killed"))
    }
}

/// Attributes that a rule sets: names and values.
fn settings(rule: &Rule, guest: &str) -> Vec<(String, String)> {
    let health = rule
        .health
        .map(|health| (HEALTH.into(), health.text().into()));
    let attribute = rule.attribute.as_ref();
    let attribute = attribute.map(|set| (set.name.replace("%g", guest), set.value.clone()));
    health.into_iter().chain(attribute).collect()
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

/// A line for the service's log; the guest had a hand in it.
pub fn log(text: &str) {
    eprintln!("{}", Shown(text));
}
