// SPDX-License-Identifier: GPL-2.0

//! `vesper heartbeat`: whether guests live.

use std::io::Write;

use serde::Serialize;
use vesper_abi::bindings::{self, vesper_heartbeat};

use crate::cli;
use crate::commands::scope;
use crate::control::{Control, Host};
use crate::error::{Error, Result};
use crate::json;
use crate::table;

/// `VESPER_BEAT_*` in a word.
pub fn state(state: u32) -> &'static str {
    match state {
        bindings::VESPER_BEAT_UNKNOWN => "unknown",
        bindings::VESPER_BEAT_ALIVE => "alive",
        bindings::VESPER_BEAT_IDLE => "idle",
        bindings::VESPER_BEAT_PAUSED => "paused",
        bindings::VESPER_BEAT_STARVED => "starved",
        bindings::VESPER_BEAT_HUNG => "hung",
        bindings::VESPER_BEAT_STUCK => "stuck",
        bindings::VESPER_BEAT_PANICKED => "panicked",
        _ => "other",
    }
}

/// `VESPER_BEAT_BY_*` for programs, and for people.
fn reason(reason: u32) -> (&'static str, &'static str) {
    match reason {
        bindings::VESPER_BEAT_BY_NOTHING => ("nothing", "nothing to judge by"),
        bindings::VESPER_BEAT_BY_BEATS => ("beats", "it beats"),
        bindings::VESPER_BEAT_BY_IDLE => ("idle", "it says so and uses no time"),
        bindings::VESPER_BEAT_BY_RUN_STATE => ("run_state", "the VMM does not run it"),
        bindings::VESPER_BEAT_BY_STOPPED => ("stopped", "its threads are stopped"),
        bindings::VESPER_BEAT_BY_WAITING => ("waiting", "its threads wait for a processor"),
        bindings::VESPER_BEAT_BY_BLOCKED => ("blocked", "its threads wait in the host"),
        bindings::VESPER_BEAT_BY_EXECUTED => ("executed", "it ran and did not beat"),
        bindings::VESPER_BEAT_BY_HALTED => ("halted", "it sleeps, but not for want of work"),
        bindings::VESPER_BEAT_BY_GUEST => ("guest", "it says so"),
        _ => ("other", "other"),
    }
}

#[derive(Serialize)]
struct HeartbeatJson {
    domain: String,
    state: &'static str,
    reason: &'static str,
    since: Option<String>,
    threshold_ms: u32,
    period_ms: u32,
    cpus: u32,
    idle_cpus: u32,
    hung_cpus: u32,
    beats: u64,
    age_ms: u64,
    silent_ms: u64,
    run_delay_ms: u64,
    hangs: u64,
    stucks: u64,
    recoveries: u64,
    last_hang: Option<String>,
}

fn when(ns: u64) -> Option<String> {
    crate::time::rfc3339(i128::from(ns)).filter(|_| ns != 0)
}

fn object(domain: String, it: &vesper_heartbeat) -> HeartbeatJson {
    HeartbeatJson {
        domain,
        state: state(it.state),
        reason: reason(it.reason).0,
        since: when(it.since_ns),
        threshold_ms: it.threshold_ms,
        period_ms: it.period_ms,
        cpus: it.cpus,
        idle_cpus: it.idle_cpus,
        hung_cpus: it.hung_cpus,
        beats: it.beats,
        age_ms: it.age_ms,
        silent_ms: it.silent_ms,
        run_delay_ms: it.run_delay_ms,
        hangs: it.hangs,
        stucks: it.stucks,
        recoveries: it.recoveries,
        last_hang: when(it.last_hang_ns),
    }
}

fn row(domain: String, it: &vesper_heartbeat) -> [String; 9] {
    [
        domain,
        state(it.state).into(),
        reason(it.reason).1.into(),
        format!("{}/{}/{}", it.cpus, it.idle_cpus, it.hung_cpus),
        it.beats.to_string(),
        format!("{} ms", it.silent_ms),
        format!("{} ms", it.threshold_ms),
        format!("{} ms", it.period_ms),
        format!("{}/{}/{}", it.hangs, it.stucks, it.recoveries),
    ]
}

/// `vesper heartbeat`.
pub fn heartbeat(
    host: &Host<impl Control>,
    args: &cli::Heartbeat,
    out: &mut impl Write,
) -> Result<()> {
    let (mut rows, mut objects) = (Vec::new(), Vec::new());
    for domain in scope(host, args.domain.as_deref())? {
        let found = match host.heartbeat(&domain, args.threshold, args.period) {
            // It went away while we asked about the others.
            Err(Error::NoDomain { .. }) if args.domain.is_none() => continue,
            found => found?,
        };
        if args.json.json {
            objects.push(object(domain, &found));
        } else {
            rows.push(row(domain, &found));
        }
    }
    if args.json.json {
        return Ok(json::write_array(out, &objects)?);
    }
    let heading = [
        "DOMAIN",
        "STATE",
        "BECAUSE",
        "CPUS/IDLE/HUNG",
        "BEATS",
        "SILENT",
        "THRESHOLD",
        "PERIOD",
        "HANGS/STUCK/BACK",
    ];
    Ok(table::write(out, heading, &rows)?)
}
