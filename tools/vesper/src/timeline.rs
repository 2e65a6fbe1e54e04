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
/// Where they say something else than that by more than one in so many, the wall
/// clock was set meanwhile.
const PLAUSIBLE: u64 = 1000;

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

/// A counter of the host and its wall clock at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The counter.
    pub cycles: u64,
    /// Wall clock, nanoseconds since the epoch.
    pub nanoseconds: i128,
    /// How many cycles the counter may be off.
    pub error: u64,
}

impl Reading {
    /// Reads them now.
    pub fn now(counter: Counter) -> Self {
        let read = |_| {
            let before = counter.read();
            let nanoseconds = sys::wall_clock_ns();
            let after = counter.read();
            let between = after.wrapping_sub(before);
            Self {
                cycles: before.wrapping_add(between / 2),
                nanoseconds,
                error: between.div_ceil(2),
            }
        };
        let first = read(0);
        let best = (1..TRIES).map(read).min_by_key(|reading| reading.error);
        best.filter(|best| best.error < first.error)
            .unwrap_or(first)
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
        let error = scale(last.error.max(first.error)).saturating_add(self.spread);
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
        for counter in [Counter::Tsc, Counter::Monotonic] {
            let (a, b) = (Reading::now(counter), Reading::now(counter));
            assert!(b.cycles > a.cycles);
            assert!(a.nanoseconds > 1_700_000_000_000_000_000);
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
        assert_eq!(error, 53);

        // Too short a time, and a wall clock that was set.
        for ns in [start + 1_000_000, start + 3_600_000_000_000] {
            let last = reading(60_000_100_000, ns);
            let (clock, _) = scaling.clock(1_250_000_000, &first, &last);
            assert_eq!(clock.freq, 1_250_000_000);
            let at = clock.nanoseconds(scaling.guest_cycles(last.cycles));
            assert!((at - ns).abs() < 10);
        }
    }
}
