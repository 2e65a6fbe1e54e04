// SPDX-License-Identifier: GPL-2.0

use super::*;
use raw::{
    VESPER_BEAT_ALIVE as ALIVE, VESPER_BEAT_HUNG as HUNG, VESPER_BEAT_IDLE as IDLE,
    VESPER_BEAT_PAUSED as PAUSED, VESPER_BEAT_STARVED as STARVED, VESPER_BEAT_STUCK as STUCK,
    VESPER_BEAT_UNKNOWN as UNKNOWN,
};

const MS: u64 = 1_000_000;
const NOMINAL: u64 = 40 * MS;
const THRESHOLD: u64 = 1000 * MS;
/// So far behind the threshold a hang may be found.
const PROMISED: u64 = 100 * MS;
/// So late a look may be, and so old what is known of a thread (Debian's kernel).
const TICK: u64 = 4 * MS;

/// A guest of as many CPUs as it is told of at each look.
struct Scene {
    now: u64,
    guest: Guest,
    cpus: Vec<(Cpu, Sight)>,
    running: bool,
    nominal: u64,
    threshold: u64,
}

/// What a CPU does between two looks.
#[derive(Clone, Copy)]
enum Does {
    /// Beats, and executes all the time.
    Work,
    /// Sleeps, and says so.
    Idle,
    /// Executes all the time, without a beat.
    Spin,
    /// Waits for a processor.
    Wait,
    /// Sleeps without saying so.
    Halt,
    /// Its thread is stopped.
    Stop,
    /// Beats, and its thread is not known.
    Unseen,
    /// Silent, and its thread is not known.
    Lost,
    /// Is idle, and uses up its time.
    SpinIdle,
    /// Its clock jumps by a second, and it does not beat.
    Jump,
}

impl Scene {
    fn new(cpus: usize) -> Self {
        let sight = Sight {
            beats: 1,
            state: raw::VIRTIO_VESPER_CPU_RUNNING,
            period_ms: 100,
            thread: None,
        };
        Self {
            now: 1_000_000 * MS,
            guest: Guest::default(),
            cpus: vec![(Cpu::default(), sight); cpus],
            running: true,
            nominal: NOMINAL,
            threshold: THRESHOLD,
        }
    }

    fn look(&mut self, does: &[Does], elapsed: u64) -> Finding {
        for ((_, sight), does) in self.cpus.iter_mut().zip(does) {
            let mut executed = sight.thread.map_or(0, |t| t.executed);
            let mut doing = Doing::Runs;
            sight.state = raw::VIRTIO_VESPER_CPU_RUNNING;
            match does {
                Does::Work => {
                    sight.beats += 1;
                    executed += elapsed;
                }
                Does::Idle => {
                    sight.state = raw::VIRTIO_VESPER_CPU_IDLE;
                    doing = Doing::Sleeps;
                }
                Does::SpinIdle => {
                    sight.state = raw::VIRTIO_VESPER_CPU_IDLE;
                    executed += elapsed;
                }
                Does::Spin => executed += elapsed,
                Does::Jump => executed += 1000 * MS,
                Does::Wait => {}
                Does::Halt => doing = Doing::Sleeps,
                Does::Stop => doing = Doing::Stopped,
                Does::Unseen => sight.beats += 1,
                Does::Lost => {}
            }
            sight.thread = match does {
                Does::Unseen | Does::Lost => None,
                _ => Some(Thread { executed, doing }),
            };
        }
        self.see(elapsed)
    }

    /// Looks at the CPUs as they are.
    fn see(&mut self, elapsed: u64) -> Finding {
        self.now += elapsed;
        let look = Look {
            now: self.now,
            nominal: self.nominal,
            threshold: self.threshold,
            running: self.running,
        };
        let mut tally = Tally::default();
        for (cpu, sight) in &mut self.cpus {
            tally.add(cpu.look(look, *sight));
        }
        self.guest.judge(look, &tally)
    }

    /// Looks as often as `ms` milliseconds take; gives each state once, in order.
    fn run(&mut self, does: &[Does], ms: u64) -> Vec<u32> {
        let mut states = Vec::new();
        for _ in 0..ms * MS / self.nominal {
            let state = self.look(does, self.nominal).state;
            if states.last() != Some(&state) {
                states.push(state);
            }
        }
        states
    }
}

