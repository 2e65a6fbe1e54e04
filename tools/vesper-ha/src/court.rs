// SPDX-License-Identifier: GPL-2.0

//! Where events are judged, and what came of earlier ones is remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use vesper_abi::bindings::vesper_domain;
use vesper_cli::cat;

use crate::action::{log, Act, Actor, FAIL};
use crate::event::{Event, GUEST};
use crate::excerpt;
use crate::guests::{Guests, News};
use crate::journal::{boot_ns, host_boot, now_ns, Found, Line};
use crate::judge::{Judge, Refrain, Verdict};
use crate::latch::Latch;
use crate::losses::{Loss, Losses, Whose};
use crate::notes::Notes;
use crate::rule::Rule;
use crate::stale::{Now, Stale};
use crate::standing::{Holder, Standing};

/// So often a hang waits for more of what its guest has to say: one that wrote without end
/// would put it off for ever.
const ROUNDS: usize = 100;

/// States of a guest that it may be in more than once in a boot, with the same number of hangs.
const AGAIN: [&str; 3] = ["failed", "stuck", "broken"];

/// All that is known.
pub struct Court {
    judge: Judge,
    stale: Stale,
    guests: Guests,
    actor: Arc<Actor>,
    /// What is set on the node.
    standing: Standing,
    /// What waits for the limit on actions.
    put_off: Vec<Act>,
    /// Hangs that are judged when the guests' records have been, and how often they have
    /// waited for more of them.
    hangs: Vec<(Event, usize)>,
    notes: Notes,
    losses: Losses,
    /// Number of the next line in the journal.
    next: u64,
    /// Which boot of this host.
    host_boot: String,
    records: u64,
    lost: Loss,
}

impl Court {
    /// One that has yet to be told what was before.
    pub fn new(actor: Arc<Actor>, past: &[Line]) -> Self {
        Self {
            judge: Judge::new((&actor.config.limit).into()),
            stale: Stale::new(actor.config.limit.age),
            guests: Guests::default(),
            standing: Standing::default(),
            put_off: Vec::new(),
            hangs: Vec::new(),
            notes: Notes::default(),
            losses: Losses::default(),
            next: past.iter().filter_map(Line::id).max().unwrap_or(0) + 1,
            host_boot: host_boot(),
            records: 0,
            lost: Loss::default(),
            actor,
        }
    }

    /// Who does what is to be done.
    pub fn actor(&self) -> &Arc<Actor> {
        &self.actor
    }

    /// The rules.
    pub fn rules(&self) -> &[Rule] {
        &self.actor.config.rules
    }

    /// Takes note of what guests there are, whenever it has waited.
    pub fn look(&mut self, domains: &[vesper_domain]) -> News {
        self.stale.woken(boot_ns());
        self.guests.update(domains, i128::from(now_ns()))
    }

    /// Judges what became of guests, but for hangs.
    pub fn hear(&mut self, news: News) {
        for event in news.events {
            match event.is_hang() {
                true => self.hangs.push((event, 0)),
                false => drop(self.event(event)),
            }
        }
        for guest in news.begun {
            self.judge.begun(&guest);
        }
        for boot in news.booted {
            self.judge.booted(&boot);
            self.actor.booted(&boot);
            match self.actor.latches.booted(&boot) {
                Ok(true) => log(&format!("{} has booted: its mark is gone", boot.guest)),
                Ok(false) => {}
                Err(error) => log(&error.to_string()),
            }
        }
    }

    /// Judges those that hang, but for guests that are `behind`: some of their records are still
    /// to be read. By then it is known what they had to say: one that has gone on to a crash
    /// kernel may have left its last record in its buffer without a word. Of guests that are
    /// `unseen` there may be more in what nobody could open yet.
    pub fn hear_of_hangs(&mut self, behind: &BTreeSet<String>, unseen: &BTreeSet<String>) {
        for (event, rounds) in std::mem::take(&mut self.hangs) {
            if rounds < ROUNDS && behind.contains(&event.boot.guest) {
                self.hangs.push((event, rounds + 1));
            } else {
                self.event(event);
            }
        }
        self.stale.read(&(behind | unseen), boot_ns());
        // Those who are new were told of what earlier runs have said of them.
        let hangs = &self.hangs;
        self.judge.keep_told(|boot, name, count| {
            let is_it = |event: &Event| {
                event.boot == *boot && event.name == name && event.hangs() == Some(count)
            };
            hangs.iter().any(|(event, _)| is_it(event))
        });
    }

