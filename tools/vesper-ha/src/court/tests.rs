// SPDX-License-Identifier: GPL-2.0

//! The whole but for the host module: what is in the journal, and what a program of
//! the rules' was called for.

use super::*;
use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::{json, Map};
use tempfile::TempDir;
use vesper_abi::bindings;
use zerocopy::FromZeros;

use crate::attributes::Attributes;
use crate::config::Config;
use crate::event::Boot;
use crate::journal::Journal;
use crate::latch::Latches;
use crate::rule::HEALTH;

const RULES: &str = r#"
[cluster]
manager = "none"
[limit]
per_guest = 2
within = "1h"
[[rule]]
name = "hung"
probe = "guest"
event = "hung"
destroy = true
command = ["sh", "-c", "echo $VESPER_RULE >>DIR/done"]
[[rule]]
name = "killed"
probe = "process"
event = "exit"
destroy = true
hold = "0s"
command = ["sh", "-c", "echo $VESPER_RULE >>DIR/done"]
[[rule]]
name = "told"
probe = "process"
event = "exec"
hold = "0s"
"#;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn journal(&self) -> Vec<Line> {
        Journal::read(self.path()).unwrap()
    }

    fn latches(&self) -> Latches {
        Latches::new(&self.path().join("latches"))
    }

    /// A daemon that begins and sees this.
    fn begin(&self, dry_run: bool, domains: &[vesper_domain]) -> Court {
        self.begin_with(RULES, dry_run, domains)
    }

    fn begin_with(&self, rules: &str, dry_run: bool, domains: &[vesper_domain]) -> Court {
        let mut court = self.begin_behind(rules, dry_run, domains);
        court.hear_of_hangs(&BTreeSet::new(), &BTreeSet::new());
        court
    }

    /// One that has not read all records yet.
    fn begin_behind(&self, rules: &str, dry_run: bool, domains: &[vesper_domain]) -> Court {
        let rules = rules.replace("DIR", &self.path().display().to_string());
        let file = self.path().join("ha.toml");
        fs::write(&file, rules).unwrap();
        let past = self.journal();
        let mut actor = Actor::new(
            Config::read(&file).unwrap(),
            Journal::open(self.path()).unwrap(),
            &self.path().join("no device"),
            self.latches(),
            dry_run,
        );
        // A cluster that does at once what it is told.
        let writer = Arc::clone(&actor.journal);
        actor.attributes = Attributes::new(
            Box::new(|name, value| Ok(format!("{name}={}", value.unwrap_or("-")))),
            Box::new(|_| Ok(true)),
            Box::new(move |_, lines| lines.iter().for_each(|line| writer.write(line))),
        );
        let mut court = Court::new(Arc::new(actor), &past);
        let news = court.look(domains);
        court.remember(past);
        court.hear(news);
        court
    }

    fn done(&self) -> usize {
        let text = fs::read_to_string(self.path().join("done"));
        text.unwrap_or_default().lines().count()
    }

    /// Waits until all that was begun is over: so many findings.
    fn wait_for(&self, wanted: usize) {
        let limit = Instant::now() + Duration::from_secs(60);
        let is_over = |line: &Line| matches!(line, Line::Done { .. });
        while self.journal().iter().filter(|line| is_over(line)).count() < wanted {
            assert!(Instant::now() < limit, "{:?}", self.journal());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn found(&self) -> Vec<Found> {
        let lines = self.journal().into_iter();
        lines
            .filter_map(|line| match line {
                Line::Found(found) => Some(found),
                _ => None,
            })
            .collect()
    }
}

fn domain(state: u32, heartbeat: u32, hangs: u64) -> vesper_domain {
    let mut domain = vesper_domain::new_zeroed();
    domain.name = vesper_abi::name::label_field("web1").unwrap();
    (domain.state, domain.heartbeat, domain.hangs) = (state, heartbeat, hangs);
    domain.boot_id = [1; 16];
    domain
}

fn record(name: &str) -> Event {
    let ready = domain(bindings::VESPER_DOMAIN_READY, 0, 0);
    Event {
        boot: Boot::of(&ready),
        probe: "process".into(),
        name: name.into(),
        time_ns: now_ns().into(),
        fields: Map::new(),
    }
}

const READY: u32 = bindings::VESPER_DOMAIN_READY;
const HUNG: u32 = bindings::VESPER_BEAT_HUNG;
const ALIVE: u32 = bindings::VESPER_BEAT_ALIVE;

#[test]
fn a_restart_does_not_act_again() {
    let place = Place::new();
    let mut court = place.begin(false, &[domain(READY, ALIVE, 0)]);
    let news = court.look(&[domain(READY, HUNG, 1)]);
    court.hear(news);
    court.hear_of_hangs(&BTreeSet::new(), &BTreeSet::new());
    place.wait_for(1);
    assert_eq!(place.done(), 1);
    drop(court);
    // It still hangs, or is dead by now.
    for state in [READY, bindings::VESPER_DOMAIN_DEAD] {
        drop(place.begin(false, &[domain(state, HUNG, 1)]));
        assert_eq!(place.found().len(), 1);
    }
    // It has hung once more meanwhile: that is told, but done already.
    drop(place.begin(false, &[domain(READY, HUNG, 2)]));
    assert!(place
        .found()
        .iter()
        .skip(1)
        .all(|found| found.refrained.is_some()));
}

#[test]
fn what_was_begun_is_finished_although_the_guest_is_dead() {
    let place = Place::new();
    let mut court = place.begin(false, &[domain(READY, ALIVE, 0)]);
    court.event(record("exit"));
    place.wait_for(1);
    drop(court);
    // As if it had been killed between its steps: what it had done stays done.
    let path = place.path().join("journal.jsonl");
    let mut lines = place.journal();
    lines.retain(|line| !matches!(line, Line::Done { .. } | Line::Step { .. }));
    lines.push(Line::Step {
        id: 1,
        what: "destroy".into(),
        ok: true,
        text: String::new(),
        at_ns: 0,
    });
    let text: Vec<_> = lines
        .iter()
        .map(|line| json!(line).to_string() + "\n")
        .collect();
    fs::write(&path, text.concat()).unwrap();
    place.latches().clear("web1").unwrap();
    drop(place.begin(false, &[domain(bindings::VESPER_DOMAIN_DEAD, HUNG, 0)]));
    place.wait_for(1);
    assert_eq!(place.done(), 2);
    let steps = place.journal();
    let steps = steps
        .iter()
        .filter(|line| matches!(line, Line::Step { .. }));
    assert_eq!(steps.count(), 2);
    assert!(place.latches().get("web1").unwrap().is_some());
    // In another boot of the host all of it is history.
    let text = text.concat().replace(&host_boot(), "another");
    fs::write(&path, text).unwrap();
    drop(place.begin(false, &[]));
    let done = place.journal();
    assert!(!done.iter().any(|line| matches!(line, Line::Done { .. })));
}

#[test]
fn a_dry_run_leaves_nothing_behind() {
    let place = Place::new();
    let mut court = place.begin(true, &[domain(READY, ALIVE, 0)]);
    court.event(record("exit"));
    place.wait_for(1);
    assert_eq!(place.done(), 0);
    assert!(place.latches().get("web1").unwrap().is_none());
    drop(court);
    let mut court = place.begin(false, &[domain(READY, ALIVE, 0)]);
    court.event(record("exit"));
    place.wait_for(2);
    assert_eq!(place.done(), 1);
}

#[test]
fn what_the_limit_puts_off_is_marked_and_not_lost() {
    let place = Place::new();
    let mut court = place.begin(false, &[domain(READY, ALIVE, 0)]);
    for _ in 0..100 {
        court.event(record("exec"));
    }
    // Of the hundred nothing is left of the limit but what they were free of.
    assert!(court.judge.admit("web1", i128::from(boot_ns())));
    assert!(court.judge.admit("web1", i128::from(boot_ns())));
    court.event(record("exit"));
    court.see_to_what_is_due();
    let found = place.found();
    assert!(found[100].put_off && found[100].refrained.is_none());
    assert!(place.latches().get("web1").unwrap().is_some());
    assert_eq!(place.done(), 0);
    assert!(court
        .pause()
        .is_some_and(|pause| pause > Duration::from_secs(60)));
    drop(court);
    // A restart does not lose it either.
    let mut court = place.begin(false, &[domain(READY, ALIVE, 0)]);
    court.see_to_what_is_due();
    place.wait_for(1);
    assert_eq!(place.done(), 1);
}

/// As if the daemon had been killed before it had done anything.
fn undone(place: &Place) {
    let mut lines = place.journal();
    lines.retain(|line| matches!(line, Line::Found(_)));
    let text: Vec<_> = lines
        .iter()
        .map(|line| json!(line).to_string() + "\n")
        .collect();
    fs::write(place.path().join("journal.jsonl"), text.concat()).unwrap();
}

#[test]
fn what_was_begun_is_not_gone_on_with_when_the_guest_was_cleared() {
    let place = Place::new();
    let mut court = place.begin(false, &[domain(READY, ALIVE, 0)]);
    court.event(record("exit"));
    place.wait_for(1);
    drop(court);
    undone(&place);
    place.latches().clear("web1").unwrap();
    place.latches().ask_to_forget("web1").unwrap();
    let court = place.begin(false, &[domain(READY, ALIVE, 0)]);
    assert!(place.latches().get("web1").unwrap().is_none());
    // A thread that was at it when the word came does no more.
    let found = place.found().remove(0);
    court.actor().start(Act {
        id: found.id,
        rule: 1,
        event: record("exit"),
        vmm_pid: 0,
        failed: false,
        done: BTreeSet::new(),
    });
    place.wait_for(1);
    assert_eq!(place.done(), 1);
    let lines = place.journal();
    assert!(lines
        .iter()
        .all(|line| !matches!(line, Line::Step { ok: true, .. })));
    assert!(lines.iter().any(
        |line| matches!(line, Line::Step { text, .. } if text.contains("an operator has cleared"))
    ));
}

#[test]
fn a_restart_knows_who_shuts_down_and_for_how_long() {
    let rules = RULES.replace("hold = \"0s\"\ncommand", "unless_ending = true\ncommand")
        + "[[rule]]\nname = \"ends\"\nprobe = \"guest\"\nevent = \"powerdown\"\nending = true\nhold = \"HOLD\"\n";
    for (hold, refrains) in [("1h", true), ("1ns", false)] {
        let place = Place::new();
        let rules = rules.replace("HOLD", hold);
        let mut ready = domain(READY, ALIVE, 0);
        let mut court = place.begin_with(&rules, false, &[ready]);
        ready.powerdowns = 1;
        let news = court.look(&[ready]);
        court.hear(news);
        assert_eq!(place.found().len(), 1);
        drop(court);
        let mut court = place.begin_with(&rules, false, &[ready]);
        court.event(record("exit"));
        let found = place.found();
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].refrained.is_some(), refrains, "{hold}");
    }
}

