// SPDX-License-Identifier: GPL-2.0

//! A bound on how often a daemon lists what there is: who changes it without end keeps
//! nobody busy.

use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at least.
const STEP: Duration = Duration::from_millis(10);

/// Says when it is time for the next look.
#[derive(Debug, Default)]
pub struct Pace {
    last: Option<Instant>,
}

impl Pace {
    /// Waits until 10 ms after the last look, if there was one since then.
    pub fn keep(&mut self) {
        thread::sleep(self.rest(Instant::now()));
        self.last = Some(Instant::now());
    }

    fn rest(&self, now: Instant) -> Duration {
        self.last.map_or(Duration::ZERO, |last| {
            STEP.saturating_sub(now.saturating_duration_since(last))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_look_soon_after_another_waits() {
        let mut pace = Pace::default();
        let now = Instant::now();
        assert_eq!(pace.rest(now), Duration::ZERO);
        pace.last = Some(now);
        assert_eq!(pace.rest(now), STEP);
        assert_eq!(pace.rest(now + STEP / 2), STEP / 2);
        assert_eq!(pace.rest(now + STEP), Duration::ZERO);
        assert_eq!(pace.rest(now + STEP * 3), Duration::ZERO);
    }
}
