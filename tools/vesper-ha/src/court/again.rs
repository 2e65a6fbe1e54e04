// SPDX-License-Identifier: GPL-2.0

//! Guests that count as failed, and then as well again.

use std::sync::Arc;

use super::{event_of, now, Court};
use crate::event::Boot;
use crate::journal::{boot_ns, Found};
use crate::judge::Refrain;

impl Court {
    /// Those that were left alone count as well. What was found in them meanwhile was refused
    /// for the sake of what is over, and is judged again.
    pub(super) fn hear_of_spared(&mut self) {
        for spared in self.actor.spared() {
            self.judge.spared(&spared);
            self.judge_again(&spared.boot);
        }
    }

    /// Judges what was refused in a boot, as far as that is no longer so.
    pub(super) fn judge_again(&mut self, boot: &Boot) {
        let actor = Arc::clone(&self.actor);
        let (rules, now) = (&actor.config.rules, i128::from(boot_ns()));
        let current = self.guests.boot_of(&boot.guest);
        let ending = self.guests.is_ending(boot);
        let again = self
            .judge
            .judge_again(rules, boot, current.as_ref(), ending, now);
        for (event, verdict) in again {
            self.pronounce(&event, verdict);
        }
    }

    /// What an earlier run has found by a rule that kills or fails.
    pub(super) fn recall_deadly(&mut self, number: usize, found: &Found, spared: bool) {
        let boot = found.boot();
        match found.refrained.as_deref() {
            None => {
                self.judge.refused.drop(number, &boot);
                if !spared {
                    let destroy = self.rules()[number].destroy;
                    self.judge.note_failed(boot, destroy);
                }
            }
            Some(why) if why == Refrain::FailedBefore.text() => {
                let event = event_of(found.clone());
                if self.stale.why(&event, now()).is_none() {
                    self.judge.refused.note(number, &event);
                }
            }
            Some(_) => {}
        }
    }
}