#[test]
fn one_whose_driver_never_came_is_not_told_from_the_next() {
    let place = Place::new();
    let court = place.begin(false, &[]);
    let boot = |id: &str| Boot {
        guest: "web1".into(),
        id: id.into(),
    };
    for id in ["", "1"] {
        court.actor().note_failed(boot(id));
        assert_eq!(court.actor().was_failed(&boot(id)), !id.is_empty());
    }
    court.actor().booted(&boot("2"));
    assert!(!court.actor().was_failed(&boot("1")));
}

#[test]
fn one_that_was_failed_is_killed_when_it_panics() {
    // A cluster that never answers.
    let rules = RULES.replace("\"none\"", "\"pacemaker\"\npatience = \"0s\"")
        + "[[rule]]\nname = \"oops\"\nprobe = \"process\"\nevent = \"fork\"\nfail = true\n";
    let rules = rules.replace("destroy = true\nhold", "destroy = true\nfail = true\nhold");
    let place = Place::new();
    let begin = || place.begin_with(&rules, false, &[domain(READY, ALIVE, 0)]);
    let mut court = begin();
    court.event(record("fork"));
    place.wait_for(1);
    court.event(record("exit"));
    place.wait_for(2);
    let found = place.found();
    assert!(found.iter().all(|found| found.refrained.is_none()));
    let failed: Vec<_> = place
        .journal()
        .into_iter()
        .filter_map(|line| match line {
            Line::Step { id, what, ok, .. } if what == FAIL => Some((id, ok)),
            _ => None,
        })
        .collect();
    // The first attempt came to nothing, so there is another.
    assert_eq!(failed, [(1, false), (2, false)]);
    drop(court);
    // After a restart nothing is done again.
    let mut court = begin();
    court.event(record("exit"));
    assert!(place.found().last().unwrap().refrained.is_some());
}

