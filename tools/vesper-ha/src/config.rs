// SPDX-License-Identifier: GPL-2.0

//! The file of rules.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::judge::Limit;
use crate::rule::{self, Rule, HOST};

/// A rule that sets something on the node is held for so long, and leaves it set for so
/// long, at least: there is no limit on how often it does.
const LEAST: Duration = Duration::from_secs(1);

/// Everything in the file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The cluster.
    pub cluster: Cluster,
    /// How much may be done.
    pub limit: Limits,
    /// What is known of guests, by name.
    pub guests: BTreeMap<String, Guest>,
    /// What is looked for.
    #[serde(rename = "rule")]
    pub rules: Vec<Rule>,
}

/// `[cluster]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// Who is told.
    pub manager: Manager,
    /// This node's name in the cluster; the cluster is asked if there is none.
    pub node: Option<String>,
    /// How long the cluster is asked again while it gives no answer.
    #[serde(deserialize_with = "rule::duration")]
    pub patience: Duration,
}

/// The cluster's manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// Pacemaker, by its command-line tools.
    Pacemaker,
    /// There is none: resources and nodes are left alone.
    None,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            manager: Manager::Pacemaker,
            node: None,
            patience: Duration::from_secs(120),
        }
    }
}

/// `[limit]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// So many actions, all guests together...
    pub actions: usize,
    /// ...so many about one guest...
    pub per_guest: usize,
    /// ...in this time.
    #[serde(deserialize_with = "rule::duration")]
    pub within: Duration,
    /// A record that is older when it is read is only reported.
    #[serde(deserialize_with = "rule::duration")]
    pub age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            actions: 20,
            per_guest: 5,
            within: Duration::from_secs(60),
            age: Duration::from_secs(600),
        }
    }
}

impl From<&Limits> for Limit {
    fn from(limits: &Limits) -> Self {
        Self {
            actions: limits.actions,
            per_guest: limits.per_guest,
            within: limits.within,
        }
    }
}

/// `[guests.NAME]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guest {
    /// Its cluster resource, if that has another name than the guest.
    pub resource: Option<String>,
}

