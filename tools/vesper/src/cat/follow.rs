// SPDX-License-Identifier: GPL-2.0

//! `vesper cat --follow`: shows records as they arrive, until the module is
//! unloaded and its files are drained.

use std::convert::Infallible;
use std::io::Write;
use std::time::{Duration, Instant};

use vesper_ctf::decoder::Decoder;
use vesper_ctf::merge::{Merge, Refill};

use super::{Session, CHUNK};
use crate::error::{Error, Result};
use crate::sys;

/// How long to wait before looking for Ctrl-C, new files, and removed ones.
const TICK_MS: u16 = 200;
/// How often to look for files of CPUs that have come up.
const RESCAN: Duration = Duration::from_secs(1);
/// Taken from one file before the others have their turn.
const BATCH: usize = 1 << 20;
/// Between reads that gave nothing although a file was said to be readable.
const IDLE: Duration = Duration::from_millis(50);

/// Sorts only what is there.
struct Nothing;

impl Refill for Nothing {
    type Error = Infallible;

    fn refill(&mut self, _: usize, _: &mut Decoder) -> std::result::Result<bool, Infallible> {
        Ok(false)
    }
}

impl<W: Write> Session<'_, W> {
    pub(super) fn follow(&mut self) -> Result<()> {
        let mut scanned = Instant::now();
        let mut buffer = vec![0; CHUNK];
        while !sys::interrupted() {
            let waited = self.files.wait(TICK_MS);
            let ready = waited.map_err(|errno| Error::Ioctl {
                what: "waiting for records".into(),
                errno,
            })?;
            let quiet = ready.is_empty();
            let numbers = if quiet {
                // A file may end without a word; ask each.
                (0..self.decoders.len()).collect()
            } else {
                ready
            };
            let got = self.take(&numbers, &mut buffer)?;
            self.show_batch()?;
            if quiet || scanned.elapsed() >= RESCAN || self.files.all_ended() {
                scanned = Instant::now();
                // Order matters: files that are new when all others have ended
                // are found here, before that is looked at.
                let new = self.find_files()?;
                let gone = self.files.is_removed() || !self.decoders.is_empty();
                if !new && gone && self.files.all_ended() {
                    break;
                }
            } else if !got {
                std::thread::sleep(IDLE);
            }
        }
        self.finish()
    }

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

    /// Shows what has been read, in order of time, and sends it on its way.
    fn show_batch(&mut self) -> Result<()> {
        let metadata = self.symbols.metadata();
        let Ok(mut merge) = Merge::new(&mut self.decoders, &metadata, &mut Nothing);
        loop {
            let Ok(item) = merge.next(&metadata, &mut Nothing);
            let Some(item) = item else {
                return self.show.flush();
            };
            self.symbols.look_up(&item, true);
            self.show.item(&self.symbols.metadata(), &item)?;
        }
    }
}