    /// Takes up where an earlier run ended: what it had begun is begun again, what
    /// it had done is not. Guests that operators cleared meanwhile are left alone. A dry run
    /// neither ends what others began nor is taken for something that was done.
    pub fn remember(&mut self, past: Vec<Line>) {
        let cleared = match self.actor.dry_run {
            true => Vec::new(),
            false => self.asked_for(),
        };
        let mut done: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
        let (mut over, mut spared) = (BTreeSet::new(), BTreeMap::new());
        for line in &past {
            match line {
                // What came before was another's, whose own line could not be written.
                Line::Found(Found { id, .. }) => {
                    done.remove(id);
                    over.remove(id);
                    spared.remove(id);
                }
                Line::Done { id } => drop(over.insert(*id)),
                Line::Spared { id, hands_off, .. } => drop(spared.insert(*id, *hands_off)),
                Line::Step { id, what, ok, .. } if *ok => {
                    done.entry(*id).or_default().insert(what.clone());
                }
                _ => {}
            }
        }
        let mut open: Vec<(usize, Found)> = Vec::new();
        for line in past {
            match line {
                Line::Found(found) if found.host_boot != self.host_boot => {}
                Line::Found(found) if found.dry_run && !self.actor.dry_run => {}
                Line::Found(found) => {
                    if done.get(&found.id).is_some_and(|done| done.contains(FAIL)) {
                        self.actor.note_failed(found.boot());
                    }
                    let number = self.recall(&found, spared.get(&found.id).copied());
                    let real = !found.dry_run && !self.actor.dry_run;
                    let begun = found.refrained.is_none() && !over.contains(&found.id);
                    let acts = |number: &usize| self.rules()[*number].acts();
                    let number = number.filter(acts).filter(|_| real && begun);
                    open.extend(number.map(|number| (number, found)));
                }
                Line::TakenBack {
                    rule,
                    guest,
                    name,
                    id,
                    ..
                } => {
                    if self.standing.let_go(&name, &rule, &guest, id) {
                        self.release(&rule, &guest);
                    }
                }
                Line::Cleared { guest, at_ns } => {
                    self.stale.cleared(&guest, at_ns, now());
                    self.judge.forget(&guest);
                    self.actor.clear(&guest, 0);
                    // Of what the cluster has confirmed, a line that follows says so.
                    self.standing.end(&guest, boot_ns());
                    open.retain(|(_, found)| found.guest != guest);
                }
                _ => {}
            }
        }
        for (guest, at_ns) in &cleared {
            open.retain(|(_, found)| found.guest != *guest);
            self.forget(guest, *at_ns);
        }
        for (number, found) in open {
            self.begin_again(number, found, &mut done);
        }
        // The daemon ended between that a guest was left alone and this.
        for boot in self.judge.refused.boots() {
            self.judge_again(&boot);
        }
        for (name, holder) in self.standing.ended(boot_ns()) {
            self.take_back(name, holder);
        }
        // It may have been lost with the cluster's own memory.
        for name in self.standing.names() {
            self.want(&name, Vec::new());
        }
    }

    /// Judges again as an earlier run did; gives the number of the rule if the guest is
    /// not known to run another boot. If the guest was spared, `spared` says whether that was
    /// for being in an operator's hands.
    fn recall(&mut self, found: &Found, spared: Option<bool>) -> Option<usize> {
        let mut all = self.rules().iter();
        let number = all.position(|rule| rule.name == found.rule);
        let now = boot_ns();
        if found.sets() && !found.dry_run && !self.actor.dry_run {
            let after = number.map(|number| self.rules()[number].clear_after);
            // Nobody knows how much more of the same there was. A rule that is not
            // there any more wants nothing.
            let end = after.map_or(Some(now), |after| after.map(|after| later(now, after)));
            for (name, value) in &found.settings {
                let holder = Holder {
                    rule: found.rule.clone(),
                    guest: found.guest.clone(),
                    value: value.clone(),
                    end,
                    id: found.id,
                };
                self.standing.hold(name, holder);
            }
        }
        let (number, boot) = (number?, found.boot());
        let current = self.guests.boot_of(&found.guest);
        if current.is_some_and(|current| current != boot) {
            return None;
        }
        let holds = found.refrained.as_deref().is_none_or(Refrain::holds);
        let is_over = spared == Some(false);
        let held = found.until_boot_ns > now && !is_over && holds;
        if held {
            let until = i128::from(found.until_boot_ns);
            self.judge.note_held(number, boot.clone(), until);
            if self.rules()[number].ending {
                self.judge.note_ending(boot.clone(), until);
            }
        }
        // Of a state that comes again without being counted nobody knows whether it is
        // the same.
        let same = held || spared == Some(true) || !AGAIN.contains(&found.event.as_str());
        let hangs = found.fields.get("hangs").and_then(Json::as_u64);
        if let Some(hangs) = hangs.filter(|_| found.probe == GUEST && same) {
            let boot = boot.clone();
            self.judge.note_told(number, boot, &found.event, hangs);
        }
        if self.rules()[number].is_deadly() {
            self.recall_deadly(number, found, spared.is_some());
        }
        Some(number)
    }