#[test]
fn an_operator_clears_a_guest() {
    let place = Place::new();
    let mut court = place.begin(false, &[domain(READY, ALIVE, 0)]);
    court.event(record("exit"));
    court.event(record("exit"));
    place.wait_for(1);
    place.latches().clear("web1").unwrap();
    place.latches().ask_to_forget("web1").unwrap();
    court.forget_those_asked_for();
    court.event(record("exit"));
    place.wait_for(2);
    assert_eq!(place.done(), 2);
    place.latches().ask_to_forget("web1").unwrap();
    drop(court);
    // Also while none ran, and for the one after that.
    drop(place.begin(false, &[domain(READY, ALIVE, 0)]));
    let mut court = place.begin(false, &[domain(READY, ALIVE, 0)]);
    court.event(record("exit"));
    place.wait_for(3);
    assert_eq!(place.done(), 3);
}

/// A record of so many seconds ago.
fn old_record(name: &str, seconds: i64) -> Event {
    let mut event = record(name);
    event.time_ns -= i128::from(seconds) * 1_000_000_000;
    event
}

#[test]
fn what_is_long_ago_is_only_told() {
    let rules = RULES.to_owned()
        + "[[rule]]\nname = \"sick\"\nprobe = \"process\"\nevent = \"fork\"\nhealth = \"red\"\nhold = \"1h\"\nending = true\n";
    let rules = rules.replace("\"none\"", "\"pacemaker\"\npatience = \"0s\"");
    let place = Place::new();
    let guest = domain(READY, ALIVE, 0);
    // It is there when the daemon begins, and none of its records has been read.
    let begin = || place.begin_behind(&rules, false, &[guest]);
    let why = || {
        let found = place.found().into_iter();
        found
            .filter_map(|found| found.refrained)
            .collect::<Vec<_>>()
    };
    let mut court = begin();
    court.event(old_record("fork", 86_400));
    court.event(old_record("exit", 601));
    assert_eq!(why(), [Refrain::TooOld.text(); 2]);
    assert_eq!(court.standing.value(HEALTH), None);
    assert_eq!(place.latches().get("web1").unwrap(), None);
    drop(court);
    // Nothing is done by the next one either, and nothing new is held back.
    let mut court = begin();
    assert_eq!(court.standing.value(HEALTH), None);
    court.event(old_record("exit", 60));
    assert!(place.latches().get("web1").unwrap().is_some());
    court.event(record("fork"));
    assert_eq!(court.standing.value(HEALTH), Some("red"));
    assert_eq!(why().len(), 2);
}

