// SPDX-License-Identifier: GPL-2.0

//! `vesper keep run`: loads what is kept into guests as they come up.
//!
//! The control device says when anything about a guest has changed, inotify when
//! the file has. Each entry is tried once for each boot of a guest: what an
//! operator unloads stays unloaded until the next one, and what a guest refuses is
//! not asked of it for ever. A guest that does not answer holds up no other: each
//! has a thread of its own while there is something to load.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use vesper_abi::bindings::{self, vesper_domain};
use vesper_abi::escape::Shown;
use vesper_abi::name::text;

use super::config::{Config, Kept};
use crate::cli::{Load, ProbeDirs};
use crate::control::{Device, Host};
use crate::error::{Error, Result};
use crate::pace::Pace;
use crate::{load, say, sys};

/// How long a guest has to answer a load.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often one boot of a guest is asked for the same when it gave no answer.
const TRIES: u32 = 3;
/// Looked for threads that have ended, while there are any.
const TICK: Duration = Duration::from_millis(500);

/// A boot of a guest.
type Boot = (String, [u8; 16]);

/// What a thread has to say at its end: for which boot, and what may be tried again.
type Answer = (Boot, Vec<Kept>);

/// What is known of the guests.
#[derive(Default)]
struct State {
    /// How often an entry was tried in a boot; for boots that there are now.
    tried: BTreeMap<Boot, BTreeMap<Kept, u32>>,
    /// Guests that a thread is at work on.
    busy: HashSet<String>,
}

impl State {
    /// Forgets the boots that are over, of which `is_over` tells.
    fn forget(&mut self, is_over: impl Fn(&Boot) -> bool) {
        self.tried.retain(|boot, _| !is_over(boot));
    }

    /// What is to be loaded in a boot now, marked as tried.
    fn due(&mut self, boot: &Boot, kept: &[Kept]) -> Vec<Kept> {
        if self.busy.contains(&boot.0) {
            return Vec::new();
        }
        let own = kept.iter().filter(|kept| kept.domain == boot.0);
        let tried = self.tried.entry(boot.clone()).or_default();
        let due: Vec<Kept> = own
            .filter(|kept| !tried.contains_key(*kept))
            .cloned()
            .collect();
        for kept in &due {
            tried.insert(kept.clone(), TRIES);
        }
        if !due.is_empty() {
            self.busy.insert(boot.0.clone());
        }
        due
    }

    /// There was no thread for what is due in a boot: that is no attempt.
    fn put_off(&mut self, boot: &Boot, due: &[Kept]) {
        self.busy.remove(&boot.0);
        if let Some(tried) = self.tried.get_mut(boot) {
            tried.retain(|kept, _| !due.contains(kept));
        }
    }

    /// A thread has ended. What may be tried again is, a few times.
    fn answered(&mut self, (boot, again): Answer, left: &mut BTreeMap<(Boot, Kept), u32>) {
        self.busy.remove(&boot.0);
        let Some(tried) = self.tried.get_mut(&boot) else {
            return;
        };
        for kept in again {
            let count = left.entry((boot.clone(), kept.clone())).or_insert(TRIES);
            *count -= 1;
            if *count > 0 {
                tried.remove(&kept);
            }
        }
    }
}

/// Runs until Ctrl-C or SIGTERM.
pub(super) fn run(config: &Config, probes: &ProbeDirs, device: &Path) -> Result<()> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |errno| Error::Ioctl { what, errno }
    };
    sys::catch_interrupts().map_err(failed("installing the handler for Ctrl-C"))?;
    let open = sys::block_interrupts().map_err(failed("blocking Ctrl-C"))?;
    let control = Device::open(device)?;
    let host = Host::new(&control)?;
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC);
    let inotify = inotify.map_err(failed("watching the file of what is kept"))?;
    watch(&inotify, config)?;

    let (sender, answers) = channel();
    let (mut state, mut left) = (State::default(), BTreeMap::new());
    let mut kept = config.read()?;
    log(&format!(
        "{} probes are kept in {}",
        kept.len(),
        config.path().display()
    ));
    let mut pace = Pace::default();
    while !sys::interrupted() {
        pace.keep();
        collect(&answers, &mut state, &mut left);
        // Whatever happens from here on makes the device readable again.
        let domains = host.domains()?;
        let all = apply(&domains, &kept, &mut state, &mut left, |boot, due| {
            start(boot, due, probes, device, &sender)
        });
        let mut fds = [
            PollFd::new(control.as_fd(), PollFlags::POLLIN | PollFlags::POLLOUT),
            PollFd::new(inotify.as_fd(), PollFlags::POLLIN),
        ];
        let tick = (!state.busy.is_empty() || !all).then_some(TICK);
        sys::wait(&mut fds, tick, &open).map_err(failed("waiting for guests"))?;
        let events = |fd: &PollFd<'_>| fd.revents().unwrap_or(PollFlags::empty());
        // A device without poll() is always ready for both.
        if events(&fds[0]).contains(PollFlags::POLLOUT) {
            return Err(Error::NoPoll);
        }
        if !events(&fds[1]).is_empty() {
            while inotify.read_events().is_ok_and(|events| !events.is_empty()) {}
            match config.read() {
                Ok(new) => kept = new,
                Err(error) => log(&format!("{error}; what was kept before stays")),
            }
        }
    }
    Ok(())
}

