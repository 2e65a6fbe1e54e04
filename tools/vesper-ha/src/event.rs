// SPDX-License-Identifier: GPL-2.0

//! What happens in a guest, or to it, in the form that rules speak of.

use std::fmt;

use serde_json::{Map, Value as Json};
use vesper_abi::bindings::{self, vesper_domain};
use vesper_abi::escape::{Escaped, Quoted};
use vesper_abi::name::text;

/// The `probe` of events that the host module itself tells of.
pub const GUEST: &str = "guest";

/// These events.
pub const GUEST_EVENTS: [&str; 9] = [
    "gone",
    "broken",
    "failed",
    "left",
    "powerdown",
    "hung",
    "stuck",
    "panicked",
    "recovered",
];

/// Their fields.
pub const GUEST_FIELDS: [&str; 4] = ["run_state", "pid", "hangs", "orderly"];

/// Characters of a boot id.
const BOOT_ID: usize = 36;
/// In the place of one, and none.
const UNKNOWN: &str = "unknown";

/// A boot of a guest: what is true of one is not true of the next.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Boot {
    /// Name of the guest.
    pub guest: String,
    /// Its boot id as text; empty if the guest's driver was never there.
    pub id: String,
}

impl Boot {
    /// All boots of a guest that the host module has not named: of those a guest can make up
    /// as many as it likes.
    pub fn unknown(guest: &str) -> Self {
        Self {
            guest: guest.to_owned(),
            id: UNKNOWN.into(),
        }
    }

    /// Whether it is that.
    pub fn is_unknown(&self) -> bool {
        self.id == UNKNOWN
    }

    /// What a guest runs now, or ran last.
    pub fn of(domain: &vesper_domain) -> Self {
        let id = match domain.boot_id {
            [0, ..] if domain.boot_id == [0; 16] => String::new(),
            id => vesper_ctf::rewrite::uuid_text(&id),
        };
        Self {
            guest: String::from_utf8_lossy(text(&domain.name)).into_owned(),
            id,
        }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Where.
    pub boot: Boot,
    /// The module whose record it is, or [`GUEST`].
    pub probe: String,
    /// Name of the record.
    pub name: String,
    /// When, in nanoseconds of the wall clock since 1970.
    pub time_ns: i128,
    /// What the record says.
    pub fields: Map<String, Json>,
}

impl Event {
    /// An event out of what `vesper cat --json` prints; what is no record is none.
    pub fn of_record(item: &Json) -> Option<Self> {
        let time = item.get("timestamp_ns")?;
        let (boot, probe) = Self::whose(item)?;
        Some(Self {
            boot,
            probe,
            name: item.get("event")?.as_str()?.to_owned(),
            time_ns: i128::from(time.as_i64()?),
            fields: item.get("fields")?.as_object()?.clone(),
        })
    }

    /// In which boot of which guest, and by which module, something of what `vesper cat
    /// --json` prints was written, or should have been.
    pub fn whose(item: &Json) -> Option<(Boot, String)> {
        let text = |key: &str| item.get(key)?.as_str().map(base);
        // The guest's own word, of whatever length.
        let id = text("boot_id").unwrap_or_default();
        let boot = Boot {
            guest: text("domain")?,
            id: id.chars().take(BOOT_ID).collect(),
        };
        Some((boot, text("module")?))
    }

    /// How often the guest had been found hung by then, if the host module tells of
    /// it.
    pub fn hangs(&self) -> Option<u64> {
        let told = self.probe == GUEST;
        self.fields.get("hangs").filter(|_| told)?.as_u64()
    }

    /// Whether it says that the guest does nothing, which it may have told why before.
    pub fn is_hang(&self) -> bool {
        self.probe == GUEST && matches!(self.name.as_str(), "hung" | "stuck")
    }

    /// Whether it says that the VMM has stopped the guest because of an error.
    pub fn is_failure(&self) -> bool {
        self.probe == GUEST && self.name == "failed"
    }