#[test]
fn busy_and_idle_guests_live() {
    let mut it = Scene::new(2);
    assert_eq!(it.run(&[Does::Work, Does::Work], 60_000), [ALIVE]);
    assert_eq!(it.run(&[Does::Work, Does::Idle], 60_000), [ALIVE]);
    assert_eq!(it.run(&[Does::Idle, Does::Idle], 60_000), [IDLE]);
    assert_eq!(it.run(&[Does::Unseen, Does::Unseen], 60_000), [ALIVE]);
}

#[test]
fn a_hang_is_found_within_two_looks_of_the_threshold() {
    let mut it = Scene::new(2);
    it.run(&[Does::Work, Does::Work], 400);
    let begin = it.now;
    while it.look(&[Does::Spin, Does::Spin], NOMINAL).state != HUNG {}
    assert!(it.now - begin <= 1000 * MS + 2 * NOMINAL);
    assert!(it.now - begin >= 1000 * MS);
    assert_eq!(it.run(&[Does::Spin, Does::Spin], 9000), [HUNG]);
    assert_eq!(it.run(&[Does::Work, Does::Work], 400), [ALIVE]);
}

#[test]
fn looks_keep_what_is_promised_of_every_threshold() {
    let least = raw::VESPER_BEAT_MIN_PERIOD_MS * raw::VESPER_BEAT_MIN_PERIODS;
    let most = raw::VESPER_BEAT_MAX_THRESHOLD_MS;
    for threshold_ms in [
        least, 21, 99, 100, 101, 109, 110, 200, 399, 400, 401, 500, 1000, 2000, 60_000, most,
    ] {
        let nominal = u64::from(look_ms(threshold_ms)) * MS;
        // Each look is as late as it may be, and the last beat is one that it sees late, too.
        let apart = nominal + TICK;
        for part in 0..=8 {
            let mut it = Scene::new(2);
            (it.nominal, it.threshold) = (nominal, u64::from(threshold_ms) * MS);
            for (_, sight) in &mut it.cpus {
                sight.period_ms = (threshold_ms / 2).min(100);
            }
            it.run(&[Does::Work, Does::Work], 400);
            it.look(&[Does::Work, Does::Work], apart);
            let mut executed = apart / 8 * part;
            loop {
                executed += apart;
                if it.look(&[Does::Spin, Does::Spin], apart).state == HUNG {
                    break;
                }
                assert!(
                    executed < 2 * it.threshold + PROMISED,
                    "{threshold_ms}: never"
                );
            }
            assert!(executed >= it.threshold, "{threshold_ms}: {executed}");
            assert!(
                executed + TICK <= it.threshold + PROMISED,
                "{threshold_ms}: {executed}"
            );
        }
    }
}

/// The selftest heartbeat_events goes by this where a machine is busy: see
/// selftests/tools/hang_bill.
#[test]
fn only_looks_that_are_late_put_off_a_hang() {
    let mut seed = 1_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    let mut nothing_granted = 0;
    for _ in 0..2000 {
        let mut it = Scene::new(2);
        it.run(&[Does::Work, Does::Work], 400);
        let often_late = random(4) == 0;
        // Both stand still from somewhere between two looks, and are given some of the time.
        let (mut apart, mut executed) = (Vec::new(), [0; 2]);
        loop {
            let most = match often_late && random(4) == 0 {
                true => 300,
                false => 5,
            };
            let late = random(most);
            let elapsed = NOMINAL + late * MS;
            let still = match apart.is_empty() {
                true => random(elapsed),
                false => elapsed,
            };
            for (n, (_, sight)) in it.cpus.iter_mut().enumerate() {
                let ran = still / 4 * random(5);
                executed[n] += ran;
                if let Some(thread) = &mut sight.thread {
                    thread.executed += ran + random(elapsed - still + 1);
                }
                // Its last beat may still have to be seen.
                sight.beats += u64::from(apart.is_empty()) * random(2);
            }
            apart.push(elapsed);
            if it.see(elapsed).state == HUNG {
                break;
            }
        }
        let [first, between @ .., last] = apart.as_slice() else {
            panic!("found at once");
        };
        let late: u64 = between
            .iter()
            .map(|of| of.saturating_sub(2 * NOMINAL))
            .sum();
        let most = executed[0].max(executed[1]);
        assert!(
            most <= THRESHOLD + first + last + late,
            "{apart:?} {executed:?}"
        );
        nothing_granted += u32::from(late == 0);
    }
    assert!(nothing_granted > 1000);
}

