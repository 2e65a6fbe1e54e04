// SPDX-License-Identifier: GPL-2.0

//! How much is written down of what is only good to know: a guest must not be able to
//! push what was found and done out of the journal.

/// So many in a time, in nanoseconds.
const MOST: u32 = 10;
const WITHIN: i64 = 60_000_000_000;

/// What was written lately, by a clock that never jumps.
#[derive(Debug, Default)]
pub struct Notes {
    began: Option<i64>,
    written: u32,
    left_out: u64,
}

impl Notes {
    /// Whether one more may be written; else it is counted.
    pub fn may(&mut self, now: i64) -> bool {
        if self.left_out == 0 && self.due().is_none_or(|due| due <= now) {
            (self.began, self.written) = (Some(now), 0);
        }
        let may = self.written < MOST;
        match may {
            true => self.written += 1,
            false => self.left_out += 1,
        }
        may
    }

    /// When there is something to say of those that were left out.
    pub fn due(&self) -> Option<i64> {
        Some(self.began?.saturating_add(WITHIN)).filter(|_| self.written > 0)
    }

    /// How many were left out, once the time is over.
    pub fn summary(&mut self, now: i64) -> Option<String> {
        if self.due().is_none_or(|due| now < due) {
            return None;
        }
        let left_out = self.left_out;
        *self = Self::default();
        (left_out > 0).then(|| format!("{left_out} more notes like these were left out"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_few_lines() {
        let mut notes = Notes::default();
        let written = (0..100_000).filter(|&now| notes.may(now)).count();
        assert_eq!(written, 10);
        assert_eq!(notes.summary(WITHIN - 1), None);
        let text = notes.summary(WITHIN).unwrap();
        assert_eq!(text, "99990 more notes like these were left out");
        assert_eq!(notes.due(), None);
        assert!(notes.may(WITHIN));
        assert_eq!(notes.summary(2 * WITHIN), None);
    }
}
