// SPDX-License-Identifier: GPL-2.0

//! The sums: results.json, table.md and the plots.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use crate::cli;
use crate::error::{Error, Result};
use crate::event::{self, Run, Way};
use crate::plot;
use crate::times::{median, times, Times};

/// What came of one fault in one way.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Sum {
    /// Runs that are complete.
    pub runs: usize,
    /// Those in which it was noticed within the bound.
    pub noticed: usize,
    /// Median seconds from the fault until it was noticed, of the runs in which it was.
    pub detection_s: Option<f64>,
    /// The same until stopping or starting began.
    pub recovery_s: Option<f64>,
    /// The same until the client got the page again, of the runs in which it did not.
    pub service_s: Option<f64>,
    /// Runs in which the client did not get the page at some time after the fault.
    pub outages: usize,
    /// Findings, in all runs, that are about something else than the fault.
    pub beside: usize,
    /// How long it was waited, each value that there was, in seconds.
    pub bounds_s: Vec<f64>,
    /// Each run's seconds until it was noticed, in the order of the runs.
    pub detections_s: Vec<Option<f64>>,
    /// The same until stopping or starting began.
    pub recoveries_s: Vec<Option<f64>>,
    /// The same until the client got the page again.
    pub services_s: Vec<Option<f64>>,
}

/// By fault, in the order of their first runs, and way.
pub type Sums = Vec<(String, BTreeMap<Way, Sum>)>;

/// Of each way, the bound and the times of its runs.
type Found = BTreeMap<Way, Vec<(f64, Times)>>;

/// Sums up.
pub fn sums(runs: &[Run]) -> Sums {
    let mut found: Vec<(String, Found)> = Vec::new();
    for run in runs {
        let Some(times) = times(run) else { continue };
        let index = found.iter().position(|(fault, _)| *fault == run.fault);
        let index = index.unwrap_or_else(|| {
            found.push((run.fault.clone(), BTreeMap::new()));
            found.len() - 1
        });
        found[index]
            .1
            .entry(run.way)
            .or_default()
            .push((run.bound_s, times));
    }
    let sum = |runs: Vec<(f64, Times)>| {
        let (bounds, times): (Vec<f64>, Vec<Times>) = runs.into_iter().unzip();
        let middle = |of: fn(&Times) -> Option<f64>| {
            median(&times.iter().filter_map(of).collect::<Vec<_>>())
        };
        Sum {
            runs: times.len(),
            noticed: times.iter().filter(|run| run.detection.is_some()).count(),
            detection_s: middle(|run| run.detection),
            recovery_s: middle(|run| run.recovery),
            service_s: middle(|run| run.service),
            outages: times.iter().filter(|run| run.outage.is_some()).count(),
            beside: times.iter().map(|run| run.beside).sum(),
            bounds_s: distinct(bounds),
            detections_s: times.iter().map(|run| run.detection).collect(),
            recoveries_s: times.iter().map(|run| run.recovery).collect(),
            services_s: times.iter().map(|run| run.service).collect(),
        }
    };
    let by_way = |(fault, ways): (String, Found)| {
        let ways = ways.into_iter().map(|(way, runs)| (way, sum(runs)));
        (fault, ways.collect())
    };
    found.into_iter().map(by_way).collect()
}

/// Each value once, in order.
fn distinct(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values.dedup();
    values
}

/// Writes the files, and the table to the output as well.
pub fn report(args: &cli::Report, out: &mut impl Write) -> Result<()> {
    let sums = sums(&event::read(&args.events)?);
    fs::create_dir_all(&args.out).map_err(|error| Error::File {
        path: args.out.clone(),
        error,
    })?;
    let mut results = serde_json::Map::new();
    for (fault, ways) in &sums {
        results.insert(fault.clone(), serde_json::to_value(ways)?);
    }
    let json = serde_json::to_string_pretty(&results)? + "\n";
    save(&args.out.join("results.json"), &json)?;
    let table = table(&sums);
    save(&args.out.join("table.md"), &table)?;
    plot::draw(
        &args.out.join("detection.svg"),
        "Until the fault was noticed",
        "not noticed",
        &sums,
        |sum| &sum.detections_s,
    )?;
    plot::draw(
        &args.out.join("service.svg"),
        "Until the client got the page again",
        "no outage, or none that ended",
        &sums,
        |sum| &sum.services_s,
    )?;
    out.write_all(table.as_bytes())?;
    Ok(())
}