#[test]
fn a_cpu_that_is_idle_does_not_speak_for_the_others() {
    let mut it = Scene::new(2);
    it.run(&[Does::Work, Does::Idle], 400);
    assert_eq!(it.run(&[Does::Spin, Does::Idle], 9000), [ALIVE, HUNG]);
    // Nor does it if it works for a moment.
    it.look(&[Does::Spin, Does::Work], NOMINAL);
    assert_eq!(it.run(&[Does::Spin, Does::Idle], 400), [HUNG]);
}

#[test]
fn one_of_two_that_hangs_is_stuck() {
    let mut it = Scene::new(2);
    it.run(&[Does::Work, Does::Work], 2000);
    assert_eq!(it.run(&[Does::Spin, Does::Work], 9000), [ALIVE, STUCK]);
    assert_eq!(it.run(&[Does::Work, Does::Work], 400), [ALIVE]);
}

#[test]
fn who_has_no_time_is_starved() {
    let mut it = Scene::new(2);
    it.run(&[Does::Work, Does::Work], 400);
    assert_eq!(it.run(&[Does::Wait, Does::Wait], 600_000), [ALIVE, STARVED]);
    assert_eq!(it.run(&[Does::Wait, Does::Idle], 600_000), [STARVED]);
    // A hang that is given little time is found, if late.
    let mut states = Vec::new();
    for _ in 0..200 {
        it.look(&[Does::Wait, Does::Wait], NOMINAL);
        states.push(it.look(&[Does::Spin, Does::Spin], NOMINAL).state);
    }
    assert_eq!(states.last(), Some(&HUNG));
}

#[test]
fn who_is_stopped_is_paused() {
    let mut it = Scene::new(2);
    it.run(&[Does::Work, Does::Work], 400);
    let states = it.run(&[Does::Stop, Does::Stop], 600_000);
    assert_eq!(states.last(), Some(&PAUSED));
    assert!(!states.contains(&HUNG));
    assert_eq!(it.run(&[Does::Work, Does::Work], 400), [ALIVE]);
}

#[test]
fn halted_with_interrupts_off_takes_longer() {
    let mut it = Scene::new(1);
    it.run(&[Does::Work], 400);
    assert_eq!(it.run(&[Does::Halt], 9900), [ALIVE, STARVED]);
    assert_eq!(it.run(&[Does::Halt], 9900).last(), Some(&HUNG));
}

#[test]
fn spinning_is_not_idling() {
    let mut it = Scene::new(1);
    it.run(&[Does::Work], 400);
    assert_eq!(it.run(&[Does::SpinIdle], 9000).last(), Some(&HUNG));
}

#[test]
fn without_threads_nobody_is_accused() {
    let mut it = Scene::new(2);
    it.run(&[Does::Unseen, Does::Unseen], 400);
    assert_eq!(it.run(&[Does::Lost, Does::Lost], 600_000), [ALIVE, UNKNOWN]);
}

#[test]
fn clocks_that_jump_accuse_nobody() {
    let mut it = Scene::new(1);
    it.run(&[Does::Work], 400);
    for _ in 0..10 {
        let state = it.look(&[Does::Jump], 1000 * MS).state;
        assert!(state == ALIVE || state == STARVED, "{state}");
        assert_eq!(it.look(&[Does::Work], NOMINAL).state, ALIVE);
    }
}

#[test]
fn anything_may_stand_in_the_page() {
    let mut it = Scene::new(1);
    it.cpus[0].1.period_ms = u32::MAX;
    assert_eq!(it.run(&[Does::Spin], 60_000), [ALIVE]);
    assert_eq!(it.run(&[Does::Spin], 130_000), [ALIVE, HUNG]);
    let (mut cpu, sight) = it.cpus[0];
    let look = Look {
        now: it.now,
        nominal: NOMINAL,
        threshold: u64::MAX,
        running: true,
    };
    for state in [3, u32::MAX] {
        let sight = Sight { state, ..sight };
        assert_eq!(cpu.look(look, sight), Verdict::Offline);
    }
}

#[test]
fn a_pause_is_charged_to_nobody() {
    let mut it = Scene::new(1);
    it.run(&[Does::Work], 1000);
    it.running = false;
    it.run(&[Does::Halt], 60_000);
    it.running = true;
    let resumed = it.run(&[Does::Halt], 5_000);
    assert!(!resumed.contains(&HUNG), "{resumed:?}");
    // One that sleeps on is found out all the same.
    assert!(it.run(&[Does::Halt], 6_000).contains(&HUNG));
}