/// Watches the directory: the file is replaced when it is changed.
fn watch(inotify: &Inotify, config: &Config) -> Result<()> {
    let dir = match config.path().parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let fail = |error| Error::File {
        path: dir.to_owned(),
        error,
    };
    std::fs::create_dir_all(dir).map_err(fail)?;
    let flags = AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_DELETE;
    let added = inotify.add_watch(dir, flags);
    added.map(drop).map_err(|errno| fail(errno.into()))
}

/// Takes the answers of threads that have ended.
fn collect(answers: &Receiver<Answer>, state: &mut State, left: &mut BTreeMap<(Boot, Kept), u32>) {
    while let Ok(answer) = answers.try_recv() {
        state.answered(answer, left);
    }
}

/// Starts what is due in each guest that is there; false if not all could be.
fn apply(
    domains: &[vesper_domain],
    kept: &[Kept],
    state: &mut State,
    left: &mut BTreeMap<(Boot, Kept), u32>,
    mut start: impl FnMut(Boot, Vec<Kept>) -> io::Result<()>,
) -> bool {
    let ready = domains
        .iter()
        .filter(|domain| domain.state == bindings::VESPER_DOMAIN_READY);
    let boots: HashSet<Boot> = ready
        .map(|domain| {
            let name = String::from_utf8_lossy(text(&domain.name)).into_owned();
            (name, domain.boot_id)
        })
        .collect();
    // A driver that leaves, or starts anew, is no end of a boot: another boot is, or the end
    // of the VMM.
    let is_over = |(name, id): &Boot| {
        let dead = bindings::VESPER_DOMAIN_DEAD;
        let is_there = domains
            .iter()
            .any(|domain| domain.state != dead && text(&domain.name) == name.as_bytes());
        !is_there || boots.iter().any(|(of, now)| of == name && now != id)
    };
    state.forget(is_over);
    left.retain(|(boot, _), _| !is_over(boot));
    let mut all = true;
    for boot in boots {
        let due = state.due(&boot, kept);
        if !due.is_empty() && start(boot.clone(), due.clone()).is_err() {
            state.put_off(&boot, &due);
            all = false;
        }
    }
    all
}

fn start(
    boot: Boot,
    due: Vec<Kept>,
    probes: &ProbeDirs,
    device: &Path,
    sender: &Sender<Answer>,
) -> io::Result<()> {
    let (probes, device, sender) = (probes.clone(), device.to_owned(), sender.clone());
    let started = thread::Builder::new().spawn(move || {
        let again = load_all(due, &probes, &device);
        // Nobody waits any more when the program ends.
        let _ = sender.send((boot, again));
    });
    started.map(drop)
}

/// Loads one after the other; gives what has had no answer, if only as the driver went meanwhile.
fn load_all(due: Vec<Kept>, probes: &ProbeDirs, device: &Path) -> Vec<Kept> {
    let mut again = Vec::new();
    for kept in due {
        let args = Load {
            domain: kept.domain.clone(),
            image: PathBuf::from(&kept.probe),
            params: kept.params.clone(),
            timeout: PATIENCE,
            name: kept.name.clone(),
            probes: probes.clone(),
        };
        let mut said = Vec::new();
        let loaded = Device::open(device)
            .and_then(Host::new)
            .and_then(|host| load::load(&host, &args, &mut said));
        let (domain, label) = (&kept.domain, kept.label());
        match loaded {
            Ok(()) => log(String::from_utf8_lossy(&said).trim_end()),
            Err(Error::Exists { .. }) => log(&format!("{label}: loaded into {domain} already")),
            Err(error) => {
                log(&format!("{domain}: {label}: {error}"));
                if let Some(remedy) = error.remedy() {
                    log(&remedy);
                }
                if is_no_answer(&error) {
                    again.push(kept);
                }
            }
        }
    }
    again
}

/// Whether a guest may be asked again. Ctrl-C does not reach the thread that asks, but a
/// suspend of the host interrupts it.
fn is_no_answer(error: &Error) -> bool {
    matches!(
        error,
        Error::TimedOut { .. }
            | Error::Interrupted { .. }
            | Error::Gone(_)
            | Error::NoDriver(_)
            | Error::Ioctl {
                errno: Errno::EBUSY,
                ..
            }
    )
}

