// SPDX-License-Identifier: GPL-2.0

//! Single verdicts: which rule finds what, and why nothing is done.

use super::*;
use serde_json::Map;

const SECOND: i128 = 1_000_000_000;
const LIMIT: Limit = Limit {
    actions: 5,
    per_guest: 3,
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
    let first = judge.judge(&rules, &event("a", "1", 0), None, false, 0);
    assert_eq!(acts(&first), 1);
    for n in 1..100_000 {
        let verdicts = judge.judge(&rules, &event("a", "1", n), None, false, n);
        assert!(verdicts.is_empty());
    }
    // After the hold, too: a guest is failed once a boot.
    let later = judge.judge(&rules, &event("a", "1", 0), None, false, 61 * SECOND);
    let why = Refrain::FailedBefore;
    assert_eq!(later, [Verdict::Refrain { rule: 0, why }]);
    // Another guest is none of its business.
    assert_eq!(
        acts(&judge.judge(&rules, &event("b", "1", 0), None, false, 0)),
        1
    );
    // The next boot is new.
    let boot = event("a", "2", 0).boot;
    judge.booted(&boot);
    let now = 62 * SECOND;
    let verdicts = judge.judge(&rules, &event("a", "2", now), Some(&boot), false, now);
    assert_eq!(acts(&verdicts), 1);
    // And what comes late of the old one is not held against it.
    let old = judge.judge(&rules, &event("a", "1", now), Some(&boot), false, now);
    let why = Refrain::EarlierBoot;
    assert_eq!(old, [Verdict::Refrain { rule: 0, why }]);
}

#[test]
fn one_that_was_failed_is_killed_once_if_it_panics() {
    let mut both = rules("fail = true");
    let mut panic = rules("destroy = true\nfail = true\nhold = \"0s\"").remove(0);
    panic.event = "panic".into();
    both.push(panic);
    let panicked = |at| {
        let mut event = event("a", "1", at);
        event.name = "panic".into();
        event
    };
    let mut judge = Judge::new(LIMIT);
    assert_eq!(
        acts(&judge.judge(&both, &event("a", "1", 0), None, false, 0)),
        1
    );
    let (rule, held_back, failed) = (1, 0, true);
    let act = [Verdict::Act {
        rule,
        held_back,
        failed,
    }];
    assert_eq!(judge.judge(&both, &panicked(1), None, false, 1), act);
    let why = Refrain::FailedBefore;
    let refrain = [Verdict::Refrain { rule, why }];
    assert_eq!(judge.judge(&both, &panicked(2), None, false, 2), refrain);
    // It was left alone after all, and panics again.
    judge.spared(&well(1, &event("a", "1", 0).boot, true));
    assert_eq!(judge.judge(&both, &panicked(2), None, false, 2), act);
    // The other way round, and after a restart.
    let mut judge = Judge::new(LIMIT);
    judge.note_failed(event("a", "1", 0).boot, true);
    judge.note_failed(event("a", "1", 0).boot, false);
    assert_eq!(judge.judge(&both, &panicked(3), None, false, 3), refrain);
}

#[test]
fn the_next_one_whose_driver_never_comes_is_another() {
    let rules = rules("fail = true\nhold = \"1h\"");
    let mut judge = Judge::new(LIMIT);
    let gone = event("a", "", 0);
    let again = |judge: &mut Judge| acts(&judge.judge(&rules, &gone, None, false, 0));
    assert_eq!(again(&mut judge), 1);
    assert_eq!(again(&mut judge), 0);
    judge.begun("b");
    assert_eq!(again(&mut judge), 0);
    judge.begun("a");
    assert_eq!(again(&mut judge), 1);
}

#[test]
fn counts_in_a_window() {
    let rules = rules("count = 3\nwithin = \"2s\"\nhold = \"10s\"");
    let mut judge = Judge::new(LIMIT);
    let mut at = |tenths: i128| {
        let time = tenths * SECOND / 10;
        judge.judge(&rules, &event("a", "1", time), None, false, time)
    };
    assert_eq!(acts(&at(0)) + acts(&at(15)), 0);
    // The first is too long ago.
    assert_eq!(acts(&at(25)), 0);
    assert_eq!(acts(&at(30)), 1);
    assert_eq!(acts(&at(31)) + acts(&at(32)) + acts(&at(33)), 0);
    assert_eq!(acts(&at(140)) + acts(&at(141)), 0);
    assert_eq!(
        at(142),
        [Verdict::Act {
            rule: 0,
            held_back: 3,
            failed: false,
        }]
    );
}

