// SPDX-License-Identifier: GPL-2.0

//! One time line for the host and its guests: the guests' time stamp counters,
//! put on the host's wall clock by what KVM knows of them.
//!
//! A guest's counter is the host's, scaled and shifted. KVM shows by how much
//! for each virtual CPU, in debugfs below `kvm/<pid>-<fd>/vcpu<n>/`.

use std::fs;
use std::path::{Path, PathBuf};

use vesper_ctf::clock::Clock;

use crate::sys;

/// Pairs of clock readings of which the tightest is taken.
const TRIES: usize = 100;
/// Two readings that are closer together say less of the frequency than the
/// guest's own figure.
const APART_NS: i128 = 10_000_000_000;
/// Where they say something else than that by more than one in so many, the counter did not
/// go on all the time.
const PLAUSIBLE: u64 = 1000;
/// What the wall clock has to be set by, in nanoseconds, to be told.
const A_STEP: i128 = 1_000_000;

/// What the timestamps of the host's own records count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// The time stamp counter.
    Tsc,
    /// Nanoseconds of the monotonic clock.
    Monotonic,
}

impl Counter {
    fn read(self) -> u64 {
        match self {
            Self::Tsc => sys::cycles(),
            Self::Monotonic => sys::monotonic_ns(),
        }
    }
}

/// The tightest of [`TRIES`] pairs: a clock, read between two readings of a counter; the
/// counter at that moment, and by how much it may be off.
fn paired<T>(counter: Counter, clock: impl Fn() -> T) -> (u64, T, u64) {
    let read = |_| {
        let before = counter.read();
        let shown = clock();
        let between = counter.read().wrapping_sub(before);
        let at = before.wrapping_add(between / 2);
        (at, shown, between.div_ceil(2))
    };
    let more = (1..TRIES).map(read);
    more.fold(read(0), |best, one| if one.2 < best.2 { one } else { best })
}

/// The host's wall clock as somebody has found it: it goes on with the monotonic clock, and
/// does not follow what it is set to later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WallClock {
    /// Nanoseconds by which it is ahead of the monotonic clock.
    ahead: i128,
    /// How many nanoseconds that may be off.
    error_ns: u64,
}

impl WallClock {
    /// As it is now.
    pub fn now() -> Self {
        let (monotonic, wall, error_ns) = paired(Counter::Monotonic, sys::wall_clock_ns);
        Self {
            ahead: wall - i128::from(monotonic),
            error_ns,
        }
    }

    /// By how many nanoseconds it was set forward from this to that; 0 if it was not: less
    /// than [`A_STEP`] is the error of the readings.
    pub fn set_until(&self, later: &Self) -> i128 {
        let step = later.ahead - self.ahead;
        if step.abs() < A_STEP {
            return 0;
        }
        step
    }
}

/// A counter of the host and a wall clock at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The counter.
    pub cycles: u64,
    /// Wall clock, nanoseconds since the epoch.
    pub nanoseconds: i128,
    /// How many cycles the counter may be off.
    pub error: u64,
    /// How many nanoseconds the wall clock may be off.
    pub error_ns: u64,
}

impl Reading {
    /// The counter now, and what that wall clock would show.
    pub fn now(counter: Counter, wall: &WallClock) -> Self {
        let (cycles, monotonic, error) = match counter {
            Counter::Tsc => paired(counter, sys::monotonic_ns),
            Counter::Monotonic => {
                let now = sys::monotonic_ns();
                (now, now, 0)
            }
        };
        Self {
            cycles,
            nanoseconds: i128::from(monotonic) + wall.ahead,
            error,
            error_ns: wall.error_ns,
        }
    }

    /// Both counters now.
    pub fn both(wall: &WallClock) -> [Self; 2] {
        [Counter::Tsc, Counter::Monotonic].map(|counter| Self::now(counter, wall))
    }
}