#[test]
fn what_was_before_a_guest_was_cleared_is_only_told() {
    let place = Place::new();
    let guest = domain(READY, ALIVE, 0);
    let begin = || place.begin_behind(RULES, false, &[guest]);
    // The daemon does not run; what was left as a word then is found later.
    drop(begin());
    place.latches().ask_to_forget("web1").unwrap();
    let word = place.path().join("latches/web1.clear");
    let left = std::time::SystemTime::now() - Duration::from_secs(100);
    let word = fs::File::options().write(true).open(word).unwrap();
    word.set_modified(left).unwrap();
    let mut court = begin();
    court.event(old_record("exit", 110));
    assert_eq!(
        place.found()[0].refrained.as_deref(),
        Some(Refrain::Cleared.text())
    );
    assert_eq!(place.latches().get("web1").unwrap(), None);
    drop(court);
    // The one after that knows it, too.
    let mut court = begin();
    court.event(old_record("exit", 109));
    assert_eq!(
        place.found()[1].refrained.as_deref(),
        Some(Refrain::Cleared.text())
    );
    court.event(old_record("exit", 90));
    assert_eq!(place.found()[2].refrained, None);
    place.wait_for(1);
    assert_eq!(place.done(), 1);
}

#[test]
fn a_guest_whose_clock_is_behind_is_believed_when_all_before_was_read() {
    let place = Place::new();
    let mut court = place.begin_behind(RULES, false, &[domain(READY, ALIVE, 0)]);
    court.hear_of_hangs(&BTreeSet::from(["web1".to_owned()]), &BTreeSet::new());
    court.event(old_record("exit", 3600));
    assert!(place.found()[0].refrained.is_some());
    court.hear_of_hangs(&BTreeSet::new(), &BTreeSet::new());
    court.event(old_record("exit", 3600));
    assert!(place.found()[1].refrained.is_none());
    place.latches().ask_to_forget("web1").unwrap();
    court.forget_those_asked_for();
    court.hear_of_hangs(&BTreeSet::new(), &BTreeSet::new());
    court.event(old_record("exit", 3600));
    assert!(place.found()[2].refrained.is_none());
    place.wait_for(2);
}

#[test]
fn a_second_failure_of_the_same_boot_is_not_taken_for_the_first() {
    let rules = |hold: &str| {
        let rule = |event: &str| {
            format!("[[rule]]\nname = \"{event}\"\nprobe = \"guest\"\nevent = \"{event}\"\nhold = \"{hold}\"\n")
        };
        let deadly = "destroy = true\n";
        format!(
            "[cluster]\nmanager = \"none\"\n{}{deadly}{}",
            rule("failed"),
            rule("stuck")
        )
    };
    let mut failed = domain(READY, bindings::VESPER_BEAT_STUCK, 0);
    failed.run_state = bindings::VESPER_RUN_FAILED;
    let refrained = |place: &Place| {
        let found = place.found().into_iter();
        found
            .map(|found| (found.event, found.refrained.is_some()))
            .collect::<Vec<_>>()
    };
    let [first, second] = ["failed", "stuck"].map(|event| (event.to_owned(), false));
    let tries = [
        ("1h", None),
        ("1h", Some(false)),
        ("1h", Some(true)),
        ("0s", Some(true)),
        ("0s", None),
    ];
    for (hold, spared) in tries {
        let place = Place::new();
        drop(place.begin_with(&rules(hold), false, &[failed]));
        place.wait_for(1);
        assert_eq!(refrained(&place), [first.clone(), second.clone()]);
        let journal = Journal::open(place.path()).unwrap();
        if let Some(hands_off) = spared {
            let line = |id| Line::Spared {
                id,
                at_ns: 0,
                hands_off,
            };
            let lines = [1, 2].map(line);
            lines.iter().for_each(|line| journal.write(line));
        }
        // The guest went on, and is where it was, or still is: nobody knows.
        drop(place.begin_with(&rules(hold), false, &[failed]));
        let all = refrained(&place);
        let again = match (hold, spared) {
            // It was failed, or may be: that is not told once more.
            ("1h", None) | (_, Some(true)) => vec![],
            ("1h", Some(false)) => vec![first.clone(), second.clone()],
            // It was failed, and that counts.
            _ => vec![("failed".to_owned(), true), second.clone()],
        };
        assert_eq!(all[2..], again, "{hold} {spared:?}");
    }
}

