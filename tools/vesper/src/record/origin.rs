// SPDX-License-Identifier: GPL-2.0

//! Whose records they are, and where their clock stands on the host's time line.

use vesper_ctf::clock::Clock;
use vesper_ctf::metadata::Metadata;
use vesper_ctf::rewrite::ClockBlock;

use super::check;
use crate::timeline::{Counter, Reading, Scaling, WallClock};

/// Where a guest's time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Time {
    /// The host's clocks, by what KVM knows of the guest's counter: which clock of
    /// the host that comes from, how, and the two at the beginning.
    Host(Counter, Scaling, Reading),
    /// The guest's own wall clock; and why.
    Guest(&'static str),
}

/// What a trace says of where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Name of the guest on this host.
    pub(crate) domain: String,
    /// This host's name.
    pub(crate) host: String,
    /// This host's boot id, in bytes: the mark of its time line.
    pub(crate) time_line: [u8; 16],
    /// Where the time comes from.
    pub(crate) time: Time,
    /// The clock as the guest describes it.
    pub(crate) clock: Option<Clock>,
    /// The guest's boot id, if it has a proper one.
    pub(crate) boot_id: Option<[u8; 16]>,
}

/// The clock of a trace, and the guest's boot id.
pub(crate) fn described(metadata: Option<&Metadata>) -> (Option<Clock>, Option<[u8; 16]>) {
    let clock = metadata.map(Metadata::clock);
    let boot_id = metadata.and_then(|metadata| parse_uuid(metadata.env_text("boot_id")?));
    (clock, boot_id)
}

/// The bytes of a UUID in its text form.
pub(crate) fn parse_uuid(text: &[u8]) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text
        .iter()
        .filter(|&&b| b != b'-')
        .map(|&b| char::from(b).to_digit(16).map(|d| d as u8))
        .collect::<Option<_>>()?;
    let mut uuid = [0; 16];
    if digits.len() != 32 {
        return None;
    }
    for (byte, pair) in uuid.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (pair[0] << 4) | pair[1];
    }
    Some(uuid)
}

impl Origin {
    /// What the environment of the trace gets.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let time = match self.time {
            Time::Host(..) => "host",
            Time::Guest(_) => "guest",
        };
        vec![
            ("domain", self.domain.clone()),
            ("host", self.host.clone()),
            ("wall_clock", time.to_owned()),
        ]
    }

    /// The clock as far as it is known at the beginning.
    pub(crate) fn guess(&self) -> Option<ClockBlock> {
        match &self.time {
            Time::Host(_, _, first) => self.block(Some(first)),
            Time::Guest(_) => self.block(None),
        }
    }

    /// The clock by the host's wall clock as it is now, which somebody may have set meanwhile;
    /// `now` reads it beside a counter of the host. `None` if it does not come from there.
    pub(crate) fn clock_now(&self, now: impl FnOnce(Counter) -> Reading) -> Option<Clock> {
        match &self.time {
            Time::Host(counter, ..) => Some(self.block(Some(&now(*counter)))?.clock),
            Time::Guest(_) => None,
        }
    }

    /// The clock, by the host's counters as they are at the end, too; `wall` is what its
    /// beginning was read by.
    pub(crate) fn measure(&self, wall: &WallClock) -> Option<ClockBlock> {
        match &self.time {
            Time::Host(counter, ..) => self.block(Some(&Reading::now(*counter, wall))),
            Time::Guest(_) => self.block(None),
        }
    }

    fn block(&self, last: Option<&Reading>) -> Option<ClockBlock> {
        let own = self.clock.as_ref()?;
        Some(match (&self.time, last) {
            (Time::Host(_, scaling, first), Some(last)) => {
                let (clock, precision) = scaling.clock(own.freq, first, last);
                let what = String::from_utf8_lossy(&own.description);
                ClockBlock {
                    clock,
                    uuid: self.time_line,
                    description: format!("{what}, on the wall clock of the host"),
                    precision,
                }
            }
            _ => ClockBlock {
                clock: check::plain(own).unwrap_or_else(|| own.clone()),
                // A clock that nobody else has.
                uuid: self.boot_id.unwrap_or(self.time_line),
                description: "on the wall clock of the guest".into(),
                precision: 0,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids() {
        let text = b"10111213-1415-1617-1819-1a1b1c1d1e1f";
        assert_eq!(parse_uuid(text), Some(vesper_ctf::writer::UUID));
        assert_eq!(parse_uuid(&text[1..]), None);
        assert_eq!(parse_uuid(b"x0111213-1415-1617-1819-1a1b1c1d1e1f"), None);
    }

    #[test]
    fn a_wall_clock_that_is_set() {
        let at = |cycles: u64, nanoseconds| Reading {
            cycles,
            nanoseconds,
            error: 0,
            error_ns: 0,
        };
        let mut origin = Origin {
            domain: "d".into(),
            host: "h".into(),
            time_line: [0; 16],
            time: Time::Host(Counter::Tsc, Scaling::HOST, at(1_000, 50_000)),
            clock: Some(Clock::anchored("TSC", 1_000_000_000, 0, 0)),
            boot_id: None,
        };
        let shown = |clock: Clock| clock.nanoseconds(2_000);
        let before = origin.clock_now(|_| at(1_500, 50_500));
        assert_eq!(before.map(shown), Some(51_000));
        // An hour back, and forth.
        for step in [-3_600_000_000_000, 3_600_000_000_000] {
            let after = origin.clock_now(|_| at(1_500, 50_500 + step));
            assert_eq!(after.map(shown), Some(51_000 + step));
        }
        origin.time = Time::Guest("");
        assert!(origin.clock_now(|_| at(0, 0)).is_none());
    }
}
