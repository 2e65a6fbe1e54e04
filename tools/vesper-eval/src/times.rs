// SPDX-License-Identifier: GPL-2.0

//! What a run took, from its raw events.

use crate::event::{Event, Finding, Run, Way};
use crate::fault;

/// Seconds after the fault; none where it did not come to that.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Times {
    /// Until it was noticed by whose part it is in this way.
    pub detection: Option<f64>,
    /// Until stopping or starting began, if that can have been for the fault.
    pub recovery: Option<f64>,
    /// Until the client got the page again, if it ever did not.
    pub service: Option<f64>,
    /// Until the client did not get it.
    pub outage: Option<f64>,
    /// Findings that are about something else than the fault: of vesper-ha, or the first of who
    /// looks at what the fault leaves alone.
    pub beside: usize,
}

/// None for a run in which nothing was done to the guest.
pub fn times(run: &Run) -> Option<Times> {
    let fault = run.events.iter().find_map(|event| match event {
        Event::Fault { at_ns } => Some(*at_ns),
        _ => None,
    })?;
    let first = |from: i64, wanted: &dyn Fn(&Event) -> Option<i64>| {
        let times = run.events.iter().filter_map(wanted);
        times.filter(|at| *at >= from).min()
    };
    let seconds = |at: i64| (at - fault) as f64 / 1e9;
    let found = match run.way {
        Way::Heartbeat => first(fault, &|event| match event {
            Event::Dead { at_ns } => Some(*at_ns),
            _ => None,
        }),
        Way::Pacemaker => first(fault, &|event| match event {
            Event::Monitor { at_ns, status } if *status != 0 => Some(*at_ns),
            _ => None,
        }),
        Way::Vesper => first(fault, &|event| match event {
            Event::Explain { found } => {
                let told = |finding: &&Finding| {
                    finding.at_ns >= fault && fault::told_by(&run.fault, &finding.rule)
                };
                found.iter().filter(told).map(|finding| finding.at_ns).min()
            }
            _ => None,
        }),
    };
    // The others look at the page, the VMM or the node.
    let apt = run.way == Way::Vesper || fault::stops_page(&run.fault);
    let detection = found.filter(|_| apt);
    let recovery = first(fault, &|event| match event {
        Event::Stop { at_ns } | Event::Start { at_ns } => Some(*at_ns),
        _ => None,
    });
    let outage = first(fault, &|event| match event {
        Event::Down { at_ns } => Some(*at_ns),
        _ => None,
    });
    let service = outage.and_then(|down| {
        first(down, &|event| match event {
            Event::Up { at_ns } => Some(*at_ns),
            _ => None,
        })
    });
    let findings = run.events.iter().flat_map(|event| match event {
        Event::Explain { found } => found.as_slice(),
        _ => &[],
    });
    let beside = findings
        .filter(|finding| !fault::told_by(&run.fault, &finding.rule))
        .count()
        + usize::from(found.is_some() && !apt);
    Some(Times {
        detection: detection.map(seconds),
        recovery: recovery.filter(|_| apt).map(seconds),
        service: service.map(seconds),
        outage: outage.map(seconds),
        beside,
    })
}

