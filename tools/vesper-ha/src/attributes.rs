// SPDX-License-Identifier: GPL-2.0

//! Attributes of this node, as they are to be and as the cluster has them. One thread
//! that is wanted: what was wanted last is what stays, and a cluster that gives no answer
//! is asked until it does. They are transient for the cluster, which forgets them with its
//! next start: so it is asked from time to time whether it still has what it was given.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::cluster::Failure;
use crate::hold::Hold;
use crate::journal::Line;

/// Between two attempts, at first and at last.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(10)];

/// Between two questions whether an attribute is still there.
const KEEP: Duration = Duration::from_secs(5);

/// Sets an attribute or, without a value, deletes it.
pub type Set = dyn Fn(&str, Option<&str>) -> Result<String, Failure> + Send + Sync;
/// Whether the cluster has an attribute, with whatever value.
pub type Has = dyn Fn(&str) -> Result<bool, Failure> + Send + Sync;
/// What is told when an attribute is as it is to be: a sentence, and what was to be
/// written down then.
pub type Tell = dyn Fn(&str, Vec<Line>) + Send + Sync;

/// What a thread is to do.
type Work = Box<dyn FnOnce() + Send>;
/// Has a thread do it, if one can be had.
type Spawn = dyn Fn(Work) -> io::Result<()> + Send + Sync;

/// All attributes that were ever wanted.
pub struct Attributes(Arc<Inner>);

struct Inner {
    slots: Mutex<BTreeMap<String, Slot>>,
    moved: Condvar,
    set: Box<Set>,
    has: Box<Has>,
    tell: Box<Tell>,
    keep: Duration,
    spawn: Box<Spawn>,
}

#[derive(Default)]
struct Slot {
    wanted: Option<String>,
    /// What the cluster has, as far as it has said so.
    is: Option<Option<String>>,
    lines: Vec<Line>,
    /// A thread sees to it.
    busy: bool,
    /// What the cluster said last.
    said: String,
}

impl Slot {
    fn is_settled(&self) -> bool {
        self.is.as_ref() == Some(&self.wanted)
    }
}

impl Attributes {
    /// None is wanted yet.
    pub fn new(set: Box<Set>, has: Box<Has>, tell: Box<Tell>) -> Self {
        Self::asking(set, has, tell, KEEP, Box::new(spawn))
    }

    fn asking(
        set: Box<Set>,
        has: Box<Has>,
        tell: Box<Tell>,
        keep: Duration,
        spawn: Box<Spawn>,
    ) -> Self {
        Self(Arc::new(Inner {
            slots: Mutex::default(),
            moved: Condvar::new(),
            set,
            has,
            tell,
            keep,
            spawn,
        }))
    }

    /// An attribute is to have this value, or none; `lines` are written down when it
    /// has.
    pub fn want(&self, name: &str, value: Option<&str>, lines: Vec<Line>) {
        let mut slots = self.0.slots();
        let slot = slots.entry(name.to_owned()).or_default();
        slot.wanted = value.map(str::to_owned);
        slot.lines.extend(lines);
        // Somebody else may have set it since: it is set even if it was.
        slot.is = None;
        drop(slots);
        self.go_on();
        self.0.moved.notify_all();
    }

    /// Has threads see to what none sees to yet; false if there are not enough of them: to
    /// be called again then.
    pub fn go_on(&self) -> bool {
        let mut all = true;
        let mut slots = self.0.slots();
        for (name, slot) in slots.iter_mut() {
            if slot.busy || slot.is_settled() {
                continue;
            }
            let (inner, name) = (Arc::clone(&self.0), name.clone());
            match (self.0.spawn)(Box::new(move || inner.work(&name))) {
                Ok(()) => slot.busy = true,
                Err(error) => {
                    slot.said = format!("no thread for it: {error}");
                    all = false;
                }
            }
        }
        all
    }

    /// Waits for so long until an attribute is as it is wanted; says how that went.
    pub fn wait(&self, name: &str, patience: Duration) -> Result<String, String> {
        let end = Instant::now() + patience;
        let mut slots = self.0.slots();
        loop {
            let said = match slots.get(name) {
                None => return Err("nobody wants it".into()),
                Some(slot) if slot.is_settled() => return Ok(slot.said.clone()),
                Some(slot) => &slot.said,
            };
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("{said}; it is tried further"));
            }
            let waited = self.0.moved.wait_timeout(slots, left);
            slots = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl std::fmt::Debug for Attributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attributes").finish_non_exhaustive()
    }
}