/// How a guest's counter comes out of the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scaling {
    /// Fixed-point factor.
    pub ratio: u64,
    /// Bits of it behind the point.
    pub fraction_bits: u32,
    /// Added to it, modulo 2^64.
    pub offset: u64,
    /// Cycles by which the guest's virtual CPUs differ.
    pub spread: u64,
}

impl Scaling {
    /// The host's own counter.
    pub const HOST: Self = Self {
        ratio: 1,
        fraction_bits: 0,
        offset: 0,
        spread: 0,
    };

    /// The guest's counter when the host's is at `cycles`.
    pub fn guest_cycles(&self, cycles: u64) -> u64 {
        let product = u128::from(cycles) * u128::from(self.ratio);
        // More bits than this are none that were there.
        let scaled = product >> self.fraction_bits.min(127);
        (scaled as u64).wrapping_add(self.offset)
    }

    /// The guest's clock by two readings, of `freq` cycles a second as the guest
    /// has it; and how many cycles it may be off.
    pub fn clock(&self, freq: u64, first: &Reading, last: &Reading) -> (Clock, u64) {
        let cycles = self.guest_cycles(last.cycles);
        let since = i128::from(cycles.wrapping_sub(self.guest_cycles(first.cycles)));
        let apart = last.nanoseconds - first.nanoseconds;
        let mut freq = freq;
        if apart >= APART_NS {
            let measured = (since * 1_000_000_000 + apart / 2) / apart;
            if let Ok(measured) = u64::try_from(measured) {
                if measured.abs_diff(freq) <= freq / PLAUSIBLE {
                    freq = measured;
                }
            }
        }
        let scale = |cycles| self.guest_cycles(cycles).wrapping_sub(self.offset);
        let wall = u128::from(last.error_ns) * u128::from(freq);
        let wall = u64::try_from(wall.div_ceil(1_000_000_000)).unwrap_or(u64::MAX);
        let error = scale(last.error.max(first.error)).saturating_add(self.spread);
        let error = error.saturating_add(wall);
        let clock = Clock::anchored("", freq, cycles, last.nanoseconds);
        (clock, error)
    }

    /// What KVM says of the virtual machine of process `pid`; `None` if there is
    /// none, or several that differ.
    pub fn of_process(debugfs: &Path, pid: i32) -> Option<Self> {
        let prefix = format!("{pid}-");
        let machines = entries(&debugfs.join("kvm"), |name| {
            let number = name.strip_prefix(&prefix)?;
            number.parse::<u32>().ok()
        });
        let mut found: Option<Self> = None;
        for machine in machines {
            for cpu in entries(&machine, |name| name.strip_prefix("vcpu")?.parse().ok()) {
                let one = Self::of_cpu(&cpu)?;
                let Some(first) = &mut found else {
                    found = Some(one);
                    continue;
                };
                if (one.ratio, one.fraction_bits) != (first.ratio, first.fraction_bits) {
                    return None;
                }
                let apart = one.offset.wrapping_sub(first.offset) as i64;
                first.spread = first.spread.max(apart.unsigned_abs());
            }
        }
        found
    }

    fn of_cpu(dir: &Path) -> Option<Self> {
        let text = |name: &str| fs::read_to_string(dir.join(name)).ok();
        let offset: i64 = text("tsc-offset")?.trim().parse().ok()?;
        // Only where the processor can scale.
        let (ratio, fraction_bits) = match text("tsc-scaling-ratio") {
            None => (1, 0),
            Some(ratio) => {
                let bits = text("tsc-scaling-ratio-frac-bits")?;
                (ratio.trim().parse().ok()?, bits.trim().parse().ok()?)
            }
        };
        Some(Self {
            ratio,
            fraction_bits,
            offset: offset as u64,
            spread: 0,
        })
    }
}

