// SPDX-License-Identifier: GPL-2.0

//! Pacemaker, by its command-line tools: they are the interface that stays.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use vesper_cli::sys;
use wait_timeout::ChildExt;

use crate::hold::Hold;

/// One call of a tool takes milliseconds; one that takes longer hangs.
const CALL: Duration = Duration::from_secs(20);
/// Of a program's output, what is kept: the state of a cluster is the longest.
const OUTPUT: usize = 8 << 20;
/// How long the rest of it is waited for when the program has ended.
const REST: Duration = Duration::from_secs(1);

/// How the tools end if there is no such object.
const NO_SUCH: i32 = 105;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It makes no sense to ask again.
    Final(String),
    /// The same, as the cluster does not look after the resource.
    HandsOff(String),
    /// The cluster does not answer, or not yet.
    Again(String),
}

impl Failure {
    /// A sentence.
    pub fn text(self) -> String {
        let (Self::Final(text) | Self::HandsOff(text) | Self::Again(text)) = self;
        text
    }
}

/// This node's cluster.
#[derive(Debug, Clone)]
pub struct Pacemaker {
    /// This node, if the file of rules names it.
    pub node: Option<String>,
}

impl Pacemaker {
    /// Fails a resource, if this node may end it. `check` is asked last.
    pub fn fail(
        &self,
        resource: &str,
        check: impl Fn() -> Result<(), Failure>,
    ) -> Result<String, Failure> {
        let node = self.may_end(resource)?;
        check()?;
        let failed = ask(Command::new("crm_resource").args([
            "--fail",
            "--resource",
            resource,
            "--node",
            &node,
        ]))?;
        match failed.code {
            Some(0) => Ok(format!("resource '{resource}' failed on {node}")),
            _ => Err(Failure::Again(failed.text())),
        }
    }

    /// Whether this node, whose name it gives, may fail or end the guest that is a resource:
    /// it runs here, and the cluster looks after it. Elsewhere it is healthy; and nobody would
    /// start it again, or somebody would miss it who has taken it out of the cluster's hands.
    pub fn may_end(&self, resource: &str) -> Result<String, Failure> {
        let node = self.node()?;
        let mut command = Command::new("crm_mon");
        command.args(["--one-shot", "--inactive", "--output-as=xml"]);
        let found = ask(&mut command)?;
        if found.code != Some(0) {
            return Err(Failure::Again(found.text()));
        }
        is_ours(&found.out, resource, &node).map(|()| node)
    }

    /// Sets an attribute of this node until it or the node is gone, or deletes it.
    pub fn set(&self, name: &str, value: Option<&str>) -> Result<String, Failure> {
        let node = self.node()?;
        let mut command = Command::new("attrd_updater");
        command.args(["--name", name, "--node", &node]);
        match value {
            Some(value) => command.args(["--update", value]),
            None => command.arg("--delete"),
        };
        let done = ask(&mut command)?;
        match done.code {
            Some(0) => Ok(match value {
                Some(value) => format!("{name}={value} on {node}"),
                None => format!("{name} taken back on {node}"),
            }),
            _ => Err(Failure::Again(done.text())),
        }
    }

    /// Whether an attribute of this node is set, to whatever.
    pub fn has(&self, name: &str) -> Result<bool, Failure> {
        let node = self.node()?;
        let mut command = Command::new("attrd_updater");
        command.args(["--name", name, "--node", &node, "--query"]);
        let found = ask(&mut command)?;
        match found.code {
            Some(0) => Ok(is_set(&found.out)),
            Some(NO_SUCH) => Ok(false),
            _ => Err(Failure::Again(found.text())),
        }
    }

    fn node(&self) -> Result<String, Failure> {
        if let Some(node) = &self.node {
            return Ok(node.clone());
        }
        let found = ask(Command::new("crm_node").arg("--name"))?;
        let name = found.out.trim();
        match found.code {
            Some(0) if !name.is_empty() => Ok(name.to_owned()),
            _ => Err(Failure::Again(found.text())),
        }
    }
}