#[test]
fn limited() {
    let rules = rules("fail = true");
    let mut judge = Judge::new(LIMIT);
    let at = |judge: &mut Judge, guest: &str, second: i128| {
        let time = second * SECOND;
        judge.judge(&rules, &event(guest, "1", time), None, false, time)
    };
    for guest in ["a", "b", "c", "d", "e"] {
        assert_eq!(acts(&at(&mut judge, guest, 0)), 1);
    }
    // It is not lost, and the guest counts as failed.
    let put_off = [Verdict::PutOff {
        rule: 0,
        held_back: 0,
        failed: false,
    }];
    assert_eq!(at(&mut judge, "f", 1), put_off);
    assert_eq!(at(&mut judge, "f", 2), []);
    assert_eq!(judge.admits_at("f", 2 * SECOND), 60 * SECOND);
    assert!(!judge.admit("f", 59 * SECOND));
    assert!(judge.admit("f", 60 * SECOND));
    assert_eq!(acts(&at(&mut judge, "g", 60)), 1);
}

#[test]
fn one_guest_does_not_use_up_the_limit() {
    let rules = rules("hold = \"0s\"\ncommand = [\"x\"]");
    let mut judge = Judge::new(LIMIT);
    let mut at = |guest: &str| judge.judge(&rules, &event(guest, "1", 0), None, false, 0);
    assert_eq!(acts(&at("a")) + acts(&at("a")) + acts(&at("a")), 3);
    assert!(matches!(at("a")[..], [Verdict::PutOff { .. }]));
    let why = Refrain::Limit;
    assert_eq!(at("a"), [Verdict::Refrain { rule: 0, why }]);
    assert_eq!(acts(&at("b")), 1);
    assert_eq!(judge.admits_at("a", 0), 60 * SECOND);
    assert_eq!(judge.admits_at("b", 0), 0);
}

#[test]
fn what_is_only_said_is_free() {
    let said = rules("hold = \"0s\"");
    let mut judge = Judge::new(LIMIT);
    for n in 0..1000 {
        assert_eq!(
            acts(&judge.judge(&said, &event("a", "1", n), None, false, n)),
            1
        );
    }
    let done = rules("fail = true");
    assert_eq!(
        acts(&judge.judge(&done, &event("a", "1", 1000), None, false, 1000)),
        1
    );
}

#[test]
fn what_is_set_on_the_node_is_free() {
    let done = rules("fail = true");
    let set = rules("health = \"red\"\nguests = [\"host\"]");
    let mut judge = Judge::new(LIMIT);
    for guest in ["a", "b", "c", "d", "e", "f"] {
        judge.judge(&done, &event(guest, "1", 0), None, false, 0);
    }
    assert!(judge.admits_at("host", 0) > 0);
    let verdicts = judge.judge(&set, &event("host", "1", 0), None, false, 0);
    assert_eq!(acts(&verdicts), 1);
}

#[test]
fn the_hold_ends_when_what_was_set_is_taken_back() {
    let rules = rules("health = \"red\"\nhold = \"1m\"");
    let mut judge = Judge::new(LIMIT);
    let at = |judge: &mut Judge, guest: &str, second: i128| {
        let time = second * SECOND;
        judge.judge(&rules, &event(guest, "1", time), None, false, time)
    };
    let act = |held_back| Verdict::Act {
        rule: 0,
        held_back,
        failed: false,
    };
    assert_eq!(at(&mut judge, "a", 0), [act(0)]);
    assert_eq!(at(&mut judge, "b", 0), [act(0)]);
    assert_eq!(at(&mut judge, "a", 1), []);
    judge.release(0, "a");
    judge.release(1, "b");
    assert_eq!(at(&mut judge, "a", 35), [act(1)]);
    assert_eq!(at(&mut judge, "a", 36), []);
    assert_eq!(at(&mut judge, "b", 36), []);
}