fn spawn(work: Work) -> io::Result<()> {
    thread::Builder::new().spawn(work).map(drop)
}

impl Inner {
    fn slots(&self) -> MutexGuard<'_, BTreeMap<String, Slot>> {
        self.slots.hold()
    }

    /// Sees to an attribute until nobody wants it any more, and it is taken back.
    fn work(&self, name: &str) {
        let mut pause = PAUSES[0];
        loop {
            let Some(wanted) = self.slots().get(name).map(|slot| slot.wanted.clone()) else {
                return;
            };
            let done = (self.set)(name, wanted.as_deref());
            let mut slots = self.slots();
            let Some(slot) = slots.get_mut(name) else {
                return;
            };
            let failed = done.is_err();
            let text = done.unwrap_or_else(Failure::text);
            let is_new = slot.said != text;
            slot.said = text;
            if !failed {
                slot.is = Some(wanted);
            }
            // Or else it has become another meanwhile.
            let settled = slot.is_settled();
            let lines = match settled {
                true => std::mem::take(&mut slot.lines),
                false => Vec::new(),
            };
            slot.busy = !settled || slot.wanted.is_some();
            let (said, over) = (slot.said.clone(), !slot.busy);
            drop(slots);
            if is_new || settled {
                (self.tell)(&said, lines);
            }
            self.moved.notify_all();
            if over {
                return;
            }
            if failed {
                thread::sleep(pause);
                pause = PAUSES[1].min(pause * 2);
            } else if settled {
                self.attend(name);
                pause = PAUSES[0];
            }
        }
    }

    /// Returns when an attribute that is set is to be another, or is there no more. A
    /// cluster that gives no answer may have lost it, and it does no harm to set it again.
    fn attend(&self, name: &str) {
        loop {
            let is_so =
                |slots: &mut BTreeMap<String, Slot>| slots.get(name).is_some_and(Slot::is_settled);
            let waited = self
                .moved
                .wait_timeout_while(self.slots(), self.keep, is_so);
            let (slots, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            drop(slots);
            if !waited.timed_out() {
                return;
            }
            let text = match (self.has)(name) {
                Ok(true) => continue,
                Ok(false) => format!("{name} is gone, as after a start of the cluster"),
                Err(failure) => failure.text(),
            };
            let mut slots = self.slots();
            let Some(slot) = slots.get_mut(name) else {
                return;
            };
            slot.is = None;
            slot.said.clone_from(&text);
            drop(slots);
            return (self.tell)(&text, Vec::new());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const PATIENCE: Duration = Duration::from_secs(60);

    fn text(name: &str, value: Option<&str>) -> String {
        format!("{name}={}", value.unwrap_or("-"))
    }

    #[test]
    fn a_cluster_that_is_away_is_asked_again() {
        let (asked, told) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(0)));
        let (count, lines) = (Arc::clone(&asked), Arc::clone(&told));
        let attributes = Attributes::new(
            Box::new(
                move |name, value| match count.fetch_add(1, Ordering::SeqCst) {
                    0 => Err(Failure::Again("away".into())),
                    _ => Ok(text(name, value)),
                },
            ),
            Box::new(|_| Ok(true)),
            Box::new(move |_, new| *lines.lock().unwrap() += new.len()),
        );
        let line = || Line::Note {
            at_ns: 0,
            text: String::new(),
        };
        attributes.want("x", Some("1"), vec![line()]);
        let early = attributes.wait("x", Duration::ZERO);
        assert!(early.is_err() || early == Ok("x=1".into()));
        assert_eq!(attributes.wait("x", PATIENCE), Ok("x=1".into()));
        attributes.want("x", None, vec![line()]);
        assert_eq!(attributes.wait("x", PATIENCE), Ok("x=-".into()));
        assert_eq!(asked.load(Ordering::SeqCst), 3);
        assert_eq!(*told.lock().unwrap(), 2);
    }

    #[test]
    fn what_was_wanted_last_stays() {
        let state = Arc::new(Mutex::new(String::new()));
        let seen = Arc::clone(&state);
        let attributes = Attributes::new(
            Box::new(move |name, value| {
                let text = text(name, value);
                seen.lock().unwrap().clone_from(&text);
                Ok(text)
            }),
            Box::new(|_| Ok(true)),
            Box::new(|_, _| {}),
        );
        for n in 0..100 {
            attributes.want("x", Some(&n.to_string()), Vec::new());
        }
        attributes.want("x", None, Vec::new());
        assert_eq!(attributes.wait("x", PATIENCE), Ok("x=-".into()));
        assert_eq!(*state.lock().unwrap(), "x=-");
    }

    #[test]
    fn threads_that_can_not_be_had_at_first() {
        let refusals = Arc::new(AtomicUsize::new(2));
        let left = Arc::clone(&refusals);
        let attributes = Attributes::asking(
            Box::new(|name, value| Ok(text(name, value))),
            Box::new(|_| Ok(true)),
            Box::new(|_, _| {}),
            KEEP,
            Box::new(move |work| match left.load(Ordering::SeqCst) {
                0 => spawn(work),
                more => {
                    left.store(more - 1, Ordering::SeqCst);
                    Err(io::ErrorKind::WouldBlock.into())
                }
            }),
        );
        attributes.want("x", Some("1"), Vec::new());
        let said = attributes.wait("x", Duration::ZERO).unwrap_err();
        assert!(said.starts_with("no thread for it"), "{said}");
        assert!(!attributes.go_on());
        assert!(attributes.go_on());
        assert_eq!(attributes.wait("x", PATIENCE), Ok("x=1".into()));
        // One that is set has its thread.
        refusals.store(1, Ordering::SeqCst);
        assert!(attributes.go_on());
    }

    /// A cluster that starts: it has forgotten all, and does not answer at first.
    #[derive(Default)]
    struct Cluster {
        has: Option<String>,
        silent: usize,
        set: usize,
    }

    #[test]
    fn what_a_cluster_forgets_is_set_again_while_it_is_wanted() {
        let cluster = Arc::new(Mutex::new(Cluster::default()));
        let (setting, asked) = (Arc::clone(&cluster), Arc::clone(&cluster));
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        let attributes = Attributes::asking(
            Box::new(move |name, value| {
                let mut cluster = setting.lock().unwrap();
                cluster.has = value.map(str::to_owned);
                cluster.set += 1;
                Ok(text(name, value))
            }),
            Box::new(move |_| {
                let mut cluster = asked.lock().unwrap();
                let silent = cluster.silent.checked_sub(1);
                cluster.silent = silent.unwrap_or(0);
                match silent {
                    Some(_) => Err(Failure::Again("away".into())),
                    None => Ok(cluster.has.is_some()),
                }
            }),
            Box::new(move |said, _| tell.lock().unwrap().push(said.to_owned())),
            Duration::from_millis(5),
            Box::new(spawn),
        );
        let end = Instant::now() + PATIENCE;
        let wait_for = |count: usize| loop {
            let cluster = cluster.lock().unwrap();
            if cluster.set == count && cluster.has.is_some() {
                break;
            }
            assert!(Instant::now() < end && cluster.set <= count, "{count}");
            drop(cluster);
            thread::sleep(Duration::from_millis(1));
        };
        attributes.want("x", Some("1"), Vec::new());
        wait_for(1);
        // It is there, and is not set again and again.
        thread::sleep(Duration::from_millis(50));
        wait_for(1);
        cluster.lock().unwrap().has = None;
        wait_for(2);
        // It may be lost to a cluster that does not answer.
        cluster.lock().unwrap().silent = 1;
        wait_for(3);
        assert_eq!(attributes.wait("x", PATIENCE), Ok("x=1".into()));
        attributes.want("x", None, Vec::new());
        assert_eq!(attributes.wait("x", PATIENCE), Ok("x=-".into()));
        thread::sleep(Duration::from_millis(50));
        assert_eq!(cluster.lock().unwrap().set, 4);
        let told = told.lock().unwrap().join("; ");
        assert!(told.contains("x=1; x is gone, as after a start of the cluster; x=1; away; x=1"));
        // And once more, by a thread of its own.
        attributes.want("x", Some("2"), Vec::new());
        assert_eq!(attributes.wait("x", PATIENCE), Ok("x=2".into()));
    }
}
