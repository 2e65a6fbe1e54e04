// SPDX-License-Identifier: GPL-2.0

//! What to do about an event: counts, waits between reports, one failure a boot.
//!
//! Nothing here looks at a clock or does anything: time and events go in, verdicts
//! come out.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use crate::event::{Boot, Event};
use crate::rule::Rule;

/// What comes of an event that a rule matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Something is to be done.
    Act {
        /// Number of the rule.
        rule: usize,
        /// So many events were held back since the rule last acted.
        held_back: u64,
    },
    /// The rule only says what it would do: its guest has been failed in this
    /// boot, the limit is reached, or the guest has booted again.
    Refrain {
        /// Number of the rule.
        rule: usize,
        /// Why.
        why: Refrain,
    },
}

/// Why nothing is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refrain {
    /// The guest's resource was failed in this boot already.
    FailedBefore,
    /// There were too many actions.
    Limit,
    /// What happened was in an earlier boot.
    EarlierBoot,
}

impl Refrain {
    /// The end of a sentence.
    pub fn text(self) -> &'static str {
        match self {
            Self::FailedBefore => "the guest was failed in this boot already",
            Self::Limit => "the limit on actions is reached",
            Self::EarlierBoot => "the guest has booted since",
        }
    }
}

/// How many actions there may be in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// So many...
    pub actions: usize,
    /// ...in this time.
    pub within: Duration,
}

/// One rule's view of one boot.
#[derive(Debug, Default)]
struct Tally {
    /// Times of the newest events, at most as many as the rule counts.
    times: VecDeque<i128>,
    /// Nothing more is done before this time.
    until: Option<i128>,
    /// Events in that time.
    held_back: u64,
}

/// All that is remembered.
#[derive(Debug)]
pub struct Judge {
    limit: Limit,
    tallies: HashMap<(usize, Boot), Tally>,
    failed: HashSet<Boot>,
    acted: VecDeque<i128>,
}

impl Judge {
    /// One that has seen nothing.
    pub fn new(limit: Limit) -> Self {
        Self {
            limit,
            tallies: HashMap::new(),
            failed: HashSet::new(),
            acted: VecDeque::new(),
        }
    }

    /// Remembers from before a restart that a guest was failed.
    pub fn note_failed(&mut self, boot: Boot) {
        self.failed.insert(boot);
    }

    /// Remembers from before a restart that a rule is held.
    pub fn note_held(&mut self, rule: usize, boot: Boot, until: i128) {
        self.tallies.entry((rule, boot)).or_default().until = Some(until);
    }

    /// The guest runs this now: what was true of boots before is over.
    pub fn booted(&mut self, now: &Boot) {
        let other = |boot: &Boot| boot.guest != now.guest || boot.id == now.id;
        self.failed.retain(other);
        self.tallies.retain(|(_, boot), _| other(boot));
    }

