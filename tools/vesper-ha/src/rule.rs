// SPDX-License-Identifier: GPL-2.0

//! Rules: which events mean what, and what is to be done.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

use crate::event::{plain, Event};

/// The name of the host among the guests. Nothing fails it over or ends it.
pub const HOST: &str = "host";

/// The attribute that is a node's health, as far as this program has something to
/// say.
pub const HEALTH: &str = "#health-vesper";

/// One rule, as the file has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What it is called in reports.
    pub name: String,
    /// Guests that it is for, with `*` and `?`; `*` alone is all but the host.
    #[serde(default = "everywhere")]
    pub guests: Vec<String>,
    /// The module whose records it looks at, or `guest`.
    pub probe: String,
    /// The record.
    pub event: String,
    /// What fields must be.
    #[serde(default, rename = "where")]
    pub conditions: BTreeMap<String, Condition>,
    /// How many there must be...
    #[serde(default = "one")]
    pub count: u32,
    /// ...in this time.
    #[serde(default = "ten_seconds", deserialize_with = "duration")]
    pub within: Duration,
    /// How long the rule does nothing more about the same guest, if what it has set is not
    /// taken back before.
    #[serde(default = "a_minute", deserialize_with = "duration")]
    pub hold: Duration,
    /// Kill the VMM, before all else.
    #[serde(default)]
    pub destroy: bool,
    /// Fail the guest's cluster resource.
    #[serde(default)]
    pub fail: bool,
    /// Set an attribute of the node.
    #[serde(default)]
    pub attribute: Option<Attribute>,
    /// Give the node this health.
    #[serde(default)]
    pub health: Option<Health>,
    /// After so long without another such event, take attribute and health back.
    #[serde(default, deserialize_with = "some_duration")]
    pub clear_after: Option<Duration>,
    /// Run a program, without a shell.
    #[serde(default)]
    pub command: Vec<String>,
    /// The guest begins to shut down or reboot: for so long as `hold`, rules with
    /// `unless_ending` do nothing about this boot.
    #[serde(default)]
    pub ending: bool,
    /// Do nothing while the guest shuts down or reboots in an orderly way.
    #[serde(default)]
    pub unless_ending: bool,
}

/// An attribute of this node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attribute {
    /// Name; `%g` in it is the guest.
    pub name: String,
    /// What it is set to.
    #[serde(default = "set")]
    pub value: String,
}

/// A node's health, in Pacemaker's colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Resources should rather be elsewhere.
    Yellow,
    /// Resources have to go.
    Red,
}

impl Health {
    /// As Pacemaker spells it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Yellow => "yellow",
            Self::Red => "red",
        }
    }
}

impl Rule {
    /// Whether it is about this event.
    pub fn matches(&self, event: &Event) -> bool {
        self.probe == event.probe
            && self.event == event.name
            && self.is_for(&event.boot.guest)
            && self.conditions.iter().all(|(name, condition)| {
                event
                    .fields
                    .get(name)
                    .is_some_and(|value| condition.holds(value))
            })
    }

    /// Whether it is about this guest.
    pub fn is_for(&self, guest: &str) -> bool {
        self.guests.iter().any(|pattern| match guest {
            HOST => pattern == HOST,
            _ => glob(pattern.as_bytes(), guest.as_bytes()),
        })
    }

    /// Whether it could kill or fail what has this name.
    pub fn is_deadly(&self) -> bool {
        self.fail || self.destroy
    }

    /// Whether it sets something on the node.
    pub fn sets(&self) -> bool {
        self.attribute.is_some() || self.health.is_some()
    }

    /// Whether it does something that the limit on actions is for.
    pub fn is_limited(&self) -> bool {
        self.is_deadly() || !self.command.is_empty()
    }

    /// Whether anything is done at all, beyond saying so.
    pub fn acts(&self) -> bool {
        self.is_limited() || self.sets()
    }

    /// Attributes of this node that it sets: names and values.
    pub fn settings(&self, guest: &str) -> Vec<(String, String)> {
        let health = self
            .health
            .map(|health| (HEALTH.into(), health.text().into()));
        let attribute = self.attribute.as_ref();
        let attribute = attribute.map(|set| (set.name.replace("%g", guest), set.value.clone()));
        health.into_iter().chain(attribute).collect()
    }

    /// Fields that it looks at.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.conditions.keys().map(String::as_str)
    }

    /// What a field must be, where that is said in so many words.
    pub fn wanted(&self, field: &str) -> impl Iterator<Item = &str> {
        let condition = self.conditions.get(field).into_iter();
        condition.flat_map(|condition| condition.0.iter().filter_map(Test::word))
    }
}

