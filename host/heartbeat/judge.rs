// SPDX-License-Identifier: GPL-2.0

//! What is made of the beats of a guest: `core` only, so that user space tests it.
//!
//! A CPU is not measured by the clock on the wall, but by the time that its thread has had since
//! its last beat: one that the host does not run owes nothing. At each look no more is put on the
//! bill than a look is apart, so that neither a clock that jumps nor a look that comes late can
//! make a guest look dead. See Documentation/heartbeat.md.

use crate::bindings as raw;

/// So many times the threshold a CPU may sleep without being idle: with interrupts off, or in the
/// VMM, which can't be told apart.
const HALTED_FACTOR: u64 = 10;

/// So many periods a CPU counts as beating after its last beat.
const FRESH_PERIODS: u64 = 3;

/// How far looks are apart, in milliseconds: two of them are to take less than 100 ms, however
/// long the threshold is.
pub(crate) fn look_ms(threshold_ms: u32) -> u32 {
    (threshold_ms / 10).clamp(10, 40)
}

/// What a virtual CPU's thread is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Executing, or waiting for a processor.
    Runs,
    /// Sleeping: halted, or waiting in the VMM.
    Sleeps,
    /// Waiting for something in the host that no signal interrupts.
    Blocked,
    /// Stopped, traced or frozen.
    Stopped,
}

/// What is seen of a thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thread {
    /// Time that it has executed, in nanoseconds.
    pub(crate) executed: u64,
    /// What it is at.
    pub(crate) doing: Doing,
}

/// What is seen of a CPU at one look. What the guest says may be anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    /// Its counter.
    pub(crate) beats: u64,
    /// `VIRTIO_VESPER_CPU_*`.
    pub(crate) state: u32,
    /// Its period.
    pub(crate) period_ms: u32,
    /// Its thread, if it is known.
    pub(crate) thread: Option<Thread>,
}

/// When and how long, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Time of the look.
    pub(crate) now: u64,
    /// How far looks are apart if nothing is late.
    pub(crate) nominal: u64,
    /// The threshold.
    pub(crate) threshold: u64,
    /// The VMM does not say that it holds the guest.
    pub(crate) running: bool,
}

/// What a CPU is found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Offline,
    Idle,
    /// It beats.
    Beats,
    /// It has not beaten for a while, for this reason; the flag says that it is longer than the
    /// threshold.
    Silent(u32, bool),
    /// Its thread does not run by somebody's will.
    Stopped,
    /// It had the time and did not beat: the evidence.
    Hung(u32),
}

/// What is kept of a CPU from look to look, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    seen: bool,
    beats: u64,
    executed: u64,
    at: u64,
    moved_at: u64,
    charged: u64,
    halted: u64,
}

impl Cpu {
    /// Time that it had to run since its last beat.
    pub(crate) fn silent(&self) -> u64 {
        self.charged.max(self.halted)
    }

    /// When a beat was last seen.
    pub(crate) fn moved_at(&self) -> u64 {
        self.moved_at
    }

    fn fresh(&mut self, now: u64) {
        self.charged = 0;
        self.halted = 0;
        self.moved_at = now;
    }

    /// Has a look at it.
    pub(crate) fn look(&mut self, look: Look, sight: Sight) -> Verdict {
        let elapsed = look.now.saturating_sub(self.at);
        let credit = elapsed.min(look.nominal.saturating_mul(2));
        let executed = match sight.thread {
            Some(thread) if self.seen => thread.executed.saturating_sub(self.executed),
            _ => 0,
        };
        let moved = !self.seen || sight.beats != self.beats;
        self.seen = true;
        self.beats = sight.beats;
        self.at = look.now;
        self.executed = sight.thread.map_or(0, |thread| thread.executed);
        if moved {
            self.fresh(look.now);
        }
        match sight.state {
            raw::VIRTIO_VESPER_CPU_RUNNING => {}
            // One that uses up all its time is not idle, whatever it says.
            raw::VIRTIO_VESPER_CPU_IDLE => {
                if moved || executed < elapsed / 4 * 3 {
                    self.fresh(look.now);
                    return Verdict::Idle;
                }
            }
            _ => {
                self.fresh(look.now);
                return Verdict::Offline;
            }
        }
        let period = u64::from(sight.period_ms.min(raw::VESPER_BEAT_MAX_PERIOD_MS)) * 1_000_000;
        let bound = look
            .threshold
            .max(period.saturating_mul(u64::from(raw::VESPER_BEAT_MIN_PERIODS)));
        let wall = look.now.saturating_sub(self.moved_at);
        let late = wall >= bound;
        let Some(thread) = sight.thread else {
            return match wall < bound {
                true => Verdict::Beats,
                false => Verdict::Silent(raw::VESPER_BEAT_BY_NOTHING, late),
            };
        };
        if !look.running {
            // The VMM's threads sleep then, and the first beat after it takes a moment: nothing of
            // that is the guest's.
            self.charged = 0;
            self.halted = 0;
        } else if !moved {
            // What it executed before a beat is paid for.
            self.charged = self.charged.saturating_add(executed.min(credit));
            if thread.doing == Doing::Sleeps && executed == 0 {
                self.halted = self.halted.saturating_add(credit);
            }
        }
        if self.charged >= bound {
            return Verdict::Hung(raw::VESPER_BEAT_BY_EXECUTED);
        }
        if self.halted >= bound.saturating_mul(HALTED_FACTOR) {
            return Verdict::Hung(raw::VESPER_BEAT_BY_HALTED);
        }
        if thread.doing == Doing::Stopped {
            return Verdict::Stopped;
        }
        let while_fresh = period
            .saturating_mul(FRESH_PERIODS)
            .max(look.nominal.saturating_mul(FRESH_PERIODS));
        if wall <= while_fresh {
            return Verdict::Beats;
        }
        let reason = match thread.doing {
            _ if executed >= elapsed / 2 => raw::VESPER_BEAT_BY_EXECUTED,
            Doing::Runs => raw::VESPER_BEAT_BY_WAITING,
            _ => raw::VESPER_BEAT_BY_BLOCKED,
        };
        Verdict::Silent(reason, late)
    }
}