#[test]
fn an_orderly_end_is_left_alone() {
    let mut both = rules("fail = true\nunless_ending = true\nhold = \"1s\"");
    let mut end = rules("ending = true\nhold = \"10s\"").remove(0);
    end.event = "exec".into();
    both.push(end);
    let mut judge = Judge::new(LIMIT);
    let killed = |at| event("a", "1", at);
    let mut shutdown = killed(0);
    shutdown.name = "exec".into();
    let why = Refrain::Ending;
    let refrain = [Verdict::Refrain { rule: 0, why }];
    // By what the host module says, or the guest.
    assert_eq!(judge.judge(&both, &killed(0), None, true, 0), refrain);
    assert_eq!(acts(&judge.judge(&both, &shutdown, None, false, 0)), 1);
    let now = 5 * SECOND;
    assert_eq!(judge.judge(&both, &killed(now), None, false, now), refrain);
    // It did not end.
    let now = 11 * SECOND;
    assert_eq!(acts(&judge.judge(&both, &killed(now), None, false, now)), 1);
}

/// What the rule found in it was over by then.
fn well(rule: usize, boot: &Boot, failed: bool) -> Spared {
    Spared {
        rule,
        boot: boot.clone(),
        failed,
        hands_off: false,
    }
}

#[test]
fn in_the_hands_of_an_operator_nothing_is_held_against_a_guest() {
    let rules = rules("fail = true\nhold = \"60s\"");
    let mut judge = Judge::new(Limit {
        per_guest: 1,
        ..LIMIT
    });
    let spared = Spared {
        hands_off: true,
        ..well(0, &event("a", "1", 0).boot, false)
    };
    let step = |judge: &mut Judge, seconds| {
        let now = seconds * SECOND;
        acts(&judge.judge(&rules, &event("a", "1", now), None, false, now))
    };
    // The rule is held as ever, but what comes then need not wait for the limit.
    assert_eq!(step(&mut judge, 0), 1);
    judge.spared(&spared);
    assert_eq!(step(&mut judge, 59), 0);
    assert!(judge.admit("a", 59 * SECOND));
    assert!(!judge.admit("a", 59 * SECOND));
}

#[test]
fn of_two_that_were_left_alone_either_may_be_heard_of_first() {
    let rules = rules("fail = true");
    let of = event("a", "1", 0);
    for failed in [[false, true], [true, false]] {
        let mut judge = Judge::new(LIMIT);
        judge.note_failed(of.boot.clone(), false);
        judge.note_failed(of.boot.clone(), true);
        for failed in failed {
            judge.spared(&well(1, &of.boot, failed));
        }
        assert_eq!(acts(&judge.judge(&rules, &of, None, false, 0)), 1);
    }
}

#[test]
fn spared_and_forgotten() {
    let rules = rules("fail = true\nhold = \"1h\"");
    let mut judge = Judge::new(LIMIT);
    let boot = event("a", "1", 0).boot;
    let again = |judge: &mut Judge| acts(&judge.judge(&rules, &event("a", "1", 0), None, false, 0));
    assert_eq!(again(&mut judge), 1);
    assert_eq!(again(&mut judge), 0);
    judge.spared(&well(0, &boot, false));
    assert_eq!(again(&mut judge), 1);
    assert_eq!(again(&mut judge), 0);
    judge.forget("b");
    assert_eq!(again(&mut judge), 0);
    judge.forget("a");
    assert_eq!(again(&mut judge), 1);
}

