// SPDX-License-Identifier: GPL-2.0

//! Raw events: JSON objects, one a line, of one run after the other. A run is what is
//! between a `begin` and the next `end`; one that was broken off has no `end` and does
//! not count. Within a run the order of lines means nothing: each has its time.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Who looks after the web server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// A guest and a node that stands by for it, each with Heartbeat in it.
    Heartbeat,
    /// A guest that Pacemaker asks every ten seconds.
    Pacemaker,
    /// The same, and vesper-ha.
    Vesper,
}

impl Way {
    /// All, in the order of tables.
    pub const ALL: [Self; 3] = [Self::Heartbeat, Self::Pacemaker, Self::Vesper];

    /// As in the files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Pacemaker => "pacemaker",
            Self::Vesper => "vesper",
        }
    }
}

/// A line. Times are nanoseconds since 1970, by the host VM's clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// A run begins.
    Begin {
        /// What is going to happen.
        fault: String,
        /// Who is to notice.
        way: Way,
        /// Number of the run among those of its kind.
        number: u32,
        /// How long it is waited for.
        bound_s: f64,
    },
    /// The fault was asked for.
    Fault {
        /// When.
        at_ns: i64,
    },
    /// The client got the page, for the first time or again.
    Up {
        /// When the request was answered.
        at_ns: i64,
    },
    /// The client did not get the page.
    Down {
        /// When its request had failed.
        at_ns: i64,
    },
    /// A monitor of the cluster has ended.
    Monitor {
        /// When.
        at_ns: i64,
        /// Its exit code.
        status: i32,
    },
    /// The cluster has begun to end the guest.
    Stop {
        /// When.
        at_ns: i64,
    },
    /// The cluster, or Heartbeat, has begun to start the service.
    Start {
        /// When.
        at_ns: i64,
    },
    /// Heartbeat has declared the other node dead.
    Dead {
        /// When its log said so.
        at_ns: i64,
    },
    /// What `vesper-ha explain --json` has.
    Explain {
        /// Its findings.
        found: Vec<Finding>,
    },
    /// The run is complete.
    End,
    /// What is there for people to read.
    #[serde(other)]
    Other,
}

/// A finding of vesper-ha, as far as it is of interest here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Name of the rule.
    pub rule: String,
    /// When it was judged.
    pub at_ns: i64,
}

/// A run that is complete.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// What happened.
    pub fault: String,
    /// Who was to notice.
    pub way: Way,
    /// Number among those of its kind.
    pub number: u32,
    /// How long it was waited for it to be noticed, in seconds.
    pub bound_s: f64,
    /// All else.
    pub events: Vec<Event>,
}

/// The complete runs of a file. A missing file has none.
pub fn read(path: &Path) -> Result<Vec<Run>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => {
            let path = path.to_owned();
            return Err(Error::File { path, error });
        }
    };
    parse(&text).map_err(|(line, error)| Error::Line {
        path: path.to_owned(),
        line,
        error,
    })
}

/// The complete runs of a text, or the number of the line that is none.
pub fn parse(text: &str) -> std::result::Result<Vec<Run>, (usize, serde_json::Error)> {
    let mut runs = Vec::new();
    let mut open: Option<Run> = None;
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match serde_json::from_str(line).map_err(|error| (index + 1, error))? {
            Event::Begin {
                fault,
                way,
                number,
                bound_s,
            } => {
                let events = Vec::new();
                open = Some(Run {
                    fault,
                    way,
                    number,
                    bound_s,
                    events,
                });
            }
            Event::End => runs.extend(open.take()),
            event => {
                if let Some(run) = &mut open {
                    run.events.push(event);
                }
            }
        }
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str =
        r#"{"event":"begin","fault":"panic","way":"vesper","number":1,"bound_s":75}"#;

    #[test]
    fn runs_without_an_end_do_not_count() {
        let text = format!(
            "{BEGIN}\n{{\"event\":\"fault\",\"at_ns\":1}}\n{BEGIN}\n\
             {{\"event\":\"fault\",\"at_ns\":2}}\n\n{{\"event\":\"end\"}}\n{BEGIN}\n"
        );
        let runs = parse(&text).unwrap();
        assert_eq!(runs.len(), 1);
        assert_eq!(runs[0].events, [Event::Fault { at_ns: 2 }]);
        assert_eq!((runs[0].way, runs[0].bound_s), (Way::Vesper, 75.0));
    }

    #[test]
    fn lines_for_people_are_read_over() {
        let text =
            format!("{BEGIN}\n{{\"event\":\"host\",\"accel\":\"tcg\"}}\n{{\"event\":\"end\"}}");
        assert_eq!(parse(&text).unwrap()[0].events, [Event::Other]);
    }

    #[test]
    fn what_is_no_event_is_named_by_its_line() {
        let (line, _) = parse(&format!("{BEGIN}\n\nfault")).unwrap_err();
        assert_eq!(line, 3);
        assert!(parse(r#"{"event":"fault"}"#).is_err());
    }

    #[test]
    fn findings_are_those_of_explain() {
        let line = r#"{"event":"explain","found":[{"id":1,"rule":"panic","at_ns":7,"steps":[]}]}"#;
        let Event::Explain { found } = serde_json::from_str(line).unwrap() else {
            panic!("{line}");
        };
        assert_eq!((found[0].rule.as_str(), found[0].at_ns), ("panic", 7));
    }

    #[test]
    fn a_missing_file_has_no_runs() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(&dir.path().join("events.jsonl")).unwrap(), []);
    }
}
