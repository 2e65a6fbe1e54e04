// SPDX-License-Identifier: GPL-2.0

//! The heartbeat of a guest: the pages in which its CPUs count, and what is made of them.
//!
//! Nothing is sent, in either direction: the [`Watcher`] looks. Lock order: `inner` comes behind a
//! domain's `control`, and before its `info`.

use crate::{
    abi::PAGE_SIZE,
    bindings as raw,
    domain::{
        Domain,
        Info, //
    },
    files::Name,
    listener::Loan,
    sys::{
        pages::{
            Map,
            PageList, //
        },
        pid::Pid,
        time,
        trace, //
    },
};
use core::mem::{
    offset_of,
    size_of, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};

mod judge;
mod report;
mod watch;

use judge::{
    Cpu,
    Doing,
    Finding,
    Guest,
    Look,
    Sight,
    Tally,
    Thread,
    Verdict, //
};
pub(crate) use watch::{
    Bell,
    Watcher, //
};

const LINE: usize = size_of::<raw::virtio_vesper_beat>();
const _: () = assert!(LINE == size_of::<raw::virtio_vesper_beat_head>());

const NS_PER_MS: u64 = 1_000_000;

/// Pages that the lines for `nr_cpus` CPUs take.
fn pages_for(nr_cpus: u32) -> usize {
    (nr_cpus as usize)
        .saturating_add(1)
        .saturating_mul(LINE)
        .div_ceil(PAGE_SIZE)
}

/// Most pages that can be lent for it.
pub(crate) fn max_pages() -> usize {
    pages_for(raw::VESPER_MAX_VCPUS)
}

/// Limits of a heartbeat, in milliseconds.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    /// How long a CPU may have time to run without a beat.
    pub(crate) threshold_ms: u32,
    /// Time between beats.
    pub(crate) period_ms: u32,
}

impl Settings {
    /// `EINVAL` if they can't be.
    pub(crate) fn check(self) -> Result<Self> {
        let least = self.period_ms.saturating_mul(raw::VESPER_BEAT_MIN_PERIODS);
        let period_ok = (raw::VESPER_BEAT_MIN_PERIOD_MS..=raw::VESPER_BEAT_MAX_PERIOD_MS)
            .contains(&self.period_ms);
        match period_ok && (least..=raw::VESPER_BEAT_MAX_THRESHOLD_MS).contains(&self.threshold_ms)
        {
            true => Ok(self),
            false => Err(EINVAL),
        }
    }
}

/// Pages on loan, and what is kept of the CPUs that count there.
struct Watched {
    // The mapping before the pages.
    map: Map,
    loan: Loan,
    cpus: KVVec<Cpu>,
    guest: Guest,
    /// Room for a copy of the lines.
    copy: KVVec<u8>,
}

/// What is told of a heartbeat.
#[derive(Clone, Copy, Default)]
struct Facts {
    finding: Finding,
    tally: Tally,
    beats: u64,
    moved_at: u64,
    silent: u64,
    delayed: u64,
    since_ns: u64,
    hangs: u64,
    stucks: u64,
    recoveries: u64,
    last_hang_ns: u64,
    /// State for which the guest was accused last, until it beats again.
    accused: u32,
}

struct Inner {
    settings: Settings,
    watched: Option<Watched>,
    facts: Facts,
}

/// The heartbeat of a domain.
#[pin_data]
pub(crate) struct Heartbeat {
    #[pin]
    inner: Mutex<Inner>,
}

fn is_news(state: u32) -> bool {
    matches!(
        state,
        raw::VESPER_BEAT_HUNG | raw::VESPER_BEAT_STUCK | raw::VESPER_BEAT_PANICKED
    )
}

