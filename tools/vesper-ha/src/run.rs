// SPDX-License-Identifier: GPL-2.0

//! `vesper-ha run`: waits for events, and has them judged.
//!
//! Everything waits in one poll(): the control device tells of guests, inotify of
//! modules and files and of what operators clear, the relay files of records, and who acts
//! of guests that are left alone. Time only ends what was set for a time, or begins what was
//! put off.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::SigSet;
use vesper_cli::cat::Feed;
use vesper_cli::control::{Device, Host};
use vesper_cli::debugfs::Debugfs;
use vesper_cli::pace::Pace;
use vesper_cli::sys;

use crate::action::{log, Actor};
use crate::cli::{Places, Run};
use crate::config::Config;
use crate::court::Court;
use crate::error::{Error, Result};
use crate::journal::Journal;
use crate::latch::Latches;
use crate::lock::Lock;
use crate::resident;
use crate::writer::Log;

/// Between two attempts to have a thread.
const AGAIN: Duration = Duration::from_millis(500);

/// Runs until Ctrl-C or SIGTERM.
pub fn run(args: &Run, places: &Places, device: &Path, debugfs: Option<&Path>) -> Result<()> {
    let config = Config::read(&places.config)?;
    let failed = |what| move |errno| Error::System { what, errno };
    // Before anything is read that another may be writing.
    let _state = Lock::take(&places.state, args.dry_run)?;
    let _latches = match args.dry_run {
        true => None,
        false => Some(Lock::take(&places.latches, false)?),
    };
    sys::catch_interrupts().map_err(failed("installing the handler for Ctrl-C"))?;
    let open = sys::block_interrupts().map_err(failed("blocking Ctrl-C"))?;
    let past = Journal::read(&places.state)?;
    sys::allow_many_files();
    // Before there are other threads, whose stacks would be filled.
    let not_locked = resident::stay();
    // Ends after all that has something to say.
    let _log = Log::begin();
    not_locked.iter().for_each(|text| log(text));
    let latches = Latches::new(&places.latches);
    let journal = Journal::open(&places.state)?;
    let mut actor = Actor::new(config, journal, device, latches, args.dry_run);
    let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
    let woken = EventFd::from_flags(flags).map_err(failed("waiting for actions"))?;
    actor.woken = Some(woken);
    let mut court = Court::new(Arc::new(actor), &past);
    log(&format!(
        "{} rules from {}",
        court.rules().len(),
        places.config.display(),
    ));
    if args.dry_run {
        log("dry run: nothing is done; the records that the rules look at are taken all the same, and a vesper-ha beside this one does not see them");
    }
    let Some(control) = wait_for(device, open)? else {
        return Ok(());
    };
    let host = Host::new(&control)?;
    let words = (!args.dry_run)
        .then(|| words(&places.latches))
        .transpose()
        .map_err(failed("watching the marks"))?;
    // What there is, what is known of it, and only then what is new.
    let news = court.look(&host.domains()?);
    court.remember(past);
    court.hear(news);
    let mut feed = Feed::new(Debugfs::find(debugfs)?, Host::new(&control))?;
    let mut pace = Pace::default();
    while !sys::interrupted() {
        if let Some(words) = &words {
            while words.read_events().is_ok_and(|events| !events.is_empty()) {}
            court.forget_those_asked_for();
        }
        let actor = Arc::clone(court.actor());
        let refused = feed.follow(|guest, probe| actor.config.wants(guest, probe))?;
        refused.iter().for_each(|error| log(&error.to_string()));
        // What guests there are comes before what they say.
        let news = court.look(&host.domains()?);
        court.hear(news);
        let round = feed.take(&mut court);
        court.hear_of_hangs(&round.behind, &round.unseen);
        round
            .failed
            .iter()
            .for_each(|error| log(&error.to_string()));
        court.see_to_what_is_due();
        let again = (!court.actor().go_on()).then_some(AGAIN);
        let pauses = [feed.pause(), court.pause(), again];
        let pause = match round.behind.is_empty() {
            true => pauses.into_iter().flatten().min(),
            false => Some(Duration::ZERO),
        };
        let fds = std::iter::once(control.as_fd());
        let fds = fds.chain(feed.fds()).chain(words.iter().map(AsFd::as_fd));
        let fds = fds.chain(actor.woken.iter().map(AsFd::as_fd));
        match wait(fds, pause, open)? {
            Woken::NoPoll => return Err(vesper_cli::error::Error::NoPoll.into()),
            Woken::Guests => pace.keep(),
            Woken::Else => {}
        }
    }
    court.end();
    court.actor().journal.flush();
    Ok(())
}

/// Tells when something is moved into the directory of marks.
fn words(dir: &Path) -> nix::Result<Inotify> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    inotify.add_watch(dir, AddWatchFlags::IN_MOVED_TO)?;
    Ok(inotify)
}

/// What there was to wake for.
enum Woken {
    /// The device can't be waited for.
    NoPoll,
    /// Guests, by what is listed of them, and no records.
    Guests,
    Else,
}

/// Waits until something is readable. The device is the first.
fn wait<'a>(
    fds: impl Iterator<Item = BorrowedFd<'a>>,
    pause: Option<Duration>,
    open: SigSet,
) -> Result<Woken> {
    let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    if let Some(first) = fds.first_mut() {
        first.set_events(PollFlags::POLLIN | PollFlags::POLLOUT);
    }
    sys::wait(&mut fds, pause, &open).map_err(|errno| {
        let what = "waiting for events";
        Error::System { what, errno }
    })?;
    // A device without poll() is always ready for both.
    let events = |fd: &PollFd<'_>| fd.revents().unwrap_or(PollFlags::empty());
    let first = fds.first().map_or(PollFlags::empty(), events);
    let others = fds.iter().skip(1).any(|fd| !events(fd).is_empty());
    Ok(match first {
        _ if first.contains(PollFlags::POLLOUT) => Woken::NoPoll,
        _ if !first.is_empty() && !others => Woken::Guests,
        _ => Woken::Else,
    })
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
        sys::wait(&mut fds, None, &open).map_err(failed)?;
    }
    Ok(None)
}