/// Lines for the journal.
fn log(text: &str) {
    say(&Shown(text).to_string());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Action;
    use zerocopy::FromZeros;

    fn domain(name: &str, boot: u8, state: u32) -> vesper_domain {
        let mut domain = vesper_domain::new_zeroed();
        domain.name = vesper_abi::name::label_field(name).unwrap();
        domain.boot_id = [boot; 16];
        domain.state = state;
        domain
    }

    fn kept(domain: &str, probe: &str) -> Kept {
        Kept {
            domain: domain.into(),
            probe: probe.into(),
            params: Vec::new(),
            name: None,
        }
    }

    #[test]
    fn once_for_each_boot() {
        const READY: u32 = bindings::VESPER_DOMAIN_READY;
        let all = [kept("web1", "a"), kept("web1", "b"), kept("web2", "a")];
        let (mut state, mut left) = (State::default(), BTreeMap::new());
        let mut step = |domains: &[vesper_domain], answer: Option<Answer>| {
            if let Some(answer) = answer {
                state.answered(answer, &mut left);
            }
            let mut started = Vec::new();
            apply(domains, &all, &mut state, &mut left, |boot, due| {
                started.push((boot, due));
                Ok(())
            });
            started
        };
        let attached = domain("web1", 1, bindings::VESPER_DOMAIN_ATTACHED);
        assert_eq!(step(&[attached], None), []);
        let first = domain("web1", 1, READY);
        let boot = ("web1".to_owned(), [1; 16]);
        assert_eq!(step(&[first], None), [(boot.clone(), all[..2].to_vec())]);
        // Not twice, at work or not.
        assert_eq!(step(&[first], None), []);
        assert_eq!(step(&[first], Some((boot.clone(), Vec::new()))), []);

        // One that gave no answer, a few times.
        for _ in 1..TRIES {
            let again = step(&[first], Some((boot.clone(), vec![all[1].clone()])));
            assert_eq!(again, [(boot.clone(), vec![all[1].clone()])]);
        }
        assert_eq!(
            step(&[first], Some((boot.clone(), vec![all[1].clone()]))),
            []
        );

        // The driver was bound anew, in the same boot: what was unloaded stays so.
        let attached = domain("web1", 0, bindings::VESPER_DOMAIN_ATTACHED);
        assert_eq!(step(&[attached], None), []);
        assert_eq!(step(&[first], None), []);
        // Gone in the midst of a load: asked again when it is back.
        let more = (boot.clone(), vec![all[0].clone()]);
        assert_eq!(step(&[attached], Some(more.clone())), []);
        assert_eq!(step(&[first], None), [more.clone()]);
        assert_eq!(step(&[first], Some((boot.clone(), Vec::new()))), []);

        // The next boot, while the last one's thread has not ended.
        let second = ("web1".to_owned(), [2; 16]);
        let started = step(&[domain("web1", 2, READY)], None);
        assert_eq!(started, [(second.clone(), all[..2].to_vec())]);
        assert_eq!(step(&[domain("web1", 3, READY)], None), []);
        let third = step(&[domain("web1", 3, READY)], Some((second, Vec::new())));
        assert_eq!(third.len(), 1);
        // Another VMM with the same guest, restored say.
        let third = ("web1".to_owned(), [3; 16]);
        let dead = domain("web1", 3, bindings::VESPER_DOMAIN_DEAD);
        assert_eq!(step(&[dead], Some((third, Vec::new()))), []);
        assert_eq!(step(&[domain("web1", 3, READY)], None).len(), 1);
    }

    #[test]
    fn what_is_asked_again() {
        let interrupted = Error::Interrupted {
            action: Action::Load,
            domain: "web1".into(),
            module: "a".into(),
        };
        assert!(is_no_answer(&interrupted));
        let ioctl = |errno| Error::Ioctl {
            what: String::new(),
            errno,
        };
        assert!(is_no_answer(&ioctl(Errno::EBUSY)));
        assert!(!is_no_answer(&ioctl(Errno::EPERM)));
    }

    #[test]
    fn what_there_is_no_thread_for_is_started_later() {
        let all = [kept("web1", "a")];
        let (mut state, mut left) = (State::default(), BTreeMap::new());
        let ready = [domain("web1", 1, bindings::VESPER_DOMAIN_READY)];
        let mut asked = 0;
        while asked < 2 * TRIES {
            asked += 1;
            let refuse = |_, _| Err(io::ErrorKind::WouldBlock.into());
            assert!(!apply(&ready, &all, &mut state, &mut left, refuse));
        }
        let mut started = Vec::new();
        let start = |_, due| {
            started.push(due);
            Ok(())
        };
        assert!(apply(&ready, &all, &mut state, &mut left, start));
        assert_eq!(started, [all.to_vec()]);
    }
}