impl Heartbeat {
    /// None yet.
    pub(crate) fn new(settings: Settings) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                inner <- new_mutex!(
                    Inner {
                        settings,
                        watched: None,
                        facts: Facts::default(),
                    },
                    "vesper::heartbeat"
                ),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Takes the pages into use that the guest lends for its `nr_cpus` CPUs. `EEXIST`: there are
    /// some; `EINVAL`: they are too few or too many, or of another version.
    pub(crate) fn begin(&self, loan: Loan, nr_cpus: u32) -> Result {
        if loan.pages() != pages_for(nr_cpus) {
            return Err(EINVAL);
        }
        let mut list = PageList::new(loan.pages())?;
        loan.list(&mut list)?;
        let map = Map::new(&list)?;
        let lines = (nr_cpus as usize).saturating_add(1);
        let mut copy = KVVec::with_capacity(lines.saturating_mul(LINE), GFP_KERNEL_ACCOUNT)?;
        copy.resize(lines.saturating_mul(LINE), 0, GFP_KERNEL_ACCOUNT)?;
        map.read(0, &mut copy)?;
        if u32_at(&copy, offset_of!(raw::virtio_vesper_beat_head, version))
            != raw::VIRTIO_VESPER_BEAT_VERSION
            || u32_at(&copy, offset_of!(raw::virtio_vesper_beat_head, nr_cpus)) != nr_cpus
        {
            return Err(EINVAL);
        }
        let mut cpus = KVVec::with_capacity(nr_cpus as usize, GFP_KERNEL_ACCOUNT)?;
        cpus.resize(nr_cpus as usize, Cpu::default(), GFP_KERNEL_ACCOUNT)?;
        let mut inner = self.inner.lock();
        if inner.watched.is_some() {
            return Err(EEXIST);
        }
        let watched = Watched {
            map,
            loan,
            cpus,
            guest: Guest::default(),
            copy,
        };
        watched.ask(inner.settings)?;
        inner.watched = Some(watched);
        Ok(())
    }

    /// Ends the loan, if there is one: nothing is known of the guest then.
    pub(crate) fn end(&self, domain: &Domain) {
        let mut inner = self.inner.lock();
        let watched = inner.watched.take();
        let before = inner.facts.finding.state;
        let unknown = Finding::default();
        inner.facts.enter(unknown);
        inner.facts.accused = 0;
        inner.facts.tally = Tally::default();
        drop(inner);
        if before != unknown.state {
            trace::heartbeat(domain.name(), unknown.state, unknown.reason, 0);
        }
        if let Some(Watched { map, loan, .. }) = watched {
            drop(map);
            loan.give_back(domain.desk());
        }
    }

    /// What it says of the guest, and how often that was that it hangs.
    pub(crate) fn verdict(&self) -> (u32, u64) {
        let facts = self.inner.lock().facts;
        (facts.finding.state, facts.hangs)
    }

    /// Changes the settings. `EINVAL`.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Settings)) -> Result {
        let mut inner = self.inner.lock();
        let mut settings = inner.settings;
        change(&mut settings);
        inner.settings = settings.check()?;
        match &inner.watched {
            Some(watched) => watched.ask(settings),
            None => Ok(()),
        }
    }

    /// Has a look, if there is anything to be seen. Returns when to look again, in milliseconds.
    fn look(&self, domain: &Domain) -> Option<u32> {
        let mut inner = self.inner.lock();
        let Inner {
            settings,
            watched,
            facts,
        } = &mut *inner;
        let watched = watched.as_mut()?;
        let before = facts.finding.state;
        let look_ms = judge::look_ms(settings.threshold_ms);
        let finding = domain.with_info(|info| {
            let look = Look {
                now: time::boot_ns(),
                nominal: u64::from(look_ms) * NS_PER_MS,
                threshold: u64::from(settings.threshold_ms) * NS_PER_MS,
                running: matches!(info.run_state, 0 | raw::VESPER_RUN_RUNNING),
            };
            watched.look(look, info, facts)
        });
        let again = Some(look_ms);
        if finding.state == before {
            facts.finding.reason = finding.reason;
            return again;
        }
        facts.enter(finding);
        let (silent, facts) = (facts.silent / NS_PER_MS, *facts);
        drop(inner);
        trace::heartbeat(domain.name(), finding.state, finding.reason, silent);
        if is_news(before) || is_news(finding.state) {
            report::log(domain, &facts, before);
            domain.changed();
        }
        again
    }
}

