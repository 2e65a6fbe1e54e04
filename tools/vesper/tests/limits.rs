// SPDX-License-Identifier: GPL-2.0

//! Limits of the process: a file of its own, as they are those of all its threads.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::resource::{getrlimit, setrlimit, Resource};
use serde_json::Value as Json;
use tempfile::TempDir;
use vesper_cli::cat::{Feed, Judge};
use vesper_cli::control::Device;
use vesper_cli::debugfs::Debugfs;
use vesper_cli::error::Error;
use vesper_ctf::writer::{signal_event, signal_metadata, PacketWriter};

/// More than are left by the limit.
const CPUS: usize = 64;
const LIMIT: u64 = 32;

#[derive(Default)]
struct Count(usize);

impl Judge for Count {
    fn item(&mut self, _: &Json) -> Option<u64> {
        self.0 += 1;
        None
    }

    fn named(&mut self, _: u64, _: &Json) {}
}

#[test]
fn files_that_can_be_opened_later() {
    let root = TempDir::new().unwrap();
    let dir = root.path().join("vesper/web1/signal");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("metadata"), signal_metadata(&[])).unwrap();
    for cpu in 0..CPUS {
        let packet = PacketWriter::new(cpu as u32).packet(&[signal_event(1, 1, "a", 15, &[])]);
        fs::write(dir.join(format!("cpu{cpu}")), packet).unwrap();
    }

    // Asked for as many as there may be.
    let mut recorder = Command::new("sh");
    recorder.args(["-c", "ulimit -Sn 32 && exec \"$@\"", "sh"]);
    recorder.args([
        env!("CARGO_BIN_EXE_vesper"),
        "record",
        "web1",
        "--for",
        "1s",
        "-o",
    ]);
    let trace = root.path().join("trace");
    recorder.arg(&trace).env("VESPER_DEBUGFS", root.path());
    recorder.env("VESPER_DEVICE", root.path().join("no-device"));
    let output = recorder.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let last = trace.join("web1/signal").join(format!("cpu{}", CPUS - 1));
    assert!(last.exists());

    // Where there are no more.
    let debugfs = Debugfs::find(Some(root.path())).unwrap();
    let mut feed = Feed::<Device>::new(debugfs, Err(Error::NoDevice("none".into()))).unwrap();
    let (before, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, LIMIT, most).unwrap();
    let mut count = Count::default();
    let told = feed.follow(|_, _| true).unwrap();
    assert_eq!(told.len(), 1);
    feed.take(&mut count);
    let some = count.0;
    assert!(some > 0 && some < CPUS, "{some}");
    setrlimit(Resource::RLIMIT_NOFILE, before, most).unwrap();
    let limit = Instant::now() + Duration::from_secs(60);
    while count.0 < CPUS {
        assert!(Instant::now() < limit, "{} of {CPUS}", count.0);
        std::thread::sleep(feed.pause().expect("it is tried again"));
        assert!(feed.follow(|_, _| true).unwrap().is_empty());
        feed.take(&mut count);
    }
    assert!(feed.pause().is_none());
}
