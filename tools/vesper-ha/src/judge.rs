// SPDX-License-Identifier: GPL-2.0

//! What to do about an event: counts, waits between reports, one failure a boot.
//!
//! Nothing here looks at a clock or does anything: time and events go in, verdicts
//! come out.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use crate::action::Spared;
use crate::event::{Boot, Event};
use crate::refused::Refused;
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
        /// The guest's resource was failed in this boot, but its VMM lives: what is left to
        /// do is to kill it.
        failed: bool,
    },
    /// The same, but not before the limit allows it.
    PutOff {
        /// Number of the rule.
        rule: usize,
        /// So many events were held back since the rule last acted.
        held_back: u64,
        /// As above.
        failed: bool,
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
    /// The record says that it is of a boot that the host module has not named.
    UnknownBoot,
    /// The guest is shutting down.
    Ending,
    /// An operator has cleared the guest since.
    Cleared,
    /// It is long ago.
    TooOld,
}

impl Refrain {
    /// The end of a sentence.
    pub fn text(self) -> &'static str {
        match self {
            Self::FailedBefore => "the guest was failed in this boot already",
            Self::Limit => "the limit on actions is reached",
            Self::EarlierBoot => "the guest has booted since",
            Self::UnknownBoot => "the boot that the record names is not known to the host",
            Self::Ending => "the guest is shutting down or rebooting",
            Self::Cleared => "an operator has cleared the guest since",
            Self::TooOld => "it was too old when it was read",
        }
    }

    /// Whether what is found after that is held back, by the text that was written down.
    pub fn holds(text: &str) -> bool {
        [Self::Cleared, Self::TooOld]
            .iter()
            .all(|why| text != why.text())
    }
}

/// How many actions there may be in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// So many...
    pub actions: usize,
    /// ...of which so many may be about one guest...
    pub per_guest: usize,
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

impl Tally {
    /// One more event: if they are as many as the rule wants, how many were held back since it
    /// found that the last time.
    fn count(&mut self, rule: &Rule, event: &Event, now: i128) -> Option<u64> {
        if self.until.is_some_and(|until| now < until) {
            self.held_back += 1;
            return None;
        }
        let wanted = rule.count.max(1) as usize;
        self.times.push_back(event.time_ns);
        while self.times.len() > wanted {
            self.times.pop_front();
        }
        let (first, last) = (*self.times.front()?, *self.times.back()?);
        let window = rule.within.as_nanos() as i128;
        if self.times.len() < wanted || (last - first).abs() > window {
            return None;
        }
        self.times.clear();
        // What is held back is the same whether anything is done or not.
        self.until = Some(now + rule.hold.as_nanos() as i128);
        Some(std::mem::take(&mut self.held_back))
    }
}

/// All that is remembered.
#[derive(Debug)]
pub struct Judge {
    limit: Limit,
    tallies: HashMap<(usize, Boot), Tally>,
    /// The same of what was read too late, which counts for nothing else.
    stale: HashMap<(usize, Boot), Tally>,
    /// Boots in which the guest was failed; true if its VMM was to be killed, too.
    failed: HashMap<Boot, bool>,
    /// What was refused as the guest was failed in this boot: in case that the guest was left
    /// alone after all.
    pub refused: Refused,
    /// When and about whom something was done lately.
    acted: VecDeque<(i128, String)>,
    /// What waits for the limit.
    put_off: HashSet<(usize, Boot)>,
    /// Guests that shut down, and until when that is believed.
    ending: HashMap<Boot, i128>,
    /// What an earlier run has judged of guests whose state is still the same: by
    /// rule, event, and number of hangs.
    told: HashSet<(usize, Boot, String, u64)>,
}

impl Judge {
    /// One that has seen nothing.
    pub fn new(limit: Limit) -> Self {
        Self {
            limit,
            tallies: HashMap::new(),
            stale: HashMap::new(),
            failed: HashMap::new(),
            refused: Refused::default(),
            acted: VecDeque::new(),
            put_off: HashSet::new(),
            ending: HashMap::new(),
            told: HashSet::new(),
        }
    }

    /// Remembers from before a restart that a guest was failed, and whether its VMM was to
    /// be killed.
    pub fn note_failed(&mut self, boot: Boot, destroyed: bool) {
        *self.failed.entry(boot).or_default() |= destroyed;
    }

    /// Remembers from before a restart that a rule is held.
    pub fn note_held(&mut self, rule: usize, boot: Boot, until: i128) {
        self.tallies.entry((rule, boot)).or_default().until = Some(until);
    }

    /// Remembers from before a restart that a guest shuts down.
    pub fn note_ending(&mut self, boot: Boot, until: i128) {
        self.ending.insert(boot, until);
    }