    /// The VMM in which it happened, if the host module tells of it.
    pub fn vmm_pid(&self) -> Option<i32> {
        let told = self.probe == GUEST;
        let pid = self.fields.get("pid").filter(|_| told)?.as_i64()?;
        i32::try_from(pid).ok()
    }

    /// An event that the host module tells of.
    pub fn of_guest(name: &str, domain: &vesper_domain, time_ns: i128) -> Self {
        let run_state = match domain.run_state {
            bindings::VESPER_RUN_RUNNING => "running",
            bindings::VESPER_RUN_PAUSED => "paused",
            bindings::VESPER_RUN_STOPPED => "stopped",
            bindings::VESPER_RUN_FAILED => "failed",
            _ => "unknown",
        };
        let mut fields = Map::new();
        fields.insert("run_state".into(), run_state.into());
        fields.insert("pid".into(), domain.vmm_pid.into());
        fields.insert("hangs".into(), domain.hangs.into());
        Self {
            boot: Boot::of(domain),
            probe: GUEST.into(),
            name: name.into(),
            time_ns,
            fields,
        }
    }
}

/// On one line, whatever the guest has written.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Escaped(self.name.as_bytes());
        write!(f, "{}/{}: {name}", self.boot.guest, self.probe)?;
        match shown(&self.fields).as_str() {
            "" => Ok(()),
            fields => write!(f, " {fields}"),
        }
    }
}

/// Fields on one line, but for lists. A word stands as it is, other text in quotes: what a
/// guest has put into one field can't be taken for another.
pub fn shown(fields: &Map<String, Json>) -> String {
    let field = |(name, value): (&String, &Json)| {
        let (name, value) = (Escaped(name.as_bytes()), plain(value)?);
        let bytes = value.as_bytes();
        let is_word = |c: char| !c.is_whitespace() && c != '"';
        Some(match !bytes.is_empty() && value.chars().all(is_word) {
            true => format!("{name}={}", Escaped(bytes)),
            false => format!("{name}={}", Quoted(bytes)),
        })
    };
    let fields: Vec<_> = fields.iter().filter_map(field).collect();
    fields.join(" ")
}

/// A value as the guest has written it: the label of one that has a label. Lists have no
/// such form.
pub fn plain(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Array(_) | Json::Null => None,
        Json::Object(labelled) => labelled
            .get("label")
            .and_then(plain)
            .or_else(|| labelled.get("value").and_then(plain)),
        other => Some(other.to_string()),
    }
}

/// The name that a guest or module had before something new took it.
pub(crate) fn base(name: &str) -> String {
    name.split('@').next().unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_boot_id_is_no_longer_than_one() {
        let id = "10111213-1415-1617-1819-1a1b1c1d1e1f";
        for boot_id in [id.to_owned(), id.to_owned() + &"x".repeat(1 << 20)] {
            let item = json!({ "domain": "web1", "module": "process", "boot_id": boot_id });
            assert_eq!(Event::whose(&item).unwrap().0.id, id);
        }
    }

    #[test]
    fn a_guest_writes_no_lines_and_no_fields_of_its_own() {
        let fields = json!({
            "path": "/tmp/x\nfound: web2/process: exec",
            "comm": "sh last=yes",
            "cause": { "value": 1, "label": "a\u{2028}b" },
            "plain": "postgres",
            "quote": "\"",
            "none": "",
            "at": "0xff",
            "pid": 7,
            "stack": ["f"],
        });
        let event = Event {
            boot: Boot {
                guest: "web1".into(),
                id: "1".into(),
            },
            probe: "process".into(),
            name: "exec\u{1b}".into(),
            time_ns: 0,
            fields: fields.as_object().unwrap().clone(),
        };
        assert_eq!(
            event.to_string(),
            r#"web1/process: exec\x1b path="/tmp/x\nfound: web2/process: exec" comm="sh last=yes" cause="a\u{2028}b" plain=postgres quote="\"" none="" at=0xff pid=7"#
        );
    }
}