impl Config {
    /// Reads and checks the file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|error| Error::File {
            path: path.to_owned(),
            error,
        })?;
        Self::parse(&text).map_err(|text| Error::Config {
            path: path.to_owned(),
            text,
        })
    }

    /// Checks what a file says. Fails with a sentence.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut config: Self = toml_edit::de::from_str(text).map_err(|error| error.to_string())?;
        for rule in config.rules.iter_mut().filter(|rule| rule.sets()) {
            rule.hold = rule.hold.max(LEAST);
            rule.clear_after = rule.clear_after.map(|after| after.max(LEAST));
        }
        if config.limit.actions == 0 || config.limit.per_guest == 0 {
            return Err("[limit] allows nothing; 'vesper-ha run --dry-run' does nothing".into());
        }
        if config.limit.age.is_zero() {
            return Err("[limit] has age = 0, by which every record is too old".into());
        }
        for (number, rule) in config.rules.iter().enumerate() {
            let earlier = &config.rules[..number];
            if earlier.iter().any(|other| other.name == rule.name) {
                return Err(format!("there are two rules '{}'", rule.name));
            }
            if rule.is_deadly() && rule.is_for(HOST) {
                return Err(format!(
                    "rule '{}' would fail or destroy the host; set its health instead",
                    rule.name
                ));
            }
            let needs = rule.fail || rule.sets();
            if needs && config.cluster.manager == Manager::None {
                return Err(format!(
                    "rule '{}' is for a cluster, and [cluster] says that there is none",
                    rule.name
                ));
            }
        }
        Ok(config)
    }

    /// The cluster resource of a guest.
    pub fn resource_of<'a>(&'a self, guest: &'a str) -> &'a str {
        let named = self.guests.get(guest);
        named
            .and_then(|guest| guest.resource.as_deref())
            .unwrap_or(guest)
    }

    /// The guest that a cluster resource is.
    pub fn guest_of<'a>(&'a self, resource: &'a str) -> &'a str {
        let mut named = self.guests.iter();
        named
            .find(|(_, guest)| guest.resource.as_deref() == Some(resource))
            .map_or(resource, |(name, _)| name)
    }

    /// Whether any rule looks at these records.
    pub fn wants(&self, guest: &str, probe: &str) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.probe == probe && rule.is_for(guest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_can_be_read() {
        let text = include_str!("../ha.toml");
        let config = Config::parse(text).unwrap();
        assert!(config.rules.len() >= 10);
        assert!(config.wants("web1", "memory"));
        // What stands there is what is so without it.
        assert_eq!(config.limit.age, Limits::default().age);
    }

    /// Names of the shipped rules that match a record.
    fn found(guest: &str, probe: &str, event: &str, fields: serde_json::Value) -> String {
        let config = Config::parse(include_str!("../ha.toml")).unwrap();
        let event = crate::event::Event {
            boot: crate::event::Boot {
                guest: guest.into(),
                id: "1".into(),
            },
            probe: probe.into(),
            name: event.into(),
            time_ns: 0,
            fields: fields.as_object().unwrap().clone(),
        };
        let names = config.rules.iter().filter(|rule| rule.matches(&event));
        let names: Vec<_> = names.map(|rule| rule.name.as_str()).collect();
        names.join(", ")
    }

    #[test]
    fn what_the_shipped_rules_make_of_records() {
        use serde_json::json;
        let fs = |event: &str, fields| found("web1", "fs", event, fields);
        let place = |label: &str| json!({ "place": { "value": 5, "label": label } });
        assert_eq!(fs("fs_error", place("metadata")), "file system failed");
        assert_eq!(fs("fs_error", place("buffered_write")), "file data lost");
        assert_eq!(fs("ext4_error", json!({})), "ext4 failed");
        let read_only = |cause: &str| {
            let cause = json!({ "value": 0, "label": cause });
            fs("remount_read_only", json!({ "forced": 0, "cause": cause }))
        };
        assert_eq!(read_only("operator"), "file system remounted read-only");
        assert_eq!(read_only("error"), "file system gone read-only");
        let host = |fields| found("host", "any", "entry", fields);
        let check =
            |status: &str| host(json!({ "at": "t:mce_record", "status": status, "type": 1 }));
        assert_eq!(check("0x9c00000000000000"), "host corrected errors");
        assert_eq!(check("0xcc00000000000000"), "host corrected errors");
        assert_eq!(check("0xbe00000000000000"), "host machine check");
        assert_eq!(check("0xfd80000000100134"), "host machine check");
        let edac = |kind: u32| host(json!({ "at": "t:mc_event", "status": "0x0", "type": kind }));
        assert_eq!(edac(0), "");
        assert_eq!(edac(1), "host memory error");
        assert_eq!(edac(3), "host memory error");
        let stall = |whom: &str, us: u64| {
            let fields = json!({ "short_of": { "value": 0, "label": whom }, "us": us });
            found("host", "memory", "reclaim_stall", fields)
        };
        assert_eq!(stall("machine", 150_000), "host short of memory");
        assert_eq!(
            stall("machine", 1_500_000),
            "host short of memory, host starved of memory"
        );
        assert_eq!(stall("machine", 15_000), "");
        assert_eq!(stall("memory_cgroup", 150_000), "");
        let gone = |orderly: &str| {
            let orderly = json!({ "value": 0, "label": orderly });
            found(
                "web1",
                "guest",
                "gone",
                json!({ "run_state": "running", "orderly": orderly }),
            )
        };
        let failed = json!({ "run_state": "failed" });
        let failed = found("web1", "guest", "failed", failed);
        assert_eq!(failed, "guest stopped by an error");
        assert_eq!(gone("no"), "guest gone");
        assert_eq!(gone("yes"), "");
    }

    #[test]
    fn what_is_shipped_does_nothing_about_what_may_be_meant_or_pass() {
        let config = Config::parse(include_str!("../ha.toml")).unwrap();
        let acts = |name: &str| {
            let mut rules = config.rules.iter();
            rules.find(|rule| rule.name == name).unwrap().acts()
        };
        assert!(!acts("file system remounted read-only"));
        // A full disk of the host's stops all guests that write.
        assert!(!acts("guest stopped by an error"));
        assert!(acts("file system gone read-only"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let parse = |text: &str| Config::parse(text).map(drop).unwrap_err();
        let rule = "[[rule]]\nname = \"a\"\nprobe = \"panic\"\nevent = \"panic\"\nfail = true\n";
        assert!(parse(&format!("{rule}{rule}")).contains("two rules"));
        assert!(parse(&format!("{rule}guests = [\"host\"]")).contains("health"));
        assert!(parse(&format!("[cluster]\nmanager = \"none\"\n{rule}")).contains("cluster"));
        assert!(parse("[cluster]\nmanger = \"none\"").contains("manger"));
        assert!(parse("[limit]\nage = \"0s\"").contains("too old"));
        assert!(parse("[limit]\nage = \"long\"").contains("no duration"));
    }

    #[test]
    fn what_is_set_stays_for_a_while() {
        let rule = |name: &str, more: &str| {
            format!("[[rule]]\nname = \"{name}\"\nprobe = \"x\"\nevent = \"y\"\nhold = \"0s\"\n{more}\n")
        };
        let sets = rule("a", "health = \"red\"\nclear_after = \"1ms\"");
        let config = Config::parse(&(sets + &rule("b", "command = [\"x\"]"))).unwrap();
        assert_eq!(config.rules[0].hold, LEAST);
        assert_eq!(config.rules[0].clear_after, Some(LEAST));
        assert_eq!(config.rules[1].hold, Duration::ZERO);
    }

    #[test]
    fn names_of_resources() {
        let config = Config::parse("[guests.web1]\nresource = \"vm-web1\"").unwrap();
        assert_eq!(config.resource_of("web1"), "vm-web1");
        assert_eq!(config.resource_of("db1"), "db1");
        assert_eq!(config.guest_of("vm-web1"), "web1");
        assert_eq!(config.guest_of("db1"), "db1");
    }
}