    fn begin_again(
        &mut self,
        number: usize,
        found: Found,
        done: &mut BTreeMap<u64, BTreeSet<String>>,
    ) {
        log(&format!(
            "{}: {}: begun before, done again",
            found.rule, found.guest
        ));
        let (id, vmm_pid, failed, put_off) = (found.id, found.vmm_pid, found.failed, found.put_off);
        let event = event_of(found);
        let rule = &self.rules()[number];
        if rule.is_deadly() {
            self.mark(&event, &rule.name);
        }
        let act = Act {
            id,
            rule: number,
            event,
            vmm_pid,
            failed,
            done: done.remove(&id).unwrap_or_default(),
        };
        match put_off {
            true => self.put_off.push(act),
            false => self.actor.start(act),
        }
    }

    /// Judges; gives the number of the last line in the journal about it.
    fn event(&mut self, mut event: Event) -> Option<u64> {
        self.hear_of_spared();
        let actor = Arc::clone(&self.actor);
        let rules = &actor.config.rules;
        let current = self.guests.boot_of(&event.boot.guest);
        let ending = self.guests.is_ending(&event.boot);
        let clocks = now();
        let now = clocks.boot_ns;
        let stale = self.stale.why(&event, clocks);
        // More of the same puts off the end of what was set for a time.
        for rule in rules.iter().filter(|rule| rule.clear_after.is_some()) {
            let more = stale.is_none() && rule.matches(&event);
            if let Some(after) = rule.clear_after.filter(|_| more) {
                let end = later(now, after);
                self.standing.extend(&rule.name, &event.boot.guest, end);
            }
        }
        let at = i128::from(now);
        let is_other = current.as_ref().is_some_and(|boot| *boot != event.boot);
        let verdicts = match stale.filter(|_| !is_other) {
            Some(why) => self.judge.judge_stale(rules, &event, why, at),
            None => self
                .judge
                .judge(rules, &event, current.as_ref(), ending, at),
        };
        if verdicts.is_empty() {
            return None;
        }
        // Rules have seen all of it.
        event.fields = excerpt::fields(&event.fields);
        let verdicts = verdicts.into_iter();
        verdicts.fold(None, |_, verdict| Some(self.pronounce(&event, verdict)))
    }