#[test]
fn what_was_refused_is_judged_once_more_if_the_guest_was_left_alone() {
    let text = |name: &str, more: &str| {
        let text =
            format!("name = \"r\"\nprobe = \"p\"\nevent = \"{name}\"\nhold = \"1h\"\n{more}");
        toml_edit::de::from_str(&text).unwrap()
    };
    let rules: Vec<Rule> = vec![
        text("hung", "destroy = true"),
        text("oops", "fail = true\ncount = 2"),
        text("panic", "destroy = true"),
        text("exit", "fail = true\nunless_ending = true"),
    ];
    let of = |name: &str, at| {
        let mut event = event("a", "1", at);
        (event.probe, event.name) = ("p".into(), name.into());
        event
    };
    let boot = of("", 0).boot;
    let mut judge = Judge::new(LIMIT);
    let step =
        |judge: &mut Judge, name: &str, at| judge.judge(&rules, &of(name, at), None, false, at);
    let refused = |rule| {
        let why = Refrain::FailedBefore;
        [Verdict::Refrain { rule, why }]
    };
    let again = |judge: &mut Judge| judge.judge_again(&rules, &boot, Some(&boot), false, 9);
    assert_eq!(acts(&step(&mut judge, "hung", 0)), 1);
    assert_eq!(step(&mut judge, "oops", 1), []);
    assert_eq!(step(&mut judge, "oops", 2), refused(1));
    assert_eq!(step(&mut judge, "oops", 3), []);
    assert_eq!(step(&mut judge, "panic", 4), refused(2));
    // The first of each rule is kept, as long as it takes.
    judge.refused.note(1, &of("oops", 5));
    assert_eq!(again(&mut judge), []);
    judge.spared(&well(0, &boot, false));
    let act = |rule, held_back, failed| Verdict::Act {
        rule,
        held_back,
        failed,
    };
    let both = [
        (of("oops", 2), act(1, 1, false)),
        (of("panic", 4), act(2, 0, true)),
    ];
    assert_eq!(again(&mut judge), both);
    // It counts from now on, and is over.
    assert_eq!(step(&mut judge, "oops", 10), []);
    assert_eq!(again(&mut judge), []);
    // It has begun to shut down meanwhile.
    assert_eq!(step(&mut judge, "exit", 10), refused(3));
    judge.spared(&well(2, &boot, false));
    judge.note_ending(boot.clone(), 10);
    let (rule, why) = (3, Refrain::Ending);
    let ending = [(of("exit", 10), Verdict::Refrain { rule, why })];
    assert_eq!(again(&mut judge), ending);
    // What is found then is refused again, and gone with the boot.
    judge.spared(&well(0, &boot, true));
    judge.note_failed(boot.clone(), true);
    assert_eq!(step(&mut judge, "hung", 11), refused(0));
    assert_eq!(judge.refused.boots(), [boot.clone()]);
    judge.booted(&event("a", "2", 0).boot);
    assert_eq!(judge.refused.boots(), []);
}

#[test]
fn what_was_read_too_late_counts_for_nothing_else() {
    let rules = rules("count = 2\nfail = true\nending = true\nhold = \"1h\"");
    let mut judge = Judge::new(LIMIT);
    let of = event("a", "1", 0);
    let why = Refrain::TooOld;
    assert_eq!(judge.judge_stale(&rules, &of, why, 0), []);
    assert_eq!(judge.judge(&rules, &of, None, false, 0), []);
    let refrain = [Verdict::Refrain { rule: 0, why }];
    assert_eq!(judge.judge_stale(&rules, &of, why, 0), refrain);
    // A burst of them is one line.
    for _ in 0..100 {
        assert_eq!(judge.judge_stale(&rules, &of, why, 0), []);
    }
    assert_eq!(acts(&judge.judge(&rules, &of, None, false, 0)), 1);
    judge.forget("a");
    assert!(judge.stale.is_empty());
    judge.judge_stale(&rules, &of, why, 0);
    assert!(judge.ending.is_empty());
}

#[test]
fn what_is_told_already_is_not_judged() {
    let text = "name = \"r\"\nprobe = \"guest\"\nevent = \"failed\"\nending = true\nfail = true";
    let rules: Vec<Rule> = vec![toml_edit::de::from_str(text).unwrap()];
    let mut judge = Judge::new(LIMIT);
    let mut failed = event("a", "1", 0);
    (failed.probe, failed.name) = ("guest".into(), "failed".into());
    failed.fields.insert("hangs".into(), 3.into());
    judge.note_told(0, failed.boot.clone(), "failed", 3);
    for _ in 0..100 {
        assert_eq!(judge.judge(&rules, &failed, None, false, 0), []);
    }
    // Nothing of it counts.
    assert!(judge.failed.is_empty() && judge.acted.is_empty() && judge.ending.is_empty());
    judge.keep_told(|_, _, hangs| hangs == 3);
    assert_eq!(judge.judge(&rules, &failed, None, false, 0), []);
    judge.keep_told(|_, _, hangs| hangs != 3);
    let again = judge.judge(&rules, &failed, None, false, 0);
    assert_eq!(acts(&again), 1);
}

#[test]
fn a_restart_changes_nothing() {
    let rules = rules("fail = true");
    let mut judge = Judge::new(LIMIT);
    let boot = event("a", "1", 0).boot;
    judge.note_failed(boot.clone(), false);
    judge.note_held(0, boot, SECOND);
    assert_eq!(judge.judge(&rules, &event("a", "1", 0), None, false, 0), []);
    let verdicts = judge.judge(&rules, &event("a", "1", 0), None, false, 2 * SECOND);
    assert_eq!(acts(&verdicts), 0);
}
