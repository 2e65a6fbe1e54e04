// SPDX-License-Identifier: GPL-2.0

//! What rules have set on the node, and until when: several may want the same
//! attribute, and it is taken back when the last of them has let go.

use std::collections::BTreeMap;

use crate::rule::{Health, HEALTH};

/// Attributes by name, each with those who want it set, the newest last.
#[derive(Debug, Default)]
pub struct Standing(BTreeMap<String, Vec<Holder>>);

/// Somebody who wants an attribute set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Name of the rule.
    pub rule: String,
    /// The guest that it is about.
    pub guest: String,
    /// What it wants it to be.
    pub value: String,
    /// Until when, if not for ever.
    pub end: Option<i64>,
    /// Number of the line in the journal because of which.
    pub id: u64,
}

impl Standing {
    /// Somebody wants it set; what the same one wanted before is no more.
    pub fn hold(&mut self, name: &str, holder: Holder) {
        let holders = self.0.entry(name.to_owned()).or_default();
        holders.retain(|other| (&other.rule, &other.guest) != (&holder.rule, &holder.guest));
        holders.push(holder);
    }

    /// Puts off the end of what a rule wants.
    pub fn extend(&mut self, rule: &str, guest: &str, end: i64) {
        for holder in self.0.values_mut().flatten() {
            if holder.rule == rule && holder.guest == guest && holder.end.is_some() {
                holder.end = holder.end.max(Some(end));
            }
        }
    }

    /// Somebody wants it no more because of that line or an earlier one; false if not.
    pub fn let_go(&mut self, name: &str, rule: &str, guest: &str, id: u64) -> bool {
        let is_it = |holder: &Holder| holder.rule == rule && holder.guest == guest;
        let gone = self.remove(|of, holder| of == name && is_it(holder) && holder.id <= id);
        !gone.is_empty()
    }

    /// The next end.
    pub fn first_end(&self) -> Option<i64> {
        self.0.values().flatten().filter_map(|of| of.end).min()
    }

    /// Takes out what has come to its end: names, and who wanted them.
    pub fn ended(&mut self, now: i64) -> Vec<(String, Holder)> {
        self.remove(|_, holder| holder.end.is_some_and(|end| end <= now))
    }

    /// All that is wanted because of a guest ends now.
    pub fn end(&mut self, guest: &str, now: i64) {
        for holder in self.0.values_mut().flatten() {
            if holder.guest == guest {
                holder.end = Some(now);
            }
        }
    }

    /// Takes out all that is wanted because of a guest.
    pub fn forget(&mut self, guest: &str) -> Vec<(String, Holder)> {
        self.remove(|_, holder| holder.guest == guest)
    }

    /// What an attribute has to be: of health the worst, else what was wanted last.
    pub fn value(&self, name: &str) -> Option<&str> {
        let holders = self.0.get(name)?;
        let red = Health::Red.text();
        let worst = holders.iter().find(|of| name == HEALTH && of.value == red);
        worst.or(holders.last()).map(|of| of.value.as_str())
    }

    /// All attributes that are to be set.
    pub fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn remove(&mut self, which: impl Fn(&str, &Holder) -> bool) -> Vec<(String, Holder)> {
        let mut removed = Vec::new();
        for (name, holders) in &mut self.0 {
            holders.retain(|holder| {
                let goes = which(name, holder);
                if goes {
                    removed.push((name.clone(), holder.clone()));
                }
                !goes
            });
        }
        self.0.retain(|_, holders| !holders.is_empty());
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(rule: &str, value: &str, end: Option<i64>) -> Holder {
        Holder {
            rule: rule.into(),
            guest: "host".into(),
            value: value.into(),
            end,
            id: 1,
        }
    }

    #[test]
    fn the_worst_counts_until_its_own_end() {
        let mut standing = Standing::default();
        standing.hold(HEALTH, holder("disk", "red", Some(10)));
        standing.hold(HEALTH, holder("memory", "yellow", Some(20)));
        assert_eq!(standing.value(HEALTH), Some("red"));
        assert_eq!(standing.first_end(), Some(10));
        assert!(standing.ended(9).is_empty());
        assert_eq!(standing.ended(10).len(), 1);
        assert_eq!(standing.value(HEALTH), Some("yellow"));
        // More of the same.
        standing.extend("memory", "host", 30);
        assert!(standing.ended(20).is_empty());
        assert_eq!(standing.ended(30).len(), 1);
        assert_eq!(standing.value(HEALTH), None);
        assert!(standing.names().is_empty());
    }

    #[test]
    fn two_rules_that_want_the_same() {
        let mut standing = Standing::default();
        standing.hold(HEALTH, holder("disk", "red", Some(10)));
        standing.hold(HEALTH, holder("memory", "red", None));
        standing.ended(10);
        assert_eq!(standing.value(HEALTH), Some("red"));
        assert_eq!(standing.first_end(), None);
        assert_eq!(standing.forget("host").len(), 1);
        assert_eq!(standing.value(HEALTH), None);
    }

    #[test]
    fn other_attributes_are_what_was_wanted_last() {
        let mut standing = Standing::default();
        standing.hold("x", holder("a", "1", None));
        standing.hold("x", holder("b", "2", None));
        assert_eq!(standing.value("x"), Some("2"));
        standing.hold("x", holder("a", "3", None));
        assert_eq!(standing.value("x"), Some("3"));
        assert!(!standing.let_go("x", "a", "host", 0));
        assert!(standing.let_go("x", "a", "host", 1));
        assert_eq!(standing.value("x"), Some("2"));
    }
}