impl Facts {
    /// Notes a finding of another state.
    fn enter(&mut self, finding: Finding) {
        if finding.state == self.finding.state {
            return;
        }
        self.finding = finding;
        self.since_ns = time::real_ns();
        match finding.state {
            raw::VESPER_BEAT_HUNG if self.accused != raw::VESPER_BEAT_HUNG => {
                self.accused = finding.state;
                self.hangs = self.hangs.wrapping_add(1);
                self.last_hang_ns = self.since_ns;
            }
            raw::VESPER_BEAT_STUCK if self.accused == 0 => {
                self.accused = finding.state;
                self.stucks = self.stucks.wrapping_add(1);
            }
            raw::VESPER_BEAT_ALIVE | raw::VESPER_BEAT_IDLE if self.accused != 0 => {
                self.accused = 0;
                self.recoveries = self.recoveries.wrapping_add(1);
            }
            _ => {}
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    match bytes.get(at..).and_then(|b| b.first_chunk()) {
        Some(b) => u32::from_le_bytes(*b),
        None => 0,
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(|b| b.first_chunk()) {
        Some(b) => u64::from_le_bytes(*b),
        None => 0,
    }
}

/// What is seen of a thread, and how long it has waited for a processor.
fn thread(pid: &Pid) -> Option<(Thread, u64)> {
    let sight = pid.sight()?;
    let doing = match sight.doing {
        raw::vesper_thread_doing_VESPER_THREAD_RUNS => Doing::Runs,
        raw::vesper_thread_doing_VESPER_THREAD_SLEEPS => Doing::Sleeps,
        raw::vesper_thread_doing_VESPER_THREAD_BLOCKED => Doing::Blocked,
        _ => Doing::Stopped,
    };
    let thread = Thread {
        executed: sight.executed,
        doing,
    };
    Some((thread, sight.delayed))
}

impl Watched {
    /// Tells the guest how often it shall beat.
    fn ask(&self, settings: Settings) -> Result {
        self.map.write(
            offset_of!(raw::virtio_vesper_beat_head, period_ms),
            &settings.period_ms.to_le_bytes(),
        )
    }

    /// Looks at every CPU; fills in what is told of them.
    fn look(&mut self, look: Look, info: &Info, facts: &mut Facts) -> Finding {
        // Copied once; the guest may write on.
        if self.map.read(0, &mut self.copy).is_err() {
            return Finding::default();
        }
        let mut tally = Tally::default();
        (facts.beats, facts.silent, facts.delayed) = (0, 0, 0);
        let lines = self.copy.chunks_exact(LINE).skip(1);
        for (n, (cpu, line)) in self.cpus.iter_mut().zip(lines).enumerate() {
            let seen = info.vcpus.get(n).and_then(|pid| pid.as_ref());
            let seen = seen.and_then(thread);
            let sight = Sight {
                beats: u64_at(line, offset_of!(raw::virtio_vesper_beat, beats)),
                state: u32_at(line, offset_of!(raw::virtio_vesper_beat, state)),
                period_ms: u32_at(line, offset_of!(raw::virtio_vesper_beat, period_ms)),
                thread: seen.map(|(thread, _)| thread),
            };
            let verdict = cpu.look(look, sight);
            tally.add(verdict);
            if verdict != Verdict::Offline {
                facts.beats = facts.beats.wrapping_add(sight.beats);
                facts.silent = facts.silent.max(cpu.silent());
                facts.moved_at = facts.moved_at.max(cpu.moved_at());
                let delayed = seen.map_or(0, |(_, delayed)| delayed);
                facts.delayed = facts.delayed.wrapping_add(delayed);
            }
        }
        facts.tally = tally;
        let judged = self.guest.judge(look, &tally);
        let (state, reason) =
            match u32_at(&self.copy, offset_of!(raw::virtio_vesper_beat_head, state)) {
                raw::VIRTIO_VESPER_BEAT_PANICKED => {
                    (raw::VESPER_BEAT_PANICKED, raw::VESPER_BEAT_BY_GUEST)
                }
                _ if !look.running => (raw::VESPER_BEAT_PAUSED, raw::VESPER_BEAT_BY_RUN_STATE),
                raw::VIRTIO_VESPER_BEAT_ALIVE => return judged,
                _ => (raw::VESPER_BEAT_UNKNOWN, raw::VESPER_BEAT_BY_GUEST),
            };
        Finding { state, reason }
    }
}

/// A domain's name, for the log.
fn name(domain: &Domain) -> Name<'_> {
    Name(domain.name())
}
