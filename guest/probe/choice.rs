// SPDX-License-Identifier: GPL-2.0

//! Which points of a probe the operator wants.
//!
//! `core` only, so that `cargo test` covers it.

/// A bit for each point, at most so many.
pub(crate) const MAX_POINTS: usize = 64;

/// Reads `chosen`, names with commas between them, as `vesper_points_attach()` has it. `points` are
/// the names that there are, and whether each is on by default. Returns a bit for each, or the name
/// that there is not.
pub(crate) fn read<'a>(
    chosen: &'a [u8],
    points: impl Iterator<Item = (&'a [u8], bool)> + Clone,
) -> Result<u64, &'a [u8]> {
    let bits = |wanted: &dyn Fn(&[u8], bool) -> bool| {
        points
            .clone()
            .take(MAX_POINTS)
            .enumerate()
            .filter(|(_, (name, on))| wanted(name, *on))
            .fold(0u64, |bits, (at, _)| bits | (1 << at))
    };
    if chosen.is_empty() {
        return Ok(bits(&|_, on| on));
    }
    chosen.split(|&c| c == b',').try_fold(0, |all, word| {
        let some = match word {
            b"default" => bits(&|_, on| on),
            b"all" => bits(&|_, _| true),
            word => bits(&|name, _| name == word),
        };
        match (some, word) {
            (0, b"default" | b"all") => Ok(all),
            (0, word) => Err(word),
            (some, _) => Ok(all | some),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(chosen: &str) -> Result<u64, String> {
        let points: [(&[u8], bool); 3] = [(b"oom", true), (b"stall", true), (b"switch", false)];
        read(chosen.as_bytes(), points.into_iter())
            .map_err(|name| String::from_utf8_lossy(name).into_owned())
    }

    #[test]
    fn names_and_words() {
        for (chosen, bits) in [
            ("", 0b011),
            ("default", 0b011),
            ("all", 0b111),
            ("switch", 0b100),
            ("oom", 0b001),
            ("stall,oom", 0b011),
            ("default,switch", 0b111),
        ] {
            assert_eq!(choose(chosen), Ok(bits), "{chosen}");
        }
    }

    #[test]
    fn what_there_is_not() {
        for (chosen, name) in [
            ("swap", "swap"),
            ("oom,,stall", ""),
            ("oom, stall", " stall"),
            ("oo", "oo"),
        ] {
            assert_eq!(choose(chosen), Err(name.to_owned()), "{chosen}");
        }
    }
}
