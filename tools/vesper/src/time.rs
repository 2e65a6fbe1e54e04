// SPDX-License-Identifier: GPL-2.0

//! Nanoseconds since the epoch as people write them.

use jiff::tz::TimeZone;
use jiff::Timestamp;

/// With nanoseconds, in `zone`; `None` if the year is out of this world.
pub fn wall_clock(nanoseconds: i128, zone: &TimeZone) -> Option<String> {
    let time = Timestamp::from_nanosecond(nanoseconds).ok()?;
    let local = zone.to_datetime(time);
    Some(local.strftime("%Y-%m-%d %H:%M:%S.%9f").to_string())
}

/// As RFC 3339 has it, in UTC.
pub fn rfc3339(nanoseconds: i128) -> Option<String> {
    let time = Timestamp::from_nanosecond(nanoseconds).ok()?;
    Some(time.strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_digits_always() {
        let ns = 1_700_000_003_503_905_261;
        assert_eq!(
            wall_clock(ns, &TimeZone::UTC).unwrap(),
            "2023-11-14 22:13:23.503905261"
        );
        assert_eq!(rfc3339(0).unwrap(), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(i128::MAX), None);
    }
}