fn save(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| Error::File {
        path: path.to_owned(),
        error,
    })
}

fn seconds(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.3}"))
}

/// The table, and below it what became of the goals.
pub fn table(sums: &Sums) -> String {
    let mut text = String::from(
        "| fault | way | noticed | detection | recovery begins | service again |\n\
         |---|---|---|---|---|---|\n",
    );
    for (fault, ways) in sums {
        for (way, sum) in ways {
            let service = match sum.outages {
                0 => "no outage".into(),
                _ => seconds(sum.service_s),
            };
            let _ = writeln!(
                text,
                "| {fault} | {} | {} of {} | {} | {} | {service} |",
                way.name(),
                sum.noticed,
                sum.runs,
                seconds(sum.detection_s),
                seconds(sum.recovery_s),
            );
        }
    }
    text += "\nMedian seconds after the fault; '-': it did not come to that.";
    text += &bounds(sums);
    text += "\n\n";
    for goal in goals(sums) {
        let _ = writeln!(text, "- {goal}");
    }
    text
}

/// How long was waited; said once if that was the same in all runs.
fn bounds(sums: &Sums) -> String {
    let listed = |values: &[f64]| {
        let values: Vec<String> = values.iter().map(f64::to_string).collect();
        values.join(" and ")
    };
    let all = sums.iter().flat_map(|(_, ways)| ways.values());
    let all = distinct(all.flat_map(|sum| sum.bounds_s.clone()).collect());
    match all.len() {
        0 => String::new(),
        1 => format!(" Noticed: within {} s.", listed(&all)),
        _ => {
            let mut text = String::from(" Noticed: within DIFFERENT times:");
            for (fault, ways) in sums {
                for (way, sum) in ways {
                    let bounds = listed(&sum.bounds_s);
                    let _ = write!(text, " {fault}, {}: {bounds} s;", way.name());
                }
            }
            text.pop();
            text + "."
        }
    }
}

