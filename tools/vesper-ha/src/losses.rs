// SPDX-License-Identifier: GPL-2.0

//! Records that no rule has seen, as they were lost on their way. That is told soon, but a
//! guest that loses without end must not push what was found out of the journal: what there
//! is no room for is added up, and told later.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::event::Boot;
use crate::notes::Notes;

/// How much was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Loss {
    /// Records that the guest had no room for.
    pub records: u64,
    /// The same before the first record that was read: another reader may have told of them.
    pub before: u64,
    /// Packets that were written over.
    pub packets: u64,
}

impl Loss {
    /// What stands in the place of lost records in what `vesper cat --json` prints.
    pub fn of_item(item: &Json) -> Option<Self> {
        let count = |key: &str| item.get(key).and_then(Json::as_u64);
        let counts = ["lost", "lost_before", "packets_missing"].map(count);
        let [records, before, packets] = counts.map(Option::unwrap_or_default);
        let is_loss = counts.iter().any(Option::is_some);
        is_loss.then_some(Self {
            records,
            before,
            packets,
        })
    }
}

impl AddAssign for Loss {
    fn add_assign(&mut self, other: Self) {
        self.records = self.records.saturating_add(other.records);
        self.before = self.before.saturating_add(other.before);
        self.packets = self.packets.saturating_add(other.packets);
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.records, "records lost"),
            (self.before, "records lost before the first that was read"),
            (self.packets, "packets missing"),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<_> = parts.map(|(count, of)| format!("{count} {of}")).collect();
        write!(f, "{}: no rule has seen them", parts.join(", "))
    }
}

/// A boot of a guest, and a module in it.
pub type Whose = (Boot, String);

/// What is yet to be told.
#[derive(Debug, Default)]
pub struct Losses {
    notes: Notes,
    untold: BTreeMap<Whose, Loss>,
}

impl Losses {
    /// Some more is lost; gives what is to be told now.
    pub fn add(&mut self, whose: &Whose, loss: Loss, now: i64) -> Option<Loss> {
        *self.untold.entry(whose.clone()).or_default() += loss;
        let may = self.notes.may(now);
        may.then(|| self.untold.remove(whose)).flatten()
    }

    /// When the rest is to be told.
    pub fn due(&self) -> Option<i64> {
        self.notes.due()
    }

    /// The rest, once it is time for that.
    pub fn rest(&mut self, now: i64) -> BTreeMap<Whose, Loss> {
        if self.due().is_none_or(|due| now < due) {
            return BTreeMap::new();
        }
        self.all()
    }

    /// The rest, at the end.
    pub fn all(&mut self) -> BTreeMap<Whose, Loss> {
        std::mem::take(self).untold
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_flood_is_a_few_lines_and_all_is_in_them() {
        let loss = Loss::of_item(&json!({ "domain": "web1", "lost": 3 })).unwrap();
        let whose = |guest: &str| {
            let (guest, id) = (guest.into(), "1".into());
            (Boot { guest, id }, "process".to_owned())
        };
        let mut losses = Losses::default();
        let mut told: Vec<_> = (0..100_000)
            .filter_map(|now| losses.add(&whose("web1"), loss, now))
            .collect();
        assert_eq!(losses.add(&whose("web2"), loss, 100_000), None);
        assert!(losses.rest(100_000).is_empty());
        told.extend(losses.rest(losses.due().unwrap()).into_values());
        assert_eq!(told.len(), 12);
        assert_eq!(told.iter().map(|of| of.records).sum::<u64>(), 300_003);
        assert_eq!(losses.due(), None);
        assert!(losses.all().is_empty());
    }

    #[test]
    fn in_words() {
        let of = |item| Loss::of_item(&item);
        assert_eq!(of(json!({ "event": "exit", "fields": {} })), None);
        let mut loss = of(json!({ "lost": 5 })).unwrap();
        assert_eq!(loss.to_string(), "5 records lost: no rule has seen them");
        loss += of(json!({ "lost_before": 1 })).unwrap();
        loss += of(json!({ "packets_missing": 2 })).unwrap();
        assert_eq!(
            loss.to_string(),
            "5 records lost, 1 records lost before the first that was read, 2 packets missing: no rule has seen them"
        );
    }
}
