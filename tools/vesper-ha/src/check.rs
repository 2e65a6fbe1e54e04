// SPDX-License-Identifier: GPL-2.0

//! `vesper-ha check`: whether the rules speak of records that there are, and whether
//! the probes that write them are loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use vesper_abi::name::text;
use vesper_cli::catalogue::{Build, Catalogue};
use vesper_cli::control::{Device, Host};

use crate::cli::Cli;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::event::{Boot, GUEST, GUEST_EVENTS, GUEST_FIELDS};
use crate::rule::Rule;

/// The probe whose fields are named when it is loaded.
const ANY: &str = "any";

/// What a rule does not say.
const OPEN: &str = "...";

/// Where it is to be, among its parameters and its fields.
const AT: &str = "at";

/// Prints slips and probes that are missing; fails if there are slips.
pub fn check(cli: &Cli, out: &mut impl Write) -> Result<()> {
    let config = Config::read(&cli.places.config)?;
    writeln!(out, "{} rules", config.rules.len())?;
    let catalogue = Catalogue::find(&cli.probes.dirs);
    let groups = catalogue.groups();
    let builds: Vec<&Build> = groups
        .values()
        .filter_map(|all| all.first().copied())
        .collect();
    let mut slips = 0;
    for slip in config.rules.iter().filter_map(|rule| slip(rule, &builds)) {
        writeln!(out, "{slip}")?;
        slips += 1;
    }
    let host = Host::new(Device::open(&cli.device)?)?;
    for domain in host.domains()? {
        let guest = Boot::of(&domain).guest;
        if guest.contains('@') {
            continue;
        }
        let modules = host.modules(&guest)?;
        let loaded = |probe: &str| {
            let mut names = modules.iter().map(|module| text(&module.name));
            names.any(|name| name == probe.as_bytes())
        };
        let mut missing: BTreeMap<&str, Vec<&Rule>> = BTreeMap::new();
        for rule in config.rules.iter().filter(|rule| rule.is_for(&guest)) {
            if rule.probe != GUEST && !loaded(&rule.probe) {
                missing.entry(&rule.probe).or_default().push(rule);
            }
        }
        for (probe, rules) in missing {
            let build = builds.iter().find(|build| build.module == probe);
            let group = build.map_or(probe, |build| &build.group);
            let with = parameters(probe, build.copied(), &rules);
            let open = match with.contains(OPEN) {
                true => format!(", with what they need in place of {OPEN}"),
                false => String::new(),
            };
            writeln!(
                out,
                "{guest}: probe '{probe}' is not loaded; 'vesper keep add {guest} {group}{with}' loads it{open}"
            )?;
        }
    }
    match slips {
        0 => Ok(()),
        slips => Err(Error::Slips(slips)),
    }
}

/// What the group "any" has to be told for the sake of these rules.
fn parameters(probe: &str, build: Option<&Build>, rules: &[&Rule]) -> String {
    if probe != ANY {
        return String::new();
    }
    let events = build.map_or(&[][..], |build| &build.contents.events);
    let own = |field: &str| {
        let mut fields = events.iter().flat_map(|event| &event.fields);
        fields.any(|known| known.name == field)
    };
    let places: BTreeSet<_> = rules.iter().flat_map(|rule| rule.wanted(AT)).collect();
    let fields = rules.iter().flat_map(|rule| rule.fields());
    let named: BTreeSet<_> = fields.filter(|field| !own(field)).collect();
    let list = |words: BTreeSet<&str>, between: &str| Vec::from_iter(words).join(between);
    let places = match places.is_empty() {
        true => OPEN.into(),
        false => list(places, ","),
    };
    let mut text = format!(" {AT}={places} urgent=1");
    if !named.is_empty() {
        let between = format!("={OPEN},");
        text += &format!(" args={}={OPEN}", list(named, &between));
    }
    text
}