#[test]
fn what_is_found_in_a_guest_that_is_spared_later_is_judged_again() {
    use nix::sys::eventfd::{EfdFlags, EventFd};
    for heard in [true, false] {
        let place = Place::new();
        let ready = domain(READY, ALIVE, 0);
        let mut court = place.begin(false, &[ready]);
        let actor = Arc::get_mut(&mut court.actor).unwrap();
        actor.woken = EventFd::from_flags(EfdFlags::EFD_NONBLOCK).ok();
        let news = court.look(&[domain(READY, HUNG, 1)]);
        court.hear(news);
        court.hear_of_hangs(&BTreeSet::new(), &BTreeSet::new());
        place.wait_for(1);
        for _ in 0..2 {
            court.event(record("exit"));
        }
        let refrained = || {
            let found = place.found().into_iter();
            found
                .map(|found| (found.rule, found.refrained.is_some()))
                .collect::<Vec<_>>()
        };
        let wanted = |rules: &[(&str, bool)]| {
            let rules = rules.iter();
            rules
                .map(|(rule, refrained)| ((*rule).to_owned(), *refrained))
                .collect::<Vec<_>>()
        };
        let before = [("hung", false), ("killed", true), ("killed", true)];
        assert_eq!(refrained(), wanted(&before));
        // As if it had found that the guest beats again.
        court.see_to_what_is_due();
        assert!(court.actor.woken.as_ref().unwrap().read().is_err());
        let found = place.found().remove(0);
        let act = Act {
            id: found.id,
            rule: 0,
            vmm_pid: found.vmm_pid,
            failed: found.failed,
            event: event_of(found),
            done: BTreeSet::new(),
        };
        court.actor.spare(&act, false);
        assert_eq!(place.latches().get("web1").unwrap(), None);
        // It is told, and no event is needed for it.
        assert!(court.actor.woken.as_ref().unwrap().read().is_ok());
        match heard {
            true => court.see_to_what_is_due(),
            false => {
                drop(court);
                court = place.begin(false, &[ready]);
            }
        }
        let after = [before[0], before[1], before[2], ("killed", false)];
        assert_eq!(refrained(), wanted(&after), "{heard}");
        assert_eq!(place.found()[3].time_ns, place.found()[1].time_ns);
        assert_eq!(place.latches().get("web1").unwrap().unwrap().rule, "killed");
        place.wait_for(2);
        assert_eq!(place.done(), 2);
        // Once.
        court.see_to_what_is_due();
        drop(court);
        let mut court = place.begin(false, &[ready]);
        court.see_to_what_is_due();
        assert_eq!(refrained(), wanted(&after), "{heard}");
    }
}

#[test]
fn a_mark_that_was_set_while_an_operator_cleared_goes_too() {
    let rules = format!(
        "{RULES}[[rule]]\nname = \"fork\"\nprobe = \"process\"\nevent = \"fork\"\ndestroy = true\n"
    );
    let place = Place::new();
    let begin = || place.begin_with(&rules, false, &[domain(READY, ALIVE, 0)]);
    let mark = || place.latches().get("web1").unwrap().map(|latch| latch.rule);
    // As `vesper-ha clear` does it, and an event in between.
    let mut court = begin();
    place.latches().clear("web1").unwrap();
    court.event(record("fork"));
    assert_eq!(mark(), Some("fork".into()));
    place.latches().ask_to_forget("web1").unwrap();
    court.forget_those_asked_for();
    assert_eq!(mark(), None);
    // What comes then counts.
    court.event(record("exit"));
    assert_eq!(mark(), Some("killed".into()));
    // The daemon ended before it had seen the word.
    place.latches().ask_to_forget("web1").unwrap();
    drop(court);
    drop(begin());
    assert_eq!(mark(), None);
}

/// Waits until what was set for a time is taken back, and the cluster has confirmed it.
fn wait_for_the_end(place: &Place, court: &mut Court, wanted: usize) {
    let limit = Instant::now() + Duration::from_secs(60);
    let is_it = |line: &Line| matches!(line, Line::TakenBack { .. });
    while place.journal().iter().filter(|line| is_it(line)).count() < wanted {
        assert!(Instant::now() < limit, "{:?}", place.journal());
        std::thread::sleep(Duration::from_millis(10));
        court.see_to_what_is_due();
    }
}

