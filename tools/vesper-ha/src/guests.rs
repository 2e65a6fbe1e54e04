// SPDX-License-Identifier: GPL-2.0

//! The guests of this host: what they run, and that they come and go.

use std::collections::{BTreeMap, VecDeque};

use serde_json::json;
use vesper_abi::bindings::{self, vesper_domain};

use crate::event::{base, Boot, Event};

/// What the host module last said.
#[derive(Default)]
pub struct Guests {
    seen: BTreeMap<String, Seen>,
    /// Boots of the dead that made room for new ones and that the host module still lists, and
    /// their VMMs: what they had to say may not have been read yet.
    former: BTreeMap<Boot, i32>,
    /// The last boots of guests that are not listed any more, each guest once.
    gone: VecDeque<(Boot, i32)>,
}

/// So many guests that are gone are known: what they said last may still be on its way.
const GONE: usize = 256;

/// One guest.
struct Seen {
    domain: vesper_domain,
    /// What this VMM's guest ran last, as far as its driver ever said.
    boot: Boot,
    /// The driver took its leave since, as it does before a reboot.
    left: bool,
    /// What the guest of this name ran before, and in which VMM: records of it may come late.
    last: Option<(Boot, i32)>,
}

/// What is new.
#[derive(Default)]
pub struct News {
    /// Guests whose VMM is new.
    pub begun: Vec<String>,
    /// Guests whose driver is there, in a boot that is new.
    pub booted: Vec<Boot>,
    /// What rules may care for.
    pub events: Vec<Event>,
}

impl Guests {
    /// Compares with what the host module says now.
    pub fn update(&mut self, domains: &[vesper_domain], now_ns: i128) -> News {
        let mut news = News::default();
        let mut found = BTreeMap::new();
        let mut former = BTreeMap::new();
        for domain in domains {
            let mut boot = Boot::of(domain);
            let Some(name) = own_name(&boot) else {
                boot.guest = base(&boot.guest);
                former.insert(boot, domain.vmm_pid);
                continue;
            };
            let before = self.seen.get(&name);
            let same = before.filter(|before| before.domain.vmm_pid == domain.vmm_pid);
            let was = before.map_or(0, |before| before.domain.state);
            let fresh = before.is_none_or(|before| before.domain.boot_id != domain.boot_id);
            let mut now = Seen::next(same, domain);
            now.last = before.and_then(|before| match before.boot == now.boot {
                true => before.last.clone(),
                false => Some((before.boot.clone(), before.domain.vmm_pid)),
            });
            if same.is_none() && domain.state != bindings::VESPER_DOMAIN_DEAD {
                news.begun.push(name.clone());
            }
            if now.is_there() && (fresh || was != bindings::VESPER_DOMAIN_READY) {
                news.booted.push(now.boot.clone());
            }
            let event = match domain.state {
                state if state == was => None,
                bindings::VESPER_DOMAIN_DEAD => Some("gone"),
                bindings::VESPER_DOMAIN_BROKEN => Some("broken"),
                bindings::VESPER_DOMAIN_ATTACHED if now.left => Some("left"),
                _ => None,
            };
            let failed = |domain: &vesper_domain| {
                domain.run_state == bindings::VESPER_RUN_FAILED
                    && domain.state != bindings::VESPER_DOMAIN_DEAD
            };
            if failed(domain) && !same.is_some_and(|before| failed(&before.domain)) {
                news.events.push(now.event("failed", domain, now_ns));
            }
            if let Some(event) = event {
                // What it did last, it did while it was there.
                let shown = same.map_or(domain, |before| &before.domain);
                news.events.push(now.event(event, shown, now_ns));
            } else if let Some(event) = beat(before.map(|before| &before.domain), domain) {
                news.events.push(now.event(event, domain, now_ns));
            }
            // In addition to what else there is: nothing of that is on its account. When the
            // first look at a guest finds one, nobody knows how long ago that was.
            let asked = before.map_or(u32::MAX, |_| {
                let same = same.filter(|before| before.domain.boot_id == domain.boot_id);
                same.map_or(0, |before| before.domain.powerdowns)
            });
            if domain.powerdowns > asked {
                let event = now.event("powerdown", domain, now_ns);
                news.events.push(event);
            }
            found.insert(name, now);
        }
        for (name, before) in &self.seen {
            let dead = before.domain.state == bindings::VESPER_DOMAIN_DEAD;
            let same = |now: &&Seen| now.domain.vmm_pid == before.domain.vmm_pid;
            if !dead && found.get(name).filter(same).is_none() {
                news.events
                    .push(before.event("gone", &before.domain, now_ns));
            }
        }
        for (name, seen) in std::mem::replace(&mut self.seen, found) {
            if !self.seen.contains_key(&name) {
                self.gone.retain(|(boot, _)| boot.guest != name);
                self.gone.push_back((seen.boot, seen.domain.vmm_pid));
            }
        }
        let over = self.gone.len().saturating_sub(GONE);
        self.gone.drain(..over);
        self.former = former;
        news
    }