/// The CPUs of a guest, counted by what they were found to be.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Those that are online.
    pub(crate) online: u32,
    /// Of these, the idle ones.
    pub(crate) idle: u32,
    /// Of these, the hung ones.
    pub(crate) hung: u32,
    beating: u32,
    stopped: u32,
    late: u32,
    silent: u32,
    hung_by: u32,
    silent_by: u32,
}

impl Tally {
    /// Adds a CPU.
    pub(crate) fn add(&mut self, verdict: Verdict) {
        if verdict == Verdict::Offline {
            return;
        }
        self.online += 1;
        match verdict {
            Verdict::Offline => {}
            Verdict::Idle => self.idle += 1,
            Verdict::Beats => self.beating += 1,
            Verdict::Stopped => self.stopped += 1,
            Verdict::Hung(reason) => {
                self.hung += 1;
                self.hung_by = reason;
            }
            Verdict::Silent(reason, late) => {
                self.silent += 1;
                self.late += u32::from(late);
                self.silent_by = reason;
            }
        }
    }
}

/// What a guest is found to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Finding {
    /// `VESPER_BEAT_*`.
    pub(crate) state: u32,
    /// `VESPER_BEAT_BY_*`.
    pub(crate) reason: u32,
}

/// What is kept of a guest from look to look.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Guest {
    last: Finding,
    at: u64,
    beating_for: u64,
}

impl Guest {
    /// Judges what one look at all its CPUs gave.
    pub(crate) fn judge(&mut self, look: Look, tally: &Tally) -> Finding {
        let elapsed = look.now.saturating_sub(self.at);
        self.at = look.now;
        self.beating_for = match tally.beating {
            0 => 0,
            _ => self
                .beating_for
                .saturating_add(elapsed.min(look.nominal.saturating_mul(2))),
        };
        let (state, reason) = self.find(look, tally);
        self.last = Finding { state, reason };
        self.last
    }

    fn find(&self, look: Look, tally: &Tally) -> (u32, u32) {
        let by_beats = (raw::VESPER_BEAT_ALIVE, raw::VESPER_BEAT_BY_BEATS);
        if tally.online == 0 {
            return (raw::VESPER_BEAT_UNKNOWN, raw::VESPER_BEAT_BY_NOTHING);
        }
        if tally.hung != 0 {
            // Others that still have time left may follow, and that one ends its idleness for a
            // moment is no news: what was found before holds until it is clear.
            return if self.beating_for >= look.threshold {
                (raw::VESPER_BEAT_STUCK, tally.hung_by)
            } else if tally.beating == 0 && tally.silent == tally.late {
                (raw::VESPER_BEAT_HUNG, tally.hung_by)
            } else {
                match self.last.state {
                    raw::VESPER_BEAT_HUNG | raw::VESPER_BEAT_STUCK => {
                        (self.last.state, tally.hung_by)
                    }
                    _ => by_beats,
                }
            };
        }
        if tally.idle == tally.online {
            return (raw::VESPER_BEAT_IDLE, raw::VESPER_BEAT_BY_IDLE);
        }
        if tally.beating != 0 {
            return by_beats;
        }
        if tally.stopped != 0 {
            return (raw::VESPER_BEAT_PAUSED, raw::VESPER_BEAT_BY_STOPPED);
        }
        match (tally.late, tally.silent_by) {
            (0, _) => by_beats,
            (_, raw::VESPER_BEAT_BY_NOTHING) => {
                (raw::VESPER_BEAT_UNKNOWN, raw::VESPER_BEAT_BY_NOTHING)
            }
            (_, reason) => (raw::VESPER_BEAT_STARVED, reason),
        }
    }
}

#[cfg(test)]
#[path = "judge/tests.rs"]
mod tests;
