// SPDX-License-Identifier: GPL-2.0

//! `vesper-ha`, the program itself, but for what needs guests.

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use vesper_ha::error::LATCHED;
use vesper_ha::journal::{Journal, Line};

const LIMIT: Duration = Duration::from_secs(60);

/// As when the disk that its log is on is full.
#[test]
fn where_nothing_can_be_said_it_goes_on() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    goes_on(full.into());
}

/// As when that disk hangs, and journald with it.
#[test]
fn where_nobody_reads_what_it_says_it_goes_on() {
    let (mut log, _unread) = UnixStream::pair().unwrap();
    log.set_nonblocking(true).unwrap();
    while log.write(&[0; 4096]).is_ok() {}
    log.set_nonblocking(false).unwrap();
    goes_on(OwnedFd::from(log).into());
}

fn goes_on(log: Stdio) {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("ha.toml");
    fs::write(&config, "").unwrap();
    let device = dir.path().join("device");
    let mut child = Command::new(env!("CARGO_BIN_EXE_vesper-ha"))
        .arg("run")
        .env("VESPER_HA_CONFIG", config)
        .env("VESPER_HA_STATE", dir.path().join("state"))
        .env("VESPER_HA_LATCHES", dir.path().join("latches"))
        .env("VESPER_DEVICE", &device)
        .stderr(log)
        .spawn()
        .unwrap();
    // By then it has said what it waits for.
    let limit = Instant::now() + LIMIT;
    let watches = || {
        let fds = fs::read_dir(format!("/proc/{}/fdinfo", child.id()));
        let mut fds = fds.into_iter().flatten().flatten();
        fds.any(|fd| fs::read_to_string(fd.path()).is_ok_and(|text| text.contains("inotify wd")))
    };
    while !watches() && Instant::now() < limit {
        thread::sleep(Duration::from_millis(1));
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() > limit => child.kill().unwrap(),
            None => thread::sleep(Duration::from_millis(1)),
        }
    };
    assert!(status.success(), "{status}");
}

/// A directory, for the second run of the test that follows.
const FULL: &str = "VESPER_HA_TEST_FULL";

/// The same disk has no room for the journal either.
#[test]
fn what_can_be_neither_written_down_nor_said_ends_nothing() {
    if let Some(dir) = env::var_os(FULL) {
        let journal = Journal::open(dir.as_ref()).unwrap();
        journal.write(&Line::Done { id: 1 });
        println!("it goes on");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    symlink("/dev/full", dir.path().join("journal.jsonl")).unwrap();
    let name = "what_can_be_neither_written_down_nor_said_ends_nothing";
    let full = File::options().write(true).open("/dev/full").unwrap();
    // In a process of its own: what a test says goes elsewhere.
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(FULL, dir.path())
        .stdout(Stdio::piped())
        .stderr(full)
        .spawn()
        .and_then(|child| child.wait_with_output())
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("it goes on"),
        "{said}"
    );
}

/// A guest is well unless it is known to have failed.
#[test]
fn the_monitor_script_fails_guests_for_their_marks_only() {
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let text = include_str!("../../../host/vesper-ha-monitor");
    let text = text.replace("@PREFIX@", dir.path().to_str().unwrap());
    let ends = || {
        let mut script = Command::new("sh");
        let out = script.args(["-c", &text]).current_dir(dir.path()).output();
        let out = out.unwrap();
        (out.status.code(), !out.stderr.is_empty())
    };
    // It is not there.
    assert_eq!(ends(), (Some(0), true));
    // A shell in its place takes the subcommand for a script.
    symlink("/bin/sh", bin.join("vesper-ha")).unwrap();
    let will = |what: &str| fs::write(dir.path().join("monitor"), what).unwrap();
    will("exit 0");
    assert_eq!(ends(), (Some(0), false));
    will(&format!("exit {LATCHED}"));
    assert_eq!(ends(), (Some(1), false));
    for what in ["exit 1", "exit 2", "exit 101", "kill -9 $$"] {
        will(what);
        assert_eq!(ends(), (Some(0), true), "{what}");
    }
    // What is no command line is none of the guest's failures either.
    let usage = Command::new(env!("CARGO_BIN_EXE_vesper-ha"))
        .args(["monitor", "--no-such-thing"])
        .output()
        .unwrap();
    assert_eq!(usage.status.code(), Some(2));
}