    /// The process that runs this boot of a guest, or ran it last; 0 if that is not known.
    pub fn vmm_of(&self, boot: &Boot) -> i32 {
        self.named(boot).unwrap_or(0)
    }

    /// The boot that a record says it is of, if the host module has named it for that guest.
    pub fn believed(&self, boot: Boot) -> Boot {
        match !boot.id.is_empty() && self.named(&boot).is_some() {
            true => boot,
            false => Boot::unknown(&boot.guest),
        }
    }

    /// The VMM of a boot, if the host module has named it.
    fn named(&self, boot: &Boot) -> Option<i32> {
        let seen = self.seen.get(&boot.guest);
        let last = seen.and_then(|seen| match &seen.last {
            _ if seen.boot == *boot => Some(seen.domain.vmm_pid),
            Some((last, vmm_pid)) if last == boot => Some(*vmm_pid),
            _ => None,
        });
        // Of one whose driver never came nobody can say which it was.
        let former = || {
            let gone = || self.gone.iter().find(|(gone, _)| gone == boot);
            let listed = self.former.get(boot);
            listed.or_else(|| gone().map(|(_, vmm_pid)| vmm_pid))
        };
        last.or_else(|| former().filter(|_| !boot.id.is_empty()).copied())
    }

    /// What a guest runs, if its driver is there.
    pub fn boot_of(&self, guest: &str) -> Option<Boot> {
        let seen = self.seen.get(guest)?;
        seen.is_there().then(|| seen.boot.clone())
    }

    /// Whether that boot is over, or all but over, and not by accident.
    pub fn is_ending(&self, boot: &Boot) -> bool {
        let seen = self.seen.get(&boot.guest).filter(|seen| seen.boot == *boot);
        seen.is_some_and(Seen::is_orderly)
    }
}

impl Seen {
    /// What is known now; `before` is about the same VMM.
    fn next(before: Option<&Self>, domain: &vesper_domain) -> Self {
        let boot = Boot::of(domain);
        let known = before.filter(|_| boot.id.is_empty());
        let was_there = known.is_some_and(|before| before.left || before.is_there());
        Self {
            domain: *domain,
            // The host module forgets it when the driver leaves.
            left: was_there && known.is_some_and(|before| !before.boot.id.is_empty()),
            boot: known.map_or(boot, |before| before.boot.clone()),
            last: None,
        }
    }

    fn is_there(&self) -> bool {
        self.domain.state == bindings::VESPER_DOMAIN_READY
    }

    /// Whether the driver has left, or the VMM has stopped the guest for good.
    fn is_orderly(&self) -> bool {
        self.left || self.domain.run_state == bindings::VESPER_RUN_STOPPED
    }

    fn event(&self, name: &str, shown: &vesper_domain, now_ns: i128) -> Event {
        let mut event = Event::of_guest(name, shown, now_ns);
        event.boot = self.boot.clone();
        let stopped = shown.run_state == bindings::VESPER_RUN_STOPPED;
        let orderly = stopped || self.is_orderly();
        let text = if orderly { "yes" } else { "no" };
        let field = json!({ "value": u8::from(orderly), "label": text });
        event.fields.insert("orderly".into(), field);
        event
    }
}

