// SPDX-License-Identifier: GPL-2.0

//! Which lines of a journal a daemon that starts later still has to know, however many others
//! have been written since: what is begun and not done, what is set, and what a rule has found
//! last in a guest.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::action::FAIL;
use crate::journal::Line;

/// Of all lines so far, what is needed: no more than rules and guests make it, and what is open.
#[derive(Debug, Default)]
pub struct Needed {
    /// Which boot of this host; what was before is history.
    host_boot: String,
    /// Numbers of findings: the last by rule, guest, and why nothing was done.
    last: BTreeMap<(String, String, Option<String>), u64>,
    /// The last because of which a guest was failed.
    failed: BTreeMap<String, u64>,
    /// Those about which not all has been done.
    open: BTreeSet<u64>,
    /// The guests that they are about.
    guests: HashMap<u64, String>,
    /// The last lines by guest, and by rule, guest and attribute.
    cleared: BTreeMap<String, usize>,
    taken_back: BTreeMap<(String, String, String), usize>,
}

impl Needed {
    /// Nothing yet.
    pub fn new(host_boot: String) -> Self {
        Self {
            host_boot,
            ..Self::default()
        }
    }

    /// Takes note of the line at that place.
    pub fn note(&mut self, at: usize, line: &Line) {
        match line {
            // What a dry run has found is no reason for anything.
            Line::Found(found) if found.host_boot != self.host_boot || found.dry_run => {}
            Line::Found(found) => {
                let (rule, guest) = (found.rule.clone(), found.guest.clone());
                self.guests.insert(found.id, guest.clone());
                if found.acts {
                    self.open.insert(found.id);
                }
                let key = (rule, guest, found.refrained.clone());
                self.last.insert(key, found.id);
            }
            Line::Step { id, what, ok, .. } if *ok && what == FAIL => {
                if let Some(guest) = self.guests.get(id) {
                    self.failed.insert(guest.clone(), *id);
                }
            }
            Line::Done { id } => drop(self.open.remove(id)),
            Line::Cleared { guest, .. } => drop(self.cleared.insert(guest.clone(), at)),
            Line::TakenBack {
                rule, guest, name, ..
            } => {
                let key = (rule.clone(), guest.clone(), name.clone());
                self.taken_back.insert(key, at);
            }
            _ => {}
        }
    }

    /// Numbers of the findings whose lines are needed.
    pub fn findings(&self) -> BTreeSet<u64> {
        let last = self.last.values().chain(self.failed.values());
        last.chain(&self.open).copied().collect()
    }

    /// Whether the line at that place is; `findings` are those above.
    pub fn has(&self, at: usize, line: &Line, findings: &BTreeSet<u64>) -> bool {
        match line {
            Line::Cleared { guest, .. } => self.cleared.get(guest) == Some(&at),
            Line::TakenBack {
                rule, guest, name, ..
            } => {
                let key = (rule.clone(), guest.clone(), name.clone());
                self.taken_back.get(&key) == Some(&at)
            }
            line => line.id().is_some_and(|id| findings.contains(&id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Found;

    fn found(id: u64, rule: &str, guest: &str) -> Found {
        Found {
            id,
            rule: rule.into(),
            guest: guest.into(),
            host_boot: "now".into(),
            acts: true,
            ..Found::default()
        }
    }

    fn step(id: u64, what: &str) -> Line {
        Line::Step {
            id,
            what: what.into(),
            ok: true,
            text: String::new(),
            at_ns: 0,
        }
    }

    /// Places of the lines that are needed.
    fn needed(lines: &[Line]) -> Vec<usize> {
        let mut needed = Needed::new("now".into());
        let all = || lines.iter().enumerate();
        all().for_each(|(at, line)| needed.note(at, line));
        let findings = needed.findings();
        let needed = all().filter(|(at, line)| needed.has(*at, line, &findings));
        needed.map(|(at, _)| at).collect()
    }

    #[test]
    fn what_is_open_and_what_was_last() {
        let done = |id| Line::Done { id };
        let limit = Found {
            refrained: Some("limit".into()),
            acts: false,
            ..found(6, "a", "web1")
        };
        let lines = [
            // Another of the same came later, but by this one the guest was failed.
            Line::Found(found(1, "a", "web1")),
            step(1, FAIL),
            done(1),
            // Another came later.
            Line::Found(found(2, "a", "web1")),
            step(2, "command"),
            done(2),
            // Another came later, but this is not done.
            Line::Found(found(3, "a", "web1")),
            step(3, "command"),
            Line::Found(found(4, "a", "web1")),
            done(4),
            Line::Found(found(5, "a", "web2")),
            done(5),
            Line::Found(limit),
        ];
        assert_eq!(needed(&lines), [0, 1, 2, 6, 7, 8, 9, 10, 11, 12]);
    }

    #[test]
    fn what_was_taken_back_and_what_is_history() {
        let cleared = |guest: &str| Line::Cleared {
            guest: guest.into(),
            at_ns: 0,
        };
        let taken_back = |name: &str| Line::TakenBack {
            rule: "a".into(),
            guest: "web1".into(),
            name: name.into(),
            id: 1,
            at_ns: 0,
        };
        let before = Found {
            host_boot: "before".into(),
            ..found(1, "a", "web1")
        };
        let dry = Found {
            dry_run: true,
            ..found(2, "a", "web1")
        };
        let note = Line::Note {
            at_ns: 0,
            text: String::new(),
        };
        let lines = [
            Line::Found(before),
            Line::Found(dry),
            cleared("web1"),
            taken_back("x"),
            cleared("web2"),
            cleared("web1"),
            taken_back("y"),
            taken_back("x"),
            note,
        ];
        assert_eq!(needed(&lines), [4, 5, 6, 7]);
    }
}