    /// Writes down what a rule has found, and begins what is to be done; gives the number of
    /// the line in the journal.
    fn pronounce(&mut self, event: &Event, verdict: Verdict) -> u64 {
        let (actor, now) = (Arc::clone(&self.actor), boot_ns());
        let vmm_pid = event
            .vmm_pid()
            .unwrap_or_else(|| self.guests.vmm_of(&event.boot));
        let put_off = matches!(verdict, Verdict::PutOff { .. });
        let (number, held_back, failed, refrained) = match verdict {
            Verdict::Act {
                rule,
                held_back,
                failed,
            }
            | Verdict::PutOff {
                rule,
                held_back,
                failed,
            } => (rule, held_back, failed, None),
            Verdict::Refrain { rule, why } => (rule, 0, false, Some(why.text().to_owned())),
        };
        let (rule, id) = (&actor.config.rules[number], self.next);
        self.next += 1;
        let acts = refrained.is_none() && rule.acts();
        let found = Found {
            id,
            rule: rule.name.clone(),
            guest: event.boot.guest.clone(),
            boot_id: event.boot.id.clone(),
            probe: event.probe.clone(),
            event: event.name.clone(),
            time_ns: i64::try_from(event.time_ns).unwrap_or(i64::MAX),
            at_ns: now_ns(),
            fields: event.fields.clone(),
            held_back,
            host_boot: self.host_boot.clone(),
            at_boot_ns: now,
            until_boot_ns: later(now, rule.hold),
            vmm_pid,
            failed,
            refrained,
            acts,
            put_off,
            dry_run: actor.dry_run,
            settings: rule.settings(&event.boot.guest),
        };
        let why = match (&found.refrained, put_off) {
            (Some(why), _) => format!("; nothing is done: {why}"),
            (None, true) => "; put off by the limit on actions".into(),
            (None, false) => String::new(),
        };
        log(&format!("{}: {event}{why}", rule.name));
        let sets = found.sets();
        actor.journal.write(&Line::Found(found));
        // At once, also where the rest is put off.
        if sets {
            self.set(rule, &event.boot.guest, id);
        }
        if !acts {
            return id;
        }
        if rule.is_deadly() && !actor.dry_run {
            self.mark(event, &rule.name);
        }
        let act = Act {
            id,
            rule: number,
            event: event.clone(),
            vmm_pid,
            failed,
            done: BTreeSet::new(),
        };
        match put_off {
            true => self.put_off.push(act),
            false => actor.start(act),
        }
        id
    }

    /// Sets on the node what a rule asks for, because of that line in the journal.
    fn set(&mut self, rule: &Rule, guest: &str, id: u64) {
        let end = rule.clear_after.map(|after| later(boot_ns(), after));
        for (setting, value) in rule.settings(guest) {
            let holder = Holder {
                rule: rule.name.clone(),
                guest: guest.to_owned(),
                value,
                end,
                id,
            };
            self.standing.hold(&setting, holder);
            self.want(&setting, Vec::new());
        }
    }

    /// Has an attribute set to what it is to be now.
    fn want(&self, name: &str, lines: Vec<Line>) {
        let value = self.standing.value(name);
        self.actor.attributes.want(name, value, lines);
    }

    /// For the cluster's own monitor.
    fn mark(&self, event: &Event, rule: &str) {
        let latch = Latch {
            boot_id: event.boot.id.clone(),
            rule: rule.to_owned(),
            cause: event.to_string(),
            time_ns: now_ns(),
        };
        if let Err(error) = self.actor.latches.set(&event.boot.guest, &latch) {
            log(&error.to_string());
        }
    }

    /// How long there is nothing to do but to wait for events.
    pub fn pause(&mut self) -> Option<Duration> {
        let now = boot_ns();
        let admitted = |act: &Act| {
            let at = self.judge.admits_at(&act.event.boot.guest, i128::from(now));
            i64::try_from(at).unwrap_or(i64::MAX)
        };
        let first = self.put_off.iter().map(admitted).min();
        let told = [self.notes.due(), self.losses.due()];
        let ends = [first, self.standing.first_end()].into_iter().chain(told);
        let next = ends.flatten().min()?;
        let wait = u64::try_from(next.saturating_sub(now)).unwrap_or(0);
        Some(Duration::from_nanos(wait))
    }

    /// Ends what was set for a time that is over, and begins what was put off, or was refused
    /// for the sake of what is over.
    pub fn see_to_what_is_due(&mut self) {
        self.hear_of_spared();
        let now = boot_ns();
        for (name, holder) in self.standing.ended(now) {
            self.release(&holder.rule, &holder.guest);
            self.take_back(name, holder);
        }
        for act in std::mem::take(&mut self.put_off) {
            let boot = &act.event.boot;
            let current = self.guests.boot_of(&boot.guest);
            if current.is_some_and(|current| current != *boot) {
                self.judge.taken_up(act.rule, boot);
                self.actor.journal.write(&Line::Step {
                    id: act.id,
                    what: "limit".into(),
                    ok: false,
                    text: "the guest has booted before its turn came".into(),
                    at_ns: now_ns(),
                });
                self.actor.journal.write(&Line::Done { id: act.id });
            } else if self.judge.admit(&boot.guest, i128::from(now)) {
                self.judge.taken_up(act.rule, boot);
                self.actor.start(act);
            } else {
                self.put_off.push(act);
            }
        }
        if let Some(text) = self.notes.summary(now) {
            self.note(text);
        }
        for (whose, loss) in self.losses.rest(now) {
            self.tell_loss(whose, loss);
        }
    }