    /// Judges an event by all rules. `now` is the time by the same clock as the
    /// event's; `current` says which boot the guest is in, as far as that is known.
    pub fn judge(
        &mut self,
        rules: &[Rule],
        event: &Event,
        current: Option<&Boot>,
        now: i128,
    ) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (number, rule) in rules.iter().enumerate() {
            if rule.matches(event) {
                verdicts.extend(self.one(number, rule, event, current, now));
            }
        }
        verdicts
    }

    fn one(
        &mut self,
        number: usize,
        rule: &Rule,
        event: &Event,
        current: Option<&Boot>,
        now: i128,
    ) -> Option<Verdict> {
        let tally = self
            .tallies
            .entry((number, event.boot.clone()))
            .or_default();
        if tally.until.is_some_and(|until| now < until) {
            tally.held_back += 1;
            return None;
        }
        let wanted = rule.count.max(1) as usize;
        tally.times.push_back(event.time_ns);
        while tally.times.len() > wanted {
            tally.times.pop_front();
        }
        let (first, last) = (*tally.times.front()?, *tally.times.back()?);
        let window = rule.within.as_nanos() as i128;
        if tally.times.len() < wanted || (last - first).abs() > window {
            return None;
        }
        tally.times.clear();
        // What is held back is the same whether anything is done or not.
        tally.until = Some(now + rule.hold.as_nanos() as i128);
        let held_back = std::mem::take(&mut tally.held_back);
        let refrain = |why| Some(Verdict::Refrain { rule: number, why });
        if current.is_some_and(|current| *current != event.boot) {
            return refrain(Refrain::EarlierBoot);
        }
        if rule.is_deadly() && self.failed.contains(&event.boot) {
            return refrain(Refrain::FailedBefore);
        }
        let since = now - self.limit.within.as_nanos() as i128;
        while self.acted.front().is_some_and(|then| *then < since) {
            self.acted.pop_front();
        }
        if self.acted.len() >= self.limit.actions {
            // Once the limit allows it again, the next event counts.
            if let Some(tally) = self.tallies.get_mut(&(number, event.boot.clone())) {
                tally.until = self
                    .acted
                    .front()
                    .map(|then| then + self.limit.within.as_nanos() as i128);
            }
            return refrain(Refrain::Limit);
        }
        self.acted.push_back(now);
        if rule.is_deadly() {
            self.failed.insert(event.boot.clone());
        }
        Some(Verdict::Act {
            rule: number,
            held_back,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;

    const SECOND: i128 = 1_000_000_000;
    const LIMIT: Limit = Limit {
        actions: 5,
        within: Duration::from_secs(60),
    };

    fn rules(more: &str) -> Vec<Rule> {
        let text = format!("name = \"r\"\nprobe = \"memory\"\nevent = \"oom_victim\"\n{more}");
        vec![toml_edit::de::from_str(&text).unwrap()]
    }

    fn event(guest: &str, boot: &str, at: i128) -> Event {
        Event {
            boot: Boot {
                guest: guest.into(),
                id: boot.into(),
            },
            probe: "memory".into(),
            name: "oom_victim".into(),
            time_ns: at,
            fields: Map::new(),
        }
    }

    fn acts(verdicts: &[Verdict]) -> usize {
        let act = |verdict: &&Verdict| matches!(verdict, Verdict::Act { .. });
        verdicts.iter().filter(act).count()
    }

    #[test]
    fn a_burst_is_one_action_and_its_first_event_counts() {
        let rules = rules("fail = true");
        let mut judge = Judge::new(LIMIT);
        let first = judge.judge(&rules, &event("a", "1", 0), None, 0);
        assert_eq!(acts(&first), 1);
        for n in 1..100_000 {
            let verdicts = judge.judge(&rules, &event("a", "1", n), None, n);
            assert!(verdicts.is_empty());
        }
        // After the hold, too: a guest is failed once a boot.
        let later = judge.judge(&rules, &event("a", "1", 0), None, 61 * SECOND);
        let why = Refrain::FailedBefore;
        assert_eq!(later, [Verdict::Refrain { rule: 0, why }]);
        // Another guest is none of its business.
        assert_eq!(acts(&judge.judge(&rules, &event("b", "1", 0), None, 0)), 1);
        // The next boot is new.
        let boot = event("a", "2", 0).boot;
        judge.booted(&boot);
        let now = 62 * SECOND;
        let verdicts = judge.judge(&rules, &event("a", "2", now), Some(&boot), now);
        assert_eq!(acts(&verdicts), 1);
        // And what comes late of the old one is not held against it.
        let old = judge.judge(&rules, &event("a", "1", now), Some(&boot), now);
        let why = Refrain::EarlierBoot;
        assert_eq!(old, [Verdict::Refrain { rule: 0, why }]);
    }

    #[test]
    fn counts_in_a_window() {
        let rules = rules("count = 3\nwithin = \"2s\"\nhold = \"10s\"");
        let mut judge = Judge::new(LIMIT);
        let mut at = |tenths: i128| {
            let time = tenths * SECOND / 10;
            judge.judge(&rules, &event("a", "1", time), None, time)
        };
        assert_eq!(acts(&at(0)) + acts(&at(15)), 0);
        // The first is too long ago.
        assert_eq!(acts(&at(25)), 0);
        assert_eq!(acts(&at(30)), 1);
        assert_eq!(acts(&at(31)) + acts(&at(32)) + acts(&at(33)), 0);
        assert_eq!(acts(&at(140)) + acts(&at(141)), 0);
        let held_back = 3;
        assert_eq!(at(142), [Verdict::Act { rule: 0, held_back }]);
    }

    #[test]
    fn limited() {
        let rules = rules("");
        let mut judge = Judge::new(LIMIT);
        let mut at = |guest: &str, second: i128| {
            let time = second * SECOND;
            judge.judge(&rules, &event(guest, "1", time), None, time)
        };
        for guest in ["a", "b", "c", "d", "e"] {
            assert_eq!(acts(&at(guest, 0)), 1);
        }
        let why = Refrain::Limit;
        assert_eq!(at("f", 1), [Verdict::Refrain { rule: 0, why }]);
        assert_eq!(at("f", 2), []);
        assert_eq!(acts(&at("f", 61)), 1);
    }

    #[test]
    fn a_restart_changes_nothing() {
        let rules = rules("fail = true");
        let mut judge = Judge::new(LIMIT);
        let boot = event("a", "1", 0).boot;
        judge.note_failed(boot.clone());
        judge.note_held(0, boot, SECOND);
        assert_eq!(judge.judge(&rules, &event("a", "1", 0), None, 0), []);
        let verdicts = judge.judge(&rules, &event("a", "1", 0), None, 2 * SECOND);
        assert_eq!(acts(&verdicts), 0);
    }
}