/// What the heartbeat says now that it did not say before.
fn beat(before: Option<&vesper_domain>, domain: &vesper_domain) -> Option<&'static str> {
    // Of those that nobody looked at, only one that lasts is news.
    let hangs = before.map_or(domain.hangs, |before| before.hangs);
    let same = before.filter(|before| before.boot_id == domain.boot_id);
    let was = same.map_or(bindings::VESPER_BEAT_UNKNOWN, |before| before.heartbeat);
    match domain.heartbeat {
        bindings::VESPER_BEAT_PANICKED if was != bindings::VESPER_BEAT_PANICKED => Some("panicked"),
        // One that was over before anybody looked is one, too.
        _ if domain.hangs > hangs => Some("hung"),
        state if state == was => None,
        bindings::VESPER_BEAT_HUNG => Some("hung"),
        bindings::VESPER_BEAT_STUCK => Some("stuck"),
        _ if matches!(
            was,
            bindings::VESPER_BEAT_HUNG | bindings::VESPER_BEAT_STUCK
        ) =>
        {
            Some("recovered")
        }
        _ => None,
    }
}

/// A dead guest that made room for a new one has another name.
fn own_name(boot: &Boot) -> Option<String> {
    (!boot.guest.contains('@')).then(|| boot.guest.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn domain(state: u32, pid: i32, boot: u8) -> vesper_domain {
        let mut domain = vesper_domain::new_zeroed();
        domain.name = vesper_abi::name::label_field("web1").unwrap();
        domain.state = state;
        domain.run_state = bindings::VESPER_RUN_RUNNING;
        domain.vmm_pid = pid;
        domain.boot_id = [boot; 16];
        domain
    }

    fn look(guests: &mut Guests, heartbeat: u32, hangs: u64, boot: u8) -> String {
        let mut domain = domain(bindings::VESPER_DOMAIN_READY, 1, boot);
        (domain.heartbeat, domain.hangs) = (heartbeat, hangs);
        let news = guests.update(&[domain], 0);
        let names: Vec<_> = news.events.into_iter().map(|event| event.name).collect();
        names.join(" ")
    }

    #[test]
    fn heartbeats() {
        use bindings::*;
        let mut guests = Guests::default();
        let mut step = |heartbeat, hangs, boot| look(&mut guests, heartbeat, hangs, boot);
        assert_eq!(step(VESPER_BEAT_ALIVE, 0, 1), "");
        assert_eq!(step(VESPER_BEAT_STUCK, 0, 1), "stuck");
        assert_eq!(step(VESPER_BEAT_HUNG, 1, 1), "hung");
        assert_eq!(step(VESPER_BEAT_HUNG, 1, 1), "");
        assert_eq!(step(VESPER_BEAT_ALIVE, 1, 1), "recovered");
        assert_eq!(step(VESPER_BEAT_PAUSED, 1, 1), "");
        assert_eq!(step(VESPER_BEAT_IDLE, 2, 1), "hung");
        assert_eq!(step(VESPER_BEAT_PANICKED, 2, 1), "panicked");
        assert_eq!(step(VESPER_BEAT_PANICKED, 2, 1), "");
        assert_eq!(step(VESPER_BEAT_HUNG, 2, 2), "hung");
        // A daemon that has just begun.
        guests = Guests::default();
        assert_eq!(look(&mut guests, VESPER_BEAT_ALIVE, 3, 2), "");
        guests = Guests::default();
        assert_eq!(look(&mut guests, VESPER_BEAT_HUNG, 3, 2), "hung");
    }

    #[test]
    fn comings_and_goings() {
        const READY: u32 = bindings::VESPER_DOMAIN_READY;
        let mut guests = Guests::default();
        let mut step = |domains: &[vesper_domain]| {
            let news = guests.update(domains, 0);
            let names: Vec<_> = news.events.into_iter().map(|event| event.name).collect();
            (news.booted.len(), names.join(" "))
        };
        let nothing = String::new;
        let attached = domain(bindings::VESPER_DOMAIN_ATTACHED, 1, 0);
        assert_eq!(step(&[attached]), (0, nothing()));
        assert_eq!(step(&[domain(READY, 1, 1)]), (1, nothing()));
        assert_eq!(step(&[domain(READY, 1, 1)]), (0, nothing()));
        assert_eq!(step(&[domain(READY, 1, 2)]), (1, nothing()));
        let dead = domain(bindings::VESPER_DOMAIN_DEAD, 1, 2);
        assert_eq!(step(&[dead]), (0, "gone".into()));
        assert_eq!(step(&[dead]), (0, nothing()));
        let vmm_of = |guests: &Guests, boot| guests.vmm_of(&Boot::of(&domain(READY, 0, boot)));
        assert_eq!(vmm_of(&guests, 2), 1);
        let mut step = |domains: &[vesper_domain]| {
            let news = guests.update(domains, 0);
            let names: Vec<_> = news.events.into_iter().map(|event| event.name).collect();
            (news.booted.len(), names.join(" "))
        };
        // Another takes the name, and is gone without leaving anything.
        assert_eq!(step(&[domain(READY, 2, 3)]), (1, nothing()));
        assert_eq!(step(&[]), (0, "gone".into()));
        // Gone and replaced between two looks.
        assert_eq!(step(&[domain(READY, 3, 4)]), (1, nothing()));
        assert_eq!(step(&[domain(READY, 4, 5)]), (1, "gone".into()));
        // A record of the one before may come late.
        assert_eq!(vmm_of(&guests, 4), 3);
        assert_eq!(vmm_of(&guests, 5), 4);
        assert_eq!(vmm_of(&guests, 3), 2);
        assert_eq!(vmm_of(&guests, 6), 0);
    }

    #[test]
    fn the_dead_that_made_room_are_known_by_their_boots() {
        use bindings::*;
        let former = |name: &str, pid, boot| {
            let name = vesper_abi::name::label_field(name).unwrap();
            let dead = domain(VESPER_DOMAIN_DEAD, pid, boot);
            vesper_domain { name, ..dead }
        };
        let boot = |boot| Boot::of(&domain(VESPER_DOMAIN_READY, 0, boot));
        // The daemon begins while the next one boots.
        let booting = domain(VESPER_DOMAIN_ATTACHED, 9, 0);
        let mut guests = Guests::default();
        let news = guests.update(&[former("web1@1", 8, 1), booting], 0);
        assert!(news.events.is_empty());
        assert_eq!(guests.vmm_of(&boot(1)), 8);
        assert_eq!(guests.vmm_of(&boot(2)), 0);
        assert_eq!(guests.vmm_of(&boot(0)), 9);
        // Two generations have gone by.
        let dead = [
            former("web1@1", 8, 1),
            former("web1@2", 9, 2),
            former("web1@3", 10, 0),
        ];
        guests.update(
            &[
                dead[0],
                dead[1],
                dead[2],
                domain(VESPER_DOMAIN_READY, 11, 3),
            ],
            0,
        );
        assert_eq!([1, 2, 3].map(|n| guests.vmm_of(&boot(n))), [8, 9, 11]);
        assert_eq!(guests.vmm_of(&boot(0)), 9);
        // No more than the host module lists.
        let ready = domain(VESPER_DOMAIN_READY, 11, 3);
        guests.update(&[ready], 0);
        assert_eq!([1, 2, 3].map(|n| guests.vmm_of(&boot(n))), [0, 0, 11]);
    }

    #[test]
    fn only_what_the_host_module_has_named_is_believed() {
        let ready = |pid, boot| domain(bindings::VESPER_DOMAIN_READY, pid, boot);
        let mut guests = Guests::default();
        let is_believed = |guests: &Guests, boot| {
            let boot = Boot::of(&ready(0, boot));
            guests.believed(boot.clone()) == boot
        };
        assert!(!is_believed(&guests, 1));
        guests.update(&[ready(1, 1)], 0);
        guests.update(&[ready(1, 2)], 0);
        assert_eq!(
            [0, 1, 2, 3].map(|n| is_believed(&guests, n)),
            [false, true, true, false]
        );
        assert!(guests.believed(Boot::of(&ready(0, 3))).is_unknown());
        // One that is gone may have said something yet; others that go do not hide that, and
        // are not remembered without end.
        guests.update(&[], 0);
        assert!(is_believed(&guests, 2));
        for n in 0..2 * GONE {
            let name = format!("vm{n}");
            let name = vesper_abi::name::label_field(&name).unwrap();
            guests.update(
                &[vesper_domain {
                    name,
                    ..ready(2, 9)
                }],
                0,
            );
        }
        guests.update(&[], 0);
        assert_eq!(guests.gone.len(), GONE);
        // Its next boot, whose driver is not there yet, is not what a record names by no id.
        guests.update(&[domain(bindings::VESPER_DOMAIN_ATTACHED, 3, 0)], 0);
        assert!(!is_believed(&guests, 0));
    }

    #[test]
    fn what_ends_in_order_is_told_from_what_does_not() {
        use bindings::*;
        // Looks, one behind the other; what the last one says of the end.
        let end = |looks: &[&[vesper_domain]]| {
            let mut guests = Guests::default();
            let mut last = News::default();
            for domains in looks {
                last = guests.update(domains, 0);
            }
            let [event] = last.events.as_slice() else {
                panic!("{} events", last.events.len());
            };
            assert_eq!(
                event.boot.id,
                Boot::of(&domain(VESPER_DOMAIN_READY, 1, 7)).id
            );
            format!("{} {}", event.name, event.fields["orderly"]["label"])
        };
        let ready = domain(VESPER_DOMAIN_READY, 1, 7);
        let attached = domain(VESPER_DOMAIN_ATTACHED, 1, 0);
        let mut stopped = ready;
        stopped.run_state = VESPER_RUN_STOPPED;
        let mut dead = domain(VESPER_DOMAIN_DEAD, 1, 7);
        dead.run_state = 0;
        let mut left = dead;
        left.boot_id = [0; 16];
        // QEMU was killed.
        assert_eq!(end(&[&[ready], &[dead]]), r#"gone "no""#);
        assert_eq!(end(&[&[ready], &[]]), r#"gone "no""#);
        // The guest was shut down: each of its traces is enough.
        assert_eq!(end(&[&[ready], &[attached], &[left]]), r#"gone "yes""#);
        assert_eq!(end(&[&[ready], &[attached], &[]]), r#"gone "yes""#);
        assert_eq!(end(&[&[ready], &[left]]), r#"gone "yes""#);
        assert_eq!(end(&[&[ready], &[stopped], &[dead]]), r#"gone "yes""#);
        assert_eq!(end(&[&[ready], &[stopped], &[]]), r#"gone "yes""#);
        // A reboot.
        assert_eq!(end(&[&[ready], &[attached]]), r#"left "yes""#);
        // Its power button was pressed, once more, and at some time before the first look.
        let asked = |powerdowns| {
            let mut domain = ready;
            domain.powerdowns = powerdowns;
            domain
        };
        let mut guests = Guests::default();
        let mut step = |domain| guests.update(&[domain], 0).events.len();
        assert_eq!(
            [0, 1, 1, 2, 0].map(|times| step(asked(times))),
            [0, 1, 0, 1, 0]
        );
        let news = Guests::default().update(&[asked(1)], 0);
        assert!(news.events.is_empty());
        let mut guests = Guests::default();
        guests.update(&[ready], 0);
        assert!(!guests.is_ending(&Boot::of(&ready)));
        guests.update(&[attached], 0);
        assert!(guests.is_ending(&Boot::of(&ready)));
        guests.update(&[domain(VESPER_DOMAIN_READY, 1, 8)], 0);
        assert!(!guests.is_ending(&Boot::of(&ready)));
    }
}