    /// An operator has cleared guests.
    pub fn forget_those_asked_for(&mut self) {
        for (guest, at_ns) in self.asked_for() {
            self.forget(&guest, at_ns);
        }
    }

    /// Guests that operators have cleared, and when, each told once.
    fn asked_for(&self) -> Vec<(String, i64)> {
        let guests = self.actor.latches.asked_to_forget();
        for (guest, at_ns) in &guests {
            log(&format!("{guest}: cleared"));
            self.actor.journal.write(&Line::Cleared {
                guest: guest.clone(),
                at_ns: *at_ns,
            });
        }
        guests
    }

    fn forget(&mut self, guest: &str, at_ns: i64) {
        self.stale.cleared(guest, at_ns, now());
        self.actor.clear(guest, self.next);
        // It may have been set since the operator has looked.
        if let Err(error) = self.actor.latches.clear(guest) {
            log(&error.to_string());
        }
        self.judge.forget(guest);
        self.put_off.retain(|act| act.event.boot.guest != guest);
        for (name, holder) in self.standing.forget(guest) {
            self.take_back(name, holder);
        }
    }

    /// What a rule had set is taken back.
    fn release(&mut self, rule: &str, guest: &str) {
        let number = self.rules().iter().position(|other| other.name == rule);
        if let Some(number) = number {
            self.judge.release(number, guest);
        }
    }

    fn take_back(&self, name: String, holder: Holder) {
        let line = Line::TakenBack {
            rule: holder.rule,
            guest: holder.guest,
            name: name.clone(),
            id: holder.id,
            at_ns: now_ns(),
        };
        self.want(&name, vec![line]);
    }

    fn note(&self, text: String) {
        log(&text);
        let at_ns = now_ns();
        self.actor.journal.write(&Line::Note { at_ns, text });
    }

    fn tell_loss(&self, (boot, probe): Whose, loss: Loss) {
        log(&format!("{}/{probe}: {loss}", boot.guest));
        self.actor.journal.write(&Line::Lost {
            guest: boot.guest,
            boot_id: boot.id,
            probe,
            loss,
            at_ns: now_ns(),
        });
    }

    /// Tells what is yet to be told, and what it has seen.
    pub fn end(&mut self) {
        for (whose, loss) in self.losses.all() {
            self.tell_loss(whose, loss);
        }
        let Loss {
            records,
            before,
            packets,
        } = self.lost;
        let lost = records.saturating_add(before);
        let missing = match packets {
            0 => String::new(),
            _ => format!(", {packets} packets missing"),
        };
        log(&format!(
            "ends: {} records judged, {lost} lost{missing}",
            self.records
        ));
    }
}

impl cat::Judge for Court {
    fn item(&mut self, item: &Json) -> Option<u64> {
        if let Some(mut event) = Event::of_record(item) {
            self.records += 1;
            // The host module was asked after the file that the record is in was found.
            event.boot = self.guests.believed(event.boot);
            return self.event(event);
        }
        if let (Some(loss), Some((boot, probe))) = (Loss::of_item(item), Event::whose(item)) {
            self.lost += loss;
            let whose = (self.guests.believed(boot), probe);
            if let Some(loss) = self.losses.add(&whose, loss, boot_ns()) {
                self.tell_loss(whose, loss);
            }
            return None;
        }
        if self.notes.may(boot_ns()) {
            self.note(excerpt::text(&item.to_string()));
        }
        None
    }

    fn named(&mut self, id: u64, item: &Json) {
        let fields = item.get("fields").and_then(Json::as_object);
        if let Some(fields) = fields.map(excerpt::fields) {
            self.actor.journal.write(&Line::Named { id, fields });
        }
    }
}

/// What was found.
fn event_of(found: Found) -> Event {
    Event {
        boot: found.boot(),
        probe: found.probe,
        name: found.event,
        time_ns: i128::from(found.time_ns),
        // An earlier version has written all that there was.
        fields: excerpt::fields(&found.fields),
    }
}

fn now() -> Now {
    Now {
        boot_ns: boot_ns(),
        wall_ns: now_ns(),
    }
}

fn later(now: i64, by: Duration) -> i64 {
    now.saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX))
}

mod again;
#[cfg(test)]
mod tests;