/// What a field must be: one of these.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition(Vec<Test>);

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Is(String),
    IsNot(String),
    Compared(Comparison, i128),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Comparison {
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Condition {
    /// Whether a value meets it; a list does if one of its elements does.
    fn holds(&self, value: &Json) -> bool {
        match value {
            Json::Array(values) => values.iter().any(|value| self.holds(value)),
            Json::Object(labelled) => {
                let of = |key: &str| labelled.get(key).filter(|value| !value.is_null());
                // A negated one must be true of the name, if there is one.
                let name = of("label").or_else(|| of("value"));
                self.0.iter().any(|test| match test {
                    Test::IsNot(_) => name.is_some_and(|value| test.holds(value)),
                    _ => [of("value"), of("label")]
                        .into_iter()
                        .flatten()
                        .any(|value| test.holds(value)),
                })
            }
            value => self.0.iter().any(|test| test.holds(value)),
        }
    }
}

impl Test {
    fn holds(&self, value: &Json) -> bool {
        let text = plain(value).unwrap_or_default();
        match self {
            Self::Is(pattern) => glob(pattern.as_bytes(), text.as_bytes()),
            Self::IsNot(pattern) => !glob(pattern.as_bytes(), text.as_bytes()),
            Self::Compared(how, with) => text.parse::<i128>().is_ok_and(|value| match how {
                Comparison::Less => value < *with,
                Comparison::AtMost => value <= *with,
                Comparison::More => value > *with,
                Comparison::AtLeast => value >= *with,
            }),
        }
    }

    fn word(&self) -> Option<&str> {
        match self {
            Self::Is(pattern) if !pattern.contains(['*', '?']) => Some(pattern),
            _ => None,
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("!=") {
            return Ok(Self::IsNot(rest.trim().to_owned()));
        }
        let signs = [
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("<", Comparison::Less),
            (">", Comparison::More),
        ];
        for (sign, how) in signs {
            if let Some(rest) = text.strip_prefix(sign) {
                let number = rest.trim().parse();
                let number = number.map_err(|_| format!("'{text}' compares with no number"))?;
                return Ok(Self::Compared(how, number));
            }
        }
        Ok(Self::Is(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum One {
            Bool(bool),
            Number(i64),
            Text(String),
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum OneOrMore {
            One(One),
            More(Vec<One>),
        }
        let values = match OneOrMore::deserialize(from)? {
            OneOrMore::One(one) => vec![one],
            OneOrMore::More(more) => more,
        };
        let tests = values.into_iter().map(|value| match value {
            One::Bool(value) => Ok(Test::Is(u8::from(value).to_string())),
            One::Number(value) => Ok(Test::Is(value.to_string())),
            One::Text(text) => Test::parse(&text),
        });
        let tests: Result<Vec<_>, _> = tests.collect();
        Ok(Self(tests.map_err(serde::de::Error::custom)?))
    }
}

/// Whether `text` is what `pattern` describes: `*` is anything, `?` one byte.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where the last star stands, and how much of the text it has taken.
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

fn everywhere() -> Vec<String> {
    vec!["*".into()]
}

fn one() -> u32 {
    1
}

fn set() -> String {
    "1".into()
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn a_minute() -> Duration {
    Duration::from_secs(60)
}

/// A duration as people write it: `500ms`, `10s`, `2m`.
pub(crate) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    let parsed: Result<jiff::SignedDuration, _> = text.parse();
    let found = parsed
        .ok()
        .and_then(|parsed| Duration::try_from(parsed).ok());
    found.ok_or_else(|| {
        serde::de::Error::custom(format!(
            "'{text}' is no duration; write '500ms', '10s', '2m'"
        ))
    })
}

fn some_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    duration(from).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn globs() {
        for (pattern, text, wanted) in [
            ("*", "", true),
            ("web*", "web1", true),
            ("web*", "we", false),
            ("*sql*d", "mysqld", true),
            ("*a*b", "aab", true),
            ("*a*b", "aabc", false),
            ("w?b", "web", true),
            ("", "x", false),
        ] {
            let found = glob(pattern.as_bytes(), text.as_bytes());
            assert_eq!(found, wanted, "{pattern} {text}");
        }
    }

    fn condition(text: &str) -> Condition {
        #[derive(Deserialize)]
        struct File {
            x: Condition,
        }
        let file: File = toml_edit::de::from_str(&format!("x = {text}")).unwrap();
        file.x
    }

    #[test]
    fn conditions() {
        let signal = json!({"value": 9, "label": "SIGKILL"});
        for (text, value, wanted) in [
            ("9", signal.clone(), true),
            ("\"SIGKILL\"", signal.clone(), true),
            ("[\"SIGTERM\", \"SIGKILL\"]", signal.clone(), true),
            ("\"!=SIGKILL\"", signal.clone(), false),
            ("\"!=SIGTERM\"", signal, true),
            ("\"> 0\"", json!(1), true),
            ("\">= 2\"", json!(1), false),
            ("\"<0\"", json!(-1), true),
            ("true", json!(1), true),
            ("\"nginx*\"", json!("nginx: worker"), true),
            ("\"*oom*\"", json!(["a", "out_of_memory", "oom_kill"]), true),
            ("\"x\"", Json::Null, false),
        ] {
            assert_eq!(condition(text).holds(&value), wanted, "{text} {value}");
        }
    }

    #[test]
    fn slips_are_told() {
        let rule = |text: &str| toml_edit::de::from_str::<Rule>(text).map(drop);
        let least = "name = \"a\"\nprobe = \"panic\"\nevent = \"panic\"\n";
        rule(least).unwrap();
        let bad = |more: &str| rule(&format!("{least}{more}")).unwrap_err().to_string();
        assert!(bad("fial = true").contains("fial"));
        assert!(bad("hold = \"soon\"").contains("no duration"));
        assert!(bad("where = { x = \"> y\" }").contains("no number"));
    }
}