/// What is wrong with the names in a rule, and what there is instead.
fn slip(rule: &Rule, builds: &[&Build]) -> Option<String> {
    let name = &rule.name;
    let known = |names: &[&str]| names.join(", ");
    if rule.probe == GUEST {
        if !GUEST_EVENTS.contains(&rule.event.as_str()) {
            let (event, events) = (&rule.event, known(&GUEST_EVENTS));
            return Some(format!(
                "rule '{name}': no event '{event}' of a guest: {events}"
            ));
        }
        let field = rule.fields().find(|field| !GUEST_FIELDS.contains(field))?;
        let fields = known(&GUEST_FIELDS);
        return Some(format!("rule '{name}': no field '{field}': {fields}"));
    }
    let Some(build) = builds.iter().find(|build| build.module == rule.probe) else {
        let group = builds.iter().find(|build| build.group == rule.probe);
        let probe = &rule.probe;
        return Some(match group {
            Some(build) => format!(
                "rule '{name}': records of group '{probe}' come from module '{}': name that",
                build.module
            ),
            None => {
                let modules: Vec<_> = builds.iter().map(|build| build.module.as_str()).collect();
                let modules = known(&modules);
                format!("rule '{name}': no probe '{probe}' is installed: {modules}")
            }
        });
    };
    let events = &build.contents.events;
    let Some(event) = events.iter().find(|event| event.name == rule.event) else {
        let events: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
        let (probe, event, events) = (&rule.probe, &rule.event, known(&events));
        return Some(format!(
            "rule '{name}': '{probe}' writes no '{event}': {events}"
        ));
    };
    if rule.probe == ANY {
        return None;
    }
    let fields: Vec<_> = event
        .fields
        .iter()
        .map(|field| field.name.as_str())
        .collect();
    let field = rule.fields().find(|field| !fields.contains(field))?;
    let (event, fields) = (&rule.event, known(&fields));
    Some(format!(
        "rule '{name}': no field '{field}' in '{event}': {fields}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vesper_cli::catalogue::{Contents, Event, Field};

    fn build(group: &str, module: &str, event: &str, field: &str) -> Build {
        let field = Field {
            name: field.into(),
            kind: "U32".into(),
            text: String::new(),
        };
        let event = Event {
            name: event.into(),
            text: String::new(),
            fields: vec![field],
        };
        Build {
            path: "x.ko".into(),
            group: group.into(),
            module: module.into(),
            release: String::new(),
            vermagic: Vec::new(),
            contents: Contents {
                events: vec![event],
                ..Contents::default()
            },
        }
    }

    #[test]
    fn what_any_has_to_be_told() {
        let build = build("any", "any", "entry", "at");
        let rule = |text: &str| -> Rule {
            let text = format!("name = \"r\"\nprobe = \"any\"\nevent = \"entry\"\n{text}");
            toml_edit::de::from_str(&text).unwrap()
        };
        let rules = [
            rule("where = { at = \"t:mce_record\", status = [\"0xa*\", \"0xb*\"] }"),
            rule("where = { at = [\"t:mc_event\", \"t:x*\"], type = [1, 3] }"),
        ];
        let rules = Vec::from_iter(&rules);
        assert_eq!(
            parameters("any", Some(&build), &rules),
            " at=t:mc_event,t:mce_record urgent=1 args=status=...,type=..."
        );
        assert_eq!(
            parameters("any", Some(&build), &[&rule("where = { at = \"f\" }")]),
            " at=f urgent=1"
        );
        assert_eq!(
            parameters("any", Some(&build), &[&rule("")]),
            " at=... urgent=1"
        );
        assert_eq!(parameters("process", None, &rules), "");
    }

    #[test]
    fn slips_in_names() {
        let builds = [
            build("block", "blockio", "block_error", "status"),
            build("any", "any", "entry", "at"),
        ];
        let builds: Vec<&Build> = builds.iter().collect();
        let slip = |probe: &str, event: &str, field: &str| {
            let text = format!(
                "name = \"r\"\nprobe = \"{probe}\"\nevent = \"{event}\"\nwhere = {{ {field} = 1 }}"
            );
            slip(&toml_edit::de::from_str(&text).unwrap(), &builds).unwrap_or_default()
        };
        assert_eq!(slip("blockio", "block_error", "status"), "");
        assert_eq!(slip("any", "entry", "whatever"), "");
        assert_eq!(slip("guest", "gone", "orderly"), "");
        assert!(slip("block", "block_error", "status").contains("module 'blockio'"));
        assert!(slip("blokio", "block_error", "status").contains("no probe 'blokio'"));
        assert!(slip("blockio", "error", "status").contains("no 'error': block_error"));
        assert!(slip("blockio", "block_error", "state").contains("'state' in"));
        assert!(slip("guest", "hangs", "pid").contains("no event 'hangs'"));
        assert!(slip("guest", "hung", "pit").contains("no field 'pit'"));
    }
}
