// SPDX-License-Identifier: GPL-2.0

//! Which runs are still to be done, so that one can stop at any time and go on.

use crate::event::{Run, Way};

/// A run to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// What is to happen.
    pub fault: String,
    /// Who is to notice.
    pub way: Way,
    /// Number among those of its kind.
    pub number: u32,
}

/// What is missing: first one of each fault, way after way, then the next of each. The
/// way that comes first is another one each time, so that none is always measured on a
/// host that has just booted.
pub fn missing(done: &[Run], faults: &[String], ways: &[Way], runs: u32) -> Vec<Planned> {
    let mut planned = Vec::new();
    for number in 1..=runs {
        for fault in faults {
            for index in 0..ways.len() {
                let way = ways[(index + number as usize - 1) % ways.len()];
                let same = |run: &&Run| run.fault == *fault && run.way == way;
                if done.iter().filter(same).any(|run| run.number == number) {
                    continue;
                }
                planned.push(Planned {
                    fault: fault.clone(),
                    way,
                    number,
                });
            }
        }
    }
    planned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(fault: &str, way: Way, number: u32) -> Run {
        Run {
            fault: fault.into(),
            way,
            number,
            bound_s: 75.0,
            events: Vec::new(),
        }
    }

    fn plan(done: &[Run], runs: u32) -> Vec<String> {
        let faults = ["sigterm".to_owned(), "panic".to_owned()];
        missing(done, &faults, &[Way::Pacemaker, Way::Vesper], runs)
            .iter()
            .map(|run| format!("{} {} {}", run.fault, run.way.name(), run.number))
            .collect()
    }

    #[test]
    fn ways_alternate() {
        let wanted = [
            "sigterm pacemaker 1",
            "sigterm vesper 1",
            "panic pacemaker 1",
            "panic vesper 1",
            "sigterm vesper 2",
            "sigterm pacemaker 2",
            "panic vesper 2",
            "panic pacemaker 2",
        ];
        assert_eq!(plan(&[], 2), wanted);
    }

    #[test]
    fn what_is_done_is_not_done_again() {
        let done = [
            run("sigterm", Way::Pacemaker, 1),
            run("panic", Way::Vesper, 1),
            run("panic", Way::Heartbeat, 1),
        ];
        assert_eq!(plan(&done, 1), ["sigterm vesper 1", "panic pacemaker 1"]);
        assert_eq!(plan(&done, 0), [""; 0]);
    }
}
