// SPDX-License-Identifier: GPL-2.0

//! What each fault is to be noticed by.

/// The rules of `eval/ha.toml` that a fault is a case of. A finding by another one is no
/// detection of it. Of a fault that is not known, all are.
fn rules(fault: &str) -> Option<&'static [&'static str]> {
    Some(match fault {
        "sigterm" => &["service told to end", "service killed by a signal"],
        "oom-service" => &[
            "service killed for want of memory",
            "service killed by a signal",
        ],
        "oom-hog" => &["out of memory"],
        "panic" => &["kernel panic", "guest has panicked", "guest hangs"],
        "hang" => &["guest hangs"],
        "block" => &["disk errors"],
        "machine-check" => &["host machine check"],
        _ => return None,
    })
}

/// Whether a finding by this rule says that the fault has happened.
pub fn told_by(fault: &str, rule: &str) -> bool {
    rules(fault).is_none_or(|rules| rules.contains(&rule))
}

/// Whether the fault stops the page. Those who look at nothing but the page, the VMM or the node
/// cannot tell of one that does not: what they find is something else. Of a fault that is not
/// known it is taken to.
pub fn stops_page(fault: &str) -> bool {
    !["oom-hog", "block", "machine-check"].contains(&fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAULTS: [&str; 7] = [
        "sigterm",
        "oom-service",
        "oom-hog",
        "panic",
        "hang",
        "block",
        "machine-check",
    ];

    #[test]
    fn the_rules_are_those_of_the_evaluation() {
        let config = include_str!("../../../eval/ha.toml");
        let faults = include_str!("../../../eval/lib/faults.sh");
        for fault in FAULTS {
            assert!(faults.contains(&format!("\t{fault})")), "{fault}");
            for rule in rules(fault).unwrap() {
                assert!(config.contains(&format!("name = \"{rule}\"")), "{rule}");
                assert!(told_by(fault, rule));
            }
        }
        assert!(!told_by("oom-hog", "guest hangs"));
        assert!(told_by("flood", "guest hangs"));
    }

    #[test]
    fn faults_that_leave_the_page_alone_are_faults() {
        let quiet = FAULTS.iter().filter(|fault| !stops_page(fault));
        assert_eq!(quiet.count(), 3);
        assert!(stops_page("panic") && stops_page("flood"));
    }
}