    /// Remembers that an earlier run has judged a state of a guest, of which it is told anew.
    pub fn note_told(&mut self, rule: usize, boot: Boot, name: &str, hangs: u64) {
        self.told.insert((rule, boot, name.to_owned(), hangs));
    }

    /// Keeps of these what is still to be told anew.
    pub fn keep_told(&mut self, wanted: impl Fn(&Boot, &str, u64) -> bool) {
        self.told
            .retain(|(_, boot, name, hangs)| wanted(boot, name, *hangs));
    }

    fn is_told(&self, rule: usize, event: &Event) -> bool {
        let told = |hangs| (rule, event.boot.clone(), event.name.clone(), hangs);
        let hangs = event.hangs().filter(|_| !self.told.is_empty());
        hangs.is_some_and(|hangs| self.told.contains(&told(hangs)))
    }

    /// The guest runs this now: what was true of boots before is over.
    pub fn booted(&mut self, now: &Boot) {
        self.retain(|boot| boot.guest != now.guest || boot.id == now.id);
    }

    /// The guest has a VMM that is new: what was found of one whose driver never came was
    /// another one's.
    pub fn begun(&mut self, guest: &str) {
        self.retain(|boot| boot.guest != guest || !boot.id.is_empty());
    }

    /// An operator says that the guest is well: as if nothing had been found.
    pub fn forget(&mut self, guest: &str) {
        self.retain(|boot| boot.guest != guest);
    }

    fn retain(&mut self, wanted: impl Fn(&Boot) -> bool) {
        self.failed.retain(|boot, _| wanted(boot));
        self.refused.retain(&wanted);
        self.tallies.retain(|(_, boot), _| wanted(boot));
        self.stale.retain(|(_, boot), _| wanted(boot));
        self.put_off.retain(|(_, boot)| wanted(boot));
        self.ending.retain(|boot, _| wanted(boot));
    }

    /// The guest was left alone, as what the rule found was over by then, or as it was in an
    /// operator's hands; but failed, for something else, it may have been before.
    pub fn spared(&mut self, spared: &Spared) {
        let boot = &spared.boot;
        match (spared.failed, self.failed.get_mut(boot)) {
            (false, _) => drop(self.failed.remove(boot)),
            (true, Some(destroyed)) => *destroyed = false,
            // That one was spared, too.
            (true, None) => {}
        }
        if spared.hands_off {
            // More of the same would be left alone as well, and is no use of the limit.
            let mut acted = self.acted.iter();
            if let Some(last) = acted.rposition(|(_, guest)| *guest == boot.guest) {
                self.acted.remove(last);
            }
        } else {
            self.tallies.remove(&(spared.rule, boot.clone()));
        }
    }

    /// What the rule had set because of a guest is taken back: more of the same is news.
    pub fn release(&mut self, rule: usize, guest: &str) {
        for ((number, boot), tally) in &mut self.tallies {
            if *number == rule && boot.guest == guest {
                tally.until = None;
            }
        }
    }

    /// Whether the limit allows something to be done about a guest. It counts as done
    /// then.
    pub fn admit(&mut self, guest: &str, now: i128) -> bool {
        let admitted = self.admits_at(guest, now) <= now;
        if admitted {
            self.acted.push_back((now, guest.to_owned()));
        }
        admitted
    }

    /// When the limit will allow it, if nothing else is done until then.
    pub fn admits_at(&mut self, guest: &str, now: i128) -> i128 {
        let within = self.limit.within.as_nanos() as i128;
        while self
            .acted
            .front()
            .is_some_and(|(then, _)| then + within <= now)
        {
            self.acted.pop_front();
        }
        // The one that has to go first, so that there are fewer than may be.
        let due = |mut times: Vec<i128>, most: usize| {
            let over = (times.len() + 1).checked_sub(most.max(1))?;
            let over = over.checked_sub(1)?;
            times.sort_unstable();
            times.get(over).map(|then| then + within)
        };
        let all = self.acted.iter().map(|(then, _)| *then).collect();
        let own = self.acted.iter().filter(|(_, of)| of == guest);
        let own = own.map(|(then, _)| *then).collect();
        let waits = [due(all, self.limit.actions), due(own, self.limit.per_guest)];
        waits.into_iter().flatten().max().unwrap_or(now)
    }

    /// What was put off waits no longer.
    pub fn taken_up(&mut self, rule: usize, boot: &Boot) {
        self.put_off.remove(&(rule, boot.clone()));
    }