#[test]
fn trouble_that_comes_back_within_the_hold_is_found_again() {
    let rules = "[[rule]]\nname = \"disk\"\nprobe = \"process\"\nevent = \"exec\"\nhealth = \"red\"\nclear_after = \"1s\"\nhold = \"1h\"\n";
    let place = Place::new();
    let begin = || place.begin_with(rules, false, &[domain(READY, ALIVE, 0)]);
    let mut court = begin();
    for taken_back in 1..=2 {
        court.event(record("exec"));
        assert_eq!(court.standing.value(HEALTH), Some("red"));
        court.event(record("exec"));
        assert_eq!(place.found().len(), taken_back);
        wait_for_the_end(&place, &mut court, taken_back);
        assert_eq!(court.standing.value(HEALTH), None);
    }
    drop(court);
    // After a restart, too.
    let mut court = begin();
    assert_eq!(court.standing.value(HEALTH), None);
    court.event(record("exec"));
    assert_eq!(place.found().len(), 3);
    // The cluster confirms the end of what was before only now.
    court.actor().journal.write(&Line::TakenBack {
        rule: "disk".into(),
        guest: "web1".into(),
        name: HEALTH.into(),
        id: 2,
        at_ns: 0,
    });
    drop(court);
    let mut court = begin();
    assert_eq!(court.standing.value(HEALTH), Some("red"));
    court.event(record("exec"));
    assert_eq!(place.found().len(), 3);
}

#[test]
fn the_limit_does_not_keep_the_node_from_being_red() {
    let rules = r#"
[limit]
actions = 1
within = "1h"
[[rule]]
name = "killed"
probe = "process"
event = "exit"
command = ["sh", "-c", "echo $VESPER_RULE >>DIR/done"]
[[rule]]
name = "disk"
probe = "process"
event = "exec"
health = "red"
[[rule]]
name = "both"
probe = "process"
event = "fork"
attribute = { name = "trouble-%g" }
command = ["sh", "-c", "echo $VESPER_RULE >>DIR/done"]
"#;
    let place = Place::new();
    let begin = || place.begin_with(rules, false, &[domain(READY, ALIVE, 0)]);
    let mut court = begin();
    for name in ["exit", "exec", "fork"] {
        court.event(record(name));
    }
    assert_eq!(court.standing.value(HEALTH), Some("red"));
    assert_eq!(court.standing.value("trouble-web1"), Some("1"));
    let put_off: Vec<_> = place.found().iter().map(|found| found.put_off).collect();
    assert_eq!(put_off, [false, false, true]);
    place.wait_for(2);
    assert_eq!(place.done(), 1);
    drop(court);
    let court = begin();
    assert_eq!(court.standing.value(HEALTH), Some("red"));
    assert_eq!(court.standing.value("trouble-web1"), Some("1"));
}