/// What `crm_mon` says of a resource, in XML.
fn is_ours(status: &str, resource: &str, node: &str) -> Result<(), Failure> {
    let Some((tag, rest)) = element(status, "resource", "id", resource) else {
        return Err(Failure::Final(format!(
            "the cluster has no resource '{resource}': name that of the guest in [guests.*]"
        )));
    };
    if tag.contains(" managed=\"false\"") || tag.contains(" maintenance=\"true\"") {
        return Err(Failure::HandsOff(format!(
            "resource '{resource}' is unmanaged or in maintenance"
        )));
    }
    let inside = match tag.ends_with('/') {
        true => "",
        false => rest.split("</resource>").next().unwrap_or_default(),
    };
    if element(inside, "node", "name", node).is_some() {
        return Ok(());
    }
    match inside.contains("<node ") {
        true => Err(Failure::Final(format!(
            "resource '{resource}' does not run on this node, {node}"
        ))),
        // A cluster that has just begun has not looked yet.
        false => Err(Failure::Again(format!(
            "resource '{resource}' runs nowhere"
        ))),
    }
}

/// The first element of a name with that attribute: what is in its tag, and what
/// comes behind it.
fn element<'a>(xml: &'a str, name: &str, key: &str, value: &str) -> Option<(&'a str, &'a str)> {
    let (open, wanted) = (format!("<{name} "), format!(" {key}=\"{value}\""));
    let mut at = 0;
    while let Some(found) = xml.get(at..)?.find(&open) {
        at += found + open.len() - 1;
        let (tag, rest) = xml.get(at..)?.split_once('>')?;
        if tag.contains(&wanted) {
            return Some((tag, rest));
        }
    }
    None
}

/// Whether there is a value in what `attrd_updater` says of an attribute of one node.
fn is_set(found: &str) -> bool {
    found
        .split_once(" value=\"")
        .is_some_and(|(_, value)| !value.starts_with('"'))
}

/// Asks a tool of the cluster; what it has not said whole is no answer.
fn ask(command: &mut Command) -> Result<Ended, Failure> {
    let ended = run_for(command, CALL, CALL).map_err(Failure::Again)?;
    match ended.whole {
        true => Ok(ended),
        false => Err(Failure::Again(format!(
            "{} has not said all",
            ended.program
        ))),
    }
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status, if it was not killed.
    pub code: Option<i32>,
    /// Beginning of its standard output.
    pub out: String,
    err: String,
    /// It has said no more.
    whole: bool,
    program: String,
}

impl Ended {
    /// What it said, or how it ended.
    pub fn text(&self) -> String {
        let said = [&self.err, &self.out];
        let said = said.iter().find_map(|text| text.lines().next());
        match (said, self.code) {
            (Some(said), _) => format!("{}: {said}", self.program),
            (None, Some(code)) => format!("{} ended with {code}", self.program),
            (None, None) => format!("{} was killed", self.program),
        }
    }
}

/// Runs a program for so long at most. What it leaves in the background is not waited for.
pub fn run(command: &mut Command, limit: Duration) -> Result<Ended, String> {
    run_for(command, limit, REST)
}

fn run_for(command: &mut Command, limit: Duration, rest: Duration) -> Result<Ended, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let fail = |error: io::Error| format!("{program}: {error}");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = sys::start(command).map_err(fail)?;
    let said =
        collect(child.stdout.take()).and_then(|out| Ok((out, collect(child.stderr.take())?)));
    let (out, err) = match said {
        Ok(said) => said,
        Err(error) => {
            end(&mut child);
            return Err(fail(error));
        }
    };
    let status = match child.wait_timeout(limit).map_err(fail)? {
        Some(status) => status,
        None => {
            end(&mut child);
            return Err(format!("{program} did not end in {} s", limit.as_secs()));
        }
    };
    let until = Instant::now() + rest;
    let (out, err) = (out.text(until), err.text(until));
    Ok(Ended {
        code: status.code(),
        whole: out.1 && err.1,
        out: out.0,
        err: err.0,
        program,
    })
}

/// What a program has said so far, and who tells when it is all.
struct Said {
    text: Arc<Mutex<Vec<u8>>>,
    end: Receiver<()>,
}

impl Said {
    /// What has come by then, and whether that is all: something that the program left behind
    /// in the background may have its output open for ever.
    fn text(&self, until: Instant) -> (String, bool) {
        let left = until.saturating_duration_since(Instant::now());
        let end = self.end.recv_timeout(left);
        let text = self.text.hold();
        let whole = end == Err(RecvTimeoutError::Disconnected);
        (String::from_utf8_lossy(&text).into_owned(), whole)
    }
}

