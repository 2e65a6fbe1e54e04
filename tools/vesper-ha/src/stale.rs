// SPDX-License-Identifier: GPL-2.0

//! Records that are read too late for anything to be done about what they say: since then an
//! operator has found the guest well, or too much time has gone by.
//!
//! Times of records are the host's only where KVM says how the guest's clock goes; else they
//! are by the guest's own wall clock, which may be behind. So nothing is taken for older than
//! the last time that all of its guest's records had been read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::event::{Event, GUEST};
use crate::judge::Refrain;

/// What is read when there is something to be read has been there for no longer, in nanoseconds.
const AT_ONCE: i64 = 1_000_000_000;

/// One moment, by two clocks of the host's.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// By the one that never jumps.
    pub boot_ns: i64,
    /// The wall clock, which somebody may have set since records were written.
    pub wall_ns: i64,
}

impl Now {
    /// When it was by the first clock that the wall clock showed this; never later than now.
    fn when(self, wall_ns: i128) -> i64 {
        let ago = (i128::from(self.wall_ns) - wall_ns).max(0);
        let ago = i64::try_from(ago).unwrap_or(i64::MAX);
        self.boot_ns.saturating_sub(ago)
    }
}

/// What is known of when guests were well. All times are by the clock that never jumps.
#[derive(Debug)]
pub struct Stale {
    /// What is older is too old.
    age: Duration,
    /// When operators cleared guests.
    cleared: BTreeMap<String, i64>,
    /// When the records of guests were read last...
    read: Option<i64>,
    /// ...but of these not all; and when that was.
    behind: BTreeMap<String, Option<i64>>,
}

impl Stale {
    /// Of no guest anything is known.
    pub fn new(age: Duration) -> Self {
        Self {
            age,
            cleared: BTreeMap::new(),
            read: None,
            behind: BTreeMap::new(),
        }
    }

    /// An operator cleared a guest when the wall clock showed this.
    pub fn cleared(&mut self, guest: &str, wall_ns: i64, now: Now) {
        let at = now.when(i128::from(wall_ns));
        let last = self.cleared.entry(guest.to_owned()).or_insert(at);
        *last = at.max(*last);
    }

    /// All records were read, but maybe for those of guests that are `behind`.
    pub fn read(&mut self, behind: &BTreeSet<String>, now: i64) {
        let before = |guest: &String| (guest.clone(), self.all_read(guest));
        self.behind = behind.iter().map(before).collect();
        self.read = Some(now);
    }

    /// Until now there was nothing to do: what is read next was not there before.
    pub fn woken(&mut self, now: i64) {
        let before = now.saturating_sub(AT_ONCE);
        self.read = self.read.map(|read| read.max(before));
    }

    fn all_read(&self, guest: &str) -> Option<i64> {
        *self.behind.get(guest).unwrap_or(&self.read)
    }

    /// Why nothing is to be done about an event that is read now, if that is so. What the host
    /// module says of a guest is so when it is read.
    pub fn why(&self, event: &Event, now: Now) -> Option<Refrain> {
        let guest = &event.boot.guest;
        let happened = now.when(event.time_ns);
        let happened = self.all_read(guest).unwrap_or(happened).max(happened);
        if self.cleared.get(guest).is_some_and(|at| happened < *at) {
            return Some(Refrain::Cleared);
        }
        let age = u128::try_from(now.boot_ns.saturating_sub(happened)).unwrap_or(0);
        (event.probe != GUEST && age > self.age.as_nanos()).then_some(Refrain::TooOld)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Boot;
    use serde_json::Map;

    const SECOND: i64 = 1_000_000_000;
    const WALL: i64 = 1_000_000 * SECOND;

    /// So many seconds after the host has booted.
    fn at(seconds: i64) -> Now {
        Now {
            boot_ns: seconds * SECOND,
            wall_ns: WALL + seconds * SECOND,
        }
    }

    fn event(probe: &str, seconds: i64) -> Event {
        Event {
            boot: Boot {
                guest: "db1".into(),
                id: "1".into(),
            },
            probe: probe.into(),
            name: "exit".into(),
            time_ns: i128::from(at(seconds).wall_ns),
            fields: Map::new(),
        }
    }

    fn ten_minutes() -> Stale {
        Stale::new(Duration::from_secs(600))
    }

    #[test]
    fn what_is_old_when_it_is_read() {
        let stale = ten_minutes();
        let why = |probe: &str, now| stale.why(&event(probe, 100), at(now));
        assert_eq!(why("process", 100), None);
        assert_eq!(why("process", 700), None);
        assert_eq!(why("process", 701), Some(Refrain::TooOld));
        // By a clock that is ahead.
        assert_eq!(why("process", 0), None);
        // It still is so.
        assert_eq!(why(GUEST, 1_000_000), None);
    }

    #[test]
    fn what_was_before_an_operator_cleared_the_guest() {
        let mut stale = ten_minutes();
        stale.cleared("db1", at(50).wall_ns, at(60));
        stale.cleared("db1", at(20).wall_ns, at(60));
        stale.cleared("db2", at(90).wall_ns, at(60));
        let why = |seconds| stale.why(&event("process", seconds), at(60));
        assert_eq!(why(49), Some(Refrain::Cleared));
        assert_eq!(why(50), None);
        assert_eq!(stale.why(&event(GUEST, 49), at(60)), Some(Refrain::Cleared));
        // Somebody has set the wall clock back since.
        let back = |seconds| Now {
            wall_ns: at(seconds).wall_ns - 3600 * SECOND,
            ..at(seconds)
        };
        let mut late = event("process", 70);
        late.time_ns -= 3600 * i128::from(SECOND);
        assert_eq!(stale.why(&late, back(70)), None);
    }

    #[test]
    fn the_clock_of_a_guest_may_be_behind() {
        let mut stale = ten_minutes();
        let hour_behind = |seconds: i64| event("process", seconds - 3600);
        let both = BTreeSet::from(["db1".to_owned(), "db2".to_owned()]);
        // Nobody knows since when it is there.
        let why = Some(Refrain::TooOld);
        assert_eq!(stale.why(&hour_behind(10), at(10)), why);
        stale.read(&both, at(20).boot_ns);
        assert_eq!(stale.why(&hour_behind(30), at(30)), why);
        stale.read(&BTreeSet::new(), at(40).boot_ns);
        assert_eq!(stale.why(&hour_behind(50), at(50)), None);
        // For as long as it is behind, no more is known.
        stale.read(&both, at(60).boot_ns);
        stale.read(&both, at(900).boot_ns);
        assert_eq!(stale.why(&hour_behind(640), at(640)), None);
        assert_eq!(stale.why(&hour_behind(641), at(641)), why);
        stale.read(&BTreeSet::new(), at(700).boot_ns);
        stale.cleared("db1", at(690).wall_ns, at(700));
        assert_eq!(stale.why(&hour_behind(710), at(710)), None);
        // It has slept for long.
        assert_eq!(stale.why(&hour_behind(3_000), at(3_000)), why);
        stale.woken(at(3_000).boot_ns);
        assert_eq!(stale.why(&hour_behind(3_000), at(3_000)), None);
        stale.cleared("db1", at(3_005).wall_ns, at(3_010));
        let why = Some(Refrain::Cleared);
        stale.woken(at(3_005).boot_ns);
        assert_eq!(stale.why(&hour_behind(3_010), at(3_010)), why);
    }
}
