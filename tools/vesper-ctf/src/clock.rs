// SPDX-License-Identifier: GPL-2.0

//! From a guest's time stamp counter to wall-clock time.

/// A clock of the metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    /// Its name, by which integers are mapped to it.
    pub name: String,
    /// Cycles in a second; never 0.
    pub freq: u64,
    /// Seconds since the epoch to be added.
    pub offset_s: i64,
    /// Cycles to be added.
    pub offset: i64,
    /// What it is, in the words of who wrote the metadata.
    pub description: Vec<u8>,
}

const NS: i128 = 1_000_000_000;

impl Clock {
    /// A clock that showed `cycles` at a moment: nanoseconds since the epoch.
    pub fn anchored(name: &str, freq: u64, cycles: u64, nanoseconds: i128) -> Self {
        let freq = freq.max(1);
        // Nearest cycle; far from the ends of an i128, too.
        let at = (nanoseconds * i128::from(freq) + NS / 2).div_euclid(NS);
        let zero = at - i128::from(cycles);
        let seconds = zero.div_euclid(i128::from(freq));
        Self {
            name: name.to_owned(),
            freq,
            offset_s: i64::try_from(seconds).unwrap_or(0),
            offset: zero.rem_euclid(i128::from(freq)) as i64,
            description: Vec::new(),
        }
    }

    /// Nanoseconds since the epoch at `cycles`.
    pub fn nanoseconds(&self, cycles: u64) -> i128 {
        // 2^64 cycles times 10^9 is far from the end of an i128.
        let cycles = i128::from(cycles) + i128::from(self.offset);
        let since_offset = (cycles * NS).div_euclid(i128::from(self.freq.max(1)));
        i128::from(self.offset_s) * NS + since_offset
    }
}

impl Default for Clock {
    /// Nanoseconds since the epoch, for metadata that describes no clock.
    fn default() -> Self {
        Self {
            name: String::new(),
            freq: 1_000_000_000,
            offset_s: 0,
            offset: 0,
            description: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_in_seconds_and_in_cycles() {
        let clock = Clock {
            name: "tsc".into(),
            freq: 2_450_000_000,
            offset_s: 1_700_000_000,
            offset: 1_234_567_890,
            description: Vec::new(),
        };
        // What babeltrace2 says for the same clock.
        assert_eq!(
            clock.nanoseconds(7_350_000_000),
            1_700_000_003_503_905_261_i128
        );
        assert_eq!(clock.nanoseconds(0), 1_700_000_000_503_905_261_i128);
    }

    #[test]
    fn an_anchor_is_met() {
        for (freq, cycles, ns) in [
            (2_450_000_000, 12_345_678_901, 1_700_000_000_123_456_789),
            (1_000_000_000, u64::MAX, 1_700_000_000_000_000_001),
            (3_000_000_000, 0, -5),
        ] {
            let clock = Clock::anchored("tsc", freq, cycles, ns);
            assert!((0..freq as i64).contains(&clock.offset));
            assert!((clock.nanoseconds(cycles) - ns).abs() <= 1);
        }
    }

    #[test]
    fn extremes_do_not_overflow() {
        for (freq, offset, offset_s) in [(1, i64::MAX, i64::MAX), (1, i64::MIN, i64::MIN)] {
            let clock = Clock {
                name: String::new(),
                freq,
                offset_s,
                offset,
                description: Vec::new(),
            };
            clock.nanoseconds(u64::MAX);
            clock.nanoseconds(0);
        }
    }
}
