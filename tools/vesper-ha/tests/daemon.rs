// SPDX-License-Identifier: GPL-2.0

//! `vesper-ha`, the program itself, but for what needs guests.

use std::fs::{self, File};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

const LIMIT: Duration = Duration::from_secs(60);

/// As when the disk that its log is on is full.
#[test]
fn where_nothing_can_be_said_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("ha.toml");
    fs::write(&config, "").unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let device = dir.path().join("device");
    let mut child = Command::new(env!("CARGO_BIN_EXE_vesper-ha"))
        .arg("run")
        .env("VESPER_HA_CONFIG", config)
        .env("VESPER_HA_STATE", dir.path().join("state"))
        .env("VESPER_HA_LATCHES", dir.path().join("latches"))
        .env("VESPER_DEVICE", &device)
        .stderr(full)
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
