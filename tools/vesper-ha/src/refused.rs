// SPDX-License-Identifier: GPL-2.0

//! What rules have found in guests that were failed before.

use std::collections::HashMap;

use crate::event::{Boot, Event};
use crate::excerpt;

/// By boot, of each rule the first, by its number.
#[derive(Debug, Default)]
pub struct Refused(HashMap<Boot, Vec<(usize, Event)>>);

impl Refused {
    /// A rule has found this.
    pub fn note(&mut self, rule: usize, event: &Event) {
        let refused = self.0.entry(event.boot.clone()).or_default();
        if refused.iter().all(|(number, _)| *number != rule) {
            let event = Event {
                boot: event.boot.clone(),
                probe: event.probe.clone(),
                name: event.name.clone(),
                time_ns: event.time_ns,
                // The guest says how long they are.
                fields: excerpt::fields(&event.fields),
            };
            refused.push((rule, event));
        }
    }

    /// The rule has acted since.
    pub fn drop(&mut self, rule: usize, boot: &Boot) {
        if let Some(refused) = self.0.get_mut(boot) {
            refused.retain(|(number, _)| *number != rule);
        }
    }

    /// All of one boot, in the order in which it was found.
    pub fn take(&mut self, boot: &Boot) -> Vec<(usize, Event)> {
        self.0.remove(boot).unwrap_or_default()
    }

    /// Where there is any.
    pub fn boots(&self) -> Vec<Boot> {
        self.0.keys().cloned().collect()
    }

    /// Keeps what is of these boots.
    pub fn retain(&mut self, wanted: impl Fn(&Boot) -> bool) {
        self.0.retain(|boot, _| wanted(boot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_of_each_rule_is_kept_and_no_more_of_it_than_is_written_down() {
        let boot = |id: &str| Boot {
            guest: "db1".into(),
            id: id.into(),
        };
        let of = |id: &str, time_ns| Event {
            boot: boot(id),
            probe: "process".into(),
            name: "exit".into(),
            time_ns,
            fields: json!({ "text": "x".repeat(1 << 20) })
                .as_object()
                .unwrap()
                .clone(),
        };
        let mut refused = Refused::default();
        for time_ns in 0..4 {
            refused.note(2 - time_ns as usize % 2, &of("1", time_ns));
        }
        refused.note(7, &of("1", 9));
        refused.note(7, &of("2", 9));
        refused.drop(7, &boot("1"));
        refused.drop(7, &boot("3"));
        refused.retain(|boot| boot.id == "1");
        assert_eq!(refused.boots(), [boot("1")]);
        let all = refused.take(&boot("1"));
        let numbers: Vec<_> = all.iter().map(|(rule, of)| (*rule, of.time_ns)).collect();
        assert_eq!(numbers, [(2, 0), (1, 1)]);
        let short = |(_, event): &(usize, Event)| json!(event.fields).to_string().len() < 1 << 15;
        assert!(all.iter().all(short));
        assert!(refused.boots().is_empty());
    }
}