/// Reads what a program says, so that it never waits for a reader; fails if no thread can
/// be had for that.
fn collect<R: Read + Send + 'static>(pipe: Option<R>) -> io::Result<Said> {
    let text = Arc::new(Mutex::new(Vec::new()));
    let (over, end) = mpsc::channel();
    let into = Arc::clone(&text);
    thread::Builder::new().spawn(move || {
        let mut piece = [0; 4096];
        // Dropped at the end, which is what the other side waits for.
        let _over: Sender<()> = over;
        let Some(mut pipe) = pipe else { return };
        while let Ok(len @ 1..) = pipe.read(&mut piece) {
            let mut into = into.hold();
            let room = OUTPUT.saturating_sub(into.len()).min(len);
            into.extend_from_slice(&piece[..room]);
        }
    })?;
    Ok(Said { text, end })
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_that_are_ours() {
        let status = r#"<nodes><node name="node1" id="1"/></nodes><resources>
            <resource id="a" role="Started" maintenance="false" managed="true">
                <node name="node1" id="1" cached="true"/></resource>
            <group id="g"><resource id="b" maintenance="false" managed="true">
                <node name="node2" id="2" cached="true"/></resource></group>
            <resource id="c" maintenance="false" managed="false">
                <node name="node1" id="1" cached="true"/></resource>
            <resource id="d" maintenance="true" managed="false">
                <node name="node1" id="1" cached="true"/></resource>
            <resource id="e" maintenance="false" managed="true" nodes_running_on="0"/>
            </resources>"#;
        let ask = |resource| match is_ours(status, resource, "node1") {
            Ok(()) => "yes".to_owned(),
            Err(Failure::Final(text)) => text,
            Err(Failure::HandsOff(text)) => format!("hands off: {text}"),
            Err(Failure::Again(text)) => format!("again: {text}"),
        };
        assert_eq!(ask("a"), "yes");
        assert!(ask("b").contains("does not run on this node"));
        for resource in ["c", "d"] {
            let wanted = format!("hands off: resource '{resource}' is unmanaged or in maintenance");
            assert_eq!(ask(resource), wanted);
        }
        assert_eq!(ask("e"), "again: resource 'e' runs nowhere");
        assert!(ask("x").contains("no resource 'x'"));
    }

    #[test]
    fn attributes() {
        assert!(is_set(
            "name=\"#health-vesper\" host=\"node1\" value=\"red\"\n"
        ));
        assert!(!is_set("name=\"x\" host=\"node1\" value=\"\"\n"));
        assert!(!is_set(""));
    }

    #[test]
    fn programs() {
        let sh = |script: &str, limit| run(Command::new("sh").args(["-c", script]), limit);
        let ended = sh("echo yes; exit 3", CALL).unwrap();
        assert_eq!((ended.code, ended.out.as_str()), (Some(3), "yes\n"));
        assert!(ended.whole);
        assert_eq!(ended.text(), "sh: yes");
        let ended = sh("head -c 1000000 /dev/zero", CALL).unwrap();
        assert_eq!(ended.code, Some(0));
        // What it leaves behind is not waited for.
        let ended = sh("echo yes; sleep 1000 & echo $! >&2", CALL).unwrap();
        assert_eq!((ended.code, ended.out.as_str()), (Some(0), "yes\n"));
        assert!(!ended.whole);
        let left = ended.err.trim().parse().unwrap();
        let left = rustix::process::Pid::from_raw(left).unwrap();
        rustix::process::kill_process(left, rustix::process::Signal::KILL).unwrap();
        assert!(sh("exec sleep 60", Duration::from_millis(10)).is_err());
        assert!(run(&mut Command::new("/no/such/program"), CALL).is_err());
    }

    #[test]
    fn what_the_daemon_blocks_its_programs_do_not() {
        // In a thread of its own, which no other test gets.
        let said = thread::spawn(|| {
            sys::block_interrupts().unwrap();
            // Some shells clear it themselves.
            run(
                Command::new("grep").args(["SigBlk", "/proc/self/status"]),
                CALL,
            )
            .unwrap()
        });
        let said = said.join().unwrap();
        assert_eq!(said.out, "SigBlk:\t0000000000000000\n");
    }
}