/// A sentence for each fault.
fn goals(sums: &Sums) -> Vec<String> {
    let mut goals = Vec::new();
    for (fault, ways) in sums {
        let Some(vesper) = ways.get(&Way::Vesper) else {
            continue;
        };
        let mut text = format!("{fault}: ");
        text += match vesper.noticed == vesper.runs {
            true => "noticed by VESPER every time",
            false => "NOT noticed by VESPER every time",
        };
        let pacemaker = ways.get(&Way::Pacemaker).and_then(|sum| sum.detection_s);
        if let (Some(pacemaker), Some(vesper)) = (pacemaker, vesper.detection_s) {
            let times = pacemaker / vesper.max(1e-9);
            let _ = write!(
                text,
                ", {:.0} times faster than by Pacemaker alone",
                times.floor()
            );
            text += match times >= 100.0 {
                true => " (goal: 100)",
                false => " (goal of 100 NOT reached)",
            };
        }
        for way in [Way::Heartbeat, Way::Pacemaker] {
            if ways.get(&way).is_some_and(|sum| sum.noticed == 0) {
                let _ = write!(text, "; not by {}", way.name());
            }
        }
        for (way, sum) in ways.iter().filter(|(_, sum)| sum.beside > 0) {
            let (by, beside) = (way.name(), sum.beside);
            let _ = write!(text, "; findings of {by} about something else: {beside}");
        }
        goals.push(text);
    }
    goals
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of which the fault was at 0 s and noticed, by whatever way, at this time.
    fn run(fault: &str, way: Way, number: u32, noticed: Option<f64>) -> Run {
        let mut text = format!(
            "{{\"event\":\"begin\",\"fault\":\"{fault}\",\"way\":\"{}\",\"number\":{number},\"bound_s\":75}}\n\
             {{\"event\":\"fault\",\"at_ns\":0}}\n",
            way.name()
        );
        if let Some(at) = noticed.map(|at| (at * 1e9) as i64) {
            text += &match way {
                Way::Heartbeat => format!("{{\"event\":\"dead\",\"at_ns\":{at}}}\n"),
                Way::Pacemaker => {
                    format!("{{\"event\":\"monitor\",\"at_ns\":{at},\"status\":1}}\n")
                }
                Way::Vesper => format!(
                    "{{\"event\":\"explain\",\"found\":[{{\"rule\":\"kernel panic\",\"at_ns\":{at}}}]}}\n"
                ),
            };
        }
        let mut runs = event::parse(&(text + "{\"event\":\"end\"}")).unwrap();
        runs.remove(0)
    }

    #[test]
    fn results_have_null_where_there_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let events = dir.path().join("events.jsonl");
        fs::write(
            &events,
            "{\"event\":\"begin\",\"fault\":\"oom-hog\",\"way\":\"pacemaker\",\"number\":1,\"bound_s\":75}\n\
             {\"event\":\"fault\",\"at_ns\":5}\n{\"event\":\"end\"}\n",
        )
        .unwrap();
        let out = dir.path().join("out");
        report(
            &cli::Report {
                events,
                out: out.clone(),
            },
            &mut Vec::new(),
        )
        .unwrap();
        let text = fs::read_to_string(out.join("results.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let sum = &json["oom-hog"]["pacemaker"];
        assert_eq!(sum["runs"], 1);
        assert_eq!(sum["noticed"], 0);
        assert_eq!(sum["bounds_s"], serde_json::json!([75.0]));
        assert!(
            sum["detection_s"].is_null() && sum["service_s"].is_null(),
            "{text}"
        );
        assert!(sum["recovery_s"].is_null(), "{text}");
        assert!(json["oom-hog"]["vesper"].is_null(), "{text}");
        for plot in ["detection.svg", "service.svg"] {
            let text = fs::read_to_string(out.join(plot)).unwrap();
            assert!(text.contains("oom-hog, pacemaker"), "{text}");
        }
    }

    #[test]
    fn medians_are_of_the_runs_in_which_it_was_noticed() {
        let runs = [
            run("panic", Way::Pacemaker, 1, Some(6.0)),
            run("panic", Way::Pacemaker, 2, None),
            run("panic", Way::Pacemaker, 3, Some(4.0)),
        ];
        let sums = sums(&runs);
        let sum = &sums[0].1[&Way::Pacemaker];
        assert_eq!((sum.runs, sum.noticed), (3, 2));
        assert_eq!(sum.detection_s, Some(5.0));
        assert_eq!(sum.detections_s, [Some(6.0), None, Some(4.0)]);
    }

    #[test]
    fn different_bounds_are_said() {
        let mut runs = vec![
            run("panic", Way::Pacemaker, 1, Some(5.0)),
            run("hang", Way::Vesper, 1, Some(0.6)),
        ];
        let text = table(&sums(&runs));
        assert!(text.contains("Noticed: within 75 s.\n"), "{text}");
        runs.push(run("panic", Way::Pacemaker, 2, Some(5.0)));
        runs[2].bound_s = 50.0;
        let sums = sums(&runs);
        assert_eq!(sums[0].1[&Way::Pacemaker].bounds_s, [50.0, 75.0]);
        let text = table(&sums);
        let wanted = "within DIFFERENT times: panic, pacemaker: 50 and 75 s; hang, vesper: 75 s.\n";
        assert!(text.contains(wanted), "{text}");
    }

    #[test]
    fn outages_beside_the_fault_are_not_noticed() {
        let runs = [
            run("block", Way::Pacemaker, 1, Some(39.0)),
            run("block", Way::Vesper, 1, None),
        ];
        let sums = sums(&runs);
        let sum = &sums[0].1[&Way::Pacemaker];
        assert_eq!((sum.noticed, sum.beside, sum.detection_s), (0, 1, None));
        let text = table(&sums);
        let wanted = "; not by pacemaker; findings of pacemaker about something else: 1\n";
        assert!(text.contains(wanted), "{text}");
    }

    #[test]
    fn goals_are_judged_by_the_medians() {
        let mut runs = vec![
            run("panic", Way::Heartbeat, 1, None),
            run("panic", Way::Pacemaker, 1, Some(5.0)),
            run("panic", Way::Vesper, 1, Some(0.05)),
        ];
        let text = table(&sums(&runs));
        assert!(
            text.contains("| panic | pacemaker | 1 of 1 | 5.000 | - | no outage |"),
            "{text}"
        );
        assert!(text.contains("every time, 100 times faster"), "{text}");
        assert!(text.contains("(goal: 100); not by heartbeat"), "{text}");
        runs.push(run("panic", Way::Vesper, 2, Some(0.06)));
        runs.push(run("panic", Way::Vesper, 3, None));
        let text = table(&sums(&runs));
        assert!(text.contains("NOT noticed by VESPER every time"), "{text}");
        assert!(text.contains("goal of 100 NOT reached"), "{text}");
    }
}
