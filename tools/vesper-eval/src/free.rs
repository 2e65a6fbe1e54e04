// SPDX-License-Identifier: GPL-2.0

//! The failure-free side: false alarms, and what the probes cost the web server.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;

use serde::{Deserialize, Serialize};

use crate::cli;
use crate::error::{Error, Result};
use crate::times::{median, quartiles};

/// A raw line.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line {
    /// A round of asking as fast as it goes.
    Round { probes: bool, per_second: f64 },
    /// What was found, in so long a time, though nothing had failed.
    Alarms {
        minutes: f64,
        findings: u64,
        hangs: u64,
    },
    /// Nobody got a page any more: the guest broke by itself. What VESPER saw of it.
    Broke { seen: Seen },
}

/// What VESPER says of a guest that answers nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Seen {
    /// It hangs.
    Hang,
    /// It was reset, and is another boot now, or none yet.
    Restart,
    /// Nothing of the kind, and it beats.
    Alive,
    /// Nothing of the kind, and it does not beat: missed.
    Nothing,
}

/// Requests answered in a second.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Rate {
    rounds: usize,
    median_per_second: Option<f64>,
    least_per_second: Option<f64>,
    most_per_second: Option<f64>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Free {
    minutes: f64,
    false_alarms: u64,
    /// How often a guest broke by itself, by what was seen of it.
    broke: BTreeMap<Seen, usize>,
    with_probes: Rate,
    without_probes: Rate,
    /// By how much fewer pages came with the probes, in percent: each round without them is
    /// compared with the rounds with them that were just before. The median.
    cost_percent: Option<f64>,
    /// The quartiles of the same, as a machine is not equally fast all the time.
    cost_quartiles: Option<[f64; 2]>,
}

fn rate(lines: &[Line], wanted: bool) -> Rate {
    let of = |line: &Line| match line {
        Line::Round { probes, per_second } if *probes == wanted => Some(*per_second),
        _ => None,
    };
    let rates: Vec<f64> = lines.iter().filter_map(of).collect();
    Rate {
        rounds: rates.len(),
        median_per_second: median(&rates),
        least_per_second: rates.iter().copied().reduce(f64::min),
        most_per_second: rates.iter().copied().reduce(f64::max),
    }
}

/// So many rounds with probes are compared with the one without that follows them.
const BESIDE: usize = 3;

/// Of each stretch with probes and the round without them that follows it, by how many
/// percent it was less.
fn costs(lines: &[Line]) -> Vec<f64> {
    let (mut costs, mut with) = (Vec::new(), Vec::new());
    for line in lines {
        match line {
            Line::Round {
                probes: true,
                per_second,
            } => with.push(*per_second),
            Line::Round { per_second, .. } => {
                let just_before = &with[with.len().saturating_sub(BESIDE)..];
                if let Some(middle) = median(just_before) {
                    costs.push((per_second - middle) * 100.0 / per_second);
                }
                with.clear();
            }
            // What comes next is of another host VM.
            Line::Broke { .. } => with.clear(),
            Line::Alarms { .. } => {}
        }
    }
    costs
}

fn sum(lines: &[Line]) -> Free {
    let (mut minutes, mut false_alarms, mut broke) = (0.0, 0, BTreeMap::new());
    for line in lines {
        match line {
            Line::Alarms {
                minutes: more,
                findings,
                hangs,
            } => {
                minutes += more;
                false_alarms += findings + hangs;
            }
            Line::Broke { seen } => *broke.entry(*seen).or_default() += 1,
            Line::Round { .. } => {}
        }
    }
    let costs = costs(lines);
    Free {
        minutes,
        false_alarms,
        broke,
        cost_percent: median(&costs),
        cost_quartiles: quartiles(&costs),
        with_probes: rate(lines, true),
        without_probes: rate(lines, false),
    }
}

/// Writes the sums to the output.
pub fn free(args: &cli::Free, out: &mut impl Write) -> Result<()> {
    let path = &args.events;
    let text = fs::read_to_string(path).map_err(|error| Error::File {
        path: path.clone(),
        error,
    })?;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        lines.push(serde_json::from_str(line).map_err(|error| Error::Line {
            path: path.clone(),
            line: index + 1,
            error,
        })?);
    }
    let sum = sum(&lines);
    writeln!(out, "{}", serde_json::to_string_pretty(&sum)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_both_and_all_alarms() {
        let round = |probes, per_second| Line::Round { probes, per_second };
        let alarms = |findings, hangs| Line::Alarms {
            minutes: 2.5,
            findings,
            hangs,
        };
        let free = sum(&[
            round(true, 90.0),
            alarms(0, 0),
            round(false, 100.0),
            round(true, 89.0),
            round(true, 99.0),
            round(true, 95.0),
            round(false, 100.0),
            round(true, 45.0),
            alarms(2, 1),
            round(false, 50.0),
            Line::Broke { seen: Seen::Hang },
            Line::Broke {
                seen: Seen::Nothing,
            },
        ]);
        assert_eq!((free.minutes, free.false_alarms), (5.0, 3));
        assert_eq!(
            free.broke,
            BTreeMap::from([(Seen::Hang, 1), (Seen::Nothing, 1)])
        );
        assert_eq!(free.with_probes.median_per_second, Some(90.0));
        assert_eq!(free.without_probes.median_per_second, Some(100.0));
        assert_eq!(free.without_probes.least_per_second, Some(50.0));
        // 10, 5, 10: a machine that is half as fast later on makes no cost.
        assert_eq!(free.cost_percent, Some(10.0));
        assert_eq!(free.cost_quartiles, Some([7.5, 10.0]));
    }

    #[test]
    fn without_rounds_there_is_no_cost() {
        let free = sum(&[]);
        assert_eq!((free.cost_percent, free.with_probes.rounds), (None, 0));
    }
}
