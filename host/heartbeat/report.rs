// SPDX-License-Identifier: GPL-2.0

//! What is told of a heartbeat: to the log, to who asks, and in debugfs `<domain>/.heartbeat`.

use super::{
    name,
    Facts,
    Heartbeat,
    Settings,
    NS_PER_MS, //
};
use crate::{
    bindings as raw,
    domain::Domain,
    sys::{
        text_file::Text,
        time::{
            self,
            warn_limited, //
        },
    },
};
use core::fmt::Write as _;
use kernel::prelude::*;

/// Longest text.
const LEN: usize = 512;

/// `VESPER_BEAT_*` in a word.
fn state(state: u32) -> &'static str {
    match state {
        raw::VESPER_BEAT_ALIVE => "alive",
        raw::VESPER_BEAT_IDLE => "idle",
        raw::VESPER_BEAT_PAUSED => "paused",
        raw::VESPER_BEAT_STARVED => "starved",
        raw::VESPER_BEAT_HUNG => "hung",
        raw::VESPER_BEAT_STUCK => "stuck",
        raw::VESPER_BEAT_PANICKED => "panicked",
        _ => "unknown",
    }
}

/// `VESPER_BEAT_BY_*` in a few.
fn reason(reason: u32) -> &'static str {
    match reason {
        raw::VESPER_BEAT_BY_BEATS => "it beats",
        raw::VESPER_BEAT_BY_IDLE => "it says so and uses no time",
        raw::VESPER_BEAT_BY_RUN_STATE => "the VMM does not run it",
        raw::VESPER_BEAT_BY_STOPPED => "its threads are stopped",
        raw::VESPER_BEAT_BY_WAITING => "its threads wait for a processor",
        raw::VESPER_BEAT_BY_BLOCKED => "its threads wait in the host",
        raw::VESPER_BEAT_BY_EXECUTED => "it ran and did not beat",
        raw::VESPER_BEAT_BY_HALTED => "it sleeps, but not for want of work",
        raw::VESPER_BEAT_BY_GUEST => "it says so",
        _ => "nothing to judge by",
    }
}

/// Tells the log that a guest is accused, or no more.
pub(super) fn log(domain: &Domain, facts: &Facts, before: u32) {
    let now = facts.finding;
    if super::is_news(now.state) {
        warn_limited!(
            domain.brake(),
            "{}: {}: {} ({} of {} CPUs, {} ms)\n",
            name(domain),
            state(now.state),
            reason(now.reason),
            facts.tally.hung,
            facts.tally.online,
            facts.silent / NS_PER_MS
        );
    } else if domain.brake().may_log() {
        pr_info!(
            "{}: {}, no more {}\n",
            name(domain),
            state(now.state),
            state(before)
        );
    }
}

impl Heartbeat {
    /// Fills in what is told.
    pub(crate) fn facts(&self, out: &mut raw::vesper_heartbeat) {
        let inner = self.inner.lock();
        let (settings, facts) = (inner.settings, inner.facts);
        let there = inner.watched.is_some();
        drop(inner);
        let Settings {
            threshold_ms,
            period_ms,
        } = settings;
        out.threshold_ms = threshold_ms;
        out.period_ms = period_ms;
        out.state = facts.finding.state;
        out.reason = facts.finding.reason;
        out.cpus = facts.tally.online;
        out.idle_cpus = facts.tally.idle;
        out.hung_cpus = facts.tally.hung;
        out.since_ns = facts.since_ns;
        out.hangs = facts.hangs;
        out.stucks = facts.stucks;
        out.recoveries = facts.recoveries;
        out.last_hang_ns = facts.last_hang_ns;
        if there {
            out.beats = facts.beats;
            out.age_ms = time::boot_ns().saturating_sub(facts.moved_at) / NS_PER_MS;
            out.silent_ms = facts.silent / NS_PER_MS;
            out.run_delay_ms = facts.delayed / NS_PER_MS;
        }
    }
}

struct Page {
    bytes: [u8; LEN],
    len: usize,
}

impl core::fmt::Write for Page {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        let end = self.len.saturating_add(s.len());
        let room = self.bytes.get_mut(self.len..end).ok_or(core::fmt::Error)?;
        room.copy_from_slice(s.as_bytes());
        self.len = end;
        Ok(())
    }
}

impl Text for Heartbeat {
    fn copy(&self, offset: usize, out: &mut [u8]) -> usize {
        let mut it: raw::vesper_heartbeat = pin_init::zeroed();
        self.facts(&mut it);
        let mut page = Page {
            bytes: [0; LEN],
            len: 0,
        };
        let _ = writeln!(
            page,
            "state {}\nreason {}\nthreshold_ms {}\nperiod_ms {}\ncpus {}\nidle_cpus {}\nhung_cpus {}",
            state(it.state),
            reason(it.reason),
            it.threshold_ms,
            it.period_ms,
            it.cpus,
            it.idle_cpus,
            it.hung_cpus,
        );
        let _ = writeln!(
            page,
            "beats {}\nage_ms {}\nsilent_ms {}\nrun_delay_ms {}\nhangs {}\nstucks {}\nrecoveries {}",
            it.beats,
            it.age_ms,
            it.silent_ms,
            it.run_delay_ms,
            it.hangs,
            it.stucks,
            it.recoveries,
        );
        let text = page.bytes.get(..page.len).unwrap_or(&[]);
        let rest = text.get(offset..).unwrap_or(&[]);
        let len = rest.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..len), rest.get(..len)) {
            to.copy_from_slice(from);
        }
        len
    }

    fn closed(&self) {}
}