/// The middle one, or the mean of the two in the middle.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        len if len % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// The first and the third quartile, between two values in proportion.
pub fn quartiles(values: &[f64]) -> Option<[f64; 2]> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let at = |part: f64| {
        let place = part * last as f64;
        let (below, above) = (place.floor() as usize, place.ceil() as usize);
        values[below] + (values[above] - values[below]) * place.fract()
    };
    Some([at(0.25), at(0.75)])
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    fn run(way: Way, events: &[Event]) -> Run {
        Run {
            fault: "panic".into(),
            way,
            number: 1,
            bound_s: 75.0,
            events: events.to_vec(),
        }
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 9.0, 2.0]), Some(3.0));
    }

    #[test]
    fn quartiles_lie_between_values() {
        assert_eq!(quartiles(&[]), None);
        assert_eq!(quartiles(&[3.0]), Some([3.0, 3.0]));
        assert_eq!(quartiles(&[9.0, 1.0, 3.0]), Some([2.0, 6.0]));
    }

    #[test]
    fn what_was_before_the_fault_is_not_because_of_it() {
        let run = run(
            Way::Pacemaker,
            &[
                Event::Up { at_ns: S },
                Event::Start { at_ns: S },
                Event::Monitor {
                    at_ns: S,
                    status: 7,
                },
                // Lines come in any order.
                Event::Up { at_ns: 40 * S },
                Event::Down { at_ns: 11 * S },
                Event::Monitor {
                    at_ns: 14 * S,
                    status: 1,
                },
                Event::Monitor {
                    at_ns: 12 * S,
                    status: 0,
                },
                Event::Start { at_ns: 16 * S },
                Event::Stop { at_ns: 15 * S },
                Event::Fault { at_ns: 10 * S },
            ],
        );
        let times = times(&run).unwrap();
        assert_eq!(times.detection, Some(4.0));
        assert_eq!(times.recovery, Some(5.0));
        assert_eq!(times.outage, Some(1.0));
        assert_eq!(times.service, Some(30.0));
    }

    #[test]
    fn each_way_has_its_own_witness() {
        let events = [
            Event::Fault { at_ns: 10 * S },
            Event::Monitor {
                at_ns: 13 * S,
                status: 1,
            },
            Event::Dead { at_ns: 12 * S },
            Event::Explain {
                found: vec![
                    Finding {
                        rule: "kernel panic".into(),
                        at_ns: 9 * S,
                    },
                    Finding {
                        rule: "disk errors".into(),
                        at_ns: 10 * S + 1,
                    },
                    Finding {
                        rule: "guest has panicked".into(),
                        at_ns: 11 * S,
                    },
                ],
            },
        ];
        let seen = |way| times(&run(way, &events)).unwrap().detection;
        assert_eq!(seen(Way::Vesper), Some(1.0));
        assert_eq!(seen(Way::Heartbeat), Some(2.0));
        assert_eq!(seen(Way::Pacemaker), Some(3.0));
        assert_eq!(times(&run(Way::Vesper, &events)).unwrap().beside, 1);
    }

    #[test]
    fn who_cannot_see_a_fault_has_not_noticed_it() {
        let events = [
            Event::Fault { at_ns: 10 * S },
            Event::Down { at_ns: 48 * S },
            Event::Monitor {
                at_ns: 49 * S,
                status: 1,
            },
            Event::Monitor {
                at_ns: 59 * S,
                status: 1,
            },
            Event::Dead { at_ns: 49 * S },
            Event::Stop { at_ns: 50 * S },
            Event::Up { at_ns: 61 * S },
            Event::Explain {
                found: vec![Finding {
                    rule: "disk errors".into(),
                    at_ns: 11 * S,
                }],
            },
        ];
        for way in [Way::Heartbeat, Way::Pacemaker] {
            let mut run = run(way, &events[..events.len() - 1]);
            for fault in ["block", "machine-check", "oom-hog"] {
                run.fault = fault.into();
                let times = times(&run).unwrap();
                assert_eq!((times.detection, times.recovery), (None, None));
                assert_eq!((times.outage, times.service), (Some(38.0), Some(51.0)));
                assert_eq!(times.beside, 1, "{fault}");
            }
            run.fault = "hang".into();
            let times = times(&run).unwrap();
            assert_eq!((times.detection, times.beside), (Some(39.0), 0));
        }
        let mut run = run(Way::Vesper, &events);
        run.fault = "block".into();
        let times = times(&run).unwrap();
        assert_eq!((times.detection, times.recovery), (Some(1.0), Some(40.0)));
        assert_eq!(times.beside, 0);
    }

    #[test]
    fn what_did_not_happen_has_no_time() {
        let events = [
            Event::Up { at_ns: 1 },
            Event::Fault { at_ns: 2 },
            Event::Explain { found: Vec::new() },
        ];
        for way in Way::ALL {
            assert_eq!(times(&run(way, &events)), Some(Times::default()));
            assert_eq!(times(&run(way, &events[..1])), None);
        }
    }
}
