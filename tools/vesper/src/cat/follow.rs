// SPDX-License-Identifier: GPL-2.0

//! `vesper cat --follow`: shows records as they arrive, until the modules are
//! unloaded and their files are drained.

use std::io::Write;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use vesper_ctf::decoder::Decoder;
use vesper_ctf::merge::Refill;

use super::{show_all, Line, Module, Session, CHUNK};
use crate::error::{Error, Result};
use crate::sys;
use crate::timeline::{Counter, Reading, WallClock};

/// How long to wait before looking for Ctrl-C, new files, and removed ones.
const TICK_MS: u16 = 200;
/// How often to look for files of CPUs that have come up, and what the host's wall clock shows.
const RESCAN: Duration = Duration::from_secs(1);
/// Taken from one file before the others have their turn.
const BATCH: usize = 1 << 20;
/// Between reads that gave nothing although a file was said to be readable.
const IDLE: Duration = Duration::from_millis(50);

/// Sorts only what is there.
struct Nothing;

impl Refill for Nothing {
    type Error = Error;

    fn refill(&mut self, _: usize, _: &mut Decoder) -> Result<bool> {
        Ok(false)
    }
}

impl<W: Write> Session<'_, W> {
    pub(super) fn follow(&mut self) -> Result<()> {
        let mut scanned = Instant::now();
        let mut buffer = vec![0; CHUNK];
        while !sys::interrupted() {
            let ready = self.wait()?;
            let quiet = ready.is_empty();
            let mut got = false;
            for (number, module) in self.modules.iter_mut().enumerate() {
                let files = if quiet {
                    // A file may end without a word; ask each.
                    (0..module.decoders.len()).collect()
                } else {
                    let own = ready.iter().filter(|(of, _)| *of == number);
                    own.map(|(_, file)| *file).collect::<Vec<_>>()
                };
                got |= module.take(&files, &mut buffer)?;
            }
            self.show_batch()?;
            let all_ended = self.modules.iter().all(|module| module.files.all_ended());
            if quiet || scanned.elapsed() >= RESCAN || all_ended {
                scanned = Instant::now();
                self.read_clock();
                // Order matters: files that are new when all others have ended
                // are found here, before that is looked at.
                let mut over = true;
                for module in &mut self.modules {
                    module.read_last_metadata();
                    let new = module.find_files()?;
                    let gone = module.files.is_removed() || !module.decoders.is_empty();
                    over &= !new && gone && module.files.all_ended();
                }
                if over {
                    break;
                }
            } else if !got {
                std::thread::sleep(IDLE);
            }
        }
        self.finish()
    }

    /// The host's wall clock may have been set, or goes at another rate: from here on times are
    /// what it shows now. One reading is for all modules, so that it does not change their order.
    fn read_clock(&mut self) {
        let [by_tsc, by_clock] = Reading::both(&WallClock::now());
        for module in &mut self.modules {
            module.label.set_clock(|counter| match counter {
                Counter::Tsc => by_tsc,
                Counter::Monotonic => by_clock,
            });
        }
    }

    /// Waits until there is something to be read; says in which modules' files.
    fn wait(&mut self) -> Result<Vec<(usize, usize)>> {
        let live = |(of, module): (usize, &Module)| -> Vec<_> {
            module.files.live().map(|number| (of, number)).collect()
        };
        let live: Vec<(usize, usize)> = self.modules.iter().enumerate().flat_map(live).collect();
        let fd = |&(of, number): &(usize, usize)| {
            PollFd::new(self.modules[of].files.fd(number), PollFlags::POLLIN)
        };
        let mut fds: Vec<PollFd<'_>> = live.iter().map(fd).collect();
        match poll(&mut fds, PollTimeout::from(TICK_MS)) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(errno) => {
                let what = "waiting for records".into();
                return Err(Error::Ioctl { what, errno });
            }
        }
        let events = |fd: &PollFd<'_>| fd.revents().unwrap_or(PollFlags::POLLERR);
        let events: Vec<PollFlags> = fds.iter().map(events).collect();
        let mut ready = Vec::new();
        for ((of, number), events) in live.into_iter().zip(events) {
            if !events.is_empty() {
                self.modules[of].files.note(number, events);
                ready.push((of, number));
            }
        }
        Ok(ready)
    }

    /// Shows what has been read, in order of time, and sends it on its way.
    fn show_batch(&mut self) -> Result<()> {
        let mut lines = Vec::new();
        for module in &mut self.modules {
            let (decoders, symbols) = (&mut module.decoders, &mut module.symbols);
            lines.push(Line::new(decoders, symbols, &module.label, Nothing)?);
        }
        show_all(lines, &mut self.show, true)?;
        self.show.flush()
    }
}

impl Module {
    /// Reads what the files have; true if there was anything.
    fn take(&mut self, numbers: &[usize], buffer: &mut [u8]) -> Result<bool> {
        let mut got = false;
        for &number in numbers {
            let mut taken = 0;
            let mut at_end = false;
            while taken < BATCH && !sys::interrupted() {
                let len = self.files.read(number, buffer)?;
                self.decoders[number].push(&buffer[..len]);
                taken += len;
                if len > 0 {
                    continue;
                }
                if at_end {
                    self.files.close(number);
                }
                at_end = !at_end && self.files.at_end(number);
                if !at_end {
                    break;
                }
            }
            got |= taken > 0;
        }
        Ok(got)
    }
}
