// SPDX-License-Identifier: GPL-2.0

//! `vesper-ha explain`: what was found, why, and what was done about it.

use std::collections::BTreeMap;
use std::io::Write;

use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::Value as Json;
use vesper_abi::escape::{Escaped, Shown};
use vesper_cli::time;

use crate::cli::Explain;
use crate::error::Result;
use crate::event::{plain, shown};
use crate::journal::{Found, Line};
use crate::losses::Loss;

/// A finding with all that belongs to it.
#[derive(Debug, Serialize)]
struct Story {
    #[serde(flatten)]
    found: Found,
    steps: Vec<Step>,
    /// Records of the same probe that were lost in the same boot.
    lost: u64,
}

#[derive(Debug, Serialize)]
struct Step {
    what: String,
    ok: bool,
    text: String,
    at_ns: i64,
}

/// Prints the newest stories last.
pub fn explain(args: &Explain, lines: Vec<Line>, out: &mut impl Write) -> Result<()> {
    let mut stories: BTreeMap<u64, Story> = BTreeMap::new();
    let mut losses = Vec::new();
    for line in lines {
        match line {
            Line::Found(found) => {
                let story = Story {
                    found,
                    steps: Vec::new(),
                    lost: 0,
                };
                stories.insert(story.found.id, story);
            }
            Line::Named { id, fields } => {
                if let Some(story) = stories.get_mut(&id) {
                    story.found.fields = fields;
                }
            }
            Line::Step {
                id,
                what,
                ok,
                text,
                at_ns,
            } => {
                let step = Step {
                    what,
                    ok,
                    text,
                    at_ns,
                };
                if let Some(story) = stories.get_mut(&id) {
                    story.steps.push(step);
                }
            }
            Line::Spared {
                id,
                at_ns,
                hands_off,
            } => {
                let text = match hands_off {
                    true => "the guest is in an operator's hands",
                    false => "the guest counts as well",
                };
                let step = Step {
                    what: "spared".into(),
                    ok: true,
                    text: text.into(),
                    at_ns,
                };
                if let Some(story) = stories.get_mut(&id) {
                    story.steps.push(step);
                }
            }
            Line::Lost {
                guest,
                boot_id,
                probe,
                loss,
                at_ns,
            } => losses.push(Gap {
                guest,
                boot_id,
                probe,
                loss,
                at_ns,
            }),
            Line::Done { .. }
            | Line::Cleared { .. }
            | Line::TakenBack { .. }
            | Line::Note { .. } => {}
        }
    }
    for story in stories.values_mut() {
        let found = &story.found;
        let own = losses.iter().filter(|gap| gap.is_of(found));
        // As many as guests say.
        story.lost = own.fold(0, |sum, gap| sum.saturating_add(gap.loss.records));
    }
    let wanted = |of: &str| args.guest.as_ref().is_none_or(|guest| of == guest);
    let stories = stories.values().filter(|story| wanted(&story.found.guest));
    let stories: Vec<&Story> = stories.collect();
    let from = stories.len().saturating_sub(args.last);
    if args.json.json {
        return Ok(vesper_cli::json::write_array(out, &stories[from..])?);
    }
    if stories.is_empty() {
        writeln!(out, "nothing was found")?;
    }
    for story in &stories[from..] {
        story.tell(out)?;
    }
    let losses: Vec<_> = losses.iter().filter(|gap| wanted(&gap.guest)).collect();
    for gap in &losses[losses.len().saturating_sub(args.last)..] {
        let text = format!(
            "{} {}/{}: {}",
            at(gap.at_ns),
            gap.guest,
            gap.probe,
            gap.loss
        );
        writeln!(out, "{}", Shown(&text))?;
    }
    Ok(())
}

/// Records that no rule has seen.
struct Gap {
    guest: String,
    boot_id: String,
    probe: String,
    loss: Loss,
    at_ns: i64,
}

impl Gap {
    fn is_of(&self, found: &Found) -> bool {
        self.guest == found.guest && self.boot_id == found.boot_id && self.probe == found.probe
    }
}

/// A time for people.
fn at(ns: i64) -> String {
    time::wall_clock(i128::from(ns), &TimeZone::system()).unwrap_or_default()
}

impl Story {
    fn tell(&self, out: &mut impl Write) -> std::io::Result<()> {
        let found = &self.found;
        let mut text = format!(
            "{} {}: {} ({} of {})\n",
            at(found.time_ns),
            found.guest,
            found.rule,
            Escaped(found.event.as_bytes()),
            found.probe
        );
        let line = shown(&found.fields);
        if !line.is_empty() {
            text += &format!("  {line}\n");
        }
        for (name, value) in &found.fields {
            let Json::Array(entries) = value else {
                continue;
            };
            text += &format!("  {}:\n", Escaped(name.as_bytes()));
            for entry in entries {
                let entry = plain(entry).unwrap_or_else(|| "?".into());
                text += &format!("    {}\n", Escaped(entry.as_bytes()));
            }
        }
        if found.held_back > 0 {
            text += &format!("  {} more like it were held back\n", found.held_back);
        }
        text += &format!(
            "  judged {} after it happened\n",
            span(found.at_ns - found.time_ns)
        );
        if self.lost > 0 {
            text += &format!(
                "  {} records of {} were lost in this boot\n",
                self.lost, found.probe
            );
        }
        if found.put_off {
            text += "  put off: the limit on actions was reached\n";
        }
        if found.dry_run {
            text += "  by a dry run\n";
        }
        if let Some(why) = &found.refrained {
            text += &format!("  nothing was done: {why}\n");
        }
        for step in &self.steps {
            let how = if step.ok { "" } else { " FAILED" };
            let after = span(step.at_ns - found.time_ns);
            text += &format!("  {}{how} after {after}: {}\n", step.what, step.text);
        }
        for line in text.lines() {
            writeln!(out, "{}", Shown(line))?;
        }
        Ok(())
    }
}

/// A time between two events.
fn span(ns: i64) -> String {
    format!("{:.1} ms", ns as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_guest_writes_no_lines_of_its_own() {
        let fields = json!({
            "path": "/tmp/x\n  fail after 1.0 ms: done",
            "stack\n": ["f\n  fail", { "value": "0x1", "label": "g h\u{1b}[2J" }],
        });
        let found = Found {
            guest: "web1".into(),
            rule: "exec".into(),
            event: "exec\n".into(),
            probe: "process".into(),
            fields: fields.as_object().unwrap().clone(),
            ..Found::default()
        };
        let args = Explain {
            guest: None,
            last: 1,
            json: vesper_cli::cli::Json { json: false },
        };
        let mut out = Vec::new();
        explain(&args, vec![Line::Found(found)], &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        let (first, rest) = out.split_once('\n').unwrap();
        assert!(
            first.ends_with(r" web1: exec (exec\n of process)"),
            "{first}"
        );
        assert_eq!(
            rest,
            r#"  path="/tmp/x\n  fail after 1.0 ms: done"
  stack\n:
    f\n  fail
    g h\x1b[2J
  judged 0.0 ms after it happened
"#
        );
    }
}