#[test]
fn what_is_lost_is_told_and_explained() {
    use cat::Judge as _;
    let place = Place::new();
    let mut court = place.begin(false, &[domain(READY, ALIVE, 0)]);
    court.event(record("exec"));
    let boot_id = record("exec").boot.id;
    for _ in 0..100 {
        court
            .item(&json!({ "domain": "web1", "module": "process", "boot_id": boot_id, "lost": 7 }));
    }
    court.item(&json!({ "domain": "web2", "module": "process", "packets_missing": 2 }));
    court.end();
    let explained = |guest: &str| {
        let args = crate::cli::Explain {
            guest: Some(guest.into()),
            last: 100,
            json: vesper_cli::cli::Json { json: false },
        };
        let mut out = Vec::new();
        crate::explain::explain(&args, place.journal(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let told = explained("web1");
    assert!(
        told.contains("  700 records of process were lost in this boot\n"),
        "{told}"
    );
    assert_eq!(
        told.matches("web1/process: 7 records lost: no rule has seen")
            .count(),
        10
    );
    assert!(told.contains("web1/process: 630 records lost"), "{told}");
    let told = explained("web2");
    assert!(told.starts_with("nothing was found\n"), "{told}");
    assert!(
        told.ends_with("web2/process: 2 packets missing: no rule has seen them\n"),
        "{told}"
    );
}

#[test]
fn a_hang_waits_for_what_its_guest_has_to_say_but_not_for_ever() {
    let rules = "[[rule]]\nname = \"hung\"\nprobe = \"guest\"\nevent = \"hung\"\nhold = \"0s\"\n";
    let hung = |name: &str| {
        let mut domain = domain(READY, HUNG, 1);
        domain.name = vesper_abi::name::label_field(name).unwrap();
        domain
    };
    let hung = ["web1", "web2"].map(hung);
    let behind = BTreeSet::from(["web1".to_owned()]);
    for all_is_read in [true, false] {
        let place = Place::new();
        let guests = || {
            let found = place.found().into_iter();
            found.map(|found| found.guest).collect::<Vec<_>>()
        };
        let mut court = place.begin_behind(rules, false, &hung);
        for _ in 0..ROUNDS {
            court.hear_of_hangs(&behind, &BTreeSet::new());
            assert_eq!(guests(), ["web2"]);
        }
        match all_is_read {
            true => court.hear_of_hangs(&BTreeSet::new(), &BTreeSet::new()),
            false => court.hear_of_hangs(&behind, &BTreeSet::new()),
        }
        assert_eq!(guests(), ["web2", "web1"]);
        drop(court);
        // One that begins later has told of them, and remembers that for as long.
        let mut court = place.begin_behind(rules, false, &hung);
        court.hear_of_hangs(&behind, &BTreeSet::new());
        court.hear_of_hangs(&BTreeSet::new(), &BTreeSet::new());
        assert_eq!(guests(), ["web2", "web1"]);
    }
}

#[test]
fn a_long_record_pushes_nothing_out_and_reaches_programs() {
    use cat::Judge as _;
    let rules = r#"
[cluster]
manager = "none"
[[rule]]
name = "long"
probe = "process"
event = "exit"
where = { list = "7" }
destroy = true
command = ["sh", "-c", "echo $VESPER_RULE >>DIR/done; echo $VESPER_FIELDS"]
"#;
    let place = Place::new();
    let mut court = place.begin_with(rules, false, &[domain(READY, ALIVE, 0)]);
    let mut list = vec![json!({ "value": 0, "label": "x" }); 1 << 16];
    list.push(json!(7));
    let fields = json!({ "list": list, "text": "x".repeat(1 << 20) });
    let mut event = record("exit");
    event.fields = fields.as_object().unwrap().clone();
    let id = court.event(event).unwrap();
    court.named(id, &json!({ "fields": fields }));
    // What is no record in the form of one.
    court.item(&json!({ "domain": "web1", "fields": fields }));
    place.wait_for(1);
    assert_eq!(place.done(), 1);
    let text = fs::read_to_string(place.path().join("journal.jsonl")).unwrap();
    let longest = text.lines().map(str::len).max().unwrap();
    assert!((1 << 13..1 << 15).contains(&longest), "{longest}");
    assert_eq!(place.latches().get("web1").unwrap().unwrap().rule, "long");
    let mark = fs::metadata(place.path().join("latches/web1.latch")).unwrap();
    assert!(mark.len() < 1 << 15);
}

/// As if so much had been written that nothing of before is left in the journal's files.
fn fill(place: &Place) {
    let names = ["journal.jsonl.1", "journal.jsonl"];
    let [aside, path] = names.map(|name| place.path().join(name));
    for _ in 0..3 {
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(16 << 20).unwrap();
        let (at_ns, text) = (0, "x".into());
        let journal = Journal::open(place.path()).unwrap();
        journal.write(&Line::Note { at_ns, text });
    }
    for path in [aside, path] {
        let text = fs::read(path).unwrap();
        assert!(text.windows(4).all(|part| part != b"web1"));
    }
}

#[test]
fn what_is_open_or_set_is_not_pushed_out() {
    let rules = r#"
[cluster]
patience = "0s"
[[rule]]
name = "sick"
probe = "process"
event = "exec"
hold = "1s"
health = "red"
[[rule]]
name = "killed"
probe = "process"
event = "exit"
hold = "1h"
command = ["sh", "-c", "echo $VESPER_RULE >>DIR/done"]
"#;
    let place = Place::new();
    let begin = || place.begin_with(rules, false, &[domain(READY, ALIVE, 0)]);
    let mut court = begin();
    court.event(record("exit"));
    court.event(record("exec"));
    place.wait_for(2);
    drop(court);
    undone(&place);
    fill(&place);
    // Both are begun again.
    let mut court = begin();
    assert_eq!(court.standing.value(HEALTH), Some("red"));
    place.wait_for(2);
    assert_eq!(place.done(), 2);
    assert_eq!(court.event(record("exit")), None);
    drop(court);
    // Done they are not, and held back they still are.
    fill(&place);
    let mut court = begin();
    assert_eq!(court.standing.value(HEALTH), Some("red"));
    assert_eq!(court.event(record("exit")), None);
    drop(court);
    assert_eq!(place.found().len(), 2);
    assert_eq!(place.done(), 2);
    // What is cleared does not come back.
    place.latches().ask_to_forget("web1").unwrap();
    let limit = Instant::now() + Duration::from_secs(60);
    let court = begin();
    let taken_back = |line: &Line| matches!(line, Line::TakenBack { .. });
    while !place.journal().iter().any(taken_back) {
        assert!(Instant::now() < limit);
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(court);
    fill(&place);
    let court = begin();
    assert_eq!(court.standing.value(HEALTH), None);
    drop(court);
    assert_eq!(place.done(), 2);
}

#[test]
fn what_could_not_be_written_down_is_taken_for_nothing_else() {
    let place = Place::new();
    let mut court = place.begin(false, &[domain(READY, ALIVE, 0)]);
    court.event(record("exit"));
    place.wait_for(1);
    drop(court);
    // There was no room for what was found, and for what was done there was.
    let path = place.path().join("journal.jsonl");
    let lines = |lines: &[Line]| {
        let text = lines.iter().map(|line| json!(line).to_string() + "\n");
        text.collect::<String>()
    };
    let mut left = place.journal();
    left.retain(|line| !matches!(line, Line::Found(_)));
    fs::write(&path, lines(&left)).unwrap();
    let mut court = place.begin(false, &[domain(READY, ALIVE, 0)]);
    assert!(court.event(record("exec")).is_some_and(|id| id > 1));
    drop(court);
    // An earlier version gave the number to the next, and did not get to do anything.
    left.extend(place.found().pop().map(Line::Found));
    if let Some(Line::Found(found)) = left.last_mut() {
        (found.id, found.rule) = (1, "killed".into());
    }
    fs::write(&path, lines(&left)).unwrap();
    let before = place.done();
    drop(place.begin(false, &[domain(READY, ALIVE, 0)]));
    place.wait_for(2);
    assert_eq!(place.done(), before + 1);
}

/// A section of the documentation.
fn documented(section: &str) -> &'static str {
    let text = include_str!("../../../../Documentation/high-availability.md");
    let (_, text) = text.split_once(&format!("# {section}\n")).unwrap();
    text.split("\n#").next().unwrap()
}

#[test]
fn a_guest_that_writes_a_dump_is_not_killed_for_a_hang() {
    let section = documented("Guests with a crash kernel");
    let rules = section.lines().filter_map(|line| line.strip_prefix("    "));
    let rules: String = rules.flat_map(|line| [line, "\n"]).collect();
    let rules = format!("[cluster]\npatience = \"0s\"\n{rules}");
    let named = |name: &str| {
        let mut domain = domain(READY, ALIVE, 0);
        domain.name = vesper_abi::name::label_field(name).unwrap();
        domain
    };
    let hung = |mut domain: vesper_domain| {
        (domain.heartbeat, domain.hangs) = (HUNG, 1);
        domain
    };
    let guests = ["db1", "db2", "db3", "db4"].map(named);
    let [panics, oopses, hangs, dumps_on] = guests;
    let place = Place::new();
    let mut court = place.begin_with(&rules, false, &guests);
    // What is in their buffers is read when one of them hangs: nobody has told of it.
    let news = court.look(&[hung(panics), hung(oopses), hung(hangs), dumps_on]);
    court.hear(news);
    for (guest, name) in [(panics, "panic"), (oopses, "oops"), (dumps_on, "panic")] {
        court.event(Event {
            boot: Boot::of(&guest),
            probe: "panic".into(),
            name: name.into(),
            time_ns: now_ns().into(),
            fields: Map::new(),
        });
    }
    court.hear_of_hangs(&BTreeSet::new(), &BTreeSet::new());
    drop(court);
    // Nor by a daemon that begins meanwhile.
    drop(place.begin_with(&rules, false, &guests.map(hung)));
    let done = |guest: &str| {
        let all = place.found();
        let own = all.iter().filter(|found| found.guest == guest);
        let own = own.map(|found| format!("{} {}", found.event, found.refrained.is_none()));
        own.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(done("db1"), "panic true, hung false");
    assert_eq!(done("db2"), "oops true, hung false");
    assert_eq!(done("db3"), "hung true");
    assert_eq!(done("db4"), "panic true, hung false");
    // All that are shipped and would kill it are named there.
    let words = section.split_whitespace().collect::<Vec<_>>().join(" ");
    let shipped = Config::parse(include_str!("../../ha.toml")).unwrap();
    for rule in shipped.rules.iter().filter(|rule| rule.destroy) {
        assert!(words.contains(&format!("`{}`", rule.name)), "{}", rule.name);
    }
}

#[test]
fn a_guest_that_makes_up_boots_is_one_finding_and_is_not_failed_for_it() {
    use cat::Judge as _;
    let place = Place::new();
    let rules = r#"
        [cluster]
        manager = "none"
        [[rule]]
        name = "killed"
        probe = "process"
        event = "exit"
        destroy = true
        hold = "1h"
        command = ["sh", "-c", "echo $VESPER_RULE >>DIR/done"]
    "#;
    // As it boots: nobody knows which boot it is in.
    let booting = vesper_domain {
        boot_id: [0; 16],
        ..domain(bindings::VESPER_DOMAIN_ATTACHED, 0, 0)
    };
    let mut court = place.begin_with(rules, false, &[booting]);
    let exit = |boot_id: &str| {
        json!({
            "domain": "web1", "module": "process", "boot_id": boot_id,
            "timestamp_ns": 1, "event": "exit", "fields": {},
        })
    };
    for n in 0..1000 {
        court.item(&exit(&format!("made up {n}")));
        let boot_id = format!("another {n}");
        court
            .item(&json!({ "domain": "web1", "module": "process", "boot_id": boot_id, "lost": 1 }));
    }
    court.item(&exit(""));
    let found = place.found();
    let [only] = found.as_slice() else {
        panic!("{} findings", found.len());
    };
    assert!(only.boot().is_unknown());
    let why = crate::judge::Refrain::UnknownBoot.text();
    assert_eq!(only.refrained.as_deref(), Some(why));
    assert_eq!(court.losses.all().len(), 1);
    assert!(place.latches().get("web1").unwrap().is_none());
    // Its true one is acted on as ever, and once it is gone, too.
    for domains in [&[domain(READY, ALIVE, 0)][..], &[]] {
        let news = court.look(domains);
        court.hear(news);
    }
    court.item(&exit(&record("exit").boot.id));
    place.wait_for(1);
    assert_eq!(place.done(), 1);
}