/// Entries of a directory whose name gives a number, in the order of those.
fn entries(dir: &Path, number: impl Fn(&str) -> Option<u32>) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let numbered = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        Some((number(path.file_name()?.to_str()?)?, path))
    });
    let mut found: Vec<_> = numbered.collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn readings_go_forward() {
        let wall = WallClock::now();
        for counter in [Counter::Tsc, Counter::Monotonic] {
            let read = || Reading::now(counter, &wall);
            let (a, b) = (read(), read());
            assert!(b.cycles > a.cycles);
            assert!(b.nanoseconds > a.nanoseconds);
            assert!(a.nanoseconds > 1_700_000_000_000_000_000);
        }
        assert_eq!(wall.set_until(&WallClock::now()), 0);
    }

    #[test]
    fn a_wall_clock_that_is_set() {
        let at = |ahead| WallClock {
            ahead,
            error_ns: 50,
        };
        assert_eq!(at(7_000).set_until(&at(7_100)), 0);
        for step in [-3_600_000_000_000, 3_600_000_000_000] {
            assert_eq!(at(7_000).set_until(&at(7_000 + step)), step);
        }
    }

    fn machine(cpus: &[(&str, Option<(&str, &str)>)]) -> TempDir {
        let root = TempDir::new().unwrap();
        for (n, (offset, ratio)) in cpus.iter().enumerate() {
            let dir = root.path().join(format!("kvm/42-13/vcpu{n}"));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("tsc-offset"), offset).unwrap();
            if let Some((ratio, bits)) = ratio {
                fs::write(dir.join("tsc-scaling-ratio"), ratio).unwrap();
                fs::write(dir.join("tsc-scaling-ratio-frac-bits"), bits).unwrap();
            }
        }
        root
    }

    #[test]
    fn offsets_of_kvm() {
        let root = machine(&[("-1000\n", None), ("-990\n", None)]);
        let scaling = Scaling::of_process(root.path(), 42).unwrap();
        assert_eq!(scaling.guest_cycles(5000), 4000);
        assert_eq!(scaling.spread, 10);
        assert_eq!(Scaling::of_process(root.path(), 4), None);

        let half = Some(("2147483648\n", "32\n"));
        let root = machine(&[("100\n", half)]);
        let scaling = Scaling::of_process(root.path(), 42).unwrap();
        assert_eq!(scaling.guest_cycles(5000), 2600);

        for bad in [
            machine(&[("x\n", None)]),
            machine(&[("1\n", half), ("1\n", None)]),
            machine(&[("1\n", Some(("1\n", "-1\n")))]),
        ] {
            assert_eq!(Scaling::of_process(bad.path(), 42), None);
        }
    }

    #[test]
    fn the_clock_meets_the_readings() {
        let reading = |cycles, nanoseconds| Reading {
            cycles,
            nanoseconds,
            error: 100,
            error_ns: 8,
        };
        let scaling = Scaling {
            ratio: 1 << 31,
            fraction_bits: 32,
            offset: (-7_000_000i64) as u64,
            spread: 3,
        };
        let start = 1_800_000_000_000_000_000;
        // 20 s of a counter that is a little faster than it says it is.
        let first = reading(10_000_000_000, start);
        let last = reading(60_000_100_000, start + 20_000_000_000);
        let (clock, error) = scaling.clock(1_250_000_000, &first, &last);
        assert_eq!(clock.freq, 1_250_002_500);
        for at in [first, last] {
            let ns = clock.nanoseconds(scaling.guest_cycles(at.cycles));
            assert!((ns - at.nanoseconds).abs() < 10, "{ns}");
        }
        // Half of a hundred, the spread, and 8 ns, rounded up.
        assert_eq!(error, 50 + 3 + 11);

        // Too short a time, and a counter that stood still.
        for ns in [start + 1_000_000, start + 3_600_000_000_000] {
            let last = reading(60_000_100_000, ns);
            let (clock, _) = scaling.clock(1_250_000_000, &first, &last);
            assert_eq!(clock.freq, 1_250_000_000);
            let at = clock.nanoseconds(scaling.guest_cycles(last.cycles));
            assert!((at - ns).abs() < 10);
        }
    }
}