    /// Judges an event by all rules. `now` is the time by a clock that never jumps; `current` says which boot the guest is in,
    /// as far as that is known, and `ending` that the event's is ending in order.
    pub fn judge(
        &mut self,
        rules: &[Rule],
        event: &Event,
        current: Option<&Boot>,
        ending: bool,
        now: i128,
    ) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (number, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.ending) {
            if rule.matches(event) && !self.is_told(number, event) {
                let until = now + rule.hold.as_nanos() as i128;
                self.ending.insert(event.boot.clone(), until);
            }
        }
        let ending = ending || self.is_ending(&event.boot, now);
        for (number, rule) in rules.iter().enumerate() {
            if rule.matches(event) && !self.is_told(number, event) {
                verdicts.extend(self.one(number, rule, event, current, ending, now));
            }
        }
        verdicts
    }

    /// Says of an event that was read too late what rules find in it, and that nothing is done.
    pub fn judge_stale(
        &mut self,
        rules: &[Rule],
        event: &Event,
        why: Refrain,
        now: i128,
    ) -> Vec<Verdict> {
        let matching = rules.iter().enumerate();
        let matching = matching.filter(|(_, rule)| rule.matches(event));
        let found = matching.filter_map(|(number, rule)| {
            let key = (number, event.boot.clone());
            let tally = self.stale.entry(key).or_default();
            tally.count(rule, event, now)?;
            Some(Verdict::Refrain { rule: number, why })
        });
        found.collect()
    }

    fn one(
        &mut self,
        number: usize,
        rule: &Rule,
        event: &Event,
        current: Option<&Boot>,
        ending: bool,
        now: i128,
    ) -> Option<Verdict> {
        let key = (number, event.boot.clone());
        let tally = self.tallies.entry(key).or_default();
        let held_back = tally.count(rule, event, now)?;
        match self.refusal(rule, event, current, ending) {
            Some(why) => {
                if why == Refrain::FailedBefore {
                    self.refused.note(number, event);
                }
                Some(Verdict::Refrain { rule: number, why })
            }
            None => Some(self.act(number, rule, event, held_back, now)),
        }
    }

    /// Judges once more what was refused in a boot in which the guest was left alone after all.
    pub fn judge_again(
        &mut self,
        rules: &[Rule],
        boot: &Boot,
        current: Option<&Boot>,
        ending: bool,
        now: i128,
    ) -> Vec<(Event, Verdict)> {
        let ending = ending || self.is_ending(boot, now);
        let mut verdicts = Vec::new();
        for (number, event) in self.refused.take(boot) {
            let rule = &rules[number];
            let refusal = self.refusal(rule, &event, current, ending);
            if refusal == Some(Refrain::FailedBefore) {
                self.refused.note(number, &event);
                continue;
            }
            let tally = self.tallies.entry((number, boot.clone())).or_default();
            let held_back = std::mem::take(&mut tally.held_back);
            tally.until = Some(now + rule.hold.as_nanos() as i128);
            let verdict = match refusal {
                Some(why) => Verdict::Refrain { rule: number, why },
                None => self.act(number, rule, &event, held_back, now),
            };
            verdicts.push((event, verdict));
        }
        verdicts
    }

    fn is_ending(&self, boot: &Boot, now: i128) -> bool {
        self.ending.get(boot).is_some_and(|until| now < *until)
    }

    /// Why nothing is done about what a rule has found, if so.
    fn refusal(
        &self,
        rule: &Rule,
        event: &Event,
        current: Option<&Boot>,
        ending: bool,
    ) -> Option<Refrain> {
        if event.boot.is_unknown() {
            return Some(Refrain::UnknownBoot);
        }
        if current.is_some_and(|current| *current != event.boot) {
            return Some(Refrain::EarlierBoot);
        }
        if rule.unless_ending && ending {
            return Some(Refrain::Ending);
        }
        let before = self.failed.get(&event.boot);
        // A guest that was failed for an oops may panic only then, and would not stop.
        let is_done = before.is_some_and(|destroyed| *destroyed || !rule.destroy);
        (rule.is_deadly() && is_done).then_some(Refrain::FailedBefore)
    }

    /// Something is to be done, now or when the limit allows it.
    fn act(
        &mut self,
        number: usize,
        rule: &Rule,
        event: &Event,
        held_back: u64,
        now: i128,
    ) -> Verdict {
        let failed = rule.is_deadly() && self.failed.contains_key(&event.boot);
        if rule.is_deadly() {
            self.note_failed(event.boot.clone(), rule.destroy);
        }
        // Saying something is free, and so is setting something on the node: of a storage that
        // fails, all guests have something to say, and the node itself last.
        if rule.is_limited() && !self.admit(&event.boot.guest, now) {
            if !self.put_off.insert((number, event.boot.clone())) {
                let why = Refrain::Limit;
                return Verdict::Refrain { rule: number, why };
            }
            return Verdict::PutOff {
                rule: number,
                held_back,
                failed,
            };
        }
        Verdict::Act {
            rule: number,
            held_back,
            failed,
        }
    }
}

#[cfg(test)]
mod tests;
